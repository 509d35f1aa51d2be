//! Runs that are interrupted, killed or disturbed, and go on.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use super::common::safetensors_file;
use super::common::seeded::{Dtype, Net};
use super::program::{Bench, png, results};

const PART: &str = "manifest.json.part";

fn with(names: &[String]) -> Bench {
    let bench = Bench::new();
    for (index, name) in names.iter().enumerate() {
        bench.file(name, png(index, 30, 20));
    }
    bench
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("in/{index:03}.png")).collect()
}

/// All files of a folder but the manifest, with their bytes.
fn files(bench: &Bench, folder: &str) -> Vec<(String, Vec<u8>)> {
    let names = bench.list(folder).into_iter().filter(|name| name != "manifest.json");
    names.map(|name| (name.clone(), fs::read(bench.at(folder).join(name)).unwrap())).collect()
}

/// The files that a manifest's images were made of, in its order.
fn inputs(manifest: &Value) -> Vec<&str> {
    manifest["images"].as_array().unwrap().iter().map(|image| image["file"].as_str().unwrap()).collect()
}

/// The manifest names every file in the folder, and there is nothing else.
#[track_caller]
fn assert_whole(bench: &Bench, folder: &str) {
    let manifest = bench.manifest(folder);
    let mut named = vec!["manifest.json".to_owned()];
    for image in manifest["images"].as_array().unwrap() {
        for class in results(image) {
            named.extend(class["artifacts"].as_object().unwrap().values().map(|file| file.as_str().unwrap().to_owned()));
        }
    }
    named.sort();
    assert_eq!(bench.list(folder), named);
}

/// Starts a long run, sends it a signal after its first results, and returns its exit code, if it had one.
#[cfg(unix)]
fn disturbed(bench: &Bench, arguments: &[&str], signal: &str) -> Option<i32> {
    told(bench, arguments, signal).0
}

