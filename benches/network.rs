//! Forward passes of the CPU backend.
//!
//! ```text
//! cargo bench --bench network
//! ```
//!
//! Weights are seeded, images in about [-2, 2]. The ids are `forward/cpu_f32_tTHREADS/NETWORK/nBATCH`; throughput is in images.

#[path = "../tests/common/mod.rs"]
mod common;

use camshaft::cpu::Cpu;
use camshaft::network::Model;
use camshaft::tensor::Nhwc;
use camshaft::weights::WeightFile;
use common::seeded::{Dtype, Net, network_input};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn forward(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("resnet18.safetensors");
    common::safetensors_file::write(&path, &Net::resnet(18, 1000).tensors(), Dtype::F32);
    let model = Model::load(WeightFile::open(&path).expect("a weight file")).expect("a network");
    let mut group = criterion.benchmark_group("forward");
    group.sample_size(20);
    for threads in [1, 2] {
        let cpu = Cpu::new(&model, Some(threads)).expect("a backend");
        for n in [1, 8] {
            let images = Nhwc::new([n, 224, 224, 3], network_input(n, 224, 224, 1));
            group.throughput(Throughput::Elements(n as u64));
            let id = BenchmarkId::new(format!("cpu_f32_t{threads}"), format!("resnet18/n{n}"));
            group.bench_with_input(id, &images, |bencher, images| bencher.iter(|| cpu.forward(images).expect("a result")));
        }
    }
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
