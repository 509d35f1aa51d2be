//! `--weights` and `--labels`: what loads, and what a user is told when it does not.

use std::fs;

use super::common::pth::{Form, Pth};
use super::common::safetensors_file;
use super::common::seeded::{Dtype, Net, Tensor, Values};
use super::program::{Bench, bundled, png, results};

const NET: Net = Net { depth: 18, width: 8, classes: 10, seed: 1 };

fn safetensors(bench: &Bench, name: &str, tensors: &[Tensor]) {
    safetensors_file::write(&bench.at(name), tensors, Dtype::F32);
}

/// Both commands refuse `--weights name` with exit code 1 and these texts, and write nothing.
#[track_caller]
fn refused(bench: &Bench, name: &str, texts: &[&str]) {
    for command in [&["cam", "-o", "never"][..], &["classify"], &["info"]] {
        let ran = bench.run([command, &["--weights", name]].concat()).code(1).says(&[name]).says(texts);
        assert_eq!((ran.stdout.as_str(), ran.stderr.lines().count()), ("", 1), "{}", ran.stderr);
    }
    assert!(!bench.at("never").exists());
}

#[test]
fn every_form_of_file_gives_the_same() {
    let bench = Bench::new();
    let tensors = NET.tensors();
    safetensors(&bench, "a.safetensors", &tensors);
    Pth::bare(Form::Zip, Dtype::F32).write(&bench.at("b.pth"), &tensors);
    Pth::bare(Form::Legacy, Dtype::F32).write(&bench.at("c.pth"), &tensors);
    Pth { prefix: "module.", under: Some("state_dict"), ..Pth::bare(Form::Zip, Dtype::F32) }.write(&bench.at("d.pth"), &tensors);
    let classify = |name: &str| bench.run(["classify", "--json", "--top=10", "--weights", name]).code(0).stdout;
    let first = classify("a.safetensors");
    assert!(first.contains("class 7"), "numbered names: {first}");
    for name in ["b.pth", "c.pth", "d.pth"] {
        assert_eq!(classify(name), first, "{name}");
    }
    let manifest = |name: &str| {
        bench.run(["cam", "--top=1", "--force", "--weights", name]).code(0);
        bench.manifest("camshaft-out")["model"].clone()
    };
    assert_eq!(manifest("b.pth")["source"], "b.pth");
    assert_eq!(manifest("b.pth")["name"], "ResNet-18 (width 8)");
}

#[test]
fn weights_of_another_architecture() {
    let bench = Bench::new();
    let head = |name: &str| Tensor { name: name.into(), shape: vec![4, 4], values: Values::Float(vec![0.5; 16]) };
    safetensors(&bench, "vit.safetensors", &["encoder.layers.0.weight", "heads.head.weight"].map(head));
    refused(&bench, "vit.safetensors", &["not a torchvision ResNet", "no tensor `conv1.weight`", "`encoder.layers.0.weight`"]);

    let mut tensors = NET.tensors();
    tensors.extend(Net { depth: 34, ..NET }.tensors().into_iter().filter(|tensor| tensor.name.starts_with("layer1.2.")));
    safetensors(&bench, "odd.safetensors", &tensors);
    refused(&bench, "odd.safetensors", &["[3, 2, 2, 2] basic blocks"]);
}