/// As [`disturbed`], with the lines on stdout.
#[cfg(unix)]
fn told(bench: &Bench, arguments: &[&str], signal: &str) -> (Option<i32>, Vec<String>) {
    let mut run = bench.command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    let mut told: Vec<String> = lines.by_ref().take(20).map(Result::unwrap).collect();
    assert!(told.iter().all(|line| line.contains("\"ok\"")));
    let sent = std::process::Command::new("kill").args([signal, &run.id().to_string()]).status().unwrap();
    assert!(sent.success());
    told.extend(lines.map_while(Result::ok));
    (run.wait().unwrap().code(), told)
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_is_whole_and_goes_on() {
    let names = numbered(400);
    let bench = with(&names);
    let arguments = ["cam", "in", "--class=0", "--save=cam", "--size=64", "--json", "--batch=2"];
    bench.run([&arguments[..], &["-o", "want"]].concat()).code(0);
    for signal in ["-INT", "-TERM"] {
        let out = format!("out{signal}");
        let arguments = [&arguments[..], &["-o", &out]].concat();
        assert_eq!(disturbed(&bench, &arguments, signal), Some(130));
        assert_whole(&bench, &out);
        let manifest = bench.manifest(&out);
        assert_eq!(manifest["complete"], false);
        let done = inputs(&manifest).len();
        assert!((1..400).contains(&done), "{done}");
        assert!(inputs(&manifest).iter().eq(&names[..done]), "those that came first");
        // Without --resume it is not touched, with it nothing is done twice.
        bench.run(&arguments).code(1).says(&["manifest.json: exists already"]);
        let ran = bench.run([&arguments[..], &["--resume"]].concat()).code(0).says(&[&format!("{done} of 400 inputs were done")]);
        assert_eq!(ran.json().len(), 400 - done);
        assert_eq!(bench.manifest(&out), bench.manifest("want"));
        assert_eq!(files(&bench, &out), files(&bench, "want"));
    }
}

/// A run that had no chance to end in good order: what was recorded counts, the rest is written anew.
#[cfg(unix)]
#[test]
fn a_killed_run_goes_on() {
    let bench = with(&numbered(400));
    let arguments = ["cam", "in", "--class=0", "--save=cam,overlay", "--size=64", "--json", "--batch=2"];
    bench.run([&arguments[..], &["-o", "want"]].concat()).code(0);
    let arguments = [&arguments[..], &["-o", "out"]].concat();
    assert_eq!(disturbed(&bench, &arguments, "-KILL"), None);
    assert!(!bench.at("out/manifest.json").exists() && bench.at("out").join(PART).exists());
    bench.run(&arguments).code(1).says(&["out: an earlier run was ended here", "--resume", "--force"]);
    // As if the kill had come between the two halves of a line, and with a temporary file left.
    let record = fs::read(bench.at("out").join(PART)).unwrap();
    fs::write(bench.at("out").join(PART), &record[..record.len() - 30]).unwrap();
    bench.file("out/.camshaft-abc.part", "half a picture");
    let ran = bench.run([&arguments[..], &["--resume"]].concat()).code(0);
    assert!((1..400).contains(&ran.json().len()));
    assert_eq!(bench.manifest("out"), bench.manifest("want"));
    assert_eq!(files(&bench, "out"), files(&bench, "want"));
}

#[test]
fn failures_are_tried_again_and_new_inputs_join_in() {
    let bench = with(&["in/a.png", "in/c.png", "in/deep/a.png"].map(String::from));
    bench.file("in/b.png", "no picture");
    let arguments = ["cam", "in", "--class=0", "--save=cam", "--json"];
    bench.run(arguments).code(1).says(&["in/b.png"]);
    assert_eq!(bench.manifest("camshaft-out")["complete"], true, "all were seen");
    let first = results(&bench.manifest("camshaft-out")["images"][0])[0]["artifacts"]["cam"].as_str().unwrap().to_owned();
    let written = || fs::metadata(bench.at("camshaft-out").join(&first)).unwrap().modified().unwrap();
    let before = written();
    bench.file("in/b.png", png(7, 30, 20));
    bench.file("in/more/a.png", png(8, 30, 20));
    let ran = bench.run([&arguments[..], &["--resume"]].concat()).code(0).says(&["3 of 5 inputs were done already"]);
    let shown: Vec<_> = ran.json().iter().map(|line| line["file"].as_str().unwrap().to_owned()).collect();
    assert_eq!(shown, ["in/b.png", "in/more/a.png"]);
    let manifest = bench.manifest("camshaft-out");
    assert_eq!(inputs(&manifest), ["in/a.png", "in/b.png", "in/c.png", "in/deep/a.png", "in/more/a.png"]);
    assert_whole(&bench, "camshaft-out");
    assert_eq!(written(), before, "{first} was written again");
    // Nothing left to do; and inputs that are not named again keep their place.
    let all = files(&bench, "camshaft-out");
    bench.run([&arguments[..], &["--resume"]].concat()).code(0).says(&["5 of 5 inputs were done already"]);
    bench.run(["cam", "in/c.png", "--class=0", "--save=cam", "--resume"]).code(0).says(&["1 of 1 inputs were done already"]);
    assert_eq!(inputs(&bench.manifest("camshaft-out")).len(), 5);
    assert_eq!(files(&bench, "camshaft-out"), all);
    assert_whole(&bench, "camshaft-out");
    // Where there is nothing yet, it is a new run, so that a script can always say it.
    bench.run([&arguments[..], &["--resume", "-o", "new"]].concat()).code(0);
    assert_eq!(bench.manifest("new"), manifest);
}

#[test]
fn other_settings_are_refused() {
    let bench = with(&["in/a.png".into()]);
    let weights = |seed| {
        let net = Net { depth: 18, width: 8, classes: 10, seed };
        safetensors_file::write(&bench.at("model.safetensors"), &net.tensors(), Dtype::F32);
    };
    weights(1);
    let arguments = ["cam", "in", "--weights=model.safetensors", "--top=2", "--save=cam"];
    bench.run(arguments).code(0);
    let before = (files(&bench, "camshaft-out"), bench.manifest("camshaft-out"));
    for (options, setting) in [
        (&["--top=1"][..], "`request.top` is 2, not 1"),
        (&["--save=cam-full"], "`request.save` is [\"cam\"], not [\"cam-full\"]"),
        (&["--size=64"], "`recipe.resize` is 256, not 73"),
        (&["--alpha=0.25"], "`display.alpha` is 0.5, not 0.25"),
        (&["--method=gradcam"], "`method` is \"cam\", not \"gradcam\""),
        (&["--score=probability"], "`score` is \"logit\", not \"probability\""),
        (&["--compat=torchcam", "--alpha=0.5"], "`compat` is null, not \"torchcam\""),
        (&["--grid"], "`grid` is false, not true"),
        (&["--view=original"], "`display.view` is \"crop\", not \"original\""),
    ] {
        // Options given twice are mistakes: each replaces the one it is like.
        let name = |option: &str| option.split('=').next().unwrap().to_owned();
        let kept = arguments.iter().filter(|one| name(one) != name(options[0]));
        let ran = bench.run(kept.chain(options).chain(&["--resume"])).code(1).says(&[setting, "--force"]);
        assert_eq!(ran.stdout, "");
    }
    weights(2);
    bench.run([&arguments[..], &["--resume"]].concat()).code(1).says(&["`model.weights` is \"xxh3-128:"]);
    assert_eq!((files(&bench, "camshaft-out"), bench.manifest("camshaft-out")), before);
    // The same weights under another name are the same, and threads are no setting.
    weights(1);
    fs::rename(bench.at("model.safetensors"), bench.at("moved.safetensors")).unwrap();
    let moved = ["cam", "in", "--weights=moved.safetensors", "--top=2", "--save=cam", "--threads=1", "--resume"];
    bench.run(moved).code(0).says(&["1 of 1 inputs were done already"]);
    // A damaged manifest is named and kept.
    bench.file("camshaft-out/manifest.json", "{\"images\": [7");
    bench.run(moved).code(1).says(&["manifest.json: this is no manifest that can be read"]);
    assert_eq!(fs::read(bench.at("camshaft-out/manifest.json")).unwrap(), b"{\"images\": [7");
}

/// While a run has a folder, others leave it alone, whatever they are allowed to replace.
#[test]
fn two_runs_in_one_folder() {
    let bench = with(&numbered(400));
    let arguments = ["cam", "in", "--class=0", "--save=cam", "--size=64", "--json", "--batch=2", "-o", "out"];
    let mut first = bench.command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    for option in ["--json", "--force", "--resume"] {
        bench.run(["cam", "in", "--class=1", "-o", "out", option]).code(1).says(&["out: another run is writing to this folder"]);
    }
    assert_eq!(lines.count(), 399);
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_whole(&bench, "out");
}

/// After Ctrl-C `classify` has told what it found so far.
#[cfg(unix)]
#[test]
fn classify_is_interrupted() {
    let bench = with(&numbered(400));
    assert_eq!(disturbed(&bench, &["classify", "in", "--size=64", "--json", "--batch=2"], "-INT"), Some(130));
}

/// After Ctrl-C `evaluate` sums up what it has measured, and says that this is not all.
#[cfg(unix)]
#[test]
fn evaluate_is_interrupted() {
    let bench = with(&numbered(400));
    let arguments = ["evaluate", "in", "--size=64", "--json", "--batch=2", "--metrics=average-drop"];
    let (code, lines) = told(&bench, &arguments, "-INT");
    assert_eq!(code, Some(130));
    let summary: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    let summary = &summary["summary"];
    let images = summary["images"].as_u64().unwrap();
    assert_eq!((&summary["complete"], images), (&json!(false), lines.len() as u64 - 1));
    assert!((20..400).contains(&images), "{images}");
    assert_eq!(summary["methods"][0]["metrics"]["average-drop"]["maps"], images);
}
