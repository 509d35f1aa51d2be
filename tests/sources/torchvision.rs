//! Downloads of torchvision's files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use camshaft::sources::{Progress, Stage};

use super::server::{Reply, Server, listing, nobody};
use super::*;

fn own(options: &Options) -> PathBuf {
    options.cache_dir.as_ref().unwrap().join(FILE)
}

fn part(options: &Options) -> PathBuf {
    own(options).with_extension("pth.part")
}

/// Options that point to `server`.
fn at(server: &Server) -> (TempDir, Options) {
    let (folder, mut options) = sandbox();
    options.torchvision_url = format!("{}/models/", server.url());
    (folder, options)
}

/// The file came in whole, and nothing but the lock file is left beside it.
fn assert_whole(result: Result<PathBuf, SourceError>, options: &Options) {
    assert_eq!(result.unwrap(), own(options));
    assert_eq!(std::fs::read(own(options)).unwrap(), resnet18());
    assert_eq!(listing(options.cache_dir.as_ref().unwrap()), [FILE.to_owned(), format!("{FILE}.lock")]);
}

#[test]
fn whole_file_with_progress() {
    let server = Server::start(|request, _| Reply::file(&resnet18(), request));
    let (_folder, options) = at(&server);
    let mut seen: Vec<Progress> = Vec::new();
    assert_whole(fetch(&RESNET18, &options, &mut |progress| seen.push(progress)), &options);
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("GET", "/models/resnet18-f37072fd.pth"));
    assert_eq!(requests[0].header("accept-encoding"), Some("identity"));
    assert!(requests[0].header("user-agent").unwrap().starts_with("camshaft/"));
    assert!(seen.iter().all(|p| p.stage == Stage::Downloading && p.total == Some(100_008)));
    assert!(seen.windows(2).all(|pair| pair[0].done < pair[1].done));
    assert_eq!((seen[0].done, seen.last().unwrap().done), (0, 100_008));
    // The second time the cache answers.
    assert_whole(get(&RESNET18, &options), &options);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn cut_connection_is_resumed() {
    let server = Server::start(|request, n| match n {
        0 => Reply::file(&resnet18(), request).cut(30_000),
        1 => Reply::file(&resnet18(), request).cut(0),
        _ => Reply::file(&resnet18(), request),
    });
    let (_folder, options) = at(&server);
    let mut done = Vec::new();
    assert_whole(fetch(&RESNET18, &options, &mut |p| done.push(p.done)), &options);
    assert_eq!(server.ranges(), [None, Some(30_000), Some(30_000)]);
    assert!(done.is_sorted(), "{done:?}");
}

#[test]
fn server_without_ranges_starts_over() {
    let server =
        Server::start(|_, n| if n == 0 { Reply::new(200, &resnet18()).cut(30_000) } else { Reply::new(200, &resnet18()) });
    let (_folder, options) = at(&server);
    assert_whole(get(&RESNET18, &options), &options);
    assert_eq!(server.ranges(), [None, Some(30_000)]);
}

#[test]
fn wrong_ranges_start_over() {
    for range in ["bytes 0-69999/100008", "bytes 40000-100007/100008", "nonsense", "bytes 30000-100008/100008"] {
        let server = Server::start(move |request, n| match n {
            0 => Reply::file(&resnet18(), request).cut(30_000),
            1 => Reply::file(&resnet18(), request).header("Content-Range", range),
            _ => Reply::file(&resnet18(), request),
        });
        let (_folder, options) = at(&server);
        assert_whole(get(&RESNET18, &options), &options);
        assert_eq!(server.ranges(), [None, Some(30_000), None], "{range}");
    }
}

