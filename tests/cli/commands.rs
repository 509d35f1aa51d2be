//! `classify`, `info`, `labels`, `completions` and `man`.

use serde_json::{Value, json};

use super::common::seeded::{Dtype, Net};
use super::program::{Bench, bundled, jpeg, png};

#[test]
fn classify_ranks_the_classes() {
    let bench = Bench::new();
    let market = bundled("pavement.jpg");
    let ran = bench.run(["classify".as_ref(), market.as_os_str()]).code(0);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 6, "a header and five classes:\n{}", ran.stdout);
    assert!(lines[0].starts_with("image") && lines[0].ends_with("logit"), "{}", lines[0]);
    assert!(lines[1].starts_with(market.to_str().unwrap()) && lines[1].contains(" %"), "{}", lines[1]);
    assert_eq!(ran.stderr, "");

    let ran = bench.run(["classify".as_ref(), "--json".as_ref(), "--top=56".as_ref(), market.as_os_str()]).code(0);
    let line = &ran.json()[0];
    let predictions = line["predictions"].as_array().unwrap();
    let total: f64 = predictions.iter().map(|class| class["probability"].as_f64().unwrap()).sum();
    assert!((total - 1.0).abs() < 1e-5, "{total}");
    let logits: Vec<_> = predictions.iter().map(|class| class["logit"].as_f64().unwrap()).collect();
    assert!(logits.is_sorted_by(|a, b| a >= b));
    let mut classes: Vec<_> = predictions.iter().map(|class| class["class"].as_u64().unwrap()).collect();
    classes.sort_unstable();
    assert!(classes.into_iter().eq(0..56));
    assert!(lines[1].contains(predictions[0]["label"].as_str().unwrap()));
}

/// Without an input, `classify` takes the same bundled picture as `cam`.
#[test]
fn classify_and_cam_agree() {
    let bench = Bench::new();
    bench.file("a.jpg", jpeg(0, 300, 200));
    for input in [&[][..], &["a.jpg"]] {
        let classified = bench.run([&["classify", "--json", "--top=3"], input].concat()).code(0).json();
        let explained = bench.run([&["cam", "--json", "--top=3", "--force"], input].concat()).code(0).json();
        assert_eq!(classified[0]["file"], explained[0]["file"]);
        for rank in 0..3 {
            let (one, other) = (&classified[0]["predictions"][rank], &explained[0]["results"][rank]);
            assert_eq!((&one["class"], &one["label"]), (&other["class"], &other["name"]));
            assert_eq!((&one["logit"], &one["probability"]), (&other["logit"], &other["probability"]));
        }
    }
}

#[test]
fn classify_goes_on_after_a_bad_input() {
    let bench = Bench::new();
    bench.file("good.png", png(0, 30, 30));
    let ran = bench.run(["classify", "missing.png", "good.png", "--json"]).code(1).says(&["missing.png: cannot read"]);
    let lines = ran.json();
    assert_eq!((&lines[0]["file"], &lines[0]["status"]), (&json!("missing.png"), &json!("error")));
    assert!(lines[0]["message"].as_str().unwrap().contains("cannot read"));
    assert_eq!((&lines[1]["file"], &lines[1]["status"]), (&json!("good.png"), &json!("ok")));
    let ran = bench.run(["classify", "missing.png", "good.png"]).code(1);
    assert!(ran.stdout.contains("good.png") && !ran.stdout.contains("missing.png"), "{}", ran.stdout);
}

#[test]
fn info_describes_the_bundled_model() {
    let bench = Bench::new();
    let ran = bench.run(["info"]).code(0);
    for text in ["ResNet-18", "parameters", "56 (", "GFLOP", "cpu (", "layer4.1.conv2", "fc", "safetensors"] {
        assert!(ran.stdout.contains(text), "{text} is not in:\n{}", ran.stdout);
    }
    let brief = bench.run(["info", "--brief"]).code(0);
    assert!(ran.stdout.starts_with(&brief.stdout) && !brief.stdout.contains("layer4"), "{}", brief.stdout);
}

