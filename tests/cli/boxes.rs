//! `--boxes`: what is found, in which pixels, and what is drawn.

use camshaft::cam::Map;
use serde_json::Value;

use super::program::{Bench, bundled, png, results};

/// The box of the largest region of at least `share` of the maximum, and its pixels: labels spread from pixel to pixel until none
/// changes.
fn largest_by_definition(map: &Map, share: f32) -> Option<([usize; 4], usize)> {
    let (h, w) = (map.h(), map.w());
    let most = map.data().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let inside = |i: usize| map.data()[i] > 0.0 && map.data()[i] > share * most;
    let mut label: Vec<usize> = (0..h * w).collect();
    loop {
        let before = label.clone();
        for i in (0..h * w).chain((0..h * w).rev()).filter(|&i| inside(i)) {
            let (y, x) = (i / w, i % w);
            for (ny, nx) in (y.saturating_sub(1)..=y + 1).flat_map(|ny| (x.saturating_sub(1)..=x + 1).map(move |nx| (ny, nx))) {
                if ny < h && nx < w && inside(ny * w + nx) {
                    label[i] = label[i].min(label[ny * w + nx]);
                }
            }
        }
        if label == before {
            break;
        }
    }
    let members = |of: usize| (0..h * w).filter(|&i| inside(i) && label[i] == of).collect::<Vec<_>>();
    let first = (0..h * w).filter(|&i| inside(i) && label[i] == i).max_by_key(|&i| (members(i).len(), h * w - i))?;
    let members = members(first);
    let (xs, ys): (Vec<_>, Vec<_>) = members.iter().map(|i| (i % w, i / w)).unzip();
    let range = |v: &[usize]| (*v.iter().min().unwrap(), v.iter().max().unwrap() + 1);
    let ((x0, x1), (y0, y1)) = (range(&xs), range(&ys));
    Some(([x0, y0, x1, y1], members.len()))
}

fn edges(of: &Value) -> [f64; 4] {
    ["x0", "y0", "x1", "y1"].map(|edge| of[edge].as_f64().unwrap_or_else(|| panic!("no {edge}: {of}")))
}

#[test]
fn boxes_of_every_method_in_both_kinds_of_pixels() {
    let bench = Bench::new();
    let photo = bundled("chelsea.jpg");
    let ran = bench
        .run([
            "cam".as_ref(),
            "--compare=all".as_ref(),
            "-k1".as_ref(),
            "--boxes".as_ref(),
            "--box-threshold=0.5,0.2".as_ref(),
            "--save=cam-full".as_ref(),
            photo.as_os_str(),
        ])
        .code(0);
    let manifest = bench.manifest("camshaft-out");
    assert_eq!(manifest["boxes"], serde_json::json!({ "keep": "largest", "thresholds": [0.2, 0.5], "drawn": false }));
    let entry = &manifest["images"][0];
    let transform = &entry["transform"];
    let size = |what: &str, axis: usize| transform[what][axis].as_f64().unwrap();
    let (mut found, maps) = (0, results(entry));
    assert!(maps.len() >= 14);
    for map in maps {
        let pixels = bench.npy(&format!("camshaft-out/{}", map["artifacts"]["cam_full"].as_str().unwrap()));
        let boxes = map["boxes"].as_array().unwrap();
        let wanted: Vec<_> =
            [0.2, 0.5].iter().filter_map(|&share| largest_by_definition(&pixels, share).map(|want| (share, want))).collect();
        assert_eq!(boxes.len(), wanted.len(), "{map}");
        for (found, (share, (want, count))) in boxes.iter().zip(wanted) {
            assert_eq!(found["threshold"].as_f64().unwrap() as f32, share);
            assert_eq!(edges(&found["crop"]), want.map(|edge| edge as f64), "{map}");
            assert_eq!(found["pixels"], count);
            for (i, (edge, crop)) in edges(&found["original"]).into_iter().zip(want).enumerate() {
                let (axis, scale) = (i % 2, size("original", i % 2) / size("resized", i % 2));
                let at = (crop as f64 + transform["offset"][axis].as_f64().unwrap()) * scale;
                assert!((edge - at).abs() < 1e-9, "{edge} is not {at}");
            }
        }
        found += boxes.len();
    }
    assert!(found >= 20, "{found} boxes");
    let header = ran.stdout.lines().next().unwrap();
    assert!(header.contains("value  box") || header.contains("  box  "), "{header}");
    // The table has the first box, to the pixel.
    let first: Vec<String> = edges(&maps[0]["boxes"][0]["original"]).iter().map(|edge| format!("{edge:.0}")).collect();
    assert!(ran.stdout.contains(&first.join(",")), "{first:?} is not in:\n{}", ran.stdout);
}

