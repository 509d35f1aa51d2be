//! Convolutions whose tiles' depth several blocks share: against the definition, run twice with one workspace, in any order of the
//! blocks, and with sums that only one order of addition gives.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cpu::reference;
use camshaft::cuda::variants::Arithmetic;
use camshaft::cuda::{Conv2dArgs, Conv2dImplicitGemm, CudaError, Epilogue, Workspace};
use camshaft::network::{Conv2dShape, Window};
use common::cuda::{Buffer, Device, OTHER_DEVICES, Room, equal, integers, software, unsigned, with_settings};
use half::f16;

fn shape(image: [usize; 4], k: usize, size: (usize, usize), stride: usize, pad: usize) -> Conv2dShape {
    Conv2dShape::new(image, k, Window { size, stride, pad }).unwrap()
}

/// Every variant of the device that runs `shape`.
fn kernels(device: &Device, shape: &Conv2dShape) -> Vec<Conv2dImplicitGemm> {
    let variants = Conv2dImplicitGemm::variants(device.modules.capability(), Arithmetic::F16);
    let kernels = variants.map(|variant| Conv2dImplicitGemm::new(&device.modules, variant).unwrap());
    kernels.filter(|kernel| kernel.can_run(shape).is_ok()).collect()
}

/// Operands of a convolution with the end of a residual block.
struct Problem {
    shape: Conv2dShape,
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
}

impl Problem {
    fn new(shape: Conv2dShape) -> Self {
        let x = integers(1, shape.n() * shape.h() * shape.w() * shape.c(), 2);
        let w = integers(2, shape.k() * shape.gemm_k(), 1);
        let outputs = shape.output().iter().product();
        Self { shape, x, w, bias: integers(4, shape.k(), 9), residual: integers(3, outputs, 30) }
    }

    fn want(&self) -> Vec<f32> {
        let sums = reference::conv2d(&self.shape, &self.x, &self.w, None);
        let value = |(index, sum): (usize, &f32)| (sum + self.bias[index % self.shape.k()] + self.residual[index]).max(0.0);
        sums.iter().enumerate().map(value).collect()
    }

    /// Runs `launches` times with one workspace; what it holds more than it must is not touched.
    fn run(&self, device: &Device, kernel: &Conv2dImplicitGemm, splits: u32, room: Room, launches: usize) -> Vec<Vec<f32>> {
        let size = kernel.workspace(&self.shape, splits);
        let mut partials = Buffer::<f32>::output(device, size.partials, room);
        let mut counters = Buffer::<i32>::new(device, &vec![0.0; size.counters], room);
        let [x, w, residual] = [&self.x, &self.w, &self.residual].map(|values| Buffer::<f16>::new(device, values, room));
        let bias = Buffer::<f32>::new(device, &self.bias, room);
        let run = |_| {
            let mut y = Buffer::<f16>::output(device, self.residual.len(), room);
            let epilogue = Epilogue::BiasResidualRelu { bias: bias.span(device), residual: residual.span(device) };
            let args = Conv2dArgs { shape: &self.shape, x: x.span(device), w: w.span(device), epilogue, y: y.span_mut(device) };
            let mut workspace = Workspace { partials: partials.span_mut(device), counters: unsigned(counters.span_mut(device)) };
            kernel.launch_split(&device.stream, args, splits, &mut workspace).unwrap();
            equal("counters", &counters.values(device), &vec![0.0; size.counters]);
            y.values(device)
        };
        (0..launches).map(run).collect()
    }
}

