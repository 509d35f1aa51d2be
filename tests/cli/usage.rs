//! Help, and mistakes in the command line.

use super::program::{Bench, Ran};

const COMMANDS: [&str; 8] = ["cam", "classify", "merge", "info", "fetch", "labels", "completions", "man"];

#[test]
fn help_is_there_for_everything() {
    let bench = Bench::new();
    let all = bench.run(["--help"]).code(0);
    assert!(all.stdout.contains("Start with `camshaft cam`"), "{}", all.stdout);
    assert!(all.stdout.contains("Exit code: 0 done, 1 "), "{}", all.stdout);
    for command in COMMANDS {
        assert!(all.stdout.contains(&format!("  {command} ")), "{command} is not in:\n{}", all.stdout);
        let help = bench.run([command, "--help"]).code(0);
        assert!(help.stdout.contains(&format!("Usage: camshaft {command}")) && help.stderr.is_empty(), "{}", help.stdout);
        assert_eq!(bench.run(["help", command]).code(0).stdout, help.stdout);
    }
    let version = bench.run(["--version"]).code(0).stdout;
    assert_eq!(version.trim(), concat!("camshaft ", env!("CARGO_PKG_VERSION")));
}

/// What the examples at the end of the help say is understood.
#[test]
fn the_examples_of_the_help_are_right() {
    let bench = Bench::new();
    let help = bench.run(["cam", "--help"]).code(0).stdout;
    let examples: Vec<_> =
        help.split_once("Examples:").unwrap().1.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(examples.len() >= 4, "{help}");
    for example in examples {
        let command = example.split("  ").next().unwrap();
        // Between quotes, which are every second part, blanks are kept.
        let parts = command.split('\'').enumerate();
        let words: Vec<_> =
            parts.flat_map(|(at, part)| if at % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }).collect();
        assert_eq!(words[0], "camshaft", "{example}");
        // Pictures and big models are not here; but no word of it is a mistake.
        let force = if words.contains(&"--resume") { &[][..] } else { &["--force"] };
        let ran = bench.run([&words[1..], force].concat());
        assert_ne!(ran.code, 2, "{example}:\n{}", ran.stderr);
    }
}

#[test]
fn mistakes_exit_with_2_and_write_nothing() {
    let bench = Bench::new();
    for arguments in [
        &[][..],
        &["explain"],
        &["cam", "--classs=1"],
        &["cam", "--top=0"],
        &["cam", "--top=many"],
        &["cam", "--top=2", "--class=1"],
        &["cam", "--save=everything"],
        &["cam", "--view=side"],
        &["cam", "--colormap=rainbow"],
        &["cam", "--alpha=1.5"],
        &["cam", "--alpha=NaN"],
        &["cam", "--alpha=half"],
        &["cam", "--normalise=softmax"],
        &["cam", "--force", "--resume"],
        &["cam", "--shard=0/2"],
        &["classify", "--shard=3/2"],
        &["classify", "--force"],
        &["merge"],
        &["merge", "a", "b"],
        &["fetch"],
        &["fetch", "resnet19"],
        &["info", "picture.jpg"],
        &["completions"],
    ] {
        let ran = bench.run(arguments).code(2);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{arguments:?}: {}", ran.stdout);
    }
    assert!(bench.list(".").is_empty());
    bench.run(["cam", "--colormap=rainbow"]).code(2).says(&["viridis"]);
    bench.run(["cam", "--alpha=1.5"]).code(2).says(&["from 0", "to 1"]);
}

#[test]
fn a_bad_device_in_the_environment_is_named() {
    let bench = Bench::new();
    for name in ["gpu", "cuda:"] {
        let ran = Ran::of(bench.command(["info", "--brief"]).env("CAMSHAFT_DEVICE", name)).code(2);
        ran.says(&[&format!("error: CAMSHAFT_DEVICE: unknown device `{name}`; known: auto")]);
    }
    #[cfg(unix)]
    {
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
        Ran::of(bench.command(["info", "--brief"]).env("CAMSHAFT_DEVICE", name)).code(2).says(&["CAMSHAFT_DEVICE"]);
    }
    Ran::of(bench.command(["info", "--brief", "--device=cpu"]).env("CAMSHAFT_DEVICE", "gpu")).code(0);
}
