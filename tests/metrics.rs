//! Measures of maps: against pytorch-grad-cam and torchcam (`tests/goldens/make_metrics.py`), and against plain computations.

mod common;

use std::path::Path;

use camshaft::cam::{Library, Map, Method, MethodError, Normalisation, Score, Target};
use camshaft::engine::{ClassMap, Explanation};
use camshaft::input::{CropTransform, Input, Picture};
use camshaft::metrics::{Baseline, Metric, MetricsError, Options, Probe, Subject, Truth, measure, measure_each};
use camshaft::sources::Source;
use camshaft::{Device, Engine, Error, Request};
use common::goldens::Golden;
use common::safetensors_file;
use serde_json::Value;

/// As `mask` in make_metrics.py.
fn ranked(h: usize, w: usize) -> Map {
    let key = |i: usize| {
        let (y, x) = ((i / w) as i64, (i % w) as i64);
        -((y - 30).pow(2) * 3 + (x - 100).pow(2) * 2) * (h * w) as i64 + i as i64
    };
    let mut order: Vec<usize> = (0..h * w).collect();
    order.sort_by_key(|&i| key(i));
    let mut values = vec![0.0; h * w];
    order.into_iter().enumerate().for_each(|(rank, i)| values[i] = rank as f32 / (h * w - 1) as f32);
    Map::new(h, w, values)
}

/// `values` as the map of a class by a method, for an explanation that has it.
fn as_map_of(explanation: &Explanation, class: usize, method: Method, values: Map) -> ClassMap {
    let prediction = explanation.predictions.iter().find(|prediction| prediction.class == class).unwrap().clone();
    ClassMap { prediction, target: Target::of_class(class), method, map: values, ..explanation.maps[0].clone() }
}

/// Inputs without a picture, of normalised values `[h, w, 3]`.
fn input(values: Vec<f32>, h: usize, w: usize) -> Input {
    let size = (w as u32, h as u32);
    let transform = CropTransform { original: size, resized: size, offset: (0, 0), crop: size };
    Input::from_tensor(values, image::RgbImage::new(size.0, size.1), transform).unwrap()
}

fn options(removed: &[f64], steps: usize) -> Options {
    let mut options = Options::default();
    (options.removed, options.steps, options.noise) = (removed.to_vec(), steps, 0.0);
    (options.insertion, options.deletion) = (Baseline::Zero, Baseline::Zero);
    options
}

const FAITHFUL: [Metric; 5] = [Metric::AverageDrop, Metric::Increase, Metric::Insertion, Metric::Deletion, Metric::Road];

/// Probabilities of both sides come from f32 logits of a few units: 1e-5 is a few roundings of these.
#[track_caller]
fn assert_near(what: &str, got: f64, want: f64, allowed: f64) {
    assert!((got - want).abs() <= allowed, "{what}: {got}, expected {want}");
}

