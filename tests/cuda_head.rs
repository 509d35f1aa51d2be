//! The kernels around the convolutions against the CPU's code: pooling, linear layer, ranks. Data are small integers where sums
//! are to be exact, so that equality can be demanded.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cpu::reference;
use camshaft::cuda::{
    CudaError, Element, GlobalAvgPool, GlobalAvgPoolArgs, Linear, LinearArgs, LinearInput, LinearShape, MaxPool2d, MaxPool2dArgs,
    SoftmaxTopk, SoftmaxTopkArgs, Span, TopkShape,
};
use camshaft::network::Window;
use camshaft::tensor::Nhwc;
use common::compare::{Allowance, assert_close};
use common::cuda::{Buffer, Device, Guarded, Room, equal, integers};
use half::{bf16, f16};

const ROOMS: [Room; 2] = [Room::Guarded, Room::Exact];

#[test]
fn max_pool2d() {
    let device = Device::open();
    let cases = [
        ([1, 112, 112, 64], (3, 3), 2, 1), // ResNet's
        ([1, 1, 1, 8], (3, 3), 2, 1),
        ([2, 7, 9, 16], (3, 3), 2, 1),
        ([3, 5, 6, 40], (2, 3), 1, 0),
        ([2, 11, 4, 24], (3, 3), 2, 1),
        ([1, 13, 2, 56], (5, 2), 3, 2),
        ([1, 2, 2, 8], (2, 2), 1, 1),
        ([2, 7, 5, 12], (3, 2), 2, 1), // one pack of f16 and a half: f32 only
    ];
    for (index, (shape, size, stride, pad)) in cases.into_iter().enumerate() {
        let window = Window { size, stride, pad };
        let mut x = integers(index as u64, shape.iter().product(), 99);
        let middle = x.len() / 2;
        x[middle] = f32::NAN;
        x[0] = f32::NEG_INFINITY;
        let (p, q) = window.outputs(shape[1], shape[2]).unwrap();
        let want = reference::max_pool2d(&Nhwc::new(shape, x.clone()), window, [shape[0], p, q, shape[3]]);
        assert!(want.iter().any(|v| v.is_nan()), "a NaN wins its windows");
        max_pool2d_of::<f32>(&device, ROOMS[index % 2], shape, window, &x, &want);
        if shape[3] % 8 != 0 {
            continue;
        }
        max_pool2d_of::<f16>(&device, ROOMS[index % 2], shape, window, &x, &want);
        if device.modules.capability() >= 80 {
            max_pool2d_of::<bf16>(&device, ROOMS[index % 2], shape, window, &x, &want);
        }
    }
}

fn max_pool2d_of<T: Element + Guarded>(device: &Device, room: Room, shape: [usize; 4], window: Window, x: &[f32], want: &[f32]) {
    let kernel = MaxPool2d::<T>::new(&device.modules).unwrap();
    let (x, mut y) = (Buffer::<T>::new(device, x, room), Buffer::<T>::output(device, want.len(), room));
    let args = MaxPool2dArgs { x: x.span(device), shape, window, y: y.span_mut(device) };
    kernel.launch(&device.stream, args).unwrap();
    // NaN equals nothing: shown as a number that is no input.
    let shown = |values: &[f32]| values.iter().map(|v| if v.is_nan() { 12_345.0 } else { *v }).collect::<Vec<_>>();
    equal(&format!("max pool {} {shape:?} {window:?}", T::NAME), &shown(&y.values(device)), &shown(want));
}

#[test]
fn global_avg_pool() {
    let device = Device::open();
    let cases = [[1, 7, 7, 512], [3, 1, 1, 8], [2, 5, 7, 72], [1, 10, 10, 24], [1, 33, 1, 2048], [2, 8, 8, 64]];
    for (index, shape) in cases.into_iter().enumerate() {
        let x = integers(index as u64, shape.iter().product(), 99);
        let want = reference::global_avg_pool(&Nhwc::new(shape, x.clone()));
        global_avg_pool_of::<f32>(&device, ROOMS[index % 2], shape, &x, &want);
        global_avg_pool_of::<f16>(&device, ROOMS[index % 2], shape, &x, &want);
        if device.modules.capability() >= 80 {
            global_avg_pool_of::<bf16>(&device, ROOMS[index % 2], shape, &x, &want);
        }
    }
}

