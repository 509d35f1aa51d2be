//! Pictures that must not harm a run: each is named with a reason, beside a good one that is finished.

use std::fs;

use super::program::{Bench, jpeg, png, results};

/// Explains `name`, which must fail and say `reason`, together with a good picture, which must not.
#[track_caller]
fn fails_alone(bench: &Bench, name: &str, reason: &str) {
    bench.file("good.png", png(0, 40, 40));
    let ran = bench.run(["cam", name, "good.png", "--class=0", "--save=cam", "--force"]).code(1);
    let error = ran.stderr.lines().find(|line| line.starts_with(&format!("error: {name}: ")));
    assert!(error.is_some_and(|error| error.contains(reason)), "no error with `{reason}` in:\n{}", ran.stderr);
    let manifest = bench.manifest("camshaft-out");
    assert_eq!(manifest["images"][0]["status"], "error");
    assert_eq!(results(&manifest["images"][1]).len(), 1);
}

/// Explains `name`, which must do.
#[track_caller]
fn succeeds(bench: &Bench, name: &str, size: [u32; 2]) {
    bench.run(["cam", name, "--class=0", "--force", "--view=original"]).code(0);
    let manifest = bench.manifest("camshaft-out");
    let entry = &manifest["images"][0];
    assert_eq!(entry["transform"]["original"], serde_json::json!(size));
    let overlay = bench.png(&format!("camshaft-out/{}", results(entry)[0]["artifacts"]["overlay"].as_str().unwrap()));
    assert_eq!(<[u32; 2]>::from(overlay.dimensions()), size);
}

#[test]
fn files_that_are_no_pictures() {
    let bench = Bench::new();
    bench.file("empty.jpg", "");
    fails_alone(&bench, "empty.jpg", "the file is empty");
    bench.file("text.jpg", "I am a text\n");
    fails_alone(&bench, "text.jpg", "begins with the text `I am a text`");
    bench.file("page.png", "<!DOCTYPE html><html>not found</html>");
    fails_alone(&bench, "page.png", "web page");
    bench.file("photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0");
    fails_alone(&bench, "photo.heic", "HEIC");
    fails_alone(&bench, "missing.jpg", "cannot read the file");
}

#[test]
fn pictures_that_end_too_early() {
    let bench = Bench::new();
    for (name, whole) in [("cut.jpg", jpeg(0, 200, 150)), ("cut.png", png(0, 200, 150))] {
        for keep in [20, whole.len() / 2, whole.len() - 40] {
            bench.file(name, &whole[..keep]);
            fails_alone(&bench, name, "");
        }
        bench.file(name, &whole[..whole.len() / 2]);
        fails_alone(&bench, name, "cut short");
    }
}

#[test]
fn sizes_at_the_edge() {
    let bench = Bench::new();
    for (name, w, h) in [("dot.png", 1, 1), ("line.png", 1, 5000), ("row.png", 5000, 1), ("two.png", 2, 3)] {
        bench.file(name, png(0, w, h));
        succeeds(&bench, name, [w as u32, h as u32]);
    }
}

/// The header of a picture far beyond memory, and hardly any data. Bounded memory is what an address-space limit shows.
#[test]
fn a_header_that_claims_too_much() {
    let bench = Bench::new();
    let huge = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/image/claims_60000.png")).unwrap();
    bench.file("huge.png", huge);
    fails_alone(&bench, "huge.png", "60000x60000");
    bench.file("huge.bmp", fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/image/claims_60000.bmp")).unwrap());
    fails_alone(&bench, "huge.bmp", "60000x60000");
    #[cfg(target_os = "linux")]
    {
        use std::process::Command;
        // 2 GiB of address space hold the program, its threads and its weights, but no 60000 x 60000 x 3.
        let mut limited = Command::new("sh");
        let script = r#"ulimit -v 2097152; exec "$0" "$@""#;
        limited.args(["-c", script, env!("CARGO_BIN_EXE_camshaft"), "classify", "--threads=1", "huge.png"]);
        super::program::Ran::of(limited.current_dir(bench.path()))
            .code(1)
            .says(&["huge.png: the picture says it is 60000x60000"]);
    }
}

/// A file that may not be read. As root every file may, so the program then runs as nobody.
#[cfg(unix)]
#[test]
fn a_file_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    bench.file("secret.png", png(0, 20, 20));
    bench.file("in/good.png", png(0, 20, 20));
    bench.file("in/closed/a.png", png(0, 20, 20));
    let mode = |name: &str, mode| fs::set_permissions(bench.at(name), fs::Permissions::from_mode(mode)).unwrap();
    mode("secret.png", 0o000);
    mode("in/closed", 0o000);
    mode(".", 0o755);
    if let Some(mut command) = as_somebody(&bench, &["classify", "--json", "secret.png", "in"]) {
        let ran = super::program::Ran::of(&mut command).code(1);
        let ran =
            ran.says(&["secret.png: cannot read the file: Permission denied", "in/closed: cannot read it: Permission denied"]);
        let statuses: Vec<_> = ran.json().iter().map(|line| line["status"].as_str().unwrap().to_owned()).collect();
        assert_eq!(statuses, ["error", "error", "ok"], "{}", ran.stdout);
    }
    // The folder for the results cannot be made here; the run ends before its work.
    if let Some(mut command) = as_somebody(&bench, &["cam", "in/good.png", "-o", "in/maps"]) {
        super::program::Ran::of(&mut command).code(1).says(&["in/maps: cannot use this as the output folder: Permission denied"]);
    }
    ["in", "in/closed"].iter().for_each(|name| mode(name, 0o755)); // so that they can be removed
}

/// The program as a user who is not root; `None`, and a word on it, where that cannot be arranged.
#[cfg(unix)]
fn as_somebody(bench: &Bench, arguments: &[&str]) -> Option<std::process::Command> {
    use std::os::unix::process::CommandExt;
    if fs::File::open(bench.at("secret.png")).is_err() {
        // Not root, so no other user is needed; what must not be writable still has to be closed.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(bench.at("in"), fs::Permissions::from_mode(0o555)).unwrap();
        return Some(bench.command(arguments));
    }
    const NOBODY: u32 = 65534;
    let starts = bench.command(["--version"]).uid(NOBODY).gid(NOBODY).output().is_ok_and(|output| output.status.success());
    if !starts {
        eprintln!("skipped: the program cannot be run as another user here");
        return None;
    }
    let mut command = bench.command(arguments);
    command.uid(NOBODY).gid(NOBODY);
    Some(command)
}
