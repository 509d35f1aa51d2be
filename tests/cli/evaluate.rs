//! `camshaft evaluate`: measures of many maps, annotations, and what goes wrong with them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::program::{Bench, Ran, bundled, png};

/// A folder with the first scenes of `tests/pointing`, and their annotations.
fn scenes(bench: &Bench, count: usize) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pointing");
    fs::create_dir_all(bench.at("scenes")).unwrap();
    for number in 0..count {
        for end in ["jpg", "mask.png"] {
            let name = format!("{number:02}.{end}");
            fs::copy(from.join(&name), bench.at("scenes").join(&name)).unwrap();
        }
    }
    let all: Value = serde_json::from_slice(&fs::read(from.join("annotations.json")).unwrap()).unwrap();
    bench.file("scenes/masks.json", json!(all.as_array().unwrap()[..count]).to_string());
}

/// The summary, which is the last line, and the lines before it.
fn lines(ran: &Ran) -> (Vec<Value>, Value) {
    let mut lines = ran.json();
    let last = lines.pop().unwrap();
    (lines, last["summary"].clone())
}

fn mean(summary: &Value, method: usize, metric: &str) -> f64 {
    summary["methods"][method]["metrics"][metric]["mean"].as_f64().unwrap_or_else(|| panic!("no {metric}: {summary}"))
}

#[test]
fn annotated_scenes_as_json_and_as_a_table() {
    let bench = Bench::new();
    scenes(&bench, 4);
    let arguments = ["evaluate", "scenes", "-a", "scenes/masks.json", "-m", "cam,randomcam", "--steps=2", "--removed=50"];
    let ran = bench.run([&arguments[..], &["--json"]].concat()).code(0);
    let (images, summary) = lines(&ran);
    assert_eq!(images.len(), 4);
    // One, two, three, one objects.
    let classes: Vec<&Value> = images.iter().flat_map(|image| image["classes"].as_array().unwrap()).collect();
    assert_eq!(classes.len(), 7);
    assert_eq!(images[1]["classes"][1]["name"], "boot");
    assert_eq!((&summary["images"], &summary["failed"], &summary["complete"]), (&json!(4), &json!(0), &json!(true)));
    for (method, name) in ["cam", "randomcam"].iter().enumerate() {
        assert_eq!(summary["methods"][method]["method"], *name);
        for metric in ["average-drop", "increase", "insertion", "deletion", "road", "pointing", "box-iou", "mask-iou"] {
            let values: Vec<f64> = classes
                .iter()
                .map(|class| class["methods"][method][metric].as_f64().unwrap_or_else(|| panic!("{metric}")))
                .collect();
            let want = values.iter().sum::<f64>() / 7.0;
            assert!((mean(&summary, method, metric) - want).abs() < 1e-9, "{name} {metric}");
            assert_eq!(summary["methods"][method]["metrics"][metric]["maps"], 7);
        }
        assert!((0.0..=1.0).contains(&mean(&summary, method, "max-box-acc")));
    }
    assert!(mean(&summary, 0, "pointing") > mean(&summary, 1, "pointing"), "{summary}");
    assert!(mean(&summary, 0, "deletion") < mean(&summary, 1, "deletion"), "{summary}");

    let ran = bench.run(arguments).code(0).says(&["4 inputs without annotations are left out", "00.mask.png"]);
    let rows: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 4, "{}", ran.stdout);
    assert_eq!(rows[0][..3], ["method", "average-drop", "increase"]);
    assert_eq!(rows[1][..3], ["(better)", "lower", "higher"]);
    for (method, row) in rows[2..].iter().enumerate() {
        for (metric, cell) in rows[0].iter().zip(row).skip(1).take(9) {
            assert_eq!(*cell, format!("{:.3}", mean(&summary, method, metric)), "{metric}");
        }
        assert_eq!(row.last(), Some(&"7"));
    }
    // Without inputs, the annotated images themselves; of one class only.
    let ran = bench.run(["evaluate", "-a", "scenes/masks.json", "-c", "boot", "--metrics=pointing", "--json"]).code(0);
    let (images, summary) = lines(&ran);
    assert_eq!((images.len(), &summary["methods"][0]["metrics"]["pointing"]["maps"]), (1, &json!(1)));
}

