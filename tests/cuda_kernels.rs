//! Every convolution and batch norm kernel against its definition, on awkward shapes and on those of ResNet-18. Data are
//! small integers, so that all sums are exact in f32, all results in f16, and equality can be demanded.

#![cfg(feature = "cuda")]

mod common;

use std::ops::Range;

use camshaft::cpu::reference;
use camshaft::cuda::variants::Arithmetic;
use camshaft::cuda::{BatchNorm, BatchNormArgs, Conv2dArgs, Conv2dDirect, Conv2dImplicitGemm, CudaError, Element, Epilogue};
use camshaft::network::{Conv2dShape, Window};
use common::cuda::{Buffer, Device, Guarded, Room, with_settings};
use half::{bf16, f16};

/// Name, image `[N, H, W, C]`, K, filter `(R, S)`, stride, pad.
type Case = (&'static str, [usize; 4], usize, (usize, usize), usize, usize);

/// Channel counts that are multiples of 4: the direct kernel.
const ODD: &[Case] = &[
    ("four of everything", [1, 1, 1, 4], 4, (1, 1), 1, 0),
    ("1x1 image", [1, 1, 1, 20], 28, (1, 1), 1, 0),
    ("filter wider than the image", [1, 2, 3, 12], 20, (5, 5), 1, 2),
    ("border wider than the filter", [1, 5, 4, 12], 4, (2, 2), 1, 3),
    ("primes", [2, 11, 13, 28], 68, (3, 5), 1, 1),
    ("stem in small", [2, 23, 19, 4], 64, (7, 7), 2, 3),
    ("residues everywhere", [3, 9, 7, 20], 76, (3, 3), 2, 1),
    ("exactly one tile", [1, 8, 8, 16], 64, (1, 1), 1, 0),
    ("no border", [1, 6, 5, 4], 12, (3, 2), 1, 0),
    ("C a multiple of 8, K not", [1, 6, 6, 8], 12, (3, 3), 1, 1),
    ("K a multiple of 8, C not", [1, 6, 6, 12], 8, (3, 3), 1, 1),
];

/// Channel counts that are multiples of 8: both kernels.
const EVEN: &[Case] = &[
    ("1x1 image", [1, 1, 1, 8], 8, (1, 1), 1, 0),
    ("filter wider than the image", [1, 1, 1, 8], 8, (3, 3), 1, 1),
    ("much wider", [1, 2, 3, 8], 16, (5, 5), 1, 2),
    ("residues everywhere", [2, 7, 5, 16], 24, (3, 3), 2, 1),
    ("depth ends inside a step", [1, 9, 9, 40], 72, (3, 3), 1, 1),
    ("one tap", [3, 11, 13, 24], 136, (1, 1), 2, 0),
    ("stem in small", [1, 23, 23, 8], 64, (7, 7), 2, 3),
    ("M and N just past a tile", [1, 13, 5, 64], 72, (3, 3), 1, 1),
    ("M past 128", [1, 43, 3, 8], 136, (1, 3), 1, 1),
    ("exactly one tile", [1, 8, 8, 32], 64, (1, 1), 1, 0),
    ("exactly one large tile", [1, 8, 16, 32], 128, (1, 1), 1, 0),
    ("fewer steps than stages", [1, 10, 7, 24], 8, (1, 2), 1, 0),
    ("stride 3", [2, 10, 11, 8], 16, (2, 3), 3, 1),
    ("odd filter", [2, 9, 7, 8], 136, (3, 2), 1, 1),
];

/// Channel counts that are multiples of 32 or 64: steps of the main loop lie within one tap.
const WHOLE_TAPS: &[Case] = &[
    ("one step", [1, 3, 2, 32], 8, (1, 1), 1, 0),
    ("filter wider than the image", [1, 2, 3, 64], 16, (5, 5), 1, 2),
    ("residues everywhere", [2, 7, 5, 64], 24, (3, 3), 2, 1),
    ("K just past a tile, three steps a tap", [1, 9, 9, 96], 72, (3, 3), 1, 1),
    ("M past 112, K past 48", [1, 13, 13, 64], 72, (1, 1), 1, 0),
    ("M past 256, a flat filter", [1, 43, 7, 32], 136, (1, 3), 1, 1),
    ("one tap, stride 2", [3, 11, 13, 64], 136, (1, 1), 2, 0),
    ("as many taps as the masks have bits", [1, 6, 9, 32], 8, (4, 8), 1, 3),
    ("border wider than the filter", [1, 4, 3, 64], 8, (2, 2), 1, 3),
    ("no border, stride 3", [2, 10, 11, 32], 8, (3, 2), 3, 0),
];

/// Every distinct convolution of ResNet-18 at 224x224, one image; the stem with its channels padded to 8.
const RESNET18: &[Case] = &[
    ("conv1", [1, 224, 224, 8], 64, (7, 7), 2, 3),
    ("layer1", [1, 56, 56, 64], 64, (3, 3), 1, 1),
    ("layer2.0.conv1", [1, 56, 56, 64], 128, (3, 3), 2, 1),
    ("layer2.0.downsample", [1, 56, 56, 64], 128, (1, 1), 2, 0),
    ("layer2", [1, 28, 28, 128], 128, (3, 3), 1, 1),
    ("layer3.0.conv1", [1, 28, 28, 128], 256, (3, 3), 2, 1),
    ("layer3.0.downsample", [1, 28, 28, 128], 256, (1, 1), 2, 0),
    ("layer3", [1, 14, 14, 256], 256, (3, 3), 1, 1),
    ("layer4.0.conv1", [1, 14, 14, 256], 512, (3, 3), 2, 1),
    ("layer4.0.downsample", [1, 14, 14, 256], 512, (1, 1), 2, 0),
    ("layer4", [1, 7, 7, 512], 512, (3, 3), 1, 1),
];

/// The stem as the direct kernel sees it.
const STEM: &[Case] = &[("conv1", [1, 224, 224, 4], 64, (7, 7), 2, 3)];

fn shape(&(name, image, k, size, stride, pad): &Case) -> Conv2dShape {
    Conv2dShape::new(image, k, Window { size, stride, pad }).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Whole numbers from `-most` to `most`, the same for a seed (SplitMix64).
fn integers(seed: u64, len: usize, most: i64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 33
    };
    (0..len).map(|_| (next() as i64 % (2 * most + 1) - most) as f32).collect()
}

/// All of them; the end of a residual block, which contains the others.
const EPILOGUES: Range<usize> = 0..4;
const LAST: Range<usize> = 3..4;

/// Operands of one case and its result without an epilogue.
struct Problem {
    shape: Conv2dShape,
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
    sums: Vec<f32>,
}

impl Problem {
    fn new(case: &Case) -> Self {
        let shape = shape(case);
        let x = integers(1, shape.n() * shape.h() * shape.w() * shape.c(), 2);
        let w = integers(2, shape.k() * shape.gemm_k(), 1);
        let sums = reference::conv2d(&shape, &x, &w, None);
        let residual = integers(3, sums.len(), 30);
        let bias = integers(4, shape.k(), 9);
        assert!(sums.iter().all(|sum| sum.abs() < 2000.0), "{}: f16 holds whole numbers to 2048 only", case.0);
        Self { shape, x, w, bias, residual, sums }
    }

    fn want(&self, bias: bool, residual: bool, relu: bool) -> Vec<f32> {
        let value = |(index, &sum): (usize, &f32)| {
            let sum = sum + if bias { self.bias[index % self.shape.k()] } else { 0.0 };
            let sum = sum + if residual { self.residual[index] } else { 0.0 };
            if relu && sum < 0.0 { 0.0 } else { sum }
        };
        self.sums.iter().enumerate().map(value).collect()
    }

    /// Runs `launch` with each of `epilogues`.
    fn check<T: Guarded + Element>(
        &self,
        what: &str,
        device: &Device,
        epilogues: Range<usize>,
        launch: impl Fn(Conv2dArgs<'_, T>) -> Result<(), CudaError>,
    ) {
        for epilogue in epilogues {
            let room = if epilogue % 2 == 0 { Room::Guarded } else { Room::Exact };
            let x = Buffer::<T>::new(device, &self.x, room);
            let w = Buffer::<T>::new(device, &self.w, room);
            let bias = Buffer::<f32>::new(device, &self.bias, room);
            let residual = Buffer::<T>::new(device, &self.residual, room);
            let mut y = Buffer::<T>::output(device, self.sums.len(), room);
            let (bias, residual) = (bias.span(device), residual.span(device));
            let (name, epilogue, want) = match epilogue {
                0 => ("none", Epilogue::None, self.want(false, false, false)),
                1 => ("bias", Epilogue::Bias { bias }, self.want(true, false, false)),
                2 => ("bias, ReLU", Epilogue::BiasRelu { bias }, self.want(true, false, true)),
                _ => ("bias, residual, ReLU", Epilogue::BiasResidualRelu { bias, residual }, self.want(true, true, true)),
            };
            let (x, w) = (x.span(device), w.span(device));
            let args = Conv2dArgs { shape: &self.shape, x, w, epilogue, y: y.span_mut(device) };
            launch(args).unwrap_or_else(|error| panic!("{what}, {name}: {error}"));
            // Sums are exact, and rounded once.
            let want: Vec<f32> = want.into_iter().map(|value| T::from_f32(value).to_f32()).collect();
            equal(&format!("{what}, {name}, {:?}", self.shape), &y.values(device), &want);
        }
    }
}

#[track_caller]
fn equal(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let wrong: Vec<usize> = (0..got.len()).filter(|&i| got[i] != want[i]).collect(); // NaN differs too
    if let Some(&first) = wrong.first() {
        panic!("{what}: {} of {} differ; first at {first}: got {}, want {}", wrong.len(), got.len(), got[first], want[first]);
    }
}

fn direct(cases: &[Case]) {
    let device = Device::open();
    let kernel = Conv2dDirect::new(&device.modules).unwrap();
    for case in cases {
        let problem = Problem::new(case);
        let what = format!("{}: {}", Conv2dDirect::name(), case.0);
        problem.check::<f32>(&what, &device, EPILOGUES, |args| kernel.launch(&device.stream, args));
    }
}

/// In every arithmetic that the device has. Sums of 64 products are exact in f16, too.
fn implicit_gemm(cases: &[Case], epilogues: Range<usize>) {
    let device = Device::open();
    implicit_gemm_in::<f16>(&device, Arithmetic::F16, cases, epilogues.clone());
    implicit_gemm_in::<f16>(&device, Arithmetic::F16Sums, cases, epilogues.clone());
    if device.modules.capability() >= 80 {
        implicit_gemm_in::<bf16>(&device, Arithmetic::Bf16, cases, epilogues);
    }
}

fn implicit_gemm_in<T: Guarded + Element>(device: &Device, arithmetic: Arithmetic, cases: &[Case], epilogues: Range<usize>) {
    let variants = Conv2dImplicitGemm::variants(device.modules.capability(), arithmetic);
    let kernels: Vec<_> = variants.map(|variant| Conv2dImplicitGemm::new(&device.modules, variant).unwrap()).collect();
    for kernel in &kernels {
        assert_eq!(kernel.name().contains("sm75"), device.modules.capability() < 80, "{}", kernel.name());
    }
    for case in cases {
        let problem = Problem::new(case);
        let able: Vec<_> = kernels.iter().filter(|kernel| kernel.can_run(problem.shape).is_ok()).collect();
        let least = if arithmetic == Arithmetic::F16Sums && device.modules.capability() >= 80 { 64 } else { 32 };
        assert_eq!(able.iter().any(|kernel| kernel.variant().whole_taps), case.1[3] % least == 0, "{}", case.0);
        for kernel in able {
            let what = format!("{}: {}", kernel.name(), case.0);
            problem.check::<T>(&what, device, epilogues.clone(), |args| kernel.launch(&device.stream, args));
        }
    }
}

/// The implicit GEMM for any number of channels.
fn any_channels(device: &Device) -> Conv2dImplicitGemm {
    let mut variants = Conv2dImplicitGemm::variants(device.modules.capability(), Arithmetic::F16);
    let variant = variants.find(|variant| !variant.whole_taps).unwrap();
    Conv2dImplicitGemm::new(&device.modules, variant).unwrap()
}

#[test]
fn direct_f32_on_odd_shapes() {
    direct(ODD);
}

/// Every number of columns that the last tile may have, with a depth that fills its steps and one that does not.
#[test]
fn direct_f32_on_shapes_of_every_residue() {
    let case = |index: usize| ("residue", [1, 5, 13, 4 + index % 2 * 4], 4 * (1 + index / 2), (1, 3), 1, 1);
    direct(&(0..34).map(case).collect::<Vec<_>>());
}

#[test]
fn direct_f32_on_even_shapes() {
    direct(EVEN);
}

#[test]
fn direct_f32_on_the_layers_of_resnet18() {
    direct(STEM);
    direct(&RESNET18[1..]);
}

#[test]
fn implicit_gemm_f16_on_awkward_shapes() {
    implicit_gemm(EVEN, EPILOGUES);
}

#[test]
fn implicit_gemm_f16_where_steps_lie_within_one_tap() {
    implicit_gemm(WHOLE_TAPS, EPILOGUES);
}

#[test]
fn implicit_gemm_f16_on_the_layers_of_resnet18() {
    implicit_gemm_in::<f16>(&Device::open(), Arithmetic::F16, RESNET18, LAST);
}

#[test]
fn a_nan_passes_through_the_epilogue() {
    let device = Device::open();
    let mut problem = Problem::new(&EVEN[3]);
    problem.bias[5] = f32::NAN;
    let kernel = any_channels(&device);
    let [x, w] = [&problem.x, &problem.w].map(|values| Buffer::<f16>::new(&device, values, Room::Exact));
    let bias = Buffer::<f32>::new(&device, &problem.bias, Room::Exact);
    let mut y = Buffer::<f16>::output(&device, problem.sums.len(), Room::Exact);
    let epilogue = Epilogue::BiasRelu { bias: bias.span(&device) };
    let args = Conv2dArgs { shape: &problem.shape, x: x.span(&device), w: w.span(&device), epilogue, y: y.span_mut(&device) };
    kernel.launch(&device.stream, args).unwrap();
    for (index, value) in y.values(&device).into_iter().enumerate() {
        assert_eq!(value.is_nan(), index % problem.shape.k() == 5, "at {index}");
    }
}

fn batch_norm<T: Guarded + Element>() {
    let device = Device::open();
    let kernel = BatchNorm::<T>::new(&device.modules).unwrap();
    for (pixels, channels) in [(1, 4), (7, 12), (35, 20), (1, 28), (300, 12), (49, 512), (5000, 64)] {
        let len = pixels * channels;
        let (x, residual) = (integers(5, len, 20), integers(6, len, 100));
        let (scale, shift) = (integers(7, channels, 4), integers(8, channels, 50));
        for (room, with_residual, relu) in
            [(Room::Guarded, false, false), (Room::Exact, false, true), (Room::Guarded, true, true), (Room::Exact, true, true)]
        {
            let what = format!("{} {pixels}x{channels}, residual {with_residual}, ReLU {relu}, {room:?}", T::NAME);
            let mut want = x.clone();
            reference::batch_norm(&mut want, &scale, &shift);
            for (want, residual) in want.iter_mut().zip(&residual) {
                *want += if with_residual { *residual } else { 0.0 };
                *want = if relu && *want < 0.0 { 0.0 } else { *want };
            }
            let [x, residual] = [&x, &residual].map(|values| Buffer::<T>::new(&device, values, room));
            let [scale, shift] = [&scale, &shift].map(|values| Buffer::<f32>::new(&device, values, room));
            let mut y = Buffer::<T>::output(&device, len, room);
            let args = BatchNormArgs {
                channels,
                x: x.span(&device),
                scale: scale.span(&device),
                shift: shift.span(&device),
                residual: with_residual.then(|| residual.span(&device)),
                relu,
                y: y.span_mut(&device),
            };
            kernel.launch(&device.stream, args).unwrap_or_else(|error| panic!("{what}: {error}"));
            let want: Vec<f32> = want.into_iter().map(|value| T::from_f32(value).to_f32()).collect();
            equal(&what, &y.values(&device), &want);
        }
    }
}

#[test]
fn batch_norm_f32() {
    batch_norm::<f32>();
}

#[test]
fn batch_norm_f16() {
    batch_norm::<f16>();
}

#[test]
fn batch_norm_bf16() {
    if Device::open().modules.capability() >= 80 {
        batch_norm::<bf16>();
    }
}

/// The layouts of shared memory are made for it, epilogues included; a device that only computes cannot tell.
#[test]
fn convolutions_have_no_bank_conflicts() {
    if !common::cuda::software() {
        return; // the counters are the software device's
    }
    implicit_gemm(&EVEN[4..8], EPILOGUES);
    implicit_gemm(&WHOLE_TAPS[3..6], EPILOGUES);
    direct(&EVEN[4..8]);
    let report = common::cuda::install().take_report();
    let launches = report["launches"].as_array().expect("a list of launches");
    let convolutions = launches.iter().filter(|launch| launch["kernel"].as_str().is_some_and(|name| name.starts_with("conv2d")));
    let mut seen = 0;
    for launch in convolutions {
        for access in ["shared_load", "shared_store"] {
            let counts = &launch["counters"][access];
            assert!(counts["wavefronts"].as_u64() > Some(0), "{launch}");
            assert_eq!(counts["wavefronts"], counts["ideal_wavefronts"], "{access} of {}", launch["kernel"]);
        }
        seen += 1;
    }
    assert!(seen >= 68, "{seen} launches: 4 epilogues of 4 cases of 2 kernels and of 3 cases of 3 kernels or more");
}

/// The software device plays other GPUs, and warps, blocks and streams in other orders, in processes of their own.
#[test]
fn other_devices_and_orders() {
    if !common::cuda::software() {
        return; // a GPU is what it is
    }
    let orders =
        ["1", "2", "3"].map(|seed| [("CUDA_EMU_ORDER", "random"), ("CUDA_EMU_STREAMS", "random"), ("CUDA_EMU_SEED", seed)]);
    let devices =
        ["T4", "H100"].map(|name| [("CUDA_EMU_DEVICE", name), ("CUDA_EMU_ORDER", "reverse"), ("CUDA_EMU_STREAMS", "lazy")]);
    for variables in orders.into_iter().chain(devices) {
        with_settings(&variables, &["shapes", "one_tap", "batch_norm", "a_nan", "conflicts"], 10);
    }
}

#[test]
fn wrong_arguments_are_refused_before_anything_runs() {
    let device = Device::open();
    let problem = Problem::new(&EVEN[3]);
    let kernel = any_channels(&device);
    let refusal = |shape: &Conv2dShape, x: usize, w: usize, bias: usize, y: usize, skew: u64| {
        let zeros = |len| Buffer::<f16>::new(&device, &vec![0.0; len], Room::Guarded);
        let (x, w, mut y) = (zeros(x), zeros(w), zeros(y));
        let bias = Buffer::<f32>::new(&device, &vec![0.0; bias], Room::Guarded);
        let x = x.span(&device);
        // SAFETY: the guards make room for the skew, and the launch is refused anyway.
        let x = unsafe { camshaft::cuda::Span::from_raw(x.address() + skew, x.len()) };
        let epilogue = Epilogue::Bias { bias: bias.span(&device) };
        let args = Conv2dArgs { shape, x, w: w.span(&device), epilogue, y: y.span_mut(&device) };
        kernel.launch(&device.stream, args).unwrap_err().to_string()
    };
    let (s, [x, w, bias, y]) = (&problem.shape, [&problem.x, &problem.w, &problem.bias, &problem.sums].map(Vec::len));
    assert!(refusal(s, x - 1, w, bias, y, 0).contains("`x` holds 1119 elements, expected 1120"));
    assert!(refusal(s, x, w + 1, bias, y, 0).contains("`w` holds"));
    assert!(refusal(s, x, w, bias + 8, y, 0).contains("`bias` holds 32 elements, expected 24"));
    assert!(refusal(s, x, w, bias, y - 8, 0).contains("`y` holds"));
    let zeros = |len| Buffer::<f32>::new(&device, &vec![0.0; len], Room::Exact);
    let (x_f32, w_f32, mut y_f32) = (zeros(x), zeros(w), zeros(y));
    let (x_f32, w_f32, y_f32) = (x_f32.span(&device), w_f32.span(&device), y_f32.span_mut(&device));
    let args = Conv2dArgs { shape: s, x: x_f32, w: w_f32, epilogue: Epilogue::None, y: y_f32 };
    assert!(kernel.launch(&device.stream, args).unwrap_err().to_string().contains("elements of f32"));
    assert!(refusal(s, x, w, bias, y, 2).contains("not 16-byte aligned"));
    let odd = shape(&ODD[4]);
    assert!(refusal(&odd, x, w, bias, y, 0).contains("no multiple of 8"));
    let direct = Conv2dDirect::new(&device.modules).unwrap();
    for (c, k, what) in [(7, 8, "C = 7 is no multiple of 4"), (8, 30, "K = 30 is no multiple of 4")] {
        let refused = direct.can_run(shape(&("odd", [1, 3, 3, c], k, (1, 1), 1, 0))).unwrap_err().to_string();
        assert!(refused.contains(what) && refused.contains("fill its channels up with zeros"), "{refused}");
    }
    let refused = BatchNorm::<f16>::new(&device.modules).unwrap().can_run(42, 6).unwrap_err().to_string();
    assert!(refused.contains("6 channels, expected a multiple of 4; fill them up with zeros"), "{refused}");
    device.stream.synchronize().unwrap();
}