fn global_avg_pool_of<T: Element + Guarded>(device: &Device, room: Room, shape: [usize; 4], x: &[f32], want: &[f32]) {
    let kernel = GlobalAvgPool::<T>::new(&device.modules).unwrap();
    let (x, mut y) = (Buffer::<T>::new(device, x, room), Buffer::<f32>::output(device, want.len(), room));
    let args = GlobalAvgPoolArgs { x: x.span(device), shape, y: y.span_mut(device) };
    kernel.launch(&device.stream, args).unwrap();
    equal(&format!("mean {} {shape:?}", T::NAME), &y.values(device), want);
}

#[test]
fn linear() {
    let device = Device::open();
    // Batches below, at and above the tile's images; residues in K; C of one read, of many, of more than a block's threads.
    let cases = [(1, 512, 1000), (2, 8, 1), (3, 2048, 37), (4, 72, 33), (17, 512, 10), (18, 264, 300), (33, 8, 5), (19, 136, 41)];
    for (index, (n, c, k)) in cases.into_iter().enumerate() {
        let shape = LinearShape { n, positions: 1, c, k };
        let (x, w, bias) = (integers(1, n * c, 9), integers(2, k * c, 9), integers(3, k, 99));
        let want = reference::linear(&x, &w, &bias);
        linear_of_means::<f32>(&device, ROOMS[index % 2], shape, [&x, &w, &bias], &want);
        linear_of_means::<f16>(&device, ROOMS[index % 2], shape, [&x, &w, &bias], &want);
        if device.modules.capability() >= 80 {
            linear_of_means::<bf16>(&device, ROOMS[index % 2], shape, [&x, &w, &bias], &want);
        }
    }
}

fn linear_of_means<T: Element + Guarded>(
    device: &Device,
    room: Room,
    shape: LinearShape,
    [x, w, bias]: [&[f32]; 3],
    want: &[f32],
) {
    let kernel = Linear::<T>::new(&device.modules).unwrap();
    let (x, w) = (Buffer::<f32>::new(device, x, room), Buffer::<T>::new(device, w, room));
    let (bias, mut y) = (Buffer::<f32>::new(device, bias, room), Buffer::<f32>::output(device, want.len(), room));
    let (input, w, bias) = (LinearInput::Means(x.span(device)), w.span(device), bias.span(device));
    kernel.launch(&device.stream, LinearArgs { shape, input, w, bias, y: y.span_mut(device) }).unwrap();
    equal(&format!("linear {} {shape:?}", T::NAME), &y.values(device), want);
}

/// The mean and the linear layer in one launch: features whose means are whole numbers.
#[test]
fn linear_of_the_mean() {
    let device = Device::open();
    // ResNet's; one position; fewer positions than threads share them; a residue of images, classes and channels.
    let cases = [
        (1, 49, 512, 1000),
        (2, 1, 8, 3),
        (3, 6, 2048, 37),
        (1, 130, 72, 33),
        (17, 49, 512, 10),
        (18, 15, 264, 300),
        (21, 4, 8, 5),
    ];
    for (index, (n, positions, c, k)) in cases.into_iter().enumerate() {
        let shape = LinearShape { n, positions, c, k };
        let (means, w, bias) = (integers(1, n * c, 9), integers(2, k * c, 9), integers(3, k, 99));
        let mut x = integers(4, n * positions * c, 50);
        for (image, means) in x.chunks_exact_mut(positions * c).zip(means.chunks_exact(c)) {
            for (channel, mean) in means.iter().enumerate() {
                // Around the mean, in pairs; an odd one is the mean itself.
                for position in 0..positions {
                    image[position * c + channel] = match position ^ 1 {
                        partner if partner >= positions => *mean,
                        partner if partner > position => mean + image[position * c + channel],
                        partner => 2.0 * mean - image[partner * c + channel],
                    };
                }
            }
        }
        let want = reference::linear(&means, &w, &bias);
        linear_of_features::<f32>(&device, ROOMS[index % 2], shape, [&x, &w, &bias], [&means, &want]);
        linear_of_features::<f16>(&device, ROOMS[index % 2], shape, [&x, &w, &bias], [&means, &want]);
        if device.modules.capability() >= 80 {
            linear_of_features::<bf16>(&device, ROOMS[index % 2], shape, [&x, &w, &bias], [&means, &want]);
        }
    }
}

