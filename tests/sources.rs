//! Sources of weights: names, caches, and downloads from a server on loopback. No test leaves this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use camshaft::sources::{Options, Source, SourceError, Torchvision, fetch};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tempfile::TempDir;

#[cfg(feature = "download")]
#[path = "sources/hub.rs"]
mod hub;
#[cfg(feature = "download")]
#[path = "sources/server.rs"]
mod server;
#[cfg(feature = "download")]
#[path = "sources/torchvision.rs"]
mod torchvision;

/// A folder of its own for each test, and options that stay in it and reach nobody.
fn sandbox() -> (TempDir, Options) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::from_env();
    options.cache_dir = Some(folder.path().join("camshaft"));
    options.torch_hub = Some(folder.path().join("torch"));
    options.hub_cache = Some(folder.path().join("hf"));
    // Port 1 of this machine: refused, should a test forget to set its server.
    options.torchvision_url = "http://127.0.0.1:1/models".to_owned();
    options.hub_endpoint = "http://127.0.0.1:1".to_owned();
    options.hub_token = None;
    options.offline = false;
    options.hub_offline = false;
    options.timeout = Duration::from_secs(5);
    options.attempts = 3;
    options.retry_delay = Duration::from_millis(1);
    (folder, options)
}

/// Stands in for torchvision's ResNet-18 file: its SHA-256 begins with the digits in that file's name, by the last eight bytes,
/// which were searched for.
fn resnet18() -> Vec<u8> {
    let mut file: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(i) / 7 + i) as u8).collect();
    file.extend(NONCE.to_le_bytes());
    file
}

const NONCE: u64 = 1_024_702_779;
const RESNET18: Source = Source::Torchvision(Torchvision::Resnet18);
const FILE: &str = "resnet18-f37072fd.pth";

/// Fetches, with a progress callback that is not looked at.
fn get(source: &Source, options: &Options) -> Result<PathBuf, SourceError> {
    fetch(source, options, &mut |_| {})
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn message(result: Result<PathBuf, SourceError>) -> String {
    result.expect_err("must fail").to_string()
}

#[test]
fn names_parse_and_print() {
    for name in ["demo", "resnet18", "resnet34", "resnet50", "hf:timm/resnet18.tv_in1k", "hf:a/b@refs/pr/1", "hf:a/b@v1.0"] {
        assert_eq!(name.parse::<Source>().unwrap().to_string(), name);
    }
    assert_eq!("demo".parse::<Source>().unwrap(), Source::Demo);
    assert_eq!("resnet50".parse::<Source>().unwrap(), Source::Torchvision(Torchvision::Resnet50));
    assert_eq!("hf:a/b@main".parse::<Source>().unwrap(), "hf:a/b".parse().unwrap());
    // Paths need not exist; only a bare word that is no file is taken for a misspelt name.
    for path in ["./demo", "weights/resnet18", "missing.pth", "dir\\x", "src", ".."] {
        assert_eq!(path.parse::<Source>().unwrap(), Source::Path(path.into()), "{path}");
    }
}

#[test]
fn bad_names_list_the_good_ones() {
    for name in ["", "resnet", "resnet101", "Resnet18", "dmeo", "https://example.com/w.pth", "hf:a", "hf:", "hf:a/b@", "hf:a/b/c"]
    {
        let error = name.parse::<Source>().unwrap_err();
        assert!(matches!(error, SourceError::Name { .. }), "{name}");
        let text = error.to_string();
        assert!(text.contains("demo, resnet18, resnet34, resnet50, hf:owner/name[@revision]"), "{text}");
    }
    assert!("https://example.com/w.pth".parse::<Source>().unwrap_err().to_string().contains("is a URL"));
}

#[test]
fn hub_names_cannot_leave_their_place() {
    let long = format!("hf:{}/b", "a".repeat(97));
    for name in [
        "hf:../b",
        "hf:a/..",
        "hf:a/.b",
        "hf:a--b/c",
        "hf:-a/b",
        "hf:a/b-",
        "hf:a/b.git",
        "hf:a/b?x",
        "hf:a/b#x",
        "hf:a%2f/b",
        "hf:é/b",
        "hf:a:8/b",
        "hf:a\\b/c",
        "hf:a b/c",
        "hf:a/b@..",
        "hf:a/b@x/../y",
        "hf:a/b@/x",
        "hf:a/b@x/",
        "hf:a/b@x//y",
        "hf:a/b@x?y",
        "hf:a/b@x%2e",
        "hf:a/b@x y",
        "hf:a/b@c@d",
        "hf:user:pw@evil/b",
        &long,
    ] {
        assert!(matches!(name.parse::<Source>(), Err(SourceError::Name { .. })), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    /// Whatever the text, parsing returns; a source prints as it is written, and a hub's names stay below the cache folder.
    #[test]
    fn parsing_never_panics(text in "(hf:)?[a-z./@-]{0,12}|hf:[a-zA-Z0-9_./-]{1,9}/[a-z-.]{1,5}(@[a-z/.]{1,5})?|.{0,20}") {
        if let Ok(source) = text.parse::<Source>() {
            prop_assert_eq!(source.to_string().parse::<Source>().unwrap(), source.clone());
            if let Source::Hub { repo, revision } = source {
                let path = PathBuf::from(format!("{repo}/{revision}"));
                prop_assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))));
            }
        }
    }
}