#[test]
fn other_libraries_measure_the_same() {
    let goldens: Value = serde_json::from_str(include_str!("goldens/metrics.json")).unwrap();
    let golden = Golden::load(goldens["network"].as_str().unwrap());
    let (h, w) = (golden.meta.h, golden.meta.w);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    safetensors_file::write(&path, &golden.net().tensors(), golden.dtype());
    // Batches that neither begin nor end where a measure does.
    let engine = Engine::builder().weights(Source::Path(path)).device(Device::Cpu).batch(7).build().unwrap();
    let values = golden.input();
    let numbers = |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
    let options = options(&numbers(&goldens["removed"]), goldens["steps"].as_u64().unwrap() as usize);
    let entries = goldens["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 6);
    for entry in entries {
        let (image, class) = (entry["image"].as_u64().unwrap() as usize, entry["class"].as_u64().unwrap() as usize);
        let input = input(values[image * h * w * 3..][..h * w * 3].to_vec(), h, w);
        let explanation = engine.explain_inputs(&[&input], &Request::top(1)).unwrap().remove(0);
        let probe = Probe::new(&engine, &explanation, class);
        let map = as_map_of(&explanation, class, Method::Cam, ranked(h, w));
        let measured = measure(&probe, &[&map], None, &FAITHFUL, &options).unwrap().remove(0);
        let want = |name: &str| entry[name].as_f64().unwrap();
        let near = |name: &str, got: f64| assert_near(&format!("image {image}, class {class}: {name}"), got, want(name), 1e-5);
        near("intact", probe.intact());
        let confidence = measured.confidence.unwrap();
        // pytorch-grad-cam's drop is not divided by the score; torchcam's is, by 1e-7 more.
        near("drop", (confidence.intact - confidence.masked).max(0.0));
        near("avg_drop", confidence.drop() * confidence.intact / (confidence.intact + 1e-7));
        for name in ["increase", "conf_increase"] {
            near(name, measured.value(Metric::Increase).unwrap());
        }
        near("insertion", measured.value(Metric::Insertion).unwrap());
        near("deletion", measured.value(Metric::Deletion).unwrap());
        let road = measured.road.as_ref().unwrap();
        for (name, got) in [("most", &road.most), ("least", &road.least)] {
            let want = numbers(&entry[name]);
            assert_eq!(got.len(), want.len());
            for (percent, (got, want)) in options.removed.iter().zip(got.iter().zip(want)) {
                assert_near(&format!("image {image}, class {class}: {name} {percent} %"), *got, want, 1e-5);
            }
        }
        let mean = |name: &str| numbers(&entry[name]).iter().sum::<f64>() / options.removed.len() as f64;
        assert_near("combined", measured.value(Metric::Road).unwrap(), 0.5 * (mean("least") - mean("most")), 1e-5);
    }
}

/// What torchcam and pytorch-grad-cam would call the same image, on which the measures are then done by hand.
struct Scene {
    engine: Engine,
    explanation: Explanation,
}

impl Scene {
    fn new(methods: &[Method]) -> Self {
        let engine = Engine::builder().device(Device::Cpu).batch(3).build().unwrap();
        let picture = Picture::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/meadow.jpg")).unwrap();
        let request = Request::classes(["grapes"]).methods(methods.iter().copied());
        let explanation = engine.explain(&[picture], &request).unwrap().remove(0);
        Self { engine, explanation }
    }

    fn class(&self) -> usize {
        self.explanation.maps[0].prediction.class
    }

    /// The class's probability where the network reads `values`.
    fn probability(&self, values: Vec<f32>) -> f64 {
        let found = self.engine.explain_inputs(&[&input(values, 224, 224)], &Request::top(0)).unwrap().remove(0);
        f64::from(found.predictions.iter().find(|prediction| prediction.class == self.class()).unwrap().probability)
    }
}

#[test]
fn several_maps_in_one_run_are_measured_as_each_by_hand() {
    let methods = [Method::Cam, Method::LayerCam, Method::EigenCam];
    let scene = Scene::new(&methods);
    let image = scene.explanation.input.tensor().into_owned();
    let probe = Probe::new(&scene.engine, &scene.explanation, scene.class());
    assert_near("intact", probe.intact(), scene.probability(image.clone()), 1e-6);
    let maps: Vec<&ClassMap> = scene.explanation.maps.iter().collect();
    let measured = measure(&probe, &maps, None, &FAITHFUL[..4], &options(&[], 3)).unwrap();
    assert_eq!(measured.len(), 3);
    for (map, measured) in maps.iter().zip(&measured) {
        let shown = map.map.upsample(224, 224).normalise(map.method.normalisation()).unwrap();
        let masked = image.iter().enumerate().map(|(i, v)| v * shown.data()[i / 3]).collect();
        assert_near("masked", measured.confidence.unwrap().masked, scene.probability(masked), 1e-6);
        let mut pixels: Vec<usize> = (0..224 * 224).collect();
        let values = map.map.upsample(224, 224);
        pixels.sort_by(|&a, &b| values.data()[b].total_cmp(&values.data()[a]).then(a.cmp(&b)));
        let third = (224usize * 224).div_ceil(3);
        let scores: Vec<f64> = [third, 2 * third, 224 * 224]
            .iter()
            .map(|&gone| {
                let mut left = image.clone();
                pixels[..gone].iter().for_each(|&pixel| left[3 * pixel..][..3].fill(0.0));
                scene.probability(left)
            })
            .collect();
        let curve = measured.deletion.as_ref().unwrap();
        for (got, want) in curve.scores.iter().zip([&[probe.intact()], &scores[..]].concat()) {
            assert_near("deletion", *got, want, 1e-6);
        }
        let inserted = measured.insertion.as_ref().unwrap();
        assert_near("what is not there", inserted.scores[0], scores[2], 1e-6);
        assert_near("all of it", *inserted.scores.last().unwrap(), probe.intact(), 1e-12);
        assert_near("by rectangles", curve.area(), (0..3).map(|i| (curve.scores[i] + curve.scores[i + 1]) / 6.0).sum(), 1e-4);
        assert!(measured.road.is_none() && measured.pointing.is_none());
    }
    // A map that is there twice is measured once, and each keeps its place.
    let again = measure(&probe, &[maps[2], maps[1], maps[2]], None, &FAITHFUL[..1], &options(&[], 3)).unwrap();
    let masked: Vec<_> = again.iter().map(|measured| measured.confidence).collect();
    assert_eq!(masked, [2, 1, 2].map(|at: usize| measured[at].confidence));
}

#[test]
fn a_good_map_is_better_than_its_opposite_and_noise_is_repeatable() {
    let scene = Scene::new(&[Method::Cam]);
    let probe = Probe::new(&scene.engine, &scene.explanation, scene.class());
    let cam = &scene.explanation.maps[0];
    let opposite = Map::new(7, 7, cam.map.data().iter().map(|v| -v).collect());
    let opposite = as_map_of(&scene.explanation, scene.class(), Method::Cam, opposite);
    let mut options = Options::default();
    (options.removed, options.steps) = (vec![20.0, 50.0], 5);
    let [good, bad] = &measure(&probe, &[cam, &opposite], None, &FAITHFUL, &options).unwrap()[..] else { panic!("two maps") };
    for metric in [Metric::AverageDrop, Metric::Insertion, Metric::Deletion, Metric::Road] {
        let (good, bad) = (good.value(metric).unwrap(), bad.value(metric).unwrap());
        let better = if metric.higher_is_better() { good > bad } else { good < bad };
        assert!(better, "{metric}: {good} for the map, {bad} for its opposite");
    }
    // What is most relevant to one is least relevant to the other; noise differs.
    let (good, bad) = (good.road.as_ref().unwrap(), bad.road.as_ref().unwrap());
    for (a, b) in good.most.iter().chain(&good.least).zip(bad.least.iter().chain(&bad.most)) {
        assert_near("mirrored", *a, *b, 0.05);
    }
    let again = measure(&probe, &[cam], None, &[Metric::Road], &options).unwrap().remove(0);
    assert_eq!(again.road.as_ref().unwrap(), good);
    options.seed = 1;
    let other = measure(&probe, &[cam], None, &[Metric::Road], &options).unwrap().remove(0);
    assert_ne!(other.road.as_ref().unwrap(), good);
}

#[test]
fn constant_maps_are_defined_and_nan_is_not() {
    let scene = Scene::new(&[Method::Cam]);
    let probe = Probe::new(&scene.engine, &scene.explanation, scene.class());
    let map = |values: Vec<f32>| as_map_of(&scene.explanation, scene.class(), Method::Cam, Map::new(1, values.len(), values));
    let options = options(&[50.0], 2);
    let constant = map(vec![3.0]);
    let measured = measure(&probe, &[&constant], None, &FAITHFUL, &options).unwrap().remove(0);
    let nothing = scene.probability(vec![0.0; 224 * 224 * 3]);
    assert_near("a constant map masks everything", measured.confidence.unwrap().masked, nothing, 1e-6);
    assert!(FAITHFUL.iter().all(|&metric| measured.value(metric).is_some_and(f64::is_finite)));
    for metrics in [&FAITHFUL[..1], &FAITHFUL[4..], &[]] {
        let error = measure(&probe, &[&constant, &map(vec![1.0, f32::NAN])], None, metrics, &options).unwrap_err();
        assert!(matches!(error, Error::Metrics(MetricsError::Map(_))), "{error}");
    }
    for bad in [0.0, 100.0, -5.0, f64::NAN] {
        let mut options = options.clone();
        options.removed = vec![bad];
        let error = measure(&probe, &[&constant], None, &FAITHFUL, &options).unwrap_err().to_string();
        assert!(error.contains("to be removed"), "{error}");
    }
    let truth =
        Truth::of_boxes(vec![camshaft::cam::PixelBox { x0: 0.0, y0: 0.0, x1: 40.0, y1: 40.0 }], probe.transform()).unwrap();
    let placed = [Metric::Pointing, Metric::BoxIou, Metric::MaxBoxAcc, Metric::MaskIou];
    let measured = measure(&probe, &[&constant], Some(&truth), &placed, &options).unwrap().remove(0);
    assert_eq!(measured.box_ious.as_deref(), Some(&[0.0; 100][..]), "normalised, it is nowhere");
    assert_eq!((measured.mask_iou, measured.pointing), (None, Some(true)));
    assert!(measured.confidence.is_none());
    assert_eq!(Normalisation::MinMax, Method::Cam.normalisation());
}

/// A class that a softmax gives nothing at all: its map can be measured all the same.
#[test]
fn a_probability_of_zero_has_nothing_to_lose() {
    let scene = Scene::new(&[Method::Cam]);
    let mut explanation = scene.explanation.clone();
    explanation.predictions.iter_mut().filter(|prediction| prediction.class == scene.class()).for_each(|p| p.logit = -1e6);
    let probe = Probe::new(&scene.engine, &explanation, scene.class());
    assert_eq!(probe.intact(), 0.0);
    let measured = measure(&probe, &[&explanation.maps[0]], None, &FAITHFUL[..4], &options(&[], 2)).unwrap().remove(0);
    assert_eq!(measured.value(Metric::AverageDrop), Some(0.0));
    assert_eq!(measured.value(Metric::Increase), Some(1.0));
    assert!(measured.value(Metric::Deletion).is_some_and(f64::is_finite));
}

#[test]
fn maps_of_several_classes_in_one_run_are_measured_as_each_by_itself() {
    let engine = Engine::builder().device(Device::Cpu).batch(5).build().unwrap();
    let picture = Picture::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/meadow.jpg")).unwrap();
    let request = Request::top(2).methods([Method::Cam, Method::GradCam, Method::Fem, Method::RandomCam]);
    let explanation = engine.explain(&[picture], &request).unwrap().remove(0);
    let mut options = options(&[30.0, 60.0], 3);
    options.insertion = Baseline::Blur;
    let maps: Vec<&ClassMap> = explanation.maps.iter().collect();
    let target = |map: &ClassMap| Target::of_class(map.prediction.class).with_score(Score::Probability);
    let truth = Truth::of_boxes(
        vec![camshaft::cam::PixelBox { x0: 140.0, y0: 180.0, x1: 290.0, y1: 380.0 }],
        explanation.input.transform(),
    );
    let truth = truth.unwrap();
    let of_class = |map: &ClassMap| (map.prediction.class == maps[0].prediction.class).then_some(&truth);
    let subjects: Vec<Subject<'_>> = maps.iter().map(|&map| Subject { map, target: target(map), truth: of_class(map) }).collect();
    let probe = Probe::new(&engine, &explanation, maps[0].prediction.class);
    let together = measure_each(&probe, &subjects, Metric::ALL, &options).unwrap();
    assert_eq!(together.len(), 8);
    for (map, together) in maps.iter().zip(&together) {
        let probe = Probe::new(&engine, &explanation, map.prediction.class);
        let alone = measure(&probe, &[map], of_class(map), Metric::ALL, &options).unwrap().remove(0);
        for &metric in Metric::ALL {
            match (together.value(metric), alone.value(metric)) {
                (Some(together), Some(alone)) => assert_near(metric.name(), together, alone, 1e-6),
                (together, alone) => assert_eq!(together, alone, "{metric}"),
            }
        }
        assert_eq!(together.box_ious, alone.box_ious);
        assert_eq!(together.pointing.is_some(), of_class(map).is_some());
    }
    // A map that looks at no class is measured by each class's own probability.
    assert_eq!(maps[3].map, maps[7].map);
    assert_ne!(together[3].confidence, together[7].confidence);

    let unknown = Subject { map: maps[0], target: Target::of_class(99_999), truth: None };
    let error = measure_each(&probe, &[unknown], Metric::ALL, &options).unwrap_err();
    assert!(matches!(error, Error::Method(MethodError::NoSuchClass { class: 99_999, .. })), "{error}");
}

#[test]
fn a_measurement_can_be_stopped() {
    let scene = Scene::new(&[Method::Cam]);
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1;
    let probe = Probe::new(&scene.engine, &scene.explanation, scene.class()).stop_when(&stop);
    let options = options(&[], 1000); // of which two are seen
    let error = measure(&probe, &[&scene.explanation.maps[0]], None, &[Metric::Deletion], &options).unwrap_err();
    assert!(matches!(error, Error::Metrics(MetricsError::Stopped)), "{error}");
    assert_eq!(asked.into_inner(), 2);
}

/// What a library's user would measure: the map that it returns or draws, enlarged, as a mask and to rank pixels by.
#[test]
fn maps_of_a_library_are_measured_as_it_shows_them() {
    let scene = Scene::new(&[Method::Cam]);
    let image = scene.explanation.input.tensor().into_owned();
    for &library in Library::ALL {
        let request = Request::classes(["grapes"]).methods([Method::GradCam, Method::XGradCam]).library(library);
        let explanation = scene.engine.explain_inputs(&[&scene.explanation.input], &request).unwrap().remove(0);
        let probe = Probe::new(&scene.engine, &explanation, scene.class());
        let maps: Vec<&ClassMap> = explanation.maps.iter().collect();
        let mut options = options(&[], 2);
        options.library = Some(library);
        let measured = measure(&probe, &maps, None, &FAITHFUL[..4], &options).unwrap();
        for (map, measured) in maps.iter().zip(&measured) {
            let shown = library.show(map.method, std::slice::from_ref(&map.map), 224, 224).unwrap().1;
            let masked = image.iter().enumerate().map(|(i, v)| v * shown.data()[i / 3]).collect();
            assert_near("masked", measured.confidence.unwrap().masked, scene.probability(masked), 1e-6);
            let mut pixels: Vec<usize> = (0..224 * 224).collect();
            pixels.sort_by(|&a, &b| shown.data()[b].total_cmp(&shown.data()[a]).then(a.cmp(&b)));
            let mut left = image.clone();
            pixels[..224 * 112].iter().for_each(|&pixel| left[3 * pixel..][..3].fill(0.0));
            assert_near("deletion", measured.deletion.as_ref().unwrap().scores[1], scene.probability(left), 1e-6);
        }
    }
}