fn linear_of_features<T: Element + Guarded>(
    device: &Device,
    room: Room,
    shape: LinearShape,
    [x, w, bias]: [&[f32]; 3],
    [means, want]: [&[f32]; 2],
) {
    let kernel = Linear::<T>::new(&device.modules).unwrap();
    let (x, w) = (Buffer::<T>::new(device, x, room), Buffer::<T>::new(device, w, room));
    let (bias, mut y) = (Buffer::<f32>::new(device, bias, room), Buffer::<f32>::output(device, want.len(), room));
    let mut mean = Buffer::<f32>::output(device, means.len(), room);
    let input = LinearInput::Features { x: x.span(device), mean: mean.span_mut(device) };
    let (w, bias) = (w.span(device), bias.span(device));
    kernel.launch(&device.stream, LinearArgs { shape, input, w, bias, y: y.span_mut(device) }).unwrap();
    let what = format!("{} {shape:?}", T::NAME);
    equal(&format!("mean, {what}"), &mean.values(device), means);
    equal(&format!("linear, {what}"), &y.values(device), want);
}

/// Classes and probabilities of the first `k`, for each image.
fn rank(device: &Device, logits: &[f32], n: usize, k: usize, room: Room) -> (Vec<usize>, Vec<f32>) {
    let shape = TopkShape { n, classes: logits.len() / n, k };
    let logits = Buffer::<f32>::new(device, logits, room);
    let (mut index, mut probability) = (Buffer::<i32>::output(device, n * k, room), Buffer::<f32>::output(device, n * k, room));
    let (index_span, probability_span) = (index.span_mut(device), probability.span_mut(device));
    let args = SoftmaxTopkArgs { shape, logits: logits.span(device), index: index_span, probability: probability_span };
    SoftmaxTopk::new(&device.modules).unwrap().launch(&device.stream, args).unwrap();
    (index.values(device).into_iter().map(|v| v as usize).collect(), probability.values(device))
}

#[test]
fn softmax_and_ranks() {
    let device = Device::open();
    // One class, fewer than a block's, the usual thousand, more than a tile of keys, and every rank of each.
    let cases = [(1, 1000, 5), (2, 10, 10), (3, 1, 1), (1, 31, 31), (2, 33, 7), (1, 2049, 2049), (1, 1000, 1000), (2, 5000, 3)];
    for (index, (n, classes, k)) in cases.into_iter().enumerate() {
        // Eighths: many classes share a logit.
        let logits: Vec<f32> = integers(index as u64, n * classes, 80).iter().map(|v| v / 8.0).collect();
        let (got, probability) = rank(&device, &logits, n, k, ROOMS[index % 2]);
        for image in 0..n {
            let logits = &logits[image * classes..][..classes];
            let mut order: Vec<usize> = (0..classes).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            assert_eq!(got[image * k..][..k], order[..k], "{n} images, {classes} classes, image {image}");
            let most = f64::from(logits[order[0]]);
            let exp = |class: usize| (f64::from(logits[class]) - most).exp();
            let total: f64 = (0..classes).map(exp).sum();
            let want: Vec<f32> = order[..k].iter().map(|&class| (exp(class) / total) as f32).collect();
            // Differences of at most 20 are exact; ex2 of their product with log2(e), rounded at 2^-19, is off by 2e-6 of the
            // value, a sum of thousands by less, the quotient by 1e-7.
            assert_close("probabilities", &probability[image * k..][..k], &want, Allowance { abs: 0.0, rel: 5e-6 });
        }
    }
}

/// Their exponentials alone are beyond f32.
#[test]
fn probabilities_of_large_logits() {
    let device = Device::open();
    for offset in [1000.0, -1000.0] {
        let logits = [0.0, 2.0, -1.0, 1.0].map(|v| v + offset);
        let (index, probability) = rank(&device, &logits, 1, 4, Room::Exact);
        assert_eq!(index, [1, 3, 0, 2]);
        let total: f64 = [0f64, -1.0, -2.0, -3.0].iter().map(|v| v.exp()).sum();
        let want = [0f64, -1.0, -2.0, -3.0].map(|v| (v.exp() / total) as f32);
        assert_close("probabilities", &probability, &want, Allowance { abs: 0.0, rel: 1e-6 });
    }
}

