//! `camshaft fetch`, and weights by name.

use std::fs;

use super::program::Bench;

const FILE: &str = "resnet18-f37072fd.pth";

#[test]
fn offline_it_says_which_file_goes_where() {
    let bench = Bench::new();
    let place = bench.at("cache").join(FILE).display().to_string();
    let elsewhere = bench.at("torch/hub/checkpoints").join(FILE).display().to_string();
    let texts = [&format!("https://download.pytorch.org/models/{FILE}"), &place, &elsewhere, "offline"];
    bench.run(["fetch", "resnet18"]).code(1).says(&texts);
    bench.run(["cam", "--weights=resnet18"]).code(1).says(&texts);
    assert!(bench.list(".").is_empty());
}

#[test]
fn one_failure_does_not_stop_the_others() {
    let bench = Bench::new();
    let ran = bench.run(["fetch", "resnet18", "demo", "hf:timm/resnet18.a1_in1k", "resnet50"]).code(1);
    ran.says(&[
        "resnet18: not on",
        "demo weights are part of the program",
        "hf:timm/resnet18.a1_in1k",
        "resnet50: not on",
        "4 of 4",
    ]);
}

/// A file with another content than its name promises is neither used nor silently replaced.
#[test]
fn a_cached_file_is_checked() {
    let bench = Bench::new();
    bench.file(&format!("cache/{FILE}"), "something else");
    bench.run(["classify", "--weights=resnet18"]).code(1).says(&[FILE, "SHA-256", "expected f37072fd", "delete it"]);
    assert_eq!(fs::read(bench.at("cache").join(FILE)).unwrap(), b"something else");
}

/// A repository in the hub's cache needs no network.
#[test]
fn a_cached_repository_is_used() {
    let bench = Bench::new();
    let hub = "hf/hub/models--someone--net";
    let commit = "0123456789abcdef0123456789abcdef01234567";
    bench.file(&format!("{hub}/refs/main"), commit);
    let model = fs::read(super::program::bundled("demo.safetensors")).unwrap();
    bench.file(&format!("{hub}/snapshots/{commit}/model.safetensors"), model);
    let ran = bench.run(["fetch", "hf:someone/net"]).code(0);
    assert!(ran.stdout.trim().ends_with(&format!("snapshots/{commit}/model.safetensors")), "{}", ran.stdout);
    let same = |weights: &str| bench.run(["classify", "--json", "--weights", weights]).code(0).stdout;
    assert_eq!(same("hf:someone/net"), same("demo"));
}

#[cfg(feature = "download")]
mod online {
    use super::super::server::{Reply, Server, nobody};
    use super::*;

    fn command(bench: &Bench, url: &str, arguments: &[&str]) -> std::process::Command {
        let mut command = bench.command(arguments);
        command.env("CAMSHAFT_OFFLINE", "0").env("CAMSHAFT_TORCHVISION_URL", url);
        for proxy in ["ALL_PROXY", "HTTP_PROXY", "http_proxy", "all_proxy"] {
            command.env_remove(proxy);
        }
        command
    }

    use super::super::program::Ran;

    #[test]
    fn a_wrong_download_is_removed() {
        let server = Server::start(|request, _| Reply::file(b"not the model", request));
        let bench = Bench::new();
        let ran = Ran::of(&mut command(&bench, &server.url(), &["fetch", "resnet18"])).code(1);
        let ran = ran.says(&[&format!("{}/{FILE}", server.url()), "SHA-256", "expected f37072fd"]);
        assert_eq!(ran.stdout, "");
        assert!(!bench.at("cache").join(FILE).exists());
        assert_eq!(server.requests()[0].path, format!("/{FILE}"));
    }

    #[test]
    fn a_server_without_the_file() {
        let server = Server::start(|_, _| Reply::new(404, b"no"));
        let bench = Bench::new();
        Ran::of(&mut command(&bench, &server.url(), &["fetch", "resnet18"])).code(1).says(&["404", FILE]);
    }

    #[test]
    fn no_server_at_all() {
        let bench = Bench::new();
        let place = bench.at("cache").join(FILE).display().to_string();
        Ran::of(&mut command(&bench, &nobody(), &["cam", "--weights=resnet18"])).code(1).says(&["not on this machine", &place]);
    }

    /// The whole way, with the hub: torchvision's files cannot be forged, since their names hold their hash.
    #[test]
    fn a_repository_is_downloaded_once() {
        let model = fs::read(super::super::program::bundled("demo.safetensors")).unwrap();
        let length = model.len();
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let server = Server::start(move |request, _| {
            Reply::file(&model, request).header("X-Repo-Commit", commit).header("ETag", "\"abc\"")
        });
        let bench = Bench::new();
        let fetch = || {
            let mut command = command(&bench, "http://127.0.0.1:9", &["fetch", "hf:someone/net"]);
            Ran::of(command.env("HF_ENDPOINT", server.url())).code(0).stdout
        };
        let path = fetch();
        assert_eq!(fs::metadata(path.trim()).unwrap().len(), length as u64);
        let asked = server.requests().len();
        assert!(asked > 0);
        assert_eq!(fetch(), path);
        assert_eq!(server.requests().len(), asked, "the second time it is there");
    }
}
