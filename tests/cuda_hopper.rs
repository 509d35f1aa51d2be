//! A device of capability 9.0, where kernels of a graph begin before the one before them has ended, and bring their filters nearer
//! meanwhile. A process of its own, because a software device is settled when it is first used.

#![cfg(feature = "cuda")]

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

use camshaft::cam::{Enlarge, Levels, Normalisation, Selection};
use camshaft::cpu::reference;
use camshaft::cuda::variants::Arithmetic;
use camshaft::cuda::{
    Conv2dArgs, Conv2dDirect, Conv2dImplicitGemm, Cuda, CudaError, Element, Epilogue, Linear, LinearArgs, LinearInput,
    LinearShape, Options, SpanMut, Workspace,
};
use camshaft::network::{Conv2dShape, Model, Window};
use camshaft::tensor::{Nhwc, Precision};
use camshaft::weights::WeightFile;
use common::cuda::{Buffer, Device, Guarded, Room, equal, integers, software};
use common::goldens::Golden;
use common::{safetensors_file, seeded};
use cuda_emu::driver::Installed;
use half::f16;

/// The device of these tests, for one at a time, as they share what it reports; `None` on hardware, which is what it is.
fn hopper() -> (Option<Installed>, MutexGuard<'static, ()>) {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    (common::software::device(&[("CUDA_EMU_DEVICE", "H100")]), one)
}

/// A graph finds the same as its kernels do one by one, and no kernel touches what the one before it may still be at.
#[test]
fn a_graph_of_kernels_that_begin_early_finds_the_same() {
    let (device, _one) = hopper();
    let golden = Golden::load("resnet18_w8_c10_97x161_n2_f32");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &golden.net().tensors(), golden.dtype());
    let model = Model::load(WeightFile::open(&path).unwrap()).unwrap();
    for precision in [Precision::F32, Precision::F16, Precision::Bf16, Precision::F16Fast] {
        let cuda = Cuda::new(&model, 0, Options { precision: Some(precision), ..Options::default() }).unwrap();
        for (n, h, w, selection) in [(2, 97, 161, Selection::Top(3)), (1, 33, 40, Selection::Classes(&[3, 0]))] {
            let images = Nhwc::new([n, h, w, 3], seeded::network_input(n, h, w, 3));
            let enlarge = Some(Enlarge { h, w, normalisation: Normalisation::MinMax, levels: Levels::F16 });
            let run = || {
                let mut found = Default::default();
                cuda.run_into(&images, selection, enlarge, &mut found).unwrap();
                found
            };
            let step_by_step: camshaft::cam::Found = run();
            let kernels = take_launches(device, |launch| assert_eq!(launch["programmatic"], false, "{launch}"));
            for _ in 0..2 {
                assert!(run() == step_by_step, "{precision}: the graph finds something else");
                let mut early = 0;
                let launches = take_launches(device, |launch| early += usize::from(launch["programmatic"] == true));
                assert_eq!(launches, kernels);
                assert!(kernels == 0 || early == kernels - 1, "{early} of {kernels} kernels begin early");
            }
        }
    }
    common::software::assert_no_findings(device);
}

/// How many launches there were since the last call, each shown to `visit`; nothing is known of hardware.
fn take_launches(device: Option<Installed>, mut visit: impl FnMut(&serde_json::Value)) -> usize {
    let Some(device) = device else { return 0 };
    let report = device.take_report();
    assert_eq!(report["findings"], serde_json::json!([]));
    let launches = report["launches"].as_array().unwrap();
    launches.iter().for_each(&mut visit);
    launches.len()
}

