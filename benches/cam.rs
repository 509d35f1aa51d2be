//! What the maps of each method cost beside the forward pass that they come from.
//!
//! ```text
//! cargo bench --bench cam
//! ```
//!
//! Weights are seeded, images in about [-2, 2]; a map of each image's most probable class. The ids are `cam/WHAT/NETWORK/nBATCH`,
//! where WHAT is `forward` alone, `METHOD` (maps alone, from features that are there), or `METHOD_probability` (of the class's
//! probability instead of its logit); throughput is in images. A method's share of a pass is its time over that of `forward`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Duration;

use camshaft::cam::{Asked, Head, Masking, Method, Score, Selection, Smoothing, Targets};
use camshaft::cpu::Cpu;
use camshaft::network::Model;
use camshaft::tensor::Nhwc;
use camshaft::weights::WeightFile;
use common::seeded::{Dtype, Net, network_input};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

const BATCH: usize = 8;
const THREADS: usize = 2;

fn cam(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("resnet18.safetensors");
    common::safetensors_file::write(&path, &Net::resnet(18, 1000).tensors(), Dtype::F32);
    let model = Model::load(WeightFile::open(&path).expect("a weight file")).expect("a network");
    let cpu = Cpu::new(&model, Some(THREADS)).expect("a backend");
    let (weights, bias) = model.classifier().expect("a classifier");
    let head = Head::new(weights, bias);
    let images = Nhwc::new([BATCH, 224, 224, 3], network_input(BATCH, 224, 224, 1));

    let mut group = criterion.benchmark_group("cam");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1)).throughput(Throughput::Elements(BATCH as u64));
    let id = |what: &str| BenchmarkId::new(format!("{what}/resnet18"), format!("n{BATCH}"));
    group.bench_function(id("forward"), |bencher| bencher.iter(|| cpu.forward(&images).expect("a result")));
    let pass = cpu.forward(&images).expect("a result");
    for score in [Score::Logit, Score::Probability] {
        for &method in Method::ONE_PASS {
            let targets = Targets::Top(1, score);
            let (smoothing, masking) = (Smoothing::default(), Masking::default());
            let asked = Asked { targets, methods: vec![method], library: None, own_normalisation: false, smoothing, masking };
            if score != Score::Logit && (!method.looks_at_classes() || method == Method::FinerCam) {
                continue; // these explain the logit of one class
            }
            let what = if score == Score::Logit { method.to_string() } else { format!("{method}_{score}") };
            group.bench_function(id(&what), |bencher| {
                bencher.iter(|| cpu.maps(&head, &pass, Selection::Asked(&asked)).expect("maps"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, cam);
criterion_main!(benches);