#[test]
fn ranks_of_numbers_that_are_none() {
    let device = Device::open();
    let (index, probability) = rank(&device, &[1.0, f32::NAN, f32::NEG_INFINITY, 3.0, f32::INFINITY], 1, 5, Room::Guarded);
    assert_eq!(index, [1, 4, 3, 0, 2], "the total order of IEEE 754");
    assert!(probability.iter().all(|p| p.is_nan()), "{probability:?}");
    let (index, probability) = rank(&device, &[-0.0, 0.0, f32::NEG_INFINITY], 1, 3, Room::Guarded);
    assert_eq!(index, [1, 0, 2]);
    assert_eq!(probability, [0.5, 0.5, 0.0]);
}

/// Each kind of error that a launch can give before it reaches the device.
#[test]
fn mistakes_are_refused() {
    let device = Device::open();
    let room = Room::Guarded;
    let x = Buffer::<f32>::new(&device, &[0.0; 64], room);
    let mut y = Buffer::<f32>::output(&device, 64, room);

    let pool = MaxPool2d::<f32>::new(&device.modules).unwrap();
    let window = Window { size: (3, 3), stride: 2, pad: 1 };
    let args = MaxPool2dArgs { x: x.span(&device), shape: [1, 4, 4, 8], window, y: y.span_mut(&device) };
    let error = pool.launch(&device.stream, args).unwrap_err();
    assert!(matches!(error, CudaError::Length { buffer: "x", expected: 128, found: 64, .. }), "{error}");
    let args = MaxPool2dArgs { x: x.span(&device), shape: [1, 4, 4, 4], window, y: y.span_mut(&device) };
    let error = pool.launch(&device.stream, args).unwrap_err();
    assert!(matches!(error, CudaError::Length { buffer: "y", expected: 16, found: 64, .. }), "{error}");

    let odd = pool.can_run([1, 4, 4, 5], window).unwrap_err().to_string();
    assert!(odd.contains("5 channels, expected a multiple of 4; fill them up with zeros"), "{odd}");
    let odd = MaxPool2d::<f16>::new(&device.modules).unwrap().can_run([1, 4, 4, 12], window).unwrap_err().to_string();
    assert!(odd.contains("12 channels, expected a multiple of 8"), "{odd}");

    let mean = GlobalAvgPool::<f32>::new(&device.modules).unwrap();
    assert!(mean.can_run([1, 2, 2, 6]).unwrap_err().to_string().contains("multiple of 4"));
    assert!(GlobalAvgPool::<f16>::new(&device.modules).unwrap().can_run([1, 2, 2, 4]).unwrap_err().to_string().contains("of 8"));
    let linear = Linear::<f32>::new(&device.modules).unwrap();
    assert!(linear.can_run(&LinearShape { n: 1, positions: 1, c: 8, k: 0 }).unwrap_err().to_string().contains("empty"));
    let many = LinearShape { n: 1, positions: 1, c: 1 << 14, k: 1 };
    assert!(linear.can_run(&many).unwrap_err().to_string().contains("shared memory"));
    let bias = x.span(&device);
    // SAFETY: one element further in the same buffer, for a launch that is refused.
    let bias = unsafe { Span::from_raw(bias.address() + 4, 4) };
    let (shape, w) = (LinearShape { n: 1, positions: 1, c: 8, k: 4 }, Buffer::<f32>::new(&device, &[0.0; 32], room));
    let means = Buffer::<f32>::new(&device, &[0.0; 8], room);
    let args =
        LinearArgs { shape, input: LinearInput::Means(means.span(&device)), w: w.span(&device), bias, y: y.span_mut(&device) };
    let error = linear.launch(&device.stream, args).unwrap_err();
    assert!(matches!(error, CudaError::Alignment { buffer: "bias", .. }), "{error}");
    let ranks = SoftmaxTopk::new(&device.modules).unwrap();
    assert!(ranks.can_run(&TopkShape { n: 1, classes: 4, k: 5 }).unwrap_err().to_string().contains("5 of 4"));
    assert!(ranks.can_run(&TopkShape { n: 70_000, classes: 4, k: 1 }).unwrap_err().to_string().contains("65535"));
    assert!(y.values(&device).iter().all(|v| v.is_nan()), "nothing ran");
}
