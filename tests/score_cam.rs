//! Methods that score masked images, and smoothing: what the engine makes of many passes, against plain loops.

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use camshaft::Device;
use camshaft::engine::{Engine, Request};
use camshaft::input::{Picture, Recipe};

fn picture(name: &str) -> Picture {
    Picture::open(&Path::new("assets/demo").join(name)).unwrap()
}

/// The bundled network at a small size, three images a pass.
fn engine(device: Device) -> Engine {
    Engine::builder().device(device).recipe(Recipe::for_size(64).unwrap()).batch(3).build().unwrap()
}

/// Images that are made have the scores of the same images read.
#[test]
fn images_that_are_made_are_scored_like_others() {
    let engine = engine(Device::Cpu);
    let pictures = ["meadow.jpg", "pavement.jpg", "gravel.jpg", "chelsea.jpg"].map(picture);
    let inputs = pictures.each_ref().map(|picture| engine.prepare(picture).unwrap());
    let tensors = inputs.each_ref().map(|input| input.tensor());
    let want = engine.explain(&pictures, &Request::top(1)).unwrap();
    for count in [0, 1, 3, 4] {
        let (made, mut seen) = (AtomicUsize::new(0), 0);
        let make = |at: usize, out: &mut [f32]| {
            made.fetch_add(1, Ordering::Relaxed);
            out.copy_from_slice(&tensors[at]);
        };
        engine
            .score_made([count, 64, 64], make, |at, logits| {
                assert_eq!(at, seen, "in order");
                seen += 1;
                for prediction in &want[at].predictions {
                    assert!((logits[prediction.class] - prediction.logit).abs() < 1e-4, "image {at} of {count}");
                }
            })
            .unwrap();
        assert_eq!((seen, made.into_inner()), (count, count));
    }
    let error = engine.score_made([2, 0, 64], |_, _| (), |_, _| ()).unwrap_err();
    assert!(error.to_string().contains('0'), "{error}");
    let error = engine.score_made([2, 64, 64], |at, out| out.fill(if at == 1 { f32::NAN } else { 0.0 }), |_, _| ()).unwrap_err();
    assert!(matches!(error, camshaft::Error::NotFinite { .. }), "{error}");
}
