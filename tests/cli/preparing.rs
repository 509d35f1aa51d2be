//! The options of preprocessing.

use serde_json::{Value, json};

use super::program::{Bench, png, results};

/// Runs with options on a 300x200 picture; returns transform, map size and the recipe.
fn prepared(options: &[&str]) -> (Value, [u64; 2], Value) {
    let bench = Bench::new();
    bench.file("a.png", png(0, 300, 200));
    bench.run([&["cam", "a.png", "--class=0", "--save=cam,cam-full"][..], options].concat()).code(0);
    let manifest = bench.manifest("camshaft-out");
    let entry = &manifest["images"][0];
    let class = &results(entry)[0];
    let size = ["h", "w"].map(|side| class["map_size"][side].as_u64().unwrap());
    let map = |kind: &str| bench.npy(&format!("camshaft-out/{}", class["artifacts"][kind].as_str().unwrap()));
    assert_eq!([map("cam").h() as u64, map("cam").w() as u64], size);
    let crop = ["1", "0"].map(|axis| entry["transform"]["crop"][axis.parse::<usize>().unwrap()].as_u64().unwrap());
    assert_eq!([map("cam_full").h() as u64, map("cam_full").w() as u64], crop, "full size is that of the crop");
    (entry["transform"].clone(), size, manifest["recipe"].clone())
}

fn transform(resized: [u32; 2], offset: [i32; 2], crop: [u32; 2]) -> Value {
    json!({ "original": [300, 200], "resized": resized, "offset": offset, "crop": crop })
}

#[test]
fn sizes_follow_torchvision() {
    assert_eq!(prepared(&[]).0, transform([384, 256], [80, 16], [224, 224]));
    // 160 / 0.875 = 182.86, rounded down; the crop's corner at half of 113 (even) and of 22.
    let (found, map, recipe) = prepared(&["--size=160"]);
    assert_eq!((found, map), (transform([273, 182], [56, 11], [160, 160]), [5, 5]));
    assert_eq!((&recipe["resize"], &recipe["crop"]), (&json!(182), &json!(160)));
    let (found, map, recipe) = prepared(&["--resize=235", "--crop=224", "--interpolation=bicubic"]);
    assert_eq!((found, map), (transform([352, 235], [64, 6], [224, 224]), [7, 7]));
    assert_eq!(recipe["interpolation"], "bicubic");
}

#[test]
fn none_leaves_a_step_out() {
    assert_eq!(prepared(&["--resize=none"]).0, transform([300, 200], [38, -12], [224, 224]), "padded above and below");
    let (found, map, recipe) = prepared(&["--crop=none"]);
    assert_eq!((found, map), (transform([384, 256], [0, 0], [384, 256]), [8, 12]));
    assert_eq!(recipe["crop"], Value::Null);
    let (found, map, _) = prepared(&["--resize=none", "--crop=none"]);
    assert_eq!((found, map), (transform([300, 200], [0, 0], [300, 200]), [7, 10]));
    // The least that there is.
    assert_eq!(prepared(&["--resize=1", "--crop=1"]).1, [1, 1]);
}

/// Without a crop, pictures of several sizes share a run but not a batch.
#[test]
fn pictures_of_different_sizes() {
    let bench = Bench::new();
    let sizes = [(40, 30), (40, 30), (64, 32), (33, 65), (40, 30)];
    let names: Vec<String> = (0..sizes.len()).map(|index| format!("p{index}.png")).collect();
    for (index, (w, h)) in sizes.into_iter().enumerate() {
        bench.file(&names[index], png(index, w, h));
    }
    let options = ["classify", "--json", "--resize=none", "--crop=none", "--top=56"];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let together = bench.run([&options[..], &names].concat()).code(0).json();
    let alone: Vec<_> = names.iter().flat_map(|name| bench.run([&options[..], &[name]].concat()).code(0).json()).collect();
    assert_eq!(together, alone);
}

#[test]
fn nonsense_is_refused_before_the_work() {
    let bench = Bench::new();
    for (options, texts) in [
        (&["--size=0"][..], &["--size is 0", "1 to 4096"][..]),
        (&["--size=5000"], &["--size is 5000"]),
        (&["--resize=0"], &["--resize is 0", "1 to 8192"]),
        (&["--resize=8193"], &["--resize is 8193"]),
        (&["--crop=0"], &["--crop is 0"]),
        (&["--crop=4097"], &["--crop is 4097"]),
        (&["--crop=-5"], &["--crop", "a number of pixels, or none"]),
        (&["--crop=half"], &["--crop", "a number of pixels, or none"]),
        (&["--resize=99999999999999999999"], &["--resize"]),
        (&["--interpolation=lanczos"], &["--interpolation", "bilinear, bicubic"]),
        (&["--size=224", "--crop=224"], &["cannot be used with"]),
        (&["--batch=0"], &["--batch"]),
        (&["--threads=0"], &["--threads"]),
        (&["--threads=1000000"], &["--threads"]),
    ] {
        for command in ["cam", "classify"] {
            bench.run([&[command][..], options].concat()).code(2).says(texts);
        }
    }
    assert!(bench.list(".").is_empty());
}