#[test]
fn a_batch_with_all_regions_and_none() {
    let bench = Bench::new();
    let names: Vec<String> = (0..9).map(|i| bench.file(&format!("{i}.png"), png(i, 40 + 30 * i, 90)).to_owned()).collect();
    let options = ["cam", "-k2", "--boxes=all", "--box-threshold=0.6", "--save=cam", "--json"].map(str::to_owned);
    let ran = bench.run(options.iter().chain(&names)).code(0);
    let lines = ran.json();
    assert_eq!(&Value::from(lines.clone()), &bench.manifest("camshaft-out")["images"]);
    let counts: Vec<usize> =
        lines.iter().flat_map(|entry| results(entry)).map(|map| map["boxes"].as_array().unwrap().len()).collect();
    assert_eq!(counts.len(), 18);
    assert!(counts.iter().any(|&count| count > 1), "{counts:?}");
    for boxes in lines.iter().flat_map(|entry| results(entry)).map(|map| map["boxes"].as_array().unwrap()) {
        let pixels: Vec<u64> = boxes.iter().map(|found| found["pixels"].as_u64().unwrap()).collect();
        assert!(pixels.is_sorted_by(|a, b| a >= b), "the largest first: {pixels:?}");
    }
    // What speaks against the class only marks nothing under a ReLU: an empty list, not a missing one.
    bench.run(["cam", "--class=-dog", "-m", "layercam", "--boxes", "--save=cam", "-o", "none"]).code(0);
    let manifest = bench.manifest("none");
    let map = &results(&manifest["images"][0])[0];
    let most = map["map"]["max"].as_f64().unwrap();
    assert_eq!(map["boxes"].as_array().unwrap().is_empty(), most <= 0.0, "{map}");
    bench.run(["cam", "-k1", "--save=cam", "-o", "plain"]).code(0);
    let manifest = bench.manifest("plain");
    assert!(manifest.get("boxes").is_none() && results(&manifest["images"][0])[0].get("boxes").is_none());
}

#[test]
fn boxes_are_drawn_on_request_in_every_view() {
    let bench = Bench::new();
    for view in ["crop", "original", "seed"] {
        let run = |out: &str, more: &[&str]| {
            let all = [&["cam", "-c", "umbrella", "--boxes", "--view", view, "--save=overlay,heatmap", "-o", out], more].concat();
            bench.run(all).code(0);
            let picture = |kind| bench.png(&format!("{out}/meadow.34-umbrella.{kind}.png"));
            (picture("overlay"), picture("heatmap"))
        };
        let (plain, plain_heat) = run(&format!("{view}-plain"), &[]);
        let (drawn, drawn_heat) = run(&format!("{view}-drawn"), &["--draw-boxes", "--grid"]);
        assert_eq!(plain_heat, drawn_heat, "{view}: heat maps have no boxes");
        let changed: Vec<_> = plain.pixels().zip(drawn.pixels()).filter(|(before, after)| before != after).collect();
        let white = changed.iter().filter(|(_, after)| after.0 == [255; 3]).count();
        assert!(white > 100 && changed.len() < plain.pixels().len() / 3, "{view}: {white} of {} are white", changed.len());
    }
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    for bad in ["--box-threshold=1", "--box-threshold=-0.1", "--box-threshold=nan", "--box-threshold=0.2,many"] {
        bench.run(["cam", bad]).code(2).says(&["--box-threshold", "expected a share from 0 to below 1"]);
    }
    bench.run(["cam", "--boxes=larges"]).code(2).says(&["largest"]);
    assert!(bench.list(".").is_empty());
    bench.run(["cam", "--boxes", "--save=cam"]).code(0);
    bench.run(["cam", "--boxes", "--save=cam", "--box-threshold=0.3", "--resume"]).code(1).says(&[
        "boxes.thresholds",
        "[0.2]",
        "[0.3]",
    ]);
}
