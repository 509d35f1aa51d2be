//! Networks whose channels are no multiple of what the kernels move at a time, on a CUDA device: every layer and the maps against the
//! definition in f64, within what networks of other widths are allowed.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cam::Selection;
use camshaft::cpu::reference::{self, BatchNorm};
use camshaft::cuda::{Cuda, Norm, Options, forecast};
use camshaft::network::Model;
use camshaft::tensor::{Nhwc, Precision};
use camshaft::weights::WeightFile;
use common::compare::{Allowance, assert_close};
use common::cuda::with_settings;
use common::seeded::{Dtype, Net, network_input};
use common::{safetensors_file, software};

const CLASSES: usize = 5;

/// Depth and width. Channels of 1, 2, 4; 3, 6, 12; 5, 10, 20; 10, 20, 40; 13, 26, 52; of a bottleneck 3, 6, 12 and four times as many; and
/// of 31, 62, 124. From 13 on some are filled up to whole steps of the tensor cores' main loop.
const NETS: [(u32, usize); 7] = [(18, 1), (18, 3), (18, 5), (18, 10), (18, 13), (50, 3), (18, 31)];

/// Whether the shortcut of layer3 is computed with the convolution that ends its block: where the channels of both, in whole sectors, are
/// whole steps of the main loop.
fn joins(depth: u32, width: usize, precision: Precision, capability: u32) -> bool {
    let step = match precision {
        Precision::F32 => return false,
        Precision::F16Fast if capability >= 80 => 64,
        _ => 32,
    };
    depth == 18 && [2 * width, 4 * width].iter().all(|channels| channels.next_multiple_of(16) % step == 0)
}

fn model(depth: u32, width: usize) -> Model {
    let net = Net { depth, width, classes: CLASSES, seed: 21 };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &net.tensors(), Dtype::F32);
    Model::load(WeightFile::open(&path).unwrap()).unwrap()
}

/// As many images, of primes' extents.
const N: usize = 2;

fn images() -> Nhwc {
    Nhwc::new([N, 31, 37, 3], network_input(N, 31, 37, 22))
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |largest, v| largest.max(v.abs()))
}

/// Of the largest magnitude, as other networks are allowed. Measured on the software device: f32 1.4e-6, f16 and f16-fast 3.8e-3. Steps
/// of bf16 are eight times those of f16, and so is what these narrow layers are off.
fn tolerance(precision: Precision) -> f32 {
    match precision {
        Precision::F32 => 2e-5,
        Precision::F16 | Precision::F16Fast => 2e-2,
        Precision::Bf16 => 6e-2,
    }
}

/// Class activation maps, `[N, classes, h, w]`, by their definition.
fn maps(features: &Nhwc, rows: &[f32]) -> Vec<f32> {
    let [n, h, w, c] = features.shape();
    let cell = |image: usize, class: usize, at: usize| {
        let pixel = &features.image(image)[at * c..][..c];
        pixel.iter().zip(&rows[class * c..][..c]).map(|(&a, &r)| f64::from(a) * f64::from(r)).sum::<f64>() as f32
    };
    let cells = |(image, class)| (0..h * w).map(move |at| cell(image, class, at));
    (0..n).flat_map(|image| (0..CLASSES).map(move |class| (image, class))).flat_map(cells).collect()
}

fn agrees(precision: Precision) {
    for (depth, width) in NETS {
        let (model, images) = (model(depth, width), images());
        assert_ne!(width % 4, 0, "the case tells nothing");
        for (norm, batch_norm) in [(Norm::Folded, BatchNorm::Folded), (Norm::Unfolded, BatchNorm::Unfolded)] {
            software::device(&[]);
            let what = format!("ResNet-{depth} of width {width} in {}, {norm:?}", precision.name());
            let want = reference::forward(&model, &images, batch_norm).unwrap();
            let options = Options { precision: Some(precision), norm, serial: false };
            let cuda = Cuda::new(&model, 0, options).unwrap_or_else(|error| panic!("{what}: {error}"));
            let allowance = |want: &[f32]| Allowance::of_largest(tolerance(precision), largest(want));
            let mut layers = model.network().layers().iter().zip(&want);
            cuda.visit(&images, |layer, shape, values| {
                let (row, want) = layers.next().unwrap();
                assert_eq!((layer, shape), (row, want.shape()), "{what}");
                assert_close(&format!("{what}: {}", layer.name), values, want.data(), allowance(want.data()));
            })
            .unwrap();
            assert!(layers.next().is_none(), "{what}: not every layer was shown");

            let plan = cuda.plan(images.shape()[..3].try_into().unwrap(), CLASSES).unwrap();
            if precision == Precision::F16 && norm == Norm::Folded {
                let [n, h, w, _] = images.shape();
                let forecast = forecast(model.network(), [n, h, w], &cuda.facts().unwrap()).unwrap();
                let launches = forecast.expect("the device plays a known one").launches;
                assert_eq!(launches, plan.steps.len(), "{what}: {plan:?}");
            }
            let joined = plan.steps.iter().any(|step| step.layer == "layer3.0.conv2, layer3.0.downsample.0");
            let expected = norm == Norm::Folded && joins(depth, width, precision, cuda.capability());
            assert_eq!(joined, expected, "{what}: {plan:?}");
            let (logits, rows) = (want.last().unwrap(), model.classifier().unwrap().0);
            let maps = maps(&want[model.network().features()], &rows);
            let all: Vec<usize> = (0..CLASSES).collect();
            let passes = if norm == Norm::Folded { &["step by step", "recorded", "replayed"][..] } else { &["step by step"] };
            for how in passes {
                let found = cuda.run(&images, Selection::Classes(&all)).unwrap();
                for (image, maps_of) in maps.chunks_exact(maps.len() / N).enumerate() {
                    let what = format!("{what}: {how}, image {image}");
                    let cells: Vec<f32> = found.maps(image).iter().flat_map(|(_, map)| map.data()).copied().collect();
                    assert_close(&format!("{what}: logits"), found.logits(image), logits.image(image), allowance(logits.data()));
                    assert_close(&format!("{what}: maps"), &cells, maps_of, allowance(&maps));
                }
            }
        }
    }
}

#[test]
fn any_width_in_f32() {
    agrees(Precision::F32);
}

#[test]
fn any_width_in_f16() {
    agrees(Precision::F16);
}

#[test]
fn any_width_with_sums_in_f16() {
    agrees(Precision::F16Fast);
}

#[test]
fn any_width_in_bf16() {
    agrees(Precision::Bf16);
}

/// With the tiles for 7.5, in a process of its own: a software device is settled when it is first used.
#[test]
fn on_turing() {
    if !common::cuda::software() {
        return; // a GPU is what it is
    }
    with_settings(&[("CUDA_EMU_DEVICE", "T4")], &["any_width_in_f16", "any_width_with_sums_in_f16"], 2);
}