/// Runs one convolution with operands that end where memory does, and compares with the definition.
fn convolve<T: Element + Guarded>(
    device: &Device,
    shape: &Conv2dShape,
    launch: impl FnOnce(Conv2dArgs<'_, T>) -> Result<(), CudaError>,
) {
    let (room, outputs) = (Room::Exact, shape.output().iter().product());
    let (x, w) = (integers(1, shape.n() * shape.h() * shape.w() * shape.c(), 2), integers(2, shape.k() * shape.gemm_k(), 1));
    let bias = integers(3, shape.k(), 9);
    let sums = reference::conv2d(shape, &x, &w, None);
    let want: Vec<f32> = sums.iter().enumerate().map(|(index, sum)| sum + bias[index % shape.k()]).collect();
    let (x, w) = (Buffer::<T>::new(device, &x, room), Buffer::<T>::new(device, &w, room));
    let (bias, mut y) = (Buffer::<f32>::new(device, &bias, room), Buffer::<T>::output(device, outputs, room));
    let epilogue = Epilogue::Bias { bias: bias.span(device) };
    launch(Conv2dArgs { shape, x: x.span(device), w: w.span(device), epilogue, y: y.span_mut(device) }).unwrap();
    equal(&format!("{shape:?}"), &y.values(device), &want);
}

/// What is brought nearer is there: the software device faults where it is not.
#[test]
fn prefetches_end_where_the_parameters_do() {
    let (installed, _one) = hopper();
    let device = Device::open();
    assert!(device.modules.capability() >= 90 || !software(), "capability {}", device.modules.capability());
    let shape = |image, k, size| Conv2dShape::new(image, k, Window { size, stride: 1, pad: 1 }).unwrap();
    // Filters that fill no tile, a depth that fills no step, and more blocks of rows, columns and parts than one.
    for shape in [shape([2, 9, 9, 64], 72, (3, 3)), shape([1, 5, 5, 8], 136, (3, 3)), shape([1, 3, 4, 64], 8, (1, 1))] {
        for variant in Conv2dImplicitGemm::variants(device.modules.capability(), Arithmetic::F16) {
            let kernel = Conv2dImplicitGemm::new(&device.modules, variant).unwrap();
            if kernel.can_run(shape).is_err() {
                continue;
            }
            for splits in [1, 3] {
                let size = kernel.workspace(&shape, splits);
                let mut partials = Buffer::<f32>::output(&device, size.partials.max(1), Room::Exact);
                let mut counters = Buffer::<i32>::new(&device, &vec![0.0; size.counters.max(1)], Room::Exact);
                let counters = counters.span_mut(&device);
                // SAFETY: the same words, of the same size; the former span is used no more.
                let counters = unsafe { SpanMut::from_raw(counters.address(), counters.len()) };
                let mut workspace = Workspace { partials: partials.span_mut(&device), counters };
                convolve::<f16>(&device, &shape, |args| kernel.launch_split(&device.stream, args, splits, &mut workspace));
            }
        }
        let direct = Conv2dDirect::new(&device.modules).unwrap();
        convolve::<f32>(&device, &shape, |args| direct.launch(&device.stream, args));
    }
    for k in [10, 1000] {
        let (n, positions, c, room) = (2, 4, 72, Room::Exact);
        let (x, w) = (integers(4, n * positions * c, 4), integers(5, k * c, 2));
        let bias = integers(6, k, 9);
        let mean = |image: usize, channel: usize| {
            (0..positions).map(|at| x[(image * positions + at) * c + channel]).sum::<f32>() / positions as f32
        };
        let row = |image: usize, class: usize| (0..c).map(|channel| mean(image, channel) * w[class * c + channel]).sum::<f32>();
        let want: Vec<f32> = (0..n * k).map(|at| row(at / k, at % k) + bias[at % k]).collect();
        let (of_x, of_w) = (Buffer::<f16>::new(&device, &x, room), Buffer::<f16>::new(&device, &w, room));
        let (of_bias, mut of_mean) = (Buffer::<f32>::new(&device, &bias, room), Buffer::<f32>::output(&device, n * c, room));
        let mut y = Buffer::<f32>::output(&device, n * k, room);
        let input = LinearInput::Features { x: of_x.span(&device), mean: of_mean.span_mut(&device) };
        let shape = LinearShape { n, positions, c, k };
        let args = LinearArgs { shape, input, w: of_w.span(&device), bias: of_bias.span(&device), y: y.span_mut(&device) };
        Linear::<f16>::new(&device.modules).unwrap().launch(&device.stream, args).unwrap();
        equal("linear", &y.values(&device), &want);
    }
    common::software::assert_no_findings(installed);
}
