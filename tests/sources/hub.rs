//! Downloads from a Hugging Face hub.

use camshaft::sources::Token;

use super::server::{Reply, Request, Server, listing, nobody};
use super::torchvision::sha256;
use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "76543210fedcba9876543210fedcba9876543210";

fn weights() -> Vec<u8> {
    (0..50_000u32).map(|i| (i * 7 / 3) as u8).collect()
}

/// A hub as the real one answers for a large file: the headers name commit, hash and length, and redirect to where the bytes are.
fn hub(request: &Request) -> Reply {
    if request.path == "/storage" {
        return Reply::file(&weights(), request);
    }
    let commit = if request.path.contains("/resolve/v2/") { OTHER } else { COMMIT };
    Reply::new(302, b"moved")
        .header("Location", "http://127.0.0.1:1/storage")
        .header("X-Repo-Commit", commit)
        .header("X-Linked-Etag", &format!("\"{}\"", sha256(&weights())))
        .header("X-Linked-Size", "50000")
        .header("ETag", "\"of-the-redirect\"")
}

/// As [`hub`], but the bytes come without a redirect, since redirects would need to know the server's own port.
fn plain(request: &Request) -> Reply {
    if request.method == "HEAD" {
        return hub(request);
    }
    Reply::file(&weights(), request)
}

fn at(server: &Server) -> (TempDir, Options) {
    let (folder, mut options) = sandbox();
    options.hub_endpoint = format!("{}/", server.url());
    (folder, options)
}

fn net() -> Source {
    "hf:some/net".parse().unwrap()
}

fn repo(options: &Options) -> PathBuf {
    options.hub_cache.as_ref().unwrap().join("models--some--net")
}

#[test]
fn layout_is_that_of_huggingface_hub() {
    let server = Server::start(|request, _| plain(request));
    let (_folder, options) = at(&server);
    let mut last = None;
    let path = fetch(&net(), &options, &mut |p| last = Some((p.done, p.total))).unwrap();
    assert_eq!(last, Some((50_000, Some(50_000))));
    let repo = repo(&options);
    assert_eq!(path, repo.join("snapshots").join(COMMIT).join("model.safetensors"));
    assert_eq!(std::fs::read(&path).unwrap(), weights());
    let hash = sha256(&weights());
    assert_eq!(listing(&repo.join("blobs")), [hash.as_str()]);
    assert_eq!(std::fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("../../blobs").join(&hash));
    assert_eq!(listing(&options.hub_cache.as_ref().unwrap().join(".locks/models--some--net")), [format!("{hash}.lock")]);
    let asked: Vec<_> = server.requests().iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    let file = "/some/net/resolve/main/model.safetensors";
    assert_eq!(asked, [format!("HEAD {file}"), format!("GET {file}")]);
    // The second time nobody is asked, neither for the branch nor for its commit.
    assert_eq!(get(&net(), &options).unwrap(), path);
    assert_eq!(get(&format!("hf:some/net@{COMMIT}").parse().unwrap(), &options).unwrap(), path);
    assert_eq!(server.requests().len(), 2);
    // Another revision with the same content costs one request, and no download.
    let v2 = get(&"hf:some/net@v2".parse().unwrap(), &options).unwrap();
    assert_eq!(v2, repo.join("snapshots").join(OTHER).join("model.safetensors"));
    assert_eq!(std::fs::read(&v2).unwrap(), weights());
    assert_eq!(server.requests().len(), 3);
    assert_eq!(listing(&repo.join("blobs")), [hash]);
}

#[test]
fn revisions_with_slashes_and_commits() {
    let server = Server::start(|request, _| plain(request));
    let (_folder, options) = at(&server);
    get(&"hf:some/net@refs/pr/1".parse().unwrap(), &options).unwrap();
    assert_eq!(server.requests()[0].path, "/some/net/resolve/refs%2Fpr%2F1/model.safetensors");
    assert_eq!(std::fs::read_to_string(repo(&options).join("refs/refs/pr/1")).unwrap(), COMMIT);
    let (_folder, options) = at(&server);
    get(&format!("hf:some/net@{COMMIT}").parse().unwrap(), &options).unwrap();
    assert!(!repo(&options).join("refs").exists(), "a commit needs no reference");
}

#[test]
fn small_files_without_a_hash_and_moved_repositories() {
    let server = Server::start(|request, _| match request.path.as_str() {
        "/new/net" => Reply::file(&weights(), request)
            .header("X-Repo-Commit", COMMIT)
            .header("ETag", "W/\"d7edf6bd2a681fb0175f7735299831ee1b22b812\""),
        _ => Reply::new(307, b"").header("Location", "/new/net"),
    });
    let (_folder, options) = at(&server);
    let path = get(&net(), &options).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), weights());
    assert_eq!(listing(&repo(&options).join("blobs")), ["d7edf6bd2a681fb0175f7735299831ee1b22b812"]);
}