#[test]
fn damaged_files() {
    let bench = Bench::new();
    bench.file("page.pth", "<!DOCTYPE html>\n<html><body>Sign in</body></html>");
    refused(&bench, "page.pth", &["HTML"]);
    bench.file("empty.safetensors", "");
    refused(&bench, "empty.safetensors", &["is empty"]);
    let whole = fs::read(bundled("demo.safetensors")).unwrap();
    bench.file("cut.safetensors", &whole[..whole.len() / 2]);
    refused(&bench, "cut.safetensors", &["truncated"]);
    bench.file("notes.safetensors", "just some words in a file\n");
    refused(&bench, "notes.safetensors", &[]);
    refused(&bench, "missing.pth", &["No such file"]);
    fs::create_dir(bench.at("folder.pth")).unwrap();
    refused(&bench, "folder.pth", &[]);

    let mut tensors = NET.tensors();
    let bias = tensors.iter_mut().find(|tensor| tensor.name == "fc.bias").unwrap();
    bias.values = Values::Float(vec![f32::NAN; 10]);
    safetensors(&bench, "nan.safetensors", &tensors);
    refused(&bench, "nan.safetensors", &["`fc.bias` holds NaN at index 0"]);
    tensors.retain(|tensor| tensor.name != "fc.bias");
    safetensors(&bench, "less.safetensors", &tensors);
    refused(&bench, "less.safetensors", &["`fc.bias` is missing"]);
}

/// Finite weights whose sums are not: every picture fails by name, and the run ends as a run does.
#[test]
fn weights_that_overflow() {
    let bench = Bench::new();
    let mut tensors = NET.tensors();
    let fc = tensors.iter_mut().find(|tensor| tensor.name == "fc.weight").unwrap();
    fc.values = Values::Float(vec![3e38; 640]);
    safetensors(&bench, "huge.safetensors", &tensors);
    bench.file("a.png", png(0, 30, 30));
    bench.file("b.png", png(1, 30, 30));
    let ran = bench.run(["cam", "a.png", "b.png", "--weights=huge.safetensors"]).code(1);
    ran.says(&["error: a.png: the network's score of class 0 is inf", "error: b.png: ", "2 of 2 inputs failed"]);
    assert_eq!(bench.list("camshaft-out"), ["manifest.json"]);
    let ran = bench.run(["classify", "--json", "a.png", "--weights=huge.safetensors"]).code(1);
    assert_eq!(ran.json()[0]["status"], "error", "no null in place of a number: {}", ran.stdout);
}

#[test]
fn words_that_are_no_weights_are_usage_errors() {
    let bench = Bench::new();
    for (given, text) in [
        ("resnet19", "neither a file nor a name of weights"),
        ("", "is empty"),
        ("https://example.com/model.pth", "is a URL"),
        ("hf:nobody", "owner/name"),
    ] {
        bench.run(["classify", "--weights", given]).code(2).says(&["--weights", text, "demo, resnet18"]);
    }
}

#[test]
fn label_files() {
    let bench = Bench::new();
    let names: Vec<String> = (0..56).map(|class| format!("thing number {class}")).collect();
    bench.file("lines.txt", names.join("\n"));
    bench.file("list.json", serde_json::to_string(&names).unwrap());
    let index: serde_json::Map<_, _> =
        names.iter().enumerate().map(|(class, name)| (class.to_string(), serde_json::json!(["n0", name]))).collect();
    bench.file("index.json", serde_json::to_string(&index).unwrap());
    for file in ["lines.txt", "list.json", "index.json"] {
        let out = format!("out-{file}");
        bench.run(["cam", "--labels", file, "-c", "Thing_Number 42", "--save=cam", "-o", &out]).code(0);
        let manifest = bench.manifest(&out);
        let class = &results(&manifest["images"][0])[0];
        assert_eq!((&class["class"], &class["name"]), (&42.into(), &"thing number 42".into()));
        assert_eq!(class["artifacts"]["cam"], "meadow.42-thing-number-42.cam.npy");
    }
}

#[test]
fn label_files_that_do_not_fit() {
    let bench = Bench::new();
    bench.file("few.txt", "a\nb\nc\n");
    bench.file("gap.json", r#"{"0": "a", "2": "c"}"#);
    for (file, texts) in [
        ("few.txt", &["3 class names", "56 classes"][..]),
        ("gap.json", &["no class 1"]),
        ("missing.txt", &["cannot read the class names"]),
    ] {
        for command in ["cam", "classify", "info", "labels"] {
            bench.run([command, "--labels", file]).code(1).says(&[file]).says(texts);
        }
    }
    assert!(!bench.at("camshaft-out").exists());
}
