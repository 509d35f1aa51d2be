//! What the reduced precisions cost on pictures: the bundled model on the bundled scenes, on a CUDA device in each of them against
//! f32 on the processor. docs/performance.md holds the figures of all scenes, which take minutes on the software device:
//! `cargo test --test cuda_precision -- --ignored --nocapture`.

#![cfg(feature = "cuda")]

mod common;

use std::path::Path;

use camshaft::input::Picture;
use camshaft::metrics::Annotations;
use camshaft::tensor::Precision;
use camshaft::{Device, Engine, Request};
use common::software;

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Of two runs over some scenes.
#[derive(Debug)]
struct Agreement {
    scenes: usize,
    /// With the same best class.
    top1: usize,
    maps: usize,
    least_cosine: f64,
    mean_cosine: f64,
    /// Largest difference of a probability.
    probability: f32,
}

fn compare(precision: Precision, count: usize) -> Agreement {
    software::device(&[]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pointing");
    let scenes = Annotations::open(&folder.join("annotations.json")).unwrap().images;
    let exact = Engine::builder().device(Device::Cpu).build().unwrap();
    let engine = Engine::builder().device(Device::Cuda(0)).precision(precision).build().unwrap();
    let mut found = Agreement { scenes: 0, top1: 0, maps: 0, least_cosine: 1.0, mean_cosine: 0.0, probability: 0.0 };
    for scene in scenes.iter().take(count) {
        let classes: Vec<&str> = scene.objects.iter().map(|object| &*object.class).collect();
        let [want, got] = [&exact, &engine].map(|engine| {
            let picture = Picture::open(&folder.join(&scene.image)).unwrap();
            engine.explain(&[picture], &Request::classes(classes.iter().copied())).unwrap().remove(0)
        });
        found.scenes += 1;
        found.top1 += usize::from(want.predictions[0].label == got.predictions[0].label);
        assert_eq!(want.maps.len(), got.maps.len());
        for (want, got) in want.maps.iter().zip(&got.maps) {
            assert_eq!(want.prediction.label, got.prediction.label);
            let alike = cosine(want.map.data(), got.map.data());
            assert!(alike.is_finite(), "{}: {}", scene.image.display(), want.prediction.label);
            found.maps += 1;
            found.least_cosine = found.least_cosine.min(alike);
            found.mean_cosine += alike;
            found.probability = found.probability.max((want.prediction.probability - got.prediction.probability).abs());
        }
    }
    found.mean_cosine /= found.maps as f64;
    println!("{}: {found:.6?}", precision.name());
    found
}

/// The least cosine between maps that is tolerated.
const PRECISIONS: [(Precision, f64); 3] = [(Precision::F16, 0.999), (Precision::F16Fast, 0.999), (Precision::Bf16, 0.99)];

#[test]
fn some_scenes_have_the_same_class_and_map() {
    for (precision, least) in PRECISIONS {
        let found = compare(precision, 3);
        assert_eq!(found.top1, found.scenes, "{found:?}");
        assert!(found.least_cosine >= least, "{found:?}");
    }
}

#[test]
#[ignore = "minutes on the software device"]
fn nearly_all_scenes_have_the_same_class_and_map() {
    for (precision, least) in PRECISIONS {
        let found = compare(precision, usize::MAX);
        assert!(found.top1 * 100 >= found.scenes * 98, "{found:?}");
        assert!(found.least_cosine >= least, "{found:?}");
    }
}
