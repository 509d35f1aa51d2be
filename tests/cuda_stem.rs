//! The first two layers as one kernel, against loops in f64: equality for small integers, and the counters of the software device.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cuda::{Element, Stem, StemArgs, StemShape, stem_filter};
use common::cuda::{Buffer, Device, Guarded, Room, equal, install, integers, software, with_settings};
use half::{bf16, f16};

/// `[N, H, W]` and K.
const SHAPES: &[([usize; 3], usize)] = &[
    ([1, 1, 1], 8),
    ([1, 7, 7], 32),
    ([2, 2, 5], 64),
    ([1, 13, 3], 40),
    ([3, 31, 29], 64),
    ([1, 4, 127], 72), // conv 64 columns wide: a strip's last column is the image's
    ([1, 5, 251], 96), // three tiles across, two blocks of channels
    ([1, 97, 161], 64),
    ([3, 65, 17], 24),
    ([300, 5, 3], 8),  // more tiles than blocks
    ([40, 43, 9], 16), // several rows a tile, and a rest
    ([1, 3021, 4], 8), // seven rows a tile with 108 multiprocessors: more than 48 KiB of shared memory
];

/// Images, a filter of numbers that f16 holds, and a bias.
struct Problem {
    shape: StemShape,
    /// `[N, H, W, 3]`, what the network sees.
    x: Vec<f32>,
    /// `[K, 7, 7, 3]`.
    w: Vec<f32>,
    bias: Vec<f32>,
}

impl Problem {
    fn new(([n, h, w], k): ([usize; 3], usize), x: Vec<f32>) -> Self {
        Self { shape: StemShape { n, h, w, k }, x, w: integers(2, k * 147, 1), bias: integers(3, k, 9) }
    }

    /// Convolution, bias, ReLU and pooling, by their definitions.
    fn want(&self) -> Vec<f32> {
        let StemShape { n, h, w, k } = self.shape;
        let halved = |extent: usize| (extent - 1) / 2 + 1; // both windows have a border of (size - 1) / 2 and stride 2
        let (conv_p, conv_q) = (halved(h), halved(w));
        let (p, q) = (halved(conv_p), halved(conv_q));
        let mut y = Vec::new();
        for image in 0..n {
            let mut conv = vec![0.0; conv_p * conv_q * k];
            for (at, sum) in conv.iter_mut().enumerate() {
                let (row, column, channel) = (at / k / conv_q, at / k % conv_q, at % k);
                *sum = f64::from(self.bias[channel]);
                for r in 0..7 {
                    for s in 0..7 {
                        let (ih, iw) = ((2 * row + r).wrapping_sub(3), (2 * column + s).wrapping_sub(3));
                        if ih < h && iw < w {
                            for c in 0..3 {
                                let x = f64::from(self.x[((image * h + ih) * w + iw) * 3 + c]);
                                *sum += x * f64::from(self.w[(channel * 49 + r * 7 + s) * 3 + c]);
                            }
                        }
                    }
                }
            }
            for at in 0..p * q * k {
                let (row, column, channel) = (at / k / q, at / k % q, at % k);
                let window = |at: usize, extent: usize| (2 * at).saturating_sub(1)..(2 * at + 2).min(extent);
                let seen =
                    window(row, conv_p).flat_map(|ih| window(column, conv_q).map(move |iw| (ih * conv_q + iw) * k + channel));
                let larger = |largest: f64, at: usize| if largest.is_nan() || conv[at] <= largest { largest } else { conv[at] };
                y.push(seen.fold(0.0, larger) as f32);
            }
        }
        y
    }

