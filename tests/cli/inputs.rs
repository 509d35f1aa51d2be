//! Files, folders and patterns; good inputs beside bad ones.

use serde_json::Value;

use super::program::{Bench, Ran, png, results};

/// Files that `classify` finds, with their status.
fn classified(ran: &Ran) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    ran.json().iter().map(|line| (text(&line["file"]), text(&line["status"]))).collect()
}

fn good(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), "ok".to_owned())).collect()
}

/// A bench with pictures at these names.
fn with(names: &[&str]) -> Bench {
    let bench = Bench::new();
    for (index, name) in names.iter().enumerate() {
        bench.file(name, png(index, 30, 20));
    }
    bench
}

#[test]
fn folders_are_searched_in_order() {
    let bench = with(&["in/b.png", "in/a.PNG", "in/deep/er/c.jpeg", "in/.hidden.png", "in/.git/d.png"]);
    bench.file("in/notes.txt", "no picture, not named as one");
    // By content: c.jpeg is a PNG all the same.
    let ran = bench.run(["classify", "--json", "in"]).code(0);
    assert_eq!(classified(&ran), good(&["in/a.PNG", "in/b.png", "in/deep/er/c.jpeg"]));
    // Named outright, a hidden file or folder is meant.
    let ran = bench.run(["classify", "--json", "in/.hidden.png", "in/.git"]).code(0);
    assert_eq!(classified(&ran), good(&["in/.hidden.png", "in/.git/d.png"]));
}

#[test]
fn patterns_are_expanded_where_no_shell_does() {
    let bench = with(&["x1.png", "x2.png", "y1.png", "deep/x3.png", "we[i]rd.png"]);
    let ran = bench.run(["classify", "--json", "x?.png", "**/x3.png", "[y]1.png"]).code(0);
    assert_eq!(classified(&ran), good(&["x1.png", "x2.png", "deep/x3.png", "y1.png"]));
    // A file that is called like a pattern is that file.
    assert_eq!(classified(&bench.run(["classify", "--json", "we[i]rd.png"]).code(0)), good(&["we[i]rd.png"]));
    // A pattern that finds a folder searches it.
    assert_eq!(classified(&bench.run(["classify", "--json", "dee*"]).code(0)), good(&["deep/x3.png"]));
    bench.run(["classify", "none*.png"]).code(1).says(&["none*.png: no file matches"]);
    bench.run(["classify", "a**b"]).code(1).says(&["a**b: "]);
}

#[test]
fn a_folder_without_images_is_an_error() {
    let bench = Bench::new();
    bench.file("docs/readme.md", "# no pictures");
    bench.run(["cam", "docs"]).code(1).says(&["docs: no images in this folder", "jpg"]);
    assert_eq!(bench.manifest("camshaft-out")["images"][0]["status"], "error");
    assert_eq!(bench.manifest("camshaft-out")["images"][0]["file"], "docs");
}

#[test]
fn bad_inputs_do_not_harm_the_others() {
    let bench = with(&["a.png", "b.png", "c.png"]);
    bench.file("text.jpg", "hello, this is no picture");
    bench.file("empty.png", "");
    // More than one batch, with bad ones in each and one batch of nothing else.
    let inputs = ["text.jpg", "a.png", "missing.png", "empty.png", "b.png", "nothing-*.png", "c.png"];
    for batch in ["1", "2", "3", "8"] {
        let out = format!("out{batch}");
        let ran = bench.run([&["cam", "--top=1", "--batch", batch, "-o", &out][..], &inputs].concat()).code(1);
        let ran = ran.says(&[
            "text.jpg: not a JPEG",
            "missing.png: cannot read",
            "empty.png: the file is empty",
            "nothing-*.png: no file",
        ]);
        let ran = ran.says(&["4 of 7 inputs failed"]);
        assert_eq!(ran.stderr.matches("error: ").count(), 4, "each once:\n{}", ran.stderr);
        let manifest = bench.manifest(&out);
        let images = manifest["images"].as_array().unwrap();
        assert_eq!(images.iter().map(|entry| entry["file"].as_str().unwrap()).collect::<Vec<_>>(), inputs);
        for entry in images {
            let file = entry["file"].as_str().unwrap();
            if ["a.png", "b.png", "c.png"].contains(&file) {
                let overlay = results(entry)[0]["artifacts"]["overlay"].as_str().unwrap();
                assert!(overlay.starts_with(file.trim_end_matches("png")), "{overlay} for {file}");
                assert_eq!(bench.png(&format!("{out}/{overlay}")).dimensions(), (224, 224));
            } else {
                assert_eq!(entry["status"], "error");
                assert!(entry["message"].as_str().unwrap().starts_with(&format!("{file}: ")), "{entry}");
                assert!(entry.get("results").is_none());
            }
        }
    }
    // All of them bad: no table, still a manifest.
    let ran = bench.run(["cam", "text.jpg", "empty.png", "-o", "bad"]).code(1);
    assert_eq!(ran.stdout, "");
    assert_eq!(bench.list("bad"), ["manifest.json"]);
}