#[test]
fn info_counts_as_torchvision_does() {
    let bench = Bench::new();
    let net = Net { depth: 18, width: 16, classes: 1000, seed: 1 };
    super::common::safetensors_file::write(&bench.at("net.safetensors"), &net.tensors(), Dtype::F16);
    let facts = |options: &[&str]| {
        let ran = bench.run([&["info", "--json", "--weights=net.safetensors"], options].concat()).code(0);
        let lines = ran.json();
        assert_eq!(lines.len(), 1);
        lines[0].clone()
    };
    let one = facts(&[]);
    assert_eq!(one["architecture"], "ResNet-18 (width 16)");
    assert_eq!(one["format"], "safetensors");
    assert_eq!(one["classes"], 1000);
    assert!(one["labels"].as_str().unwrap().contains("ImageNet"));
    assert_eq!(one["input"], json!([1, 224, 224, 3]));
    let trained = net
        .layout()
        .into_iter()
        .filter(|(name, _)| !["running_mean", "running_var", "tracked"].iter().any(|s| name.ends_with(s)));
    assert_eq!(one["parameters"], trained.map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>());
    let layers = one["layers"].as_array().unwrap();
    // 20 convolutions, two poolings and the classifier.
    assert_eq!(layers.len(), 23);
    let named = |name: &str| layers.iter().find(|layer| layer["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(named("conv1")["output"], json!([1, 112, 112, 16]));
    // 2 * P*Q*K * R*S*C
    assert_eq!(named("conv1")["flops"], 2 * 112 * 112 * 16 * 7 * 7 * 3);
    assert_eq!(named("layer4.1.conv2")["output"], json!([1, 7, 7, 128]));
    assert_eq!(named("fc")["output"], json!([1, 1, 1, 1000]));
    let flops = |facts: &Value| facts["flops"].as_u64().unwrap();
    assert_eq!(flops(&one), layers.iter().map(|layer| layer["flops"].as_u64().unwrap()).sum::<u64>());
    assert_eq!(flops(&facts(&["--images=4", "--brief"])), 4 * flops(&one));
    let wide = facts(&["--size=64x128"]);
    assert_eq!(wide["input"], json!([1, 64, 128, 3]));
    assert_eq!(wide["layers"][0]["output"], json!([1, 32, 64, 16]));
    assert_eq!(facts(&["--brief"])["layers"], json!([]));
}

#[test]
fn info_refuses_sizes_that_cannot_be() {
    let bench = Bench::new();
    for (size, text) in
        [("0", "an extent is 0"), ("99999999", "2^31"), ("0x5", "an extent is 0"), ("x", "HxW"), ("3x4x5", "HxW"), ("-1", "")]
    {
        bench.run(["info", &format!("--size={size}")]).code(2).says(&["--size", text]);
    }
    bench.run(["info", "--images=0"]).code(2).says(&["--images"]);
}

#[test]
fn labels_lists_and_searches() {
    let bench = Bench::new();
    let all = bench.run(["labels"]).code(0);
    assert_eq!(all.stdout.lines().count(), 56);
    let json = bench.run(["labels", "--json"]).code(0).json();
    assert_eq!(json.len(), 56);
    for (class, (line, object)) in all.stdout.lines().zip(&json).enumerate() {
        let (index, name) = line.trim_start().split_once("  ").unwrap();
        assert_eq!((index, object["class"].as_u64()), (class.to_string().as_str(), Some(class as u64)));
        assert_eq!(object["name"], name);
    }
    let seventh = json[7]["name"].as_str().unwrap();
    assert_eq!(bench.run(["labels", "7"]).code(0).stdout.trim(), format!("7  {seventh}"));
    assert!(bench.run(["labels", &seventh.to_uppercase()]).code(0).stdout.contains(&format!("7  {seventh}")));
    bench.run(["labels", "56"]).code(2).says(&["0 to 55"]);
    bench.run(["labels", &format!("{seventh}x")]).code(2).says(&[&format!("7 ({seventh})")]);
}

/// ImageNet's names need no download.
#[test]
fn labels_of_torchvisions_models() {
    let bench = Bench::new();
    let ran = bench.run(["labels", "tabby", "--weights=resnet50"]).code(0);
    assert_eq!(ran.stdout.trim(), "281  tabby");
    assert_eq!(bench.run(["labels", "--weights=resnet18"]).code(0).stdout.lines().count(), 1000);
    assert!(bench.list(".").is_empty());
}

#[test]
fn completions_for_every_shell() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = bench.run(["completions", shell]).code(0).stdout;
        for word in ["camshaft", "classify", "colormap"] {
            assert!(script.contains(word), "{word} is not in the script for {shell}");
        }
    }
    bench.run(["completions", "tcsh"]).code(2);
}