    fn run<T: Guarded + Element>(&self, device: &Device, room: Room) -> Vec<f32> {
        let x = Buffer::<T>::new(device, &self.x, room);
        let w = Buffer::<T>::new(device, &stem_filter(&self.w), room);
        let bias = Buffer::<f32>::new(device, &self.bias, room);
        let kernel = Stem::<T>::new(&device.modules).unwrap();
        let (p, q) = kernel.can_run(&self.shape).unwrap();
        let mut y = Buffer::<T>::output(device, self.shape.n * p * q * self.shape.k, room);
        let (x, w, bias) = (x.span(device), w.span(device), bias.span(device));
        let args = StemArgs { shape: &self.shape, x, w, bias, y: y.span_mut(device) };
        kernel.launch(&device.stream, args).unwrap_or_else(|error| panic!("{:?}: {error}", self.shape));
        y.values(device)
    }
}

fn elements([n, h, w]: [usize; 3]) -> usize {
    n * h * w * 3
}

#[test]
fn halves_on_awkward_shapes() {
    let device = Device::open();
    for (&(image, k), room) in SHAPES.iter().zip([Room::Guarded, Room::Exact].into_iter().cycle()) {
        let problem = Problem::new((image, k), integers(1, elements(image), 2));
        let (name, want) = (format!("{:?}", problem.shape), problem.want());
        equal(&name, &problem.run::<f16>(&device, room), &want);
        if device.modules.capability() >= 80 {
            let rounded: Vec<f32> = want.iter().map(|&value| bf16::from_f32(value).to_f32()).collect();
            equal(&format!("{name} in bf16"), &problem.run::<bf16>(&device, room), &rounded);
        }
    }
}

/// What is not finite reaches every value whose windows see it, and no other.
#[test]
fn a_nan_goes_where_it_is_seen() {
    let device = Device::open();
    for value in [f32::NAN, f32::INFINITY] {
        for at in [0, 1, 18, 44, 285, 302] {
            // 18 and 285 are the first channel of a column that comes right after a window
            let image = [1, 11, 17];
            let mut problem = Problem::new((image, 32), integers(7, elements(image), 2));
            problem.x[at] = value;
            let want = problem.want();
            assert!(want.iter().any(|v| !v.is_finite()) && want.iter().any(|v| v.is_finite()));
            let mut all = vec![problem.run::<f16>(&device, Room::Exact)];
            if device.modules.capability() >= 80 {
                all.push(problem.run::<bf16>(&device, Room::Exact)); // whole numbers below 256 are exact in it, too
            }
            for (index, (got, want)) in all.iter().flat_map(|got| got.iter().zip(&want).enumerate()) {
                assert!(got == want || got.is_nan() && want.is_nan(), "{value} at {at}: {got} at {index}, want {want}");
            }
        }
    }
    let mut problem = Problem::new(([1, 9, 9], 32), integers(7, 9 * 9 * 3, 2));
    problem.bias[5] = f32::NAN;
    for (index, value) in problem.run::<f16>(&device, Room::Exact).into_iter().enumerate() {
        assert_eq!(value.is_nan(), index % 32 == 5, "at {index}");
    }
}

