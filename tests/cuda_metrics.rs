//! Measures of maps through the engine on a CUDA device, against the same on the processor.

#![cfg(feature = "cuda")]

mod common;

use std::path::Path;

use camshaft::input::{Picture, Recipe};
use camshaft::metrics::{Metric, Options, Probe, measure};
use camshaft::tensor::Precision;
use camshaft::{Device, Engine, Request};
use common::software;

#[test]
fn measures_are_the_same_on_either_device() {
    let installed = software::device(&[]);
    let picture = Picture::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/pavement.jpg")).unwrap();
    let mut options = Options::default();
    (options.steps, options.removed) = (2, vec![40.0]);
    let metrics = &Metric::ALL[..5];
    let on = |device| {
        let engine = Engine::builder().device(device).precision(Precision::F32).recipe(Recipe::for_size(64).unwrap()).batch(4);
        let engine = engine.build().unwrap_or_else(|error| panic!("{error}"));
        let explanation = engine.explain(std::slice::from_ref(&picture), &Request::classes(["dog"])).unwrap().remove(0);
        let probe = Probe::new(&engine, &explanation, 0);
        let measured = measure(&probe, &[&explanation.maps[0]], None, metrics, &options).unwrap().remove(0);
        metrics.iter().map(|&metric| measured.value(metric).unwrap()).collect::<Vec<_>>()
    };
    let (cuda, cpu) = (on(Device::Cuda(0)), on(Device::Cpu));
    for ((metric, cuda), cpu) in metrics.iter().zip(&cuda).zip(&cpu) {
        // Maps of the two differ in their last bits, so that a few pixels that are nearly alike change places.
        assert!((cuda - cpu).abs() < 1e-3, "{metric}: {cuda} on the device, {cpu} on the processor");
    }
    software::assert_no_findings(installed);
}