#[test]
fn parts_of_a_depth_add_up() {
    let device = Device::open();
    // Residues in M and K, several tiles, one tile; taps that end within a part; more parts than steps; channels that are no
    // whole steps; ResNet-18's last stages.
    let cases = [
        (shape([2, 7, 5, 64], 24, (3, 3), 2, 1), 3),
        (shape([1, 9, 9, 96], 72, (3, 3), 1, 1), 5),
        (shape([1, 43, 7, 32], 136, (1, 3), 1, 1), 2),
        (shape([1, 3, 2, 32], 8, (1, 1), 1, 0), 3),
        (shape([2, 7, 5, 16], 24, (3, 3), 2, 1), 4),
        (shape([1, 9, 9, 40], 72, (3, 3), 1, 1), 7),
        (shape([1, 14, 14, 256], 256, (3, 3), 1, 1), 6),
        (shape([1, 14, 14, 256], 512, (3, 3), 2, 1), 8),
        (shape([1, 7, 7, 512], 512, (3, 3), 1, 1), 9),
    ];
    for (index, (shape, splits)) in cases.into_iter().enumerate() {
        let (problem, room) = (Problem::new(shape), if index % 2 == 0 { Room::Guarded } else { Room::Exact });
        let want = problem.want();
        assert!(want.iter().all(|value| value.abs() < 2000.0), "f16 holds whole numbers to 2048 only");
        // Once is enough for a large one, which leaves its counters as it found them, too.
        let launches = if shape.gemm_m() * shape.gemm_k() < 100_000 { 2 } else { 1 };
        for kernel in kernels(&device, &shape) {
            for (launch, y) in problem.run(&device, &kernel, splits, room, launches).iter().enumerate() {
                equal(&format!("launch {launch} of {} in {splits} parts, {shape:?}", kernel.name()), y, &want);
            }
        }
    }
}

/// 1 + 2^25 - 2^25, a part each, is 0 in f32: the one is lost. From the other end it is 1.
#[test]
fn parts_are_added_in_their_order() {
    let device = Device::open();
    let shape = shape([1, 1, 3, 64], 8, (1, 3), 1, 0);
    let mut problem = Problem { bias: vec![0.0; 8], residual: vec![0.0; 8], ..Problem::new(shape) };
    problem.x = (0..192).map(|at| if at % 64 == 0 { 1024.0 } else { 0.0 }).collect();
    problem.w = (0..8 * 192).map(|at| [1.0 / 1024.0, 32768.0, -32768.0][at % 192 / 64]).collect();
    for kernel in kernels(&device, &shape) {
        equal(&kernel.name(), &problem.run(&device, &kernel, 3, Room::Exact, 1)[0], &[0.0; 8]);
    }
}

#[test]
fn a_workspace_that_is_too_small_is_refused() {
    let device = Device::open();
    let problem = Problem::new(shape([1, 7, 7, 64], 64, (3, 3), 1, 1));
    let kernel = &kernels(&device, &problem.shape)[0];
    let size = kernel.workspace(&problem.shape, 2);
    let [x, w] = [&problem.x, &problem.w].map(|values| Buffer::<f16>::new(&device, values, Room::Exact));
    for (less_partials, less_counters, buffer) in [(1, 0, "partials"), (0, 1, "counters")] {
        let mut y = Buffer::<f16>::output(&device, problem.residual.len(), Room::Exact);
        let mut partials = Buffer::<f32>::output(&device, size.partials - less_partials, Room::Exact);
        let mut counters = Buffer::<i32>::new(&device, &vec![0.0; size.counters - less_counters], Room::Guarded);
        let (x, w) = (x.span(&device), w.span(&device));
        let args = Conv2dArgs { shape: &problem.shape, x, w, epilogue: Epilogue::None, y: y.span_mut(&device) };
        let mut workspace = Workspace { partials: partials.span_mut(&device), counters: unsigned(counters.span_mut(&device)) };
        let error = kernel.launch_split(&device.stream, args, 2, &mut workspace).unwrap_err();
        assert!(matches!(&error, CudaError::Length { buffer: found, .. } if *found == buffer), "{error}");
    }
}

/// In processes of their own.
#[test]
fn other_devices_orders_and_roundings() {
    if !software() {
        return; // a GPU is what it is
    }
    for settings in &OTHER_DEVICES {
        with_settings(settings, &["parts"], 2);
    }
}