/// On the layer of ResNet-18 at 224x224: no bank conflicts, whole sectors, few instructions beside the tensor cores', the image
/// read hardly more than once and nothing but the pooled output written.
#[test]
fn counters_of_the_real_layer() {
    if !software() {
        return; // the counters are the software device's
    }
    let device = Device::open();
    let image = [1, 224, 224];
    let problem = Problem::new((image, 64), integers(1, elements(image), 2));
    problem.run::<f16>(&device, Room::Exact);
    let report = install().take_report();
    let launches = report["launches"].as_array().expect("a list of launches");
    let (name, stored) = ("stem_f16_nhwc", 56 * 56 * 64 * 2); // other tests' launches have other sizes
    let is_real = |launch: &&serde_json::Value| launch["kernel"] == name && launch["counters"]["global_store"]["bytes"] == stored;
    let launch = launches.iter().find(is_real).unwrap_or_else(|| panic!("{name} was launched"));
    let count = |group: &str, field: &str| launch["counters"][group][field].as_u64().unwrap_or_else(|| panic!("{launch}"));
    for access in ["shared_load", "shared_store"] {
        assert!(count(access, "wavefronts") > 0);
        assert_eq!(count(access, "wavefronts"), count(access, "ideal_wavefronts"), "{access} of {name}");
    }
    for access in ["global_load", "global_store"] {
        let (ideal, actual) = (count(access, "ideal_sectors"), count(access, "sectors"));
        assert!(ideal as f64 >= 0.9 * actual as f64, "{access} of {name}: {ideal} of {actual} sectors");
    }
    let counters = &launch["counters"];
    let filter = (problem.shape.filter_len() * 2 + 64 * 4) as u64;
    let image = elements(image) as u64 * 2;
    let read = counters["unique_read_bytes"].as_u64().unwrap();
    assert!((image..=image + filter).contains(&read), "{name} reads {read} bytes: the image has {image}, the filter {filter}");
    assert_eq!(counters["unique_written_bytes"], stored, "nothing but the pooled output");
    let instructions: u64 = counters["instructions"].as_object().unwrap().values().filter_map(|v| v.as_u64()).sum();
    let mma = counters["mma"].as_u64().unwrap();
    assert!(instructions <= 8 * mma, "{name}: {instructions} instructions for {mma} of the tensor cores");
}

/// Other devices, orders and roundings of the matrix instructions, in processes of their own.
#[test]
fn other_devices_and_orders() {
    if !software() {
        return; // a GPU is what it is
    }
    let orders = ["1", "2", "3"].map(|seed| [("CUDA_EMU_ORDER", "random"), ("CUDA_EMU_MMA", "block8"), ("CUDA_EMU_SEED", seed)]);
    let devices =
        ["T4", "H100"].map(|name| [("CUDA_EMU_DEVICE", name), ("CUDA_EMU_ORDER", "reverse"), ("CUDA_EMU_STREAMS", "lazy")]);
    for variables in orders.into_iter().chain(devices) {
        with_settings(&variables, &["shapes", "nan"], 2);
    }
}

#[test]
fn wrong_arguments_are_refused_before_anything_runs() {
    let device = Device::open();
    let kernel = Stem::new(&device.modules).unwrap();
    let right = StemShape { n: 1, h: 9, w: 9, k: 32 };
    let refusal = |shape: StemShape, x: usize, w: usize, bias: usize, y: usize, skew: u64| {
        let zeros = |len| Buffer::<f16>::new(&device, &vec![0.0; len], Room::Guarded);
        let (x, w, mut y) = (zeros(x), zeros(w), zeros(y));
        let bias = Buffer::<f32>::new(&device, &vec![0.0; bias], Room::Guarded);
        let x = x.span(&device);
        // SAFETY: the guards make room for the skew, and the launch is refused anyway.
        let x = unsafe { camshaft::cuda::Span::from_raw(x.address() + skew, x.len()) };
        let (w, bias) = (w.span(&device), bias.span(&device));
        let args = StemArgs { shape: &shape, x, w, bias, y: y.span_mut(&device) };
        kernel.launch(&device.stream, args).unwrap_err().to_string()
    };
    let (x, w, bias, y) = (243, right.filter_len(), 32, 288);
    assert!(refusal(right, x - 1, w, bias, y, 0).contains("`x` holds 242 elements, expected 243"));
    assert!(refusal(right, x, w + 1, bias, y, 0).contains("`w` holds"));
    assert!(refusal(right, x, w, bias + 8, y, 0).contains("`bias` holds 40 elements, expected 32"));
    assert!(refusal(right, x, w, bias, y - 8, 0).contains("`y` holds"));
    assert!(refusal(right, x, w, bias, y, 2).contains("not 16-byte aligned"));
    assert!(refusal(StemShape { k: 20, ..right }, x, w, bias, y, 0).contains("20 channels, expected a multiple of 8"));
    device.stream.synchronize().unwrap();
}