#[test]
fn next_run_goes_on_where_the_last_was_cut_for_good() {
    let server = Server::start(|request, n| {
        let reply = Reply::file(&resnet18(), request);
        if n < 3 { reply.cut(10_000) } else { reply }
    });
    let (_folder, options) = at(&server);
    let error = get(&RESNET18, &options).unwrap_err();
    assert!(matches!(error, SourceError::Interrupted { done: 30_000, total: Some(100_008), .. }), "{error}");
    assert!(error.to_string().contains(&part(&options).display().to_string()), "{error}");
    assert_eq!(std::fs::read(part(&options)).unwrap(), resnet18()[..30_000]);
    assert!(!own(&options).exists());
    assert_eq!(server.requests().len(), 3, "as many attempts as allowed");
    assert_whole(get(&RESNET18, &options), &options);
    assert_eq!(server.ranges(), [None, Some(10_000), Some(20_000), Some(30_000)]);
}

#[test]
fn complete_part_of_a_killed_run_is_taken() {
    let server = Server::start(|request, _| Reply::file(&resnet18(), request));
    let (_folder, options) = at(&server);
    write(&part(&options), &resnet18());
    assert_whole(get(&RESNET18, &options), &options);
    assert_eq!(server.ranges(), [Some(100_008)]);
}

#[test]
fn part_longer_than_the_file_starts_over() {
    let server = Server::start(|request, _| Reply::file(&resnet18(), request));
    let (_folder, options) = at(&server);
    write(&part(&options), &[7; 200_000]);
    assert_whole(get(&RESNET18, &options), &options);
    assert_eq!(server.ranges(), [Some(200_000), None]);
}

