//! The end of a residual block whose shortcut is a convolution, both in one launch: bit for bit against their definitions, on awkward
//! shapes and on those of ResNet, with the depth of both in one part or several.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cpu::reference;
use camshaft::cuda::variants::Arithmetic;
use camshaft::cuda::{
    Conv2dArgs, Conv2dDirect, Conv2dImplicitGemm, Conv2dProblem, CudaError, Element, Epilogue, Projection, Workspace,
};
use camshaft::network::{Conv2dShape, Window};
use common::cuda::{Buffer, Device, Guarded, OTHER_DEVICES, Room, equal, install, integers, software, unsigned, with_settings};
use half::{bf16, f16};

/// Name; image `[N, H, W, C]`, K, filter `(R, S)`, stride, pad; image `(H0, W0, C0)` and stride of the shortcut.
type Case = (&'static str, [usize; 4], usize, (usize, usize), usize, usize, (usize, usize, usize), usize);

const AWKWARD: &[Case] = &[
    ("1x1 images", [1, 1, 1, 64], 8, (3, 3), 1, 1, (1, 1, 64), 1),
    ("1x1 image from 2x2", [3, 1, 1, 32], 8, (3, 3), 1, 1, (2, 2, 64), 2),
    ("one step each", [1, 2, 3, 32], 16, (1, 1), 1, 0, (2, 3, 32), 1),
    ("the end of a bottleneck", [2, 5, 7, 64], 136, (1, 1), 1, 0, (10, 13, 128), 2),
    ("a bottleneck of stride 1", [1, 9, 5, 32], 72, (1, 1), 1, 0, (9, 5, 32), 1),
    ("primes", [3, 11, 13, 64], 136, (3, 3), 1, 1, (21, 25, 32), 2),
    ("rows and columns to spare", [1, 11, 13, 64], 72, (3, 3), 1, 1, (22, 26, 64), 2),
    ("three steps a tap, five of the shortcut, stride 3", [1, 9, 9, 96], 72, (3, 3), 1, 1, (25, 27, 160), 3),
    ("as many taps as the masks have bits", [1, 6, 9, 32], 8, (4, 8), 1, 3, (9, 8, 32), 1),
    ("both of stride 2", [2, 7, 5, 64], 24, (3, 3), 2, 1, (7, 5, 64), 2),
    ("outputs that only the shortcut reaches", [1, 4, 3, 64], 8, (2, 2), 1, 3, (9, 8, 64), 1),
];

/// Blocks of ResNet-18 and, the last two, of ResNet-50 at 224x224.
const RESNET: &[Case] = &[
    ("layer2.0.conv2", [1, 28, 28, 128], 128, (3, 3), 1, 1, (56, 56, 64), 2),
    ("layer3.0.conv2", [1, 14, 14, 256], 256, (3, 3), 1, 1, (28, 28, 128), 2),
    ("layer4.0.conv2", [1, 7, 7, 512], 512, (3, 3), 1, 1, (14, 14, 256), 2),
    ("layer1.0.conv3", [1, 56, 56, 64], 256, (1, 1), 1, 0, (56, 56, 64), 1),
    ("layer4.0.conv3", [1, 7, 7, 512], 2048, (1, 1), 1, 0, (14, 14, 1024), 2),
];

/// Operands of one case, and what comes of them.
struct Problem {
    what: Conv2dProblem,
    projection: Conv2dShape,
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    x0: Vec<f32>,
    w0: Vec<f32>,
    want: Vec<f32>,
}

impl Problem {
    fn new(&(name, image, k, size, stride, pad, (h0, w0, c0), stride0): &Case) -> Self {
        let shape = Conv2dShape::new(image, k, Window { size, stride, pad }).unwrap();
        let projection = Conv2dShape::new([image[0], h0, w0, c0], k, Window { size: (1, 1), stride: stride0, pad: 0 }).unwrap();
        let elements = |shape: &Conv2dShape| shape.n() * shape.h() * shape.w() * shape.c();
        let (x, w) = (integers(1, elements(&shape), 2), integers(2, k * shape.gemm_k(), 1));
        let (x0, w0) = (integers(3, elements(&projection), 3), integers(4, k * projection.gemm_k(), 2));
        let bias = integers(5, k, 9);
        let [main, shortcut] =
            [(&shape, &x, &w), (&projection, &x0, &w0)].map(|(shape, x, w)| reference::conv2d(shape, x, w, None));
        let value = |(index, (main, shortcut)): (usize, (&f32, &f32))| (main + shortcut + bias[index % k]).max(0.0);
        let want: Vec<f32> = main.iter().zip(&shortcut).enumerate().map(value).collect();
        assert!(want.iter().all(|value| *value < 2000.0), "{name}: f16 holds whole numbers to 2048 only");
        assert!([&main, &shortcut].iter().all(|sums| sums.iter().any(|sum| *sum != 0.0)), "{name}: one of them is nothing");
        let what = Conv2dProblem { shape, projection: Some(projection) };
        Self { what, projection, x, w, bias, x0, w0, want }
    }

    /// Runs it in `splits` parts.
    fn run<T: Guarded + Element>(
        &self,
        device: &Device,
        kernel: &Conv2dImplicitGemm,
        splits: u32,
        room: Room,
    ) -> Result<Vec<f32>, CudaError> {
        let size = kernel.workspace(&self.what.shape, splits);
        let mut partials = Buffer::<f32>::output(device, size.partials, room);
        let mut counters = Buffer::<i32>::new(device, &vec![0.0; size.counters], room);
        let [x, w, x0, w0] = [&self.x, &self.w, &self.x0, &self.w0].map(|values| Buffer::<T>::new(device, values, room));
        let bias = Buffer::<f32>::new(device, &self.bias, room);
        let mut y = Buffer::<T>::output(device, self.want.len(), room);
        let projection = Projection { shape: &self.projection, x: x0.span(device), w: w0.span(device) };
        let epilogue = Epilogue::BiasProjectionRelu { bias: bias.span(device), projection };
        let (x, w) = (x.span(device), w.span(device));
        let args = Conv2dArgs { shape: &self.what.shape, x, w, epilogue, y: y.span_mut(device) };
        let mut workspace = Workspace { partials: partials.span_mut(device), counters: unsigned(counters.span_mut(device)) };
        kernel.launch_split(&device.stream, args, splits, &mut workspace)?;
        equal("counters", &counters.values(device), &vec![0.0; size.counters]);
        Ok(y.values(device))
    }

    fn check<T: Guarded + Element>(&self, device: &Device, name: &str, arithmetic: Arithmetic, splits: &[u32]) {
        let variants = Conv2dImplicitGemm::variants(device.modules.capability(), arithmetic).filter(|variant| variant.projects);
        let kernels = variants.map(|variant| Conv2dImplicitGemm::new(&device.modules, variant).unwrap());
        let able: Vec<_> = kernels.filter(|kernel| kernel.can_run(self.what).is_ok()).collect();
        let least = if arithmetic == Arithmetic::F16Sums && device.modules.capability() >= 80 { 64 } else { 32 };
        let divides = [self.what.shape.c(), self.projection.c()].iter().all(|c| c % least == 0);
        assert_eq!(!able.is_empty(), divides, "{name} in {arithmetic:?}");
        for kernel in able {
            for &splits in splits {
                let room = if splits % 2 == 0 { Room::Exact } else { Room::Guarded };
                let what = format!("{name}: {} in {splits} parts, {:?}", kernel.name(), self.what);
                let got = self.run::<T>(device, &kernel, splits, room).unwrap_or_else(|error| panic!("{what}: {error}"));
                // Sums are exact, and rounded once.
                let want: Vec<f32> = self.want.iter().map(|&value| T::from_f32(value).to_f32()).collect();
                equal(&what, &got, &want);
            }
        }
    }
}

/// Parts that end within the filter, within the projection and between them, and more of them than steps.
#[test]
fn awkward_shapes_agree() {
    let device = Device::open();
    for case in AWKWARD {
        let problem = Problem::new(case);
        problem.check::<f16>(&device, case.0, Arithmetic::F16, &[1, 2, 3, 5, 19]);
        problem.check::<f16>(&device, case.0, Arithmetic::F16Sums, &[1, 2]);
        if device.modules.capability() >= 80 {
            problem.check::<bf16>(&device, case.0, Arithmetic::Bf16, &[1, 3]);
        }
    }
}

#[test]
fn blocks_of_resnet_agree() {
    let device = Device::open();
    for (case, splits) in RESNET.iter().zip([4, 6, 9, 1, 3]) {
        Problem::new(case).check::<f16>(&device, case.0, Arithmetic::F16, &[splits]);
    }
}

/// No bank conflicts, whole sectors: counted on blocks of ResNet, whose rows are whole.
#[test]
fn memory_is_read_in_whole_lines() {
    if !software() {
        return; // the counters are the software device's
    }
    let device = Device::open();
    for case in &RESNET[1..3] {
        Problem::new(case).check::<f16>(&device, case.0, Arithmetic::F16, &[2]);
    }
    let report = install().take_report();
    let launches = report["launches"].as_array().expect("a list of launches");
    let is_one = |launch: &&serde_json::Value| launch["kernel"].as_str().is_some_and(|name| name.contains("projection"));
    let (mut seen, mut real) = (0, 0);
    for launch in launches.iter().filter(is_one) {
        let count = |access: &str, what: &str| launch["counters"][access][what].as_u64().expect("a count");
        for access in ["shared_load", "shared_store"] {
            assert!(count(access, "wavefronts") > 0, "{launch}");
            assert_eq!(count(access, "wavefronts"), count(access, "ideal_wavefronts"), "{access} of {}", launch["kernel"]);
        }
        seen += 1;
        // Other tests' launches have rows that are not whole, but no filter of this size.
        if launch["counters"]["unique_read_bytes"].as_u64() < Some(1 << 20) {
            continue;
        }
        real += 1;
        for access in ["global_load", "global_store"] {
            let (ideal, actual) = (count(access, "ideal_sectors"), count(access, "sectors"));
            assert!(ideal as f64 >= 0.9 * actual as f64, "{access} of {}: {ideal} of {actual} sectors", launch["kernel"]);
        }
    }
    assert!(seen >= real && real >= 4, "{real} real ones of {seen} launches");
}

/// In processes of their own.
#[test]
fn other_devices_orders_and_roundings() {
    if !software() {
        return; // a GPU is what it is
    }
    for settings in &OTHER_DEVICES {
        with_settings(settings, &["awkward", "whole_lines"], 2);
    }
}

#[test]
fn wrong_shortcuts_are_refused_before_anything_runs() {
    let device = Device::open();
    let (plain, projecting): (Vec<_>, Vec<_>) =
        Conv2dImplicitGemm::variants(device.modules.capability(), Arithmetic::F16).partition(|variant| !variant.projects);
    let [plain, projecting] = [plain[0], projecting[0]].map(|variant| Conv2dImplicitGemm::new(&device.modules, variant).unwrap());
    let problem = || Problem::new(&AWKWARD[9]);
    let refusal = |problem: &Problem, kernel| problem.run::<f16>(&device, kernel, 1, Room::Guarded).unwrap_err().to_string();
    assert!(refusal(&problem(), &plain).contains("expected none"));
    let refused = projecting.can_run(problem().what.shape).unwrap_err().to_string();
    assert!(refused.contains("no shortcut that is a convolution"), "{refused}");
    for (change, what) in [
        ((|problem| problem.x0.truncate(4479)) as fn(&mut Problem), "`x0` holds 4479 elements, expected 4480"),
        (|problem| problem.w0.push(0.0), "`w0` holds 1537 elements, expected 1536"),
        (|problem| problem.bias.truncate(23), "`bias` holds 23 elements, expected 24"),
    ] {
        let mut changed = problem();
        change(&mut changed);
        let refused = refusal(&changed, &projecting);
        assert!(refused.contains(what), "{refused}");
    }
    let direct = Conv2dDirect::new(&device.modules).unwrap();
    assert!(direct.can_run(problem().what).unwrap_err().to_string().contains("no shortcut"), "f32 runs them apart");
    device.stream.synchronize().unwrap();
}
