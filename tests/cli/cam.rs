//! `camshaft cam`: what it writes and says.

use std::fs;

use camshaft::labels::Labels;
use safetensors::SafeTensors;
use serde_json::Value;

use super::program::{Bench, bundled, png, results};

const KINDS: [&str; 4] = ["overlay", "heatmap", "cam", "cam_full"];

/// `fc.bias` of the bundled model, read without the library.
fn demo_bias() -> Vec<f32> {
    let bytes = fs::read(bundled("demo.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let bias = file.tensor("fc.bias").unwrap();
    assert_eq!(bias.dtype(), safetensors::Dtype::F16);
    bias.data().as_chunks::<2>().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect()
}

/// The bundled model's class names, from its metadata.
fn demo_names() -> Vec<String> {
    let bytes = fs::read(bundled("demo.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    metadata.metadata().as_ref().unwrap()["labels"].lines().map(str::to_owned).collect()
}

#[test]
fn without_an_image_it_explains_the_bundled_one() {
    let bench = Bench::new();
    let ran = bench.run(["cam"]).code(0);
    let manifest = bench.manifest("camshaft-out");
    let [entry] = &manifest["images"].as_array().unwrap()[..] else { panic!("one image: {manifest}") };
    let classes = results(entry);
    assert_eq!(classes.len(), 3);
    // Four files a class and the manifest, which names each of them; nothing else.
    let mut named = vec!["manifest.json".to_owned()];
    for class in classes {
        for kind in KINDS {
            let file = class["artifacts"][kind].as_str().unwrap_or_else(|| panic!("no {kind}: {class}"));
            assert!(bench.at("camshaft-out").join(file).is_file(), "{file}");
            named.push(file.to_owned());
        }
        let overlay = class["artifacts"]["overlay"].as_str().unwrap();
        assert!(ran.stdout.contains(&format!("camshaft-out/{overlay}")), "{overlay} is not in:\n{}", ran.stdout);
        assert!(ran.stdout.contains(class["name"].as_str().unwrap()));
        let picture = bench.png(&format!("camshaft-out/{overlay}"));
        assert_eq!(picture.dimensions(), (224, 224));
        assert_ne!(picture, bench.png(&format!("camshaft-out/{}", class["artifacts"]["heatmap"].as_str().unwrap())));
    }
    named.sort();
    assert_eq!(bench.list("camshaft-out"), named);
    assert_eq!(ran.stdout.lines().count(), 4, "a header and a row for each class:\n{}", ran.stdout);
    ran.says(&["manifest: camshaft-out/manifest.json"]);
}

/// Numbers of the manifest against each other and against the model's file: `mean + bias = logit`, the softmax, the maps.
#[test]
fn maps_add_up_to_the_logits() {
    let bench = Bench::new();
    let (bias, names) = (demo_bias(), demo_names());
    assert_eq!((bias.len(), names.len()), (56, 56));
    let inputs = ["pavement.jpg", "meadow.jpg"].map(bundled);
    bench.run([&["cam".as_ref(), "--top=56".as_ref()][..], &inputs.each_ref().map(|path| path.as_os_str())].concat()).code(0);
    let manifest = bench.manifest("camshaft-out");
    for entry in manifest["images"].as_array().unwrap() {
        let classes = results(entry);
        assert_eq!(classes.len(), 56);
        let number = |value: &Value| value.as_f64().unwrap();
        let total: f64 = classes.iter().map(|class| number(&class["logit"]).exp()).sum();
        let mut last = f64::INFINITY;
        for class in classes {
            let index = class["class"].as_u64().unwrap() as usize;
            assert_eq!(class["name"], names[index].as_str());
            let (logit, stats) = (number(&class["logit"]), &class["map"]);
            assert!(logit <= last, "most probable first");
            last = logit;
            let map = bench.npy(&format!("camshaft-out/{}", class["artifacts"]["cam"].as_str().unwrap()));
            assert_eq!((map.h(), map.w()), (7, 7));
            let mean = map.data().iter().map(|&v| f64::from(v)).sum::<f64>() / 49.0;
            let largest = map.data().iter().fold(0f32, |most, v| most.max(v.abs()));
            // The map's cells and the logit are f32 sums of 256 products in two orders; 1e-4 of the largest cell is ample.
            let allowed = 1e-4 * f64::from(largest);
            assert!((mean + f64::from(bias[index]) - logit).abs() < allowed, "{index}: {mean} + {} is not {logit}", bias[index]);
            assert!((number(&stats["mean"]) - mean).abs() < allowed);
            let least = map.data().iter().copied().fold(f32::INFINITY, f32::min);
            let most = map.data().iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!((number(&stats["min"]) as f32, number(&stats["max"]) as f32), (least, most));
            let at = |axis: usize| stats["argmax"][axis].as_u64().unwrap() as usize;
            assert_eq!(map.data()[at(1) * 7 + at(0)], most);
            assert!((number(&class["probability"]) - logit.exp() / total).abs() < 1e-5);
            let full = bench.npy(&format!("camshaft-out/{}", class["artifacts"]["cam_full"].as_str().unwrap()));
            assert_upsampled(map.data(), full.data());
        }
    }
}

/// `full` is `raw`, 7x7, at 224x224: bilinear, pixel centres at halves, the border repeated.
fn assert_upsampled(raw: &[f32], full: &[f32]) {
    assert_eq!(full.len(), 224 * 224);
    let largest = raw.iter().fold(0f32, |most, v| most.max(v.abs()));
    for (y, x) in (0..224).step_by(9).flat_map(|y| (0..224).step_by(7).map(move |x| (y, x))) {
        let place = |i: usize| ((i as f32 + 0.5) / 32.0 - 0.5).clamp(0.0, 6.0);
        let ((r, c), (v, u)) = ((place(y) as usize, place(x) as usize), (place(y).fract(), place(x).fract()));
        let at = |r: usize, c: usize| raw[r.min(6) * 7 + c.min(6)];
        let want = (at(r, c) * (1.0 - u) + at(r, c + 1) * u) * (1.0 - v) + (at(r + 1, c) * (1.0 - u) + at(r + 1, c + 1) * u) * v;
        let got = full[y * 224 + x];
        assert!((got - want).abs() <= 1e-5 * largest, "row {y}, column {x}: {got}, expected {want}");
    }
}

#[test]
fn json_is_one_object_a_line_as_in_the_manifest() {
    let bench = Bench::new();
    bench.file("a.png", png(0, 60, 40));
    let ran = bench.run(["cam", "--json", "a.png", "missing.png", "a.png"]).code(1).says(&["missing.png"]);
    let lines = ran.json();
    assert_eq!(lines.len(), 3);
    assert_eq!(&Value::from(lines), &bench.manifest("camshaft-out")["images"]);
}

#[test]
fn classes_by_index_and_name() {
    let bench = Bench::new();
    let names = demo_names();
    let last = names[55].to_uppercase();
    bench.run(["cam", "--class", "7", "-c", &last, "-c", "0", "-c", "7"]).code(0);
    let manifest = bench.manifest("camshaft-out");
    let chosen: Vec<_> = results(&manifest["images"][0]).iter().map(|class| class["class"].as_u64().unwrap()).collect();
    assert_eq!(chosen, [7, 55, 0], "in the order asked for, each once");

    let map = |class: usize, slug: &str| bench.npy(&format!("camshaft-out/meadow.{class}-{slug}.cam.npy"));
    let slug = |class: usize| names[class].replace(' ', "-");
    assert_ne!(map(7, &slug(7)).data(), map(0, &slug(0)).data(), "each class has a map of its own");
}

#[test]
fn unknown_classes_are_usage_errors_and_write_nothing() {
    let bench = Bench::new();
    let name = demo_names()[20].clone();
    let misspelt = format!("{name}e");
    bench.run(["cam", "--class", &misspelt]).code(2).says(&[
        &format!("`{misspelt}`"),
        &format!("20 ({name})"),
        "camshaft labels",
    ]);
    bench.run(["cam", "-c", "zzzzzz"]).code(2).says(&["no class is named `zzzzzz`", "camshaft labels"]);
    bench.run(["cam", "-c", ""]).code(2).says(&["no class is named ``"]);
    bench.run(["cam", "-c", "56"]).code(2).says(&["there is no class 56", "0 to 55"]);
    bench.run(["cam", "-c", "99999999999999999999999"]).code(2).says(&["there is no class 99999999999999999999999"]);
    // One bad name spoils the command, before anything is written.
    bench.run(["cam", "-c", "0", "-c", "99"]).code(2);
    assert!(bench.list(".").is_empty());
}

#[test]
fn ambiguous_classes_are_listed() {
    assert_eq!(Labels::imagenet().len(), 1000);
    let bench = Bench::new();
    let names: Vec<String> = (0..56).map(|i| if i % 8 == 3 { "crane".into() } else { format!("thing {i}") }).collect();
    bench.file("names.txt", names.join("\n"));
    bench.run(["cam", "--labels", "names.txt", "-c", "crane"]).code(2).says(&[
        "`crane` names 7 classes",
        "3 (crane)",
        "give the index",
    ]);
}

#[test]
fn top_decides_how_many() {
    let bench = Bench::new();
    for (given, expected) in [("1", 1), ("5", 5), ("99999", 56)] {
        let out = format!("out{given}");
        bench.run(["cam", "--top", given, "--save", "cam", "-o", &out]).code(0);
        assert_eq!(results(&bench.manifest(&out)["images"][0]).len(), expected);
        assert_eq!(bench.list(&out).len(), expected + 1);
    }
}

#[test]
fn save_chooses_the_files() {
    let bench = Bench::new();
    bench.run(["cam", "--top=2", "--save", "heatmap,cam-full"]).code(0);
    let files = bench.list("camshaft-out");
    assert_eq!(files.len(), 5);
    for class in results(&bench.manifest("camshaft-out")["images"][0]) {
        let artifacts = class["artifacts"].as_object().unwrap();
        assert_eq!(artifacts.keys().collect::<Vec<_>>(), ["heatmap", "cam_full"]);
        assert!(artifacts.values().all(|file| files.contains(&file.as_str().unwrap().to_owned())));
    }
    // Twice is once; the table then points at the one file there is.
    let ran = bench.run(["cam", "--top=1", "--save=cam,cam", "--save=cam", "-o", "maps"]).code(0);
    assert_eq!(bench.list("maps").len(), 2);
    assert!(ran.stdout.contains(".cam.npy"), "{}", ran.stdout);
}

#[test]
fn the_manifest_says_how_it_was_made() {
    let bench = Bench::new();
    bench.file("wide.png", png(3, 451, 300));
    bench
        .run(["cam", "wide.png", "--top=1", "--colormap=magma", "--alpha=0.25", "--normalise=relu-minmax", "--threads=1"])
        .code(0);
    let manifest = bench.manifest("camshaft-out");
    assert_eq!(manifest["schema_version"], 1);
    assert_eq!(manifest["tool"]["name"], "camshaft");
    assert_eq!(manifest["tool"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest["method"], "cam");
    assert_eq!(manifest["model"]["source"], "demo");
    assert_eq!(manifest["model"]["classes"], 56);
    assert!(manifest["model"]["name"].as_str().unwrap().starts_with("ResNet-18"));
    assert_eq!(manifest["device"], "cpu (1 thread)");
    let recipe = &manifest["recipe"];
    assert_eq!((&recipe["resize"], &recipe["crop"], &recipe["interpolation"]), (&256.into(), &224.into(), &"bilinear".into()));
    assert_eq!(recipe["mean"].to_string(), "[0.485,0.456,0.406]");
    assert_eq!(recipe["std"].to_string(), "[0.229,0.224,0.225]");
    let display = &manifest["display"];
    assert_eq!((&display["view"], &display["colormap"]), (&"crop".into(), &"magma".into()));
    assert_eq!((&display["alpha"], &display["normalisation"]), (&0.25.into(), &"relu-minmax".into()));
    let entry = &manifest["images"][0];
    assert_eq!(entry["file"], "wide.png");
    // torchvision: 451x300 to 384x256, then the middle 224x224.
    let transform = serde_json::json!({ "original": [451, 300], "resized": [384, 256], "offset": [80, 16], "crop": [224, 224] });
    assert_eq!(entry["transform"], transform);
}

#[test]
fn a_finished_run_is_not_overwritten() {
    let bench = Bench::new();
    bench.file("a.png", png(0, 50, 50));
    bench.run(["cam", "a.png", "--top=1"]).code(0);
    let before: Vec<_> =
        bench.list("camshaft-out").iter().map(|name| fs::read(bench.at("camshaft-out").join(name)).unwrap()).collect();
    bench.file("a.png", png(1, 50, 50));
    bench.run(["cam", "a.png", "--top=2"]).code(1).says(&["camshaft-out/manifest.json: exists already", "--force"]);
    let after: Vec<_> =
        bench.list("camshaft-out").iter().map(|name| fs::read(bench.at("camshaft-out").join(name)).unwrap()).collect();
    assert_eq!(before, after);

    bench.run(["cam", "a.png", "--top=2", "--force"]).code(0);
    assert_eq!(results(&bench.manifest("camshaft-out")["images"][0]).len(), 2);
}

/// A file in the way, without a manifest: a run that was ended half-way, or something of the user's.
#[test]
fn a_file_in_the_way_is_kept() {
    let bench = Bench::new();
    let ran = bench.run(["cam", "--top=1", "--json", "-o", "first"]).code(0);
    let overlay = ran.json()[0]["results"][0]["artifacts"]["overlay"].as_str().unwrap().to_owned();
    let taken = format!("out/{overlay}");
    bench.file(&taken, "mine");
    bench.run(["cam", "--top=1", "-o", "out"]).code(1).says(&["meadow.jpg: out/", "exists already", "--force"]);
    assert_eq!(fs::read(bench.at(&taken)).unwrap(), b"mine");
    let entry = &bench.manifest("out")["images"][0];
    assert_eq!(entry["status"], "error");
    assert!(entry["message"].as_str().unwrap().contains("exists already"), "{entry}");

    bench.run(["cam", "--top=1", "-o", "out", "--force"]).code(0);
    assert_eq!(bench.png(&taken).dimensions(), (224, 224));
}

/// The manifest is there only when everything else is: also in a run that replaces another and fails.
#[test]
fn the_manifest_is_last() {
    let bench = Bench::new();
    bench.run(["cam", "--top=1"]).code(0);
    let written = |name: &str| fs::metadata(bench.at("camshaft-out").join(name)).unwrap().modified().unwrap();
    for name in bench.list("camshaft-out") {
        assert!(written(&name) <= written("manifest.json"), "{name}");
    }
    // A folder in the manifest's place cannot be replaced: the run ends before its work.
    fs::remove_file(bench.at("camshaft-out/manifest.json")).unwrap();
    fs::create_dir(bench.at("camshaft-out/manifest.json")).unwrap();
    let before = bench.list("camshaft-out");
    bench.run(["cam", "--top=5", "--force"]).code(1).says(&["manifest.json"]);
    assert_eq!(bench.list("camshaft-out"), before);
}

#[test]
fn threads_batches_and_the_way_of_reading_change_nothing() {
    let bench = Bench::new();
    let pictures = ["a.png", "b.png", "c.png", "d.png", "e.png"];
    for (index, name) in pictures.iter().enumerate() {
        bench.file(name, png(index, 40 + 30 * index, 90));
    }
    let model = bundled("demo.safetensors");
    fs::copy(&model, bench.at("model.safetensors")).unwrap();
    let run = |out: &str, options: &[&str]| {
        bench.run([&["cam", "-o", out][..], &pictures, options].concat()).code(0);
        let files = bench.list(out).into_iter().filter(|name| name != "manifest.json");
        files.map(|name| (fs::read(bench.at(out).join(&name)).unwrap(), name)).collect::<Vec<_>>()
    };
    let first = run("first", &[]);
    assert_eq!(first.len(), 5 * 3 * 4);
    for (out, options) in [
        ("one-thread", &["--threads=1"][..]),
        ("three-threads", &["--threads=3"]),
        ("one-by-one", &["--batch=1"]),
        ("two-by-two", &["--batch=2"]),
        ("mapped", &["--weights=model.safetensors"]),
        ("read", &["--weights=model.safetensors", "--no-mmap"]),
    ] {
        for ((bytes, name), (want, want_name)) in run(out, options).iter().zip(&first) {
            assert_eq!(name, want_name, "{out}");
            assert!(bytes == want, "{out}: {name} differs");
        }
    }
}
