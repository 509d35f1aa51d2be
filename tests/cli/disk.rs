//! Folders that cannot be written and disks that are full.

use std::fs;

use super::program::{Bench, png};

#[test]
fn a_file_in_the_place_of_the_folder() {
    let bench = Bench::new();
    bench.file("taken", "x");
    for out in ["taken", "taken/deeper"] {
        let ran = bench.run(["cam", "-o", out]).code(1).says(&[&format!("{out}: cannot use this as the output folder")]);
        assert_eq!(ran.stderr.matches("os error").count(), 1, "said once: {}", ran.stderr);
    }
    assert_eq!(fs::read(bench.at("taken")).unwrap(), b"x");
}

#[test]
fn folders_are_made_as_deep_as_needed() {
    let bench = Bench::new();
    bench.run(["cam", "--top=1", "-o", "a/b/c"]).code(0);
    assert_eq!(bench.list("a/b/c").len(), 5);
}

/// Files longer than a limit cannot be written: like a full disk, but on every Unix and without being root. Pictures fail, small
/// files do not.
#[cfg(unix)]
#[test]
fn files_that_cannot_be_written_whole() {
    let bench = Bench::new();
    // In units of 512 or 1024 bytes. The signal is ignored so that the write fails instead.
    let script = r#"trap '' XFSZ; ulimit -f 16; exec "$0" "$@""#;
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_camshaft"), "cam", "--class=0", "--save=cam,overlay"]);
    let ran = super::program::Ran::of(command.current_dir(bench.path())).code(1);
    assert_eq!(ran.stderr.matches("os error").count(), 1, "said once: {}", ran.stderr);
    ran.says(&["meadow.jpg: camshaft-out/meadow.0-", ".overlay.png: cannot write this file: File too large"]);
    // The small ones are there, whole; of the picture nothing is left.
    let files = bench.list("camshaft-out");
    assert_eq!(files.len(), 2, "{files:?}");
    assert_eq!(files[0], "manifest.json");
    assert!(files[1].ends_with(".cam.npy"), "{files:?}");
    assert_eq!(bench.npy(&format!("camshaft-out/{}", files[1])).h(), 7);
    assert_eq!(bench.manifest("camshaft-out")["images"][0]["status"], "error");
}

/// A disk that really is full: a small file system in memory, in a mount namespace of its own that ends with the shell.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let bench = Bench::new();
    fs::create_dir(bench.at("disk")).unwrap();
    // What was left behind has to be looked at inside the namespace: it is copied out.
    let script = r#"mount -t tmpfs -o size="$1" tmpfs disk || exit 99; program="$2"; shift 2
        "$program" "$@"; code=$?; cp -r disk/. kept; exit $code"#;
    for (size, out) in [("64k", "disk/out"), ("4k", "disk")] {
        let _ = fs::remove_dir_all(bench.at("kept"));
        fs::create_dir(bench.at("kept")).unwrap();
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "--user", "--map-root-user", "sh", "-c", script, "sh", size]);
        command.args([env!("CARGO_BIN_EXE_camshaft"), "cam", "--top=2", "-o", out]);
        let Ok(output) = command.current_dir(bench.path()).output() else {
            return eprintln!("skipped: no `unshare` here");
        };
        let stderr = String::from_utf8(output.stderr).unwrap();
        if stderr.contains("unshare:") || output.status.code() == Some(99) {
            return eprintln!("skipped: no file system can be mounted here: {stderr}");
        }
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("meadow.jpg: disk/") && stderr.contains("No space left on device"), "{stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains(".part"), "{stderr}");
        let kept = out.replacen("disk", "kept", 1);
        for name in bench.list(&kept) {
            if name == "manifest.json.part" {
                continue; // the record of the run, from which it can go on; here not even the manifest found room
            }
            assert!(!name.contains("part"), "a partial file was left: {name}");
            match name.rsplit_once('.').unwrap().1 {
                "png" => drop(bench.png(&format!("{kept}/{name}"))),
                "npy" => drop(bench.npy(&format!("{kept}/{name}"))),
                _ => drop(bench.manifest(&kept)),
            }
        }
    }
}

/// Results that cannot be printed are a failure, unlike a reader who has gone.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_stdout() {
    let bench = Bench::new();
    for arguments in [&["classify"][..], &["classify", "--json"], &["info"], &["labels"], &["completions", "bash"], &["man"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = bench.command(arguments).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains("No space left"), "{arguments:?}: {stderr}");
    }
}

/// `camshaft ... | head -0` is no error; and `cam` writes its files although nobody reads.
#[test]
fn a_closed_pipe() {
    let bench = Bench::new();
    let closed = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = bench.command(arguments).stdout(writer).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for arguments in
        [&["classify"][..], &["classify", "--json"], &["info"], &["labels"], &["completions", "zsh"], &["man"], &["--help"]]
    {
        let (code, stderr) = closed(arguments);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
    bench.file("bad.jpg", "text");
    bench.file("a.png", png(0, 20, 20));
    bench.file("b.png", png(1, 20, 20));
    for (out, options) in [("table", &[][..]), ("json", &["--json"])] {
        let (code, stderr) = closed(&[&["cam", "--top=1", "-b1", "-o", out], options, &["a.png", "b.png"]].concat());
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(bench.list(out).len(), 9, "{stderr}");
        let out = format!("{out}-bad");
        let (code, stderr) = closed(&[&["cam", "-o", &out], options, &["bad.jpg"]].concat());
        assert_eq!(code, Some(1), "a bad input is one, whoever reads: {stderr}");
    }
}
