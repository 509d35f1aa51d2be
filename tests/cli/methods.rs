//! Methods, targets, contact sheets and the ways of other libraries.

use serde_json::Value;

use crate::program::Bench;

fn results(manifest: &Value) -> &Vec<Value> {
    manifest["images"][0]["results"].as_array().unwrap()
}

#[test]
fn every_method_side_by_side() {
    let bench = Bench::new();
    bench.run(["cam", "-c", "dog", "--compare", "all", "--save", "cam"]).code(0);
    let manifest = bench.manifest("camshaft-out");
    let names: Vec<_> = results(&manifest).iter().map(|entry| entry["method"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 14);
    assert_eq!(manifest["method"], names.join(",").as_str());
    assert_eq!(results(&manifest)[0]["normalisation"], "minmax");
    assert_eq!(results(&manifest)[1]["normalisation"], "relu-minmax");
    let map = |name: &str| bench.npy(&format!("camshaft-out/meadow.0-dog{name}.cam.npy"));
    // Grad-CAM is the class activation map divided by the number of positions.
    let (cam, gradcam) = (map(""), map(".gradcam"));
    for (cam, gradcam) in cam.data().iter().zip(gradcam.data()) {
        assert!((cam / 49.0 - gradcam).abs() <= 1e-6 * cam.abs().max(1.0), "{cam} {gradcam}");
    }
    assert_eq!(map(".gradcam").data(), map(".hirescam").data());
    assert!(map(".gradcampp").data().iter().all(|&v| v >= 0.0));
    // Two rows of seven beside the crop: 224 pixels, two lines of 18, gaps of 8.
    assert_eq!(manifest["images"][0]["grid"], "meadow.grid.png");
    assert_eq!(bench.png("camshaft-out/meadow.grid.png").dimensions(), (8 * 232 + 8, 2 * (224 + 2 * 18 + 8) + 8));
}

#[test]
fn a_sheet_of_classes() {
    let bench = Bench::new();
    bench.run(["cam", "--top=2", "--grid", "--save=cam"]).code(0);
    let sheet = bench.png("camshaft-out/meadow.grid.png");
    assert_eq!(sheet.dimensions(), (3 * 232 + 8, 224 + 2 * 18 + 8 + 8));
    // The first picture is the crop, and words stand above it.
    assert!(sheet.enumerate_pixels().any(|(x, y, pixel)| x < 100 && y < 26 && pixel.0[0] < 80));
    bench.run(["cam", "--top=2", "--save=cam", "-o", "plain"]).code(0);
    assert!(bench.manifest("plain")["images"][0].get("grid").is_none());
}

#[test]
fn classes_weighed_against_each_other() {
    let bench = Bench::new();
    let ran = bench
        .run(["cam", "-c", "dog - lion", "-c", "dog", "-c", "lion", "--class=-dog", "--save=cam", "-m", "cam,gradcam"])
        .code(0);
    assert!(ran.stdout.contains("dog - lion"), "{}", ran.stdout);
    let manifest = bench.manifest("camshaft-out");
    let targets: Vec<_> = results(&manifest).iter().step_by(2).map(|entry| entry["target"].as_str().unwrap()).collect();
    assert_eq!(targets, ["dog - lion", "dog", "lion", "-dog"]);
    let map = |at: usize| bench.npy(&format!("camshaft-out/{}", results(&manifest)[at]["artifacts"]["cam"].as_str().unwrap()));
    let (contrast, dog, lion, against) = (map(0), map(2), map(4), map(6));
    for at in 0..49 {
        let (dog, lion) = (dog.data()[at], lion.data()[at]);
        assert!((contrast.data()[at] - (dog - lion)).abs() <= 1e-4, "{at}");
        assert_eq!(against.data()[at], -dog);
    }
    let value = |at: usize| results(&manifest)[at]["value"].as_f64().unwrap();
    assert!((value(0) - (value(2) - value(4))).abs() < 1e-5);

    bench.run(["cam", "--top=1", "--score=probability", "--save=cam", "-o", "p"]).code(0);
    let manifest = bench.manifest("p");
    let entry = &results(&manifest)[0];
    assert!((entry["value"].as_f64().unwrap() - entry["probability"].as_f64().unwrap()).abs() < 1e-6);
    assert_eq!(manifest["score"], "probability");
}

#[test]
fn other_libraries_ways() {
    let bench = Bench::new();
    for (library, alpha) in [("torchcam", 0.3), ("grad-cam", 0.5)] {
        bench.run(["cam", "--top=1", "--compat", library, "-m", "gradcam", "-o", library]).code(0);
        let manifest = bench.manifest(library);
        assert_eq!(manifest["compat"], library);
        assert!((manifest["display"]["alpha"].as_f64().unwrap() - alpha).abs() < 1e-6);
        let artifacts = &results(&manifest)[0]["artifacts"];
        let map = bench.npy(&format!("{library}/{}", artifacts["cam"].as_str().unwrap()));
        let most = map.data().iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert!((most - 1.0).abs() < 1e-5 && map.data().iter().all(|&v| v >= 0.0), "{library}: {most}");
        let full = bench.npy(&format!("{library}/{}", artifacts["cam_full"].as_str().unwrap()));
        assert_eq!((full.h(), full.w()), (224, 224));
        assert_eq!(bench.png(&format!("{library}/{}", artifacts["overlay"].as_str().unwrap())).dimensions(), (224, 224));
    }
    bench.run(["cam", "--compat=grad-cam"]).code(2).says(&["grad-cam has no method `cam`", "gradcam++"]);
    bench.run(["cam", "--compat=torchcam", "-m=eigencam"]).code(2).says(&["torchcam has no method `eigencam`"]);
    bench.run(["cam", "--compat=torchcam", "--view=original"]).code(2).says(&["--compat", "--view"]);
    bench.run(["cam", "--compat=torchcam", "--normalise=none"]).code(2);
}

#[test]
fn what_cannot_be_asked() {
    let bench = Bench::new();
    bench.run(["cam", "-m", "gradcamm"]).code(2).says(&["gradcamm", "gradcam"]);
    bench.run(["cam", "-m", "fem", "-c", "dog - lion"]).code(2).says(&["--method", "`fem` looks at no class"]);
    bench.run(["cam", "-m", "finercam", "--score=probability"]).code(2).says(&["`finercam`", "one class"]);
    bench.run(["cam", "-c", "dog - wolff"]).code(2).says(&["--class", "`wolff`", "camshaft labels"]);
    bench.run(["cam", "-c", "dog - dog"]).code(2).says(&["class 0 stands in one target twice"]);
    // Everything that can answer, and nothing else.
    bench.run(["cam", "-c", "dog - lion", "--compare=all", "--save=cam", "-o", "c"]).code(0);
    assert_eq!(results(&bench.manifest("c")).len(), 10);
    bench.run(["cam", "--top=1", "--compare=all", "--compat=torchcam", "--save=cam", "-o", "t"]).code(0);
    assert_eq!(results(&bench.manifest("t")).len(), 6);
    assert!(bench.list(".").iter().all(|name| ["c/", "t/"].contains(&name.as_str())), "{:?}", bench.list("."));
}

/// Many passes, one run for all classes, and the record of it.
#[test]
fn masked_images() {
    let bench = Bench::new();
    let small = ["cam", "--size=64", "--save=cam", "--grid"];
    let methods = ["-m", "scorecam,iscam,cam", "--samples=2"];
    let ran = bench.run(small.iter().chain(&methods).chain(&["-k2", "-o", "two"])).code(0);
    let manifest = bench.manifest("two");
    let forwards = manifest["images"][0]["forwards"].as_u64().unwrap();
    assert!((100..1000).contains(&forwards), "{forwards}");
    assert!(ran.stderr.contains(&format!("{forwards} forward passes in ")), "{}", ran.stderr);
    let names: Vec<_> = results(&manifest).iter().map(|entry| entry["method"].as_str().unwrap()).collect();
    assert_eq!(names, ["scorecam", "iscam", "cam", "scorecam", "iscam", "cam"]);
    assert_eq!(manifest["masking"], serde_json::json!({ "samples": 2, "deviation": 2.0, "seed": 0 }));
    // A second class costs no pass, and the map of the first is what it is by itself.
    bench.run(small.iter().chain(&methods).chain(&["-k1", "-o", "one"])).code(0);
    let one = bench.manifest("one");
    assert_eq!(one["images"][0]["forwards"], forwards);
    assert_eq!(results(&one)[0]["map"], results(&manifest)[0]["map"]);
    // Settings that make other maps make another run.
    let args = small.iter().chain(&methods[..2]).chain(&["--samples=3", "-k1", "-o", "one", "--resume"]);
    bench.run(args).code(1).says(&["masking.samples"]);
    // What takes one pass says nothing about passes.
    let plain = bench.run(small.iter().chain(&["-o", "plain"])).code(0);
    assert!(!plain.stderr.contains("forward passes"), "{}", plain.stderr);
    let plain = bench.manifest("plain");
    assert_eq!(plain["images"][0]["forwards"], 1);
    assert!(plain.get("masking").is_none());
}

#[test]
fn smoothed_maps() {
    let bench = Bench::new();
    let small = ["cam", "--size=64", "--save=cam,overlay", "-k1", "-m", "gradcam,layercam"];
    bench.run(small.iter().chain(&["-o", "plain"])).code(0);
    let map = |folder: &str| {
        bench.npy(&format!("{folder}/{}", results(&bench.manifest(folder))[0]["artifacts"]["cam"].as_str().unwrap()))
    };
    for (option, field, forwards) in [("--aug-smooth", "aug_smooth", 6), ("--eigen-smooth", "eigen_smooth", 1)] {
        for compat in [None, Some("--compat=grad-cam")] {
            let folder = format!("{field}{}", compat.is_some());
            bench.run(small.iter().chain(&[option, "-o", &folder]).chain(&compat)).code(0);
            let manifest = bench.manifest(&folder);
            assert_eq!((&manifest[field], &manifest["images"][0]["forwards"]), (&true.into(), &forwards.into()), "{folder}");
            assert_ne!(map(&folder).data(), map("plain").data(), "{folder}");
            assert!(map(&folder).data().iter().all(|v| compat.is_none() || (0.0..=1.0).contains(v)), "{folder}");
        }
    }
    bench.run(["cam", "-m", "eigencam", "--eigen-smooth"]).code(2).says(&["--eigen-smooth", "principal component already"]);
    bench.run(["cam", "-m", "gradcam", "--aug-smooth", "--compat=torchcam"]).code(2).says(&["--compat", "does not smooth"]);
    bench.run(["cam", "-m", "sscam", "--noise=-1"]).code(2).says(&["--noise", "not negative"]);
    bench.run(["cam", "-m", "sscam", "--samples=0"]).code(2).says(&["--samples"]);
    bench.run(["cam", "-m", "scorecamm"]).code(2).says(&["scorecamm", "scorecam"]);
}