#[test]
fn without_annotations_the_most_probable_class_or_one_that_is_named() {
    let bench = Bench::new();
    bench.file("a/1.png", png(0, 60, 40));
    bench.file("a/2.png", png(1, 50, 70));
    bench.file("a/bad.jpg", "no picture");
    let arguments = ["evaluate", "a", "--compare=cam,gradcam", "--metrics=average-drop,deletion", "--steps=2", "--json"];
    let ran = bench.run(arguments).code(1).says(&["bad.jpg", "1 of 3 inputs failed"]);
    let (images, summary) = lines(&ran);
    assert_eq!(images[2]["status"], "error");
    assert_eq!((&summary["images"], &summary["failed"]), (&json!(3), &json!(1)));
    assert_eq!(summary["options"]["steps"], 2);
    assert_eq!(images[0]["classes"].as_array().unwrap().len(), 1);
    let found = &images[0]["classes"][0]["methods"][0];
    assert!(found["deletion"].is_f64() && found.get("road").is_none(), "{found}");
    let ran = bench.run([&arguments[..], &["-c", "dog", "-c", "3"]].concat()).code(1);
    let (images, _) = lines(&ran);
    let classes: Vec<_> = images[0]["classes"].as_array().unwrap().iter().map(|class| class["class"].as_u64().unwrap()).collect();
    assert_eq!(classes, [0, 3]);
    // A library's maps: none of those that it does not have, and its name in the summary.
    let ran =
        bench.run(["evaluate", "a/1.png", "--compare=all", "--compat=torchcam", "--metrics=deletion", "--steps=2", "--json"]);
    let (_, summary) = lines(&ran.code(0));
    assert_eq!((&summary["options"]["library"], summary["methods"].as_array().unwrap().len()), (&json!("torchcam"), 6));
    bench
        .run(["evaluate", "a/1.png", "-m", "eigencam", "--compat=torchcam"])
        .code(2)
        .says(&["torchcam has no method `eigencam`"]);
    // The bundled picture, where nothing is given.
    let ran = bench.run(["evaluate", "--metrics=increase"]).code(0);
    assert!(ran.stdout.contains("increase") && ran.stdout.lines().count() == 3, "{}", ran.stdout);
    assert_eq!(bench.list("."), ["a/"], "nothing is written");
}

#[test]
fn boxes_in_every_form_find_the_same() {
    let bench = Bench::new();
    let photo = bundled("meadow.jpg");
    fs::copy(&photo, bench.at("meadow.jpg")).unwrap();
    fs::create_dir(bench.at("deep")).unwrap();
    fs::copy(&photo, bench.at("deep/meadow.jpg")).unwrap();
    bench.file("b.csv", "image,class,x0,y0,x1,y1\ndeep/meadow.jpg,umbrella,140,180,290,380\n");
    bench.file("b.json", r#"[{"image": "./deep/meadow.jpg", "objects": [{"class": 34, "box": [140, 180, 290, 380]}]}]"#);
    bench.file(
        "b.coco",
        r#"{"images": [{"id": 1, "file_name": "deep/meadow.jpg"}], "categories": [{"id": 5, "name": "umbrella"}],
            "annotations": [{"image_id": 1, "category_id": 5, "bbox": [140, 180, 150, 200]}]}"#,
    );
    let found: Vec<_> = ["b.csv", "b.json", "b.coco"]
        .iter()
        .map(|form| {
            let metrics = "--metrics=pointing,box-iou,max-box-acc,mask-iou";
            let ran = bench.run(["evaluate", "meadow.jpg", "deep", "-a", form, metrics, "--json"]).code(0);
            lines(&ran).1
        })
        .collect();
    assert_eq!(found[0]["methods"], found[1]["methods"]);
    assert_eq!(found[0]["methods"], found[2]["methods"]);
    assert_eq!(mean(&found[0], 0, "pointing"), 1.0);
    // The box of the CAM paper's rule, as `camshaft cam --boxes` has it.
    bench.run(["cam", "meadow.jpg", "-c", "umbrella", "--boxes", "--save=cam"]).code(0);
    let manifest = bench.manifest("camshaft-out");
    let found_box = &manifest["images"][0]["results"][0]["boxes"][0]["original"];
    let [x0, y0, x1, y1] = ["x0", "y0", "x1", "y1"].map(|edge| found_box[edge].as_f64().unwrap());
    let inside = (x1.min(290.0) - x0.max(140.0)) * (y1.min(380.0) - y0.max(180.0));
    let want = inside / ((x1 - x0) * (y1 - y0) + 150.0 * 200.0 - inside);
    assert!((mean(&found[0], 0, "box-iou") - want).abs() < 1e-9);
    assert!(found[0]["methods"][0]["metrics"].get("mask-iou").is_none(), "boxes have no pixels");
}