#[test]
fn stalled_connection_is_resumed() {
    let server = Server::start(|request, n| {
        let reply = Reply::file(&resnet18(), request);
        if n == 0 { reply.pause(Duration::from_secs(3)) } else { reply }
    });
    let (_folder, mut options) = at(&server);
    options.timeout = Duration::from_millis(300);
    let start = Instant::now();
    assert_whole(get(&RESNET18, &options), &options);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn wrong_hash_is_removed_and_named() {
    let mut wrong = resnet18();
    wrong[5] ^= 1;
    let found = sha256(&wrong)[..8].to_owned();
    let server = Server::start(move |request, _| Reply::file(&wrong, request));
    let (_folder, options) = at(&server);
    let text = message(get(&RESNET18, &options));
    assert!(
        text.starts_with(&format!("{}/models/{FILE}: SHA-256 of the download is {found}, expected f37072fd;", server.url())),
        "{text}"
    );
    assert!(!part(&options).exists() && !own(&options).exists());
    assert_eq!(server.requests().len(), 1, "the same bytes would come again");
}

#[test]
fn corrupt_part_is_removed_so_that_the_next_run_works() {
    let server = Server::start(|request, _| Reply::file(&resnet18(), request));
    let (_folder, options) = at(&server);
    write(&part(&options), &[7; 50_000]);
    assert!(matches!(get(&RESNET18, &options), Err(SourceError::WrongDownload { .. })));
    assert_whole(get(&RESNET18, &options), &options);
}

#[test]
fn chunked_answers_have_no_total() {
    let server = Server::start(|_, _| {
        let mut body = Vec::new();
        for chunk in resnet18().chunks(40_000) {
            body.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
        }
        body.extend(b"0\r\n\r\n");
        Reply::new(200, &body).without("Content-Length").header("Transfer-Encoding", "chunked")
    });
    let (_folder, options) = at(&server);
    let mut totals = Vec::new();
    assert_whole(fetch(&RESNET18, &options, &mut |p| totals.push(p.total)), &options);
    assert!(totals.iter().all(Option::is_none));
}

#[test]
fn redirects_are_followed_with_their_range() {
    let server = Server::start(|request, n| match request.path.as_str() {
        "/elsewhere" if n == 1 => Reply::file(&resnet18(), request).cut(30_000),
        "/elsewhere" => Reply::file(&resnet18(), request),
        _ => Reply::new(302, b"moved").header("Location", "/elsewhere"),
    });
    let (_folder, options) = at(&server);
    assert_whole(get(&RESNET18, &options), &options);
    assert_eq!(server.ranges(), [None, None, Some(30_000), Some(30_000)]);
}

#[test]
fn endless_redirects_end() {
    let server = Server::start(|_, _| Reply::new(302, b"").header("Location", "/again"));
    let (_folder, options) = at(&server);
    assert!(matches!(get(&RESNET18, &options), Err(SourceError::Protocol { .. })));
    assert!(server.requests().len() < 20);
}

#[test]
fn refusals_name_status_and_address() {
    for (status, requests) in [(404, 1), (403, 1), (204, 1), (503, 3), (429, 3)] {
        let server = Server::start(move |_, _| Reply::new(status, b"<html>sorry</html>"));
        let (_folder, options) = at(&server);
        let text = message(get(&RESNET18, &options));
        assert_eq!(text, format!("{}/models/{FILE}: the server answered {status}", server.url()));
        assert_eq!(server.requests().len(), requests, "{status}");
        assert!(!own(&options).exists());
    }
}

#[test]
fn busy_server_is_asked_again() {
    let server = Server::start(|request, n| if n < 2 { Reply::new(503, b"") } else { Reply::file(&resnet18(), request) });
    let (_folder, options) = at(&server);
    assert_whole(get(&RESNET18, &options), &options);
}

#[test]
fn huge_answers_are_refused() {
    let server = Server::start(|_, _| Reply::new(200, b"x").header("Content-Length", "5000000000"));
    let (_folder, options) = at(&server);
    assert!(matches!(get(&RESNET18, &options), Err(SourceError::WrongLength { found: 5_000_000_000, .. })));
}

#[test]
fn without_network_it_says_which_file_to_put_where() {
    let (_folder, mut options) = sandbox();
    options.retry_delay = Duration::from_secs(60); // nobody waits for a network that is not there
    // A label of 64 letters is too long to be asked for, so that the look-up fails on this machine.
    for url in [nobody(), format!("http://{}.invalid", "a".repeat(64))] {
        options.torchvision_url = url.clone();
        let start = Instant::now();
        let text = message(get(&RESNET18, &options));
        assert!(text.starts_with("resnet18: not on this machine, and the server cannot be reached ("), "{text}");
        assert!(text.contains(&format!("get {url}/{FILE} and save it as {} or ", own(&options).display())), "{text}");
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn addresses_must_be_http() {
    let (_folder, mut options) = sandbox();
    for url in ["", "ftp://x", "file:///tmp", "http://", "not a url"] {
        options.torchvision_url = url.to_owned();
        assert!(matches!(get(&RESNET18, &options), Err(SourceError::Protocol { .. })), "{url}");
    }
}

#[test]
fn unusable_cache_folders_are_named() {
    let server = Server::start(|request, _| Reply::file(&resnet18(), request));
    let (folder, mut options) = at(&server);
    write(&folder.path().join("file"), b"");
    options.cache_dir = Some(folder.path().join("file/camshaft"));
    let text = message(get(&RESNET18, &options));
    assert!(text.contains("file/camshaft: cannot make the folder") && text.contains("CAMSHAFT_CACHE"), "{text}");
    options.cache_dir = None;
    assert!(message(get(&RESNET18, &options)).contains("set CAMSHAFT_CACHE"));
    assert!(server.requests().is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_is_named() {
    let server = Server::start(|request, _| Reply::file(&resnet18(), request));
    let (_folder, options) = at(&server);
    std::fs::create_dir_all(options.cache_dir.as_ref().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", part(&options)).unwrap(); // each write to it fails for want of space
    let text = message(get(&RESNET18, &options));
    assert!(text.contains("cannot write the download") && text.contains("make room"), "{text}");
    assert!(!own(&options).exists());
}

#[test]
fn concurrent_fetches_download_once() {
    let server = Server::start(|request, _| Reply::file(&resnet18(), request).pause(Duration::from_millis(400)));
    let (_folder, options) = at(&server);
    let waiting = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    fetch(&RESNET18, &options, &mut |p| {
                        waiting.fetch_add(usize::from(p.stage == Stage::Waiting), Ordering::SeqCst);
                    })
                })
            })
            .collect();
        for one in all {
            assert_eq!(one.join().unwrap().unwrap(), own(&options));
        }
    });
    assert_whole(get(&RESNET18, &options), &options);
    assert_eq!(server.requests().len(), 1);
    assert!(waiting.load(Ordering::SeqCst) >= 3, "three of four had to wait");
}

pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