#[test]
fn cut_and_wrong_content() {
    let server = Server::start(|request, n| if n == 1 { plain(request).cut(20_000) } else { plain(request) });
    let (_folder, options) = at(&server);
    assert_eq!(std::fs::read(get(&net(), &options).unwrap()).unwrap(), weights());
    assert_eq!(server.ranges(), [None, None, Some(20_000)]);

    let server = Server::start(|request, _| if request.method == "HEAD" { hub(request) } else { Reply::new(200, &[1; 50_000]) });
    let (_folder, options) = at(&server);
    let text = message(get(&net(), &options));
    assert!(text.contains(&format!("expected {}", sha256(&weights()))), "{text}");
    assert!(listing(&repo(&options).join("blobs")).is_empty());

    let server = Server::start(|request, _| if request.method == "HEAD" { hub(request) } else { Reply::new(200, b"<html>") });
    let (_folder, options) = at(&server);
    assert!(matches!(get(&net(), &options), Err(SourceError::WrongLength { found: 6, .. })));
}

#[test]
fn token_goes_to_the_hub_only() {
    let storage = Server::start(|request, _| Reply::file(&weights(), request));
    let url = format!("{}/storage", storage.url());
    let server = Server::start(move |request, _| hub(request).header("Location", &url));
    let (_folder, mut options) = at(&server);
    options.hub_token = Some(Token::new("s3cret"));
    get(&net(), &options).unwrap();
    assert!(server.requests().iter().all(|r| r.header("authorization") == Some("Bearer s3cret")));
    assert_eq!(storage.requests().len(), 1);
    assert_eq!(storage.requests()[0].header("authorization"), None);
    options.hub_token = Some(Token::new("bad\r\nX-Evil: 1"));
    let text = message(get(&"hf:some/other".parse().unwrap(), &options));
    assert!(text.contains("HF_TOKEN") && !text.contains("Evil"), "{text}");
}

#[test]
fn refusals_say_what_they_mean() {
    for (status, code, want) in [
        (401, "RepoNotFound", "answered 401: no such repository, or it is private or gated and HF_TOKEN is not set"),
        (403, "GatedRepo", "answered 403: access to the repository has to be granted on its page"),
        (403, "", "answered 403: HF_TOKEN does not allow this"),
        (404, "EntryNotFound", "answered 404: the repository has no file model.safetensors"),
        (404, "RevisionNotFound", "answered 404: the repository has no such branch, tag or commit"),
        (404, "", "answered 404: no such repository or revision, or it has no file model.safetensors"),
        (429, "", "answered 429: too many requests"),
    ] {
        let server = Server::start(move |_, _| Reply::new(status, b"no").header("X-Error-Code", code));
        let (_folder, options) = at(&server);
        let text = message(get(&net(), &options));
        assert!(text.contains(want), "{text}");
        assert!(!options.hub_cache.unwrap().exists(), "nothing is left behind");
    }
}

#[test]
fn answers_that_are_no_hub_are_refused() {
    let answers: [fn(Reply) -> Reply; 6] = [
        |_| Reply::new(200, b"<html>log in to the network</html>"),
        |reply| reply.header("X-Repo-Commit", "../../../../etc"),
        |reply| reply.header("X-Repo-Commit", "main"),
        |reply| reply.header("X-Linked-Etag", "\"../../../x\""),
        |reply| reply.header("X-Linked-Etag", "\"\""),
        |_| Reply::new(302, b"").header("Location", "http://127.0.0.1:1/login"),
    ];
    for answer in answers {
        let server = Server::start(move |request, _| answer(hub(request)));
        let (_folder, options) = at(&server);
        let text = message(get(&net(), &options));
        assert!(text.contains("this is no Hugging Face hub (HF_ENDPOINT)"), "{text}");
        assert!(!options.hub_cache.unwrap().exists());
    }
}

#[test]
fn without_network_it_says_which_file_to_put_where() {
    let (_folder, mut options) = sandbox();
    options.hub_endpoint = nobody();
    let text = message(get(&net(), &options));
    assert!(text.starts_with("hf:some/net@main: not on this machine, and the server cannot be reached ("), "{text}");
    assert!(text.contains("/some/net/resolve/main/model.safetensors and save it as "), "{text}");
    options.hub_cache = None;
    assert!(message(get(&net(), &options)).contains("set HF_HOME"));
}

#[test]
fn dangling_link_is_mended() {
    let server = Server::start(|request, _| plain(request));
    let (_folder, options) = at(&server);
    let path = get(&net(), &options).unwrap();
    std::fs::remove_dir_all(repo(&options).join("blobs")).unwrap();
    assert!(!path.exists());
    assert_eq!(get(&net(), &options).unwrap(), path);
    assert_eq!(std::fs::read(path).unwrap(), weights());
}

#[test]
fn concurrent_fetches_download_once() {
    let pause = Duration::from_millis(300);
    let server =
        Server::start(move |request, _| if request.method == "GET" { plain(request).pause(pause) } else { plain(request) });
    let (_folder, options) = at(&server);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..3).map(|_| scope.spawn(|| get(&net(), &options).map(std::fs::read))).collect();
        for one in all {
            assert_eq!(one.join().unwrap().unwrap().unwrap(), weights());
        }
    });
    assert_eq!(server.requests().iter().filter(|r| r.method == "GET").count(), 1);
}
