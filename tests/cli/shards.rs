//! Lists of inputs, parts of a run, and their manifests merged.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::program::{Bench, Ran, png, results};

fn with(names: &[&str]) -> Bench {
    let bench = Bench::new();
    for (index, name) in names.iter().enumerate() {
        bench.file(name, png(index, 30, 20));
    }
    bench
}

fn classified(ran: &Ran) -> Vec<String> {
    ran.json().iter().map(|line| line["file"].as_str().unwrap().to_owned()).collect()
}

fn files(manifest: &Value) -> Vec<String> {
    manifest["images"].as_array().unwrap().iter().map(|image| image["file"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lists_are_inputs() {
    let bench = with(&["a.png", "b c.png", "in/d.png", "[e].png"]);
    let want = ["b c.png", "in/d.png", "[e].png", "a.png"];
    bench.file("list.txt", "b c.png\r\nin\n\n[e].png\na.png");
    assert_eq!(classified(&bench.run(["classify", "--json", "--from=list.txt"]).code(0)), want);
    bench.file("zero.txt", "b c.png\0in/d.png\0[e].png\0a.png\0");
    assert_eq!(classified(&bench.run(["classify", "--json", "--from=zero.txt"]).code(0)), want);
    // After what was named; a list is no pattern.
    assert_eq!(classified(&bench.run(["classify", "--json", "a.png", "--from=list.txt"]).code(0))[..2], ["a.png", "b c.png"]);
    bench.file("pattern.txt", "*.png");
    bench.run(["classify", "--from=pattern.txt"]).code(1).says(&["*.png: cannot read the file"]);
    bench.file("none.txt", "\n");
    bench.run(["classify", "--from=none.txt"]).code(1).says(&["none.txt: this list names no file"]);
    bench.run(["classify", "--from=missing.txt"]).code(1).says(&["missing.txt: cannot read this list: No such file"]);
    // From a pipe.
    let mut command = bench.command(["cam", "--from=-", "--class=0", "--save=cam"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a.png\nin/d.png\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(files(&bench.manifest("camshaft-out")), ["a.png", "in/d.png"]);
}

/// The rule of the documentation, by itself: eight bytes of the path's SHA-256 modulo the number of parts.
fn part(path: &str, count: u64) -> u64 {
    let hash = Sha256::digest(path);
    u64::from_be_bytes(hash[..8].try_into().unwrap()) % count + 1
}

#[test]
fn parts_are_decided_by_the_path_alone() {
    let names: Vec<String> = (0..20).map(|i| format!("photos/{}/{i}.png", i % 3)).collect();
    let bench = with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let shard = |arguments: &[&str], index: u64| {
        let shard = format!("--shard={index}/3");
        classified(&bench.run([&["classify", "--json", "--top=1", &shard], arguments].concat()).code(0))
    };
    let key = |name: &str| name.strip_prefix("photos/").unwrap().to_owned();
    for index in 1..=3 {
        let mut want: Vec<_> = names.iter().filter(|name| part(&key(name), 3) == index).cloned().collect();
        want.sort();
        assert_eq!(shard(&["photos"], index), want);
        // From elsewhere, and by a pattern: the same files.
        let absolute = bench.at("photos").display().to_string();
        let relative = |name: String| name.strip_prefix(&format!("{}/", bench.path().display())).unwrap().to_owned();
        assert_eq!(shard(&[&absolute], index).into_iter().map(relative).collect::<Vec<_>>(), want);
        assert_eq!(shard(&["photos/*/*.png"], index), want);
    }
    // Whatever else is there.
    let before = shard(&["photos"], 2);
    bench.file("photos/0/another.png", png(0, 20, 20));
    let after: Vec<_> = shard(&["photos"], 2).into_iter().filter(|name| !name.contains("another")).collect();
    assert_eq!(after, before);
}

/// Parts together are what one run gives, and the merged manifest finds their files.
#[test]
fn parts_merge_to_the_whole() {
    let bench = with(&["in/a/cat.png", "in/b/cat.png", "in/c.png", "in/d.png", "in/e.png", "in/f.png", "in/g.png"]);
    bench.file("in/bad.png", "text");
    let cam = |extra: &[&str]| bench.run([&["cam", "in", "--class=3", "--save=cam,overlay"], extra].concat());
    cam(&["-o", "whole"]).code(1);
    let bad = part("bad.png", 3);
    for index in 1..=3u64 {
        cam(&["-o", "out", &format!("--shard={index}/3")]).code(i32::from(index == bad));
        let manifest = bench.manifest(&format!("out/shard-{index}-of-3"));
        assert_eq!(manifest["shard"], serde_json::json!({ "index": index, "count": 3 }));
    }
    let ran = bench.run(["merge", "out"]).code(1).says(&["8 images in 3 parts", "1 of 8 inputs failed"]);
    assert_eq!(ran.stdout, "out/manifest.json\n");
    let (merged, whole) = (bench.manifest("out"), bench.manifest("whole"));
    for field in ["schema_version", "tool", "model", "request", "method", "recipe", "display", "device", "complete", "shard"] {
        assert_eq!(merged[field], whole[field], "{field}");
    }
    let images = |manifest: &Value| {
        let mut images = manifest["images"].as_array().unwrap().clone();
        images.sort_by_key(|image| image["file"].to_string());
        images
    };
    for (got, want) in images(&merged).iter().zip(&images(&whole)) {
        assert_eq!((&got["file"], &got["status"]), (&want["file"], &want["status"]));
        if got["status"] == "ok" {
            let (got, want) = (&results(got)[0], &results(want)[0]);
            assert_eq!((&got["logit"], &got["map"]), (&want["logit"], &want["map"]));
            let path = |class: &Value, kind: &str| class["artifacts"][kind].as_str().unwrap().to_owned();
            assert_eq!(
                bench.png(&format!("out/{}", path(got, "overlay"))),
                bench.png(&format!("whole/{}", path(want, "overlay")))
            );
        }
    }
    assert_eq!((merged["images"].as_array().unwrap().len(), whole["images"].as_array().unwrap().len()), (8, 8));
    // Not over a manifest; into another folder, from which the way is another.
    bench.run(["merge", "out"]).code(1).says(&["out/manifest.json: exists already"]);
    bench.run(["merge", "out", "--out=else/where"]).code(1);
    let elsewhere = bench.manifest("else/where");
    let overlay =
        elsewhere["images"].as_array().unwrap().iter().find_map(|image| image["results"][0]["artifacts"]["overlay"].as_str());
    assert!(overlay.unwrap().starts_with("../../out/shard-"), "{overlay:?}");
    assert_eq!(bench.png(&format!("else/where/{}", overlay.unwrap())).dimensions(), (224, 224));
}

#[test]
fn what_does_not_fit_is_not_merged() {
    let bench = with(&["in/a.png", "in/b.png", "in/c.png", "in/d.png", "one/x.png", "two/y.png"]);
    let run = |out: &str, more: &[&str]| {
        bench.run([&["cam", "--class=0", "--save=cam", "-o", out], more].concat()).code(0);
    };
    run("out", &["in", "--shard=1/2"]);
    bench.run(["merge", "out"]).code(1).says(&["it is one of 2 parts, and part 2/2 is not there; run that first"]);
    fs::create_dir(bench.at("out/shard-2-of-2")).unwrap();
    bench.run(["merge", "out"]).code(1).says(&["out/shard-2-of-2: cannot merge", "its run has not ended"]);
    run("out", &["in", "--shard=2/2"]);
    // The same part twice; a part of another run; the whole beside a part.
    let same = ["out/shard-1-of-2", "out/shard-2-of-2", "out/shard-1-of-2"];
    bench.run([&["merge", "-o", "m"][..], &same].concat()).code(1).says(&["cannot merge it with the others: this part is there"]);
    run("three", &["in", "--shard=1/3"]);
    bench.run(["merge", "-o", "m", "out", "three/shard-1-of-3"]).code(1).says(&["part 1/3"]);
    // Manifests of runs that were no parts: of different inputs they merge, of the same ones they do not.
    run("one-out", &["one"]);
    run("two-out", &["two"]);
    bench.run(["merge", "-o", "m", "one-out", "two-out/manifest.json"]).code(0);
    assert_eq!(files(&bench.manifest("m")), ["one/x.png", "two/y.png"]);
    bench.run(["merge", "-o", "n", "one-out", "one-out"]).code(1).says(&["`one/x.png` is in another one, too"]);
    // Other settings, an interrupted part, another layout, no manifest.
    bench.run(["cam", "two", "--class=1", "--save=cam", "-o", "class-1"]).code(0);
    bench.run(["merge", "-o", "n", "one-out", "class-1"]).code(1).says(&["its `request.classes` is [1], but [0] in one-out"]);
    bench.run(["cam", "two", "--class=0", "--save=cam", "-m=gradcam", "-o", "gradcam"]).code(0);
    bench.run(["merge", "-o", "n", "one-out", "gradcam"]).code(1).says(&["its `method` is \"gradcam\", but \"cam\" in one-out"]);
    let edited = |field: &str, value: Value| {
        let mut manifest = bench.manifest("two-out");
        manifest[field] = value;
        bench.file("edited/manifest.json", manifest.to_string());
        bench.run(["merge", "-o", "n", "one-out", "edited"]).code(1)
    };
    edited("complete", false.into()).says(&["its run was interrupted"]);
    edited("schema_version", 2.into()).says(&["its schema_version is 2, expected 1"]);
    edited("shard", "x".into()).says(&["`shard`"]);
    bench.run(["merge", "-o", "n", "one-out", "in"]).code(1).says(&["in/manifest.json: cannot read this file"]);
    bench.run(["merge", "-o", "n", "missing"]).code(1).says(&["missing: cannot read this file"]);
    fs::write(bench.at("in/manifest.json"), "[]").unwrap();
    bench.run(["merge", "-o", "n", "one-out", "in"]).code(1).says(&["in/manifest.json: this is no manifest"]);
    assert!(!bench.at("n/manifest.json").exists());
}

/// A part in which no file falls is a run all the same.
#[test]
fn empty_parts_are_whole() {
    let bench = with(&["in/a.png"]);
    for index in 1..=3 {
        bench.run(["cam", "in", "--class=0", "--save=cam", &format!("--shard={index}/3")]).code(0);
    }
    bench.run(["merge", "camshaft-out"]).code(0);
    assert_eq!(files(&bench.manifest("camshaft-out")), ["in/a.png"]);
    // What the folders of parts hold is no input.
    bench.run(["cam", ".", "--class=0", "--save=overlay", "--shard=1/1", "-o", "camshaft-out"]).code(0);
    assert_eq!(files(&bench.manifest("camshaft-out/shard-1-of-1")), ["./in/a.png"]);
}