#[test]
fn mistakes_are_named_with_the_way_out() {
    let bench = Bench::new();
    bench.file("a/1.png", png(0, 60, 40));
    bench.run(["evaluate", "a", "--metrics=pointng"]).code(2).says(&["pointng", "similar", "pointing"]);
    bench.run(["evaluate", "a", "--metrics=pointing"]).code(2).says(&["`pointing` asks where objects are", "--annotations"]);
    bench.run(["evaluate", "a", "-c", "dgo"]).code(2).says(&["`dgo`", "camshaft labels"]);
    bench.run(["evaluate", "a", "--removed=100"]).code(2).says(&["less than 100"]);
    bench.run(["evaluate", "a", "--tolerance=-1"]).code(2).says(&["0 or more"]);
    bench.run(["evaluate", "a", "-m", "scorcam"]).code(2).says(&["scorcam"]);
    bench.run(["evaluate", "a", "-a", "none.json"]).code(1).says(&["none.json", "cannot read"]);
    for (name, text, parts) in [
        ("class.csv", "image,class,x0,y0,x1,y1\n1.png,drum,0,0,5,5\n1.png,drun,0,0,5,5\n", &["line 3", "drun", "39 (drum)"][..]),
        ("form.json", "[{\"image\": 5}]", &["image 1", "expected path string"]),
        ("place.json", r#"[{"image": "1.png", "objects": [{"class": "drum"}]}]"#, &["object 1", "expected a box or a mask"]),
        ("other.csv", "image,class,x0,y0,x1,y1\n2.png,drum,0,0,5,5\n", &["no input is annotated", "a/1.png", "2.png"]),
    ] {
        bench.file(name, text);
        bench.run(["evaluate", "a", "-a", name, "--metrics=pointing"]).code(1).says(&[&[name], parts].concat());
    }
    // What is wrong with one image leaves the others alone.
    bench.file("a/2.png", png(1, 50, 70));
    bench.file("a/3.png", png(1, 50, 70));
    bench.file("m/wide.png", png_mask(9, 4));
    bench.file(
        "mixed.csv",
        "image,class,x0,y0,x1,y1,mask,value\n1.png,drum,0,0,60,40,,\n2.png,drum,60,0,70,40,,\n3.png,drum,,,,,m/wide.png,1\n4.png,drum,0,0,9,9,,\n",
    );
    let ran = bench.run(["evaluate", "a", "-a", "mixed.csv", "--metrics=pointing", "--json"]).code(1).says(&[
        "a/2.png: mixed.csv: line 3: the box from (60, 0) to (70, 40)",
        "50x70",
        "a/3.png: mixed.csv: line 4: the mask is 9x4 pixels",
        "224x224",
        "1 annotated images are not among the inputs: 4.png",
        "2 of 3 inputs failed",
    ]);
    assert_eq!(lines(&ran).1["methods"][0]["metrics"]["pointing"]["maps"], 1);
    bench.file("value.csv", "image,class,mask,value\n3.png,drum,m/wide.png,7\n");
    bench.run(["evaluate", "a/3.png", "-a", "value.csv"]).code(1).says(&["m/wide.png", "no pixel has the value 7", "[0, 1]"]);
    // A name that two inputs have.
    bench.file("b/1.png", png(0, 60, 40));
    bench.file("twice.csv", "image,class,x0,y0,x1,y1\n1.png,drum,0,0,60,40\n");
    bench.run(["evaluate", "a", "b", "-a", "twice.csv"]).code(1).says(&["a/1.png", "b/1.png", "more of its path"]);
}

/// A grey picture of zeros and ones.
fn png_mask(w: u32, h: u32) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let mask = image::GrayImage::from_fn(w, h, |x, y| image::Luma([((x + y) % 2) as u8]));
    mask.write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}
