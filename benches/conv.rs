//! Convolutions of ResNet-18 by every algorithm of every instruction set that this machine has, beside its multiply-add rate.
//!
//! ```text
//! cargo bench --bench conv -- layer3.0.conv2
//! ```
//!
//! The ids are `conv2d/KERNEL/LAYER/nBATCH`; throughput is in operations, 2 per multiply-add, also where an algorithm needs
//! fewer. The rate printed first is the floor of those that need them all.

use camshaft::bench::fma_rate;
use camshaft::cpu::{Conv2d, Isa};
use camshaft::network::{Conv2dShape, Window};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const THREADS: usize = 2;

/// One layer of each shape: image side, input and output channels, window side, stride.
const LAYERS: [(&str, usize, usize, usize, usize, usize); 11] = [
    ("conv1", 224, 3, 64, 7, 2),
    ("layer1.0.conv1", 56, 64, 64, 3, 1),
    ("layer2.0.conv1", 56, 64, 128, 3, 2),
    ("layer2.0.downsample.0", 56, 64, 128, 1, 2),
    ("layer2.0.conv2", 28, 128, 128, 3, 1),
    ("layer3.0.conv1", 28, 128, 256, 3, 2),
    ("layer3.0.downsample.0", 28, 128, 256, 1, 2),
    ("layer3.0.conv2", 14, 256, 256, 3, 1),
    ("layer4.0.conv1", 14, 256, 512, 3, 2),
    ("layer4.0.downsample.0", 14, 256, 512, 1, 2),
    ("layer4.0.conv2", 7, 512, 512, 3, 1),
];

/// Numbers in [-1, 1], the same at each call.
fn numbers(len: usize) -> Vec<f32> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn convolutions(criterion: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build().expect("threads");
    println!("floor: {:.0} GFLOP/s of multiply-adds in registers, {THREADS} threads", fma_rate(THREADS) / 1e9);
    let mut group = criterion.benchmark_group("conv2d");
    group.sample_size(20);
    for (layer, side, c, k, size, stride) in LAYERS {
        let window = Window { size: (size, size), stride, pad: size / 2 };
        let filter = numbers(k * c * size * size);
        for n in [1, 8] {
            let shape = Conv2dShape::new([n, side, side, c], k, window).expect("a shape");
            let (x, bias) = (numbers(n * side * side * c), numbers(k));
            let mut y = vec![0.0; shape.gemm_m() * k];
            group.throughput(Throughput::Elements(shape.flops()));
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                for conv in pool.install(|| Conv2d::all(isa, &shape, &filter, &bias)) {
                    let id = BenchmarkId::new(conv.kernel(), format!("{layer}/n{n}"));
                    group.bench_function(id, |bencher| bencher.iter(|| pool.install(|| conv.run(&shape, &x, &mut y))));
                }
            }
        }
    }
    group.finish();
}

criterion_group!(benches, convolutions);
criterion_main!(benches);