#[test]
fn manual_pages() {
    let bench = Bench::new();
    let page = bench.run(["man"]).code(0).stdout;
    assert!(page.contains(".TH camshaft 1") && page.contains("classify"), "{page}");
    bench.run(["man", "pages/man1"]).code(0);
    let pages = bench.list("pages/man1");
    for name in
        ["camshaft.1", "camshaft-cam.1", "camshaft-classify.1", "camshaft-info.1", "camshaft-fetch.1", "camshaft-labels.1"]
    {
        assert!(pages.contains(&name.to_owned()), "no {name} in {pages:?}");
    }
    bench.file("taken", "x");
    bench.run(["man", "taken"]).code(1).says(&["taken"]);
}

#[test]
fn bench_times_each_batch() {
    let bench = Bench::new();
    let small = ["bench", "--size=32", "--iters=3", "--warm-up=1", "--threads=1"];
    let ran = bench.run([&small[..], &["--batch=2", "--json", "--layers"]].concat()).code(0);
    let lines = ran.json();
    let last = lines.last().unwrap();
    let times = last["ms_per_image"].as_array().unwrap();
    assert!(times.len() == 3 && times.iter().all(|ms| ms.as_f64().unwrap() > 0.0), "{times:?}");
    assert_eq!((&last["batch"], &last["threads"], &last["precision"]), (&json!(2), &json!(1), &json!("f32")));
    let (median, images) = (last["spread"]["median"].as_f64().unwrap(), last["images_per_second"].as_f64().unwrap());
    assert!((median * images / 1e3 - 1.0).abs() < 1e-9 && times.contains(&json!(median)));
    assert!(last["floor_ms_per_image"].as_f64().unwrap() > 0.0);
    let layers = last["layers"].as_array().unwrap();
    // With the max pool in the same step, where there are vectors.
    let first = layers[0]["layer"].as_str().unwrap();
    assert!(first == "conv1" || first == "conv1, maxpool", "{first}");
    assert_eq!(layers.last().unwrap()["layer"], "fc");
    assert!(layers.iter().all(|layer| layer["ms"]["median"].as_f64().unwrap() >= 0.0));

    let ran = bench.run([&small[..], &["--batch=1,3"]].concat()).code(0);
    let rows: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let header = rows.iter().position(|row| row.first() == Some(&"batch")).unwrap();
    assert_eq!((rows[header + 1][0], rows[header + 2][0]), ("1", "3"), "{}", ran.stdout);
    // Then each batch's layers, each beside its floor; only the max pool, which is part of the convolution before it, has none. Where
    // there are vectors it is a part of that step as well.
    for (heading, batch) in rows.iter().enumerate().filter(|(_, row)| row.first() == Some(&"layers,")) {
        assert!(matches!(batch[2], "1;" | "3;") && rows[heading + 1][4..] == ["floor", "ms", "of", "floor"], "{}", ran.stdout);
        let layers: Vec<_> = rows[heading + 2..].iter().take_while(|row| !row.is_empty()).collect();
        assert!(layers.len() >= 22 && layers[0][0].starts_with("conv1"), "{}", ran.stdout);
        assert_eq!(layers.last().unwrap()[0], "fc");
        assert!(layers.iter().all(|row| row[0] == "maxpool" || row[row.len() - 1].ends_with('x')), "{}", ran.stdout);
    }
    assert_eq!(rows.iter().filter(|row| row.first() == Some(&"layers,")).count(), 2);
    assert!(ran.stdout.contains("images/s") && ran.stdout.contains("GB/s, measured"), "{}", ran.stdout);
    bench.run(["bench", "--batch=0"]).code(2);
}