#[test]
fn equal_names_in_different_folders_stay_apart() {
    let bench = with(&["one/cat.png", "two/cat.png", "two/cat.jpg"]);
    bench.run(["cam", "one", "two", "--class=0", "--save=cam"]).code(0);
    let manifest = bench.manifest("camshaft-out");
    let files: Vec<_> =
        manifest["images"].as_array().unwrap().iter().map(|entry| &results(entry)[0]["artifacts"]["cam"]).collect();
    assert_eq!(files.len(), 3);
    let maps: Vec<_> = files.iter().map(|file| bench.npy(&format!("camshaft-out/{}", file.as_str().unwrap()))).collect();
    assert!(maps[0] != maps[1] && maps[1] != maps[2] && maps[0] != maps[2], "a map was written over another: {files:?}");
    // The same file twice is explained twice.
    bench.run(["cam", "one/cat.png", "one/cat.png", "--class=0", "-o", "twice"]).code(0);
    assert_eq!(bench.list("twice").len(), 9);
}

/// A second run over a folder that holds the results of the first explains the same pictures.
#[test]
fn results_are_no_inputs() {
    let bench = with(&["photos/a.png"]);
    for _ in 0..2 {
        bench.run(["cam", "photos", "--out", "photos/maps", "--force", "--top=1"]).code(0);
        assert_eq!(bench.manifest("photos/maps")["images"].as_array().unwrap().len(), 1);
    }
    // Unless they are asked for.
    let ran = bench.run(["classify", "--json", "photos/maps"]).code(0);
    assert_eq!(ran.json().len(), 2, "{}", ran.stdout);
}

#[cfg(unix)]
#[test]
fn odd_file_names() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    bench.file("two: parts.png", png(0, 20, 20));
    bench.file("-dash.png", png(0, 20, 20));
    std::fs::write(bench.path().join(OsStr::from_bytes(b"latin\xe9.png")), png(0, 20, 20)).unwrap();
    let arguments =
        [b"cam".as_slice(), b"--top=1", b"--save=cam", b"two: parts.png", b"latin\xe9.png", b"a: b/c.png", b"--", b"-dash.png"];
    bench.run(arguments.map(OsStr::from_bytes)).code(1).says(&["a: b/c.png: cannot read"]);
    let manifest = bench.manifest("camshaft-out");
    let files: Vec<_> = manifest["images"].as_array().unwrap().iter().map(|entry| entry["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["two: parts.png", "latin\u{fffd}.png", "a: b/c.png", "-dash.png"]);
    assert_eq!(bench.list("camshaft-out").len(), 4);
}

/// Links that go round in a circle end, and are named.
#[cfg(unix)]
#[test]
fn a_loop_of_links() {
    let bench = with(&["in/a.png"]);
    std::os::unix::fs::symlink("../in", bench.at("in/again")).unwrap();
    let ran = bench.run(["classify", "--json", "in"]).code(1).says(&["in/again"]);
    assert_eq!(classified(&ran), [("in/a.png".into(), "ok".into()), ("in/again".into(), "error".into())]);
}