#[test]
fn demo_has_no_file_and_paths_pass_through() {
    let (_folder, options) = sandbox();
    assert!(matches!(get(&Source::Demo, &options), Err(SourceError::Bundled)));
    assert_eq!(get(&Source::Path("no/such.pth".into()), &options).unwrap(), Path::new("no/such.pth"));
}

#[test]
fn files_in_either_cache_are_used_without_a_request() {
    let (_folder, options) = sandbox();
    let own = options.cache_dir.as_ref().unwrap().join(FILE);
    write(&own, &resnet18());
    assert_eq!(get(&RESNET18, &options).unwrap(), own);
    let torch = options.torch_hub.as_ref().unwrap().join(FILE);
    write(&torch, &resnet18());
    let mut calls = 0;
    assert_eq!(fetch(&RESNET18, &options, &mut |_| calls += 1).unwrap(), torch, "torch's own copy comes first");
    assert_eq!(calls, 0);
}

#[test]
fn wrong_files_in_a_cache_are_named() {
    for folder in 0..2 {
        let (_folder, options) = sandbox();
        let place = Torchvision::Resnet18.places(&options)[folder].clone();
        write(&place, b"<!DOCTYPE html>");
        let text = message(get(&RESNET18, &options));
        // First digits of `printf '<!DOCTYPE html>' | sha256sum`.
        let want = "SHA-256 starts with c77e5168, expected f37072fd: the file is damaged or another; delete it and run again";
        assert_eq!(text, format!("{}: {want}", place.display()));
        assert!(place.exists(), "deleting is the user's decision");
    }
}

#[test]
fn offline_says_which_file_to_put_where() {
    let (_folder, mut options) = sandbox();
    options.torchvision_url = "http://mirror.example/models/".to_owned();
    options.offline = true;
    let text = message(get(&RESNET18, &options));
    let [torch, own] = &Torchvision::Resnet18.places(&options)[..] else { panic!() };
    let way_out = format!(
        "get http://mirror.example/models/{FILE} and save it as {} or {}, or give the path of the file as the weights",
        own.display(),
        torch.display()
    );
    assert_eq!(text, format!("resnet18: not on this machine, and offline mode is on; {way_out}"));
    // Doing what it says helps.
    write(own, &resnet18());
    assert_eq!(&get(&RESNET18, &options).unwrap(), own);
}

#[test]
fn offline_hub_says_the_same() {
    let (_folder, mut options) = sandbox();
    options.hub_endpoint = "http://hub.example".to_owned();
    options.hub_offline = true;
    let source = "hf:some/net@refs/pr/1".parse().unwrap();
    let place = options.cache_dir.as_ref().unwrap().join("hub/some/net/refs/pr/1/model.safetensors");
    let text = message(get(&source, &options));
    assert!(text.starts_with("hf:some/net@refs/pr/1: not on this machine, and offline mode is on"), "{text}");
    assert!(text.contains("get http://hub.example/some/net/resolve/refs%2Fpr%2F1/model.safetensors and save it as"), "{text}");
    assert!(text.contains(&place.display().to_string()), "{text}");
    write(&place, b"weights");
    assert_eq!(get(&source, &options).unwrap(), place);
}

#[test]
fn the_hubs_own_cache_is_read() {
    let (_folder, options) = sandbox();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repo = options.hub_cache.as_ref().unwrap().join("models--some--net");
    let file = repo.join("snapshots").join(commit).join("model.safetensors");
    write(&file, b"weights");
    // As huggingface_hub does, without a line end; and as an editor would leave it.
    for text in [commit.to_owned(), format!("{commit}\n")] {
        write(&repo.join("refs/main"), text.as_bytes());
        assert_eq!(get(&"hf:some/net".parse().unwrap(), &options).unwrap(), file);
    }
    assert_eq!(get(&format!("hf:some/net@{commit}").parse().unwrap(), &options).unwrap(), file);
    // Another branch is not known, and a reference that leads elsewhere is not followed.
    assert!(get(&"hf:some/net@other".parse().unwrap(), &options).is_err());
    write(&repo.join("refs/evil"), b"../../../../etc");
    assert!(get(&"hf:some/net@evil".parse().unwrap(), &options).is_err());
}

#[cfg(not(feature = "download"))]
#[test]
fn builds_without_download_say_so() {
    let (_folder, options) = sandbox();
    for source in ["resnet18", "hf:some/net"] {
        let text = message(get(&source.parse().unwrap(), &options));
        assert!(text.contains("this build of camshaft cannot download (feature `download`); get http://127.0.0.1:1/"), "{text}");
    }
}
