//! What the head moves on ResNet-18's shape, counted by the software device: two launches from features to enlarged maps, which
//! together touch no more than 5 % above the compulsory bytes, in whole sectors and without bank conflicts.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cam::Normalisation;
use camshaft::cuda::{
    CamClasses, CamOutput, CamShape, CamUpsample, CamUpsampleArgs, Linear, LinearArgs, LinearInput, LinearShape,
};
use common::cuda::{Buffer, Device, Room, install, integers, software};
use half::f16;
use serde_json::Value;

const POSITIONS: usize = 49;
const C: usize = 512;
const K: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Output {
    F32,
    F16,
    U8,
    Overlay,
}

/// Bytes and sectors of one launch.
#[derive(Debug)]
struct Moved {
    kernel: String,
    read: u64,
    written: u64,
    /// Sectors over those that the same bytes would fill.
    sectors: f64,
    /// From L2 and to it.
    traffic: u64,
    conflicts: u64,
}

impl Moved {
    fn of(launch: &Value) -> Self {
        let counters = &launch["counters"];
        let count = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{launch}"));
        let both = |what: &str| count(&counters["global_load"][what]) + count(&counters["global_store"][what]);
        let conflicts = |access: &str| count(&counters[access]["wavefronts"]) - count(&counters[access]["ideal_wavefronts"]);
        Self {
            kernel: launch["kernel"].as_str().unwrap().to_owned(),
            read: count(&counters["unique_read_bytes"]),
            written: count(&counters["unique_written_bytes"]),
            sectors: both("ideal_sectors") as f64 / both("sectors") as f64,
            traffic: both("sectors") * 32,
            conflicts: conflicts("shared_load") + conflicts("shared_store"),
        }
    }
}

/// Runs the head on `n` images and enlarges `maps` maps of each to `size` squared.
fn head(device: &Device, n: usize, maps: usize, size: usize, output: Output) -> [Moved; 2] {
    let room = Room::Exact;
    let x = Buffer::<f16>::new(device, &integers(1, n * POSITIONS * C, 9), room);
    let w = Buffer::<f16>::new(device, &integers(2, K * C, 9), room);
    let bias = Buffer::<f32>::new(device, &integers(3, K, 9), room);
    let (mut mean, mut logits) = (Buffer::<f32>::output(device, n * C, room), Buffer::<f32>::output(device, n * K, room));
    let (mut index, mut raw) =
        (Buffer::<i32>::output(device, n * maps, room), Buffer::<f32>::output(device, n * maps * POSITIONS, room));
    let mut range = Buffer::<f32>::output(device, n * maps * 2, room);
    let pixels = n * maps * size * size;
    let mut to_f32 = Buffer::<f32>::output(device, pixels, room);
    let mut to_f16 = Buffer::<f16>::output(device, pixels, room);
    let mut to_u8 = Buffer::<u8>::output(device, pixels * 3, room);
    let crop = Buffer::<u8>::new(device, &vec![7.0; n * size * size * 3], room);
    let colormap = Buffer::<u8>::new(device, &(0..768).map(|v| (v % 256) as f32).collect::<Vec<_>>(), room);
    let mut bytes = Buffer::<u8>::output(device, pixels, room);

    let linear = Linear::<f16>::new(&device.modules).unwrap();
    let cam = CamUpsample::<f16>::new(&device.modules).unwrap();
    let shape = LinearShape { n, positions: POSITIONS, c: C, k: K };
    let input = LinearInput::Features { x: x.span(device), mean: mean.span_mut(device) };
    let args = LinearArgs { shape, input, w: w.span(device), bias: bias.span(device), y: logits.span_mut(device) };
    linear.launch(&device.stream, args).unwrap();
    let args = CamUpsampleArgs {
        shape: CamShape { n, h: 7, w: 7, c: C, classes: K, maps, out_h: size, out_w: size },
        features: x.span(device),
        weights: w.span(device),
        classes: CamClasses::Likeliest { logits: logits.span(device), index: index.span_mut(device) },
        normalisation: Normalisation::MinMax,
        raw: raw.span_mut(device),
        range: range.span_mut(device),
        output: match output {
            Output::F32 => CamOutput::F32(to_f32.span_mut(device)),
            Output::F16 => CamOutput::F16(to_f16.span_mut(device)),
            Output::U8 => CamOutput::U8(bytes.span_mut(device)),
            Output::Overlay => CamOutput::Overlay {
                crop: crop.span(device),
                colormap: colormap.span(device),
                alpha: 0.5,
                picture: to_u8.span_mut(device),
            },
        },
    };
    cam.launch(&device.stream, args).unwrap();
    device.stream.synchronize().unwrap();
    let report = install().take_report();
    let launches: Vec<Moved> = report["launches"].as_array().expect("a list of launches").iter().map(Moved::of).collect();
    launches.try_into().unwrap_or_else(|launches| panic!("two launches, not {launches:?}"))
}

#[test]
fn the_head_moves_what_it_must() {
    if !software() {
        return; // the counters are the software device's
    }
    let device = Device::open();
    install().take_report();
    // Images, maps of each, extent of a map. A thousand maps are smaller, for the time that they take.
    let cases = [
        (1, 1, 224, Output::F32),
        (1, 1, 224, Output::F16),
        (1, 1, 224, Output::U8),
        (1, 2, 224, Output::Overlay),
        (3, 5, 96, Output::U8),
        (20, 1, 64, Output::F16),
        (1, 1000, 32, Output::U8),
    ];
    for (n, maps, size, output) in cases {
        let [linear, cam] = head(&device, n, maps, size, output);
        let what = format!("{n} images, {maps} maps of {size}x{size} {output:?}: {linear:#?} {cam:#?}");
        assert!(linear.kernel.starts_with("linear_f16") && cam.kernel.starts_with("cam_"), "{what}");
        for launch in [&linear, &cam] {
            assert_eq!(launch.conflicts, 0, "{what}");
            assert!(launch.sectors >= 0.9, "{what}");
        }
        let pixel = match output {
            Output::F32 => 4,
            Output::F16 => 2,
            Output::U8 => 1,
            Output::Overlay => 3,
        };
        let (features, weights, logits) = (n * POSITIONS * C * 2, K * C * 2, n * K * 4);
        let crop = if output == Output::Overlay { n * size * size * 3 + 768 } else { 0 };
        let shown = n * maps * (size * size * pixel + POSITIONS * 4 + 8 + 4);
        let floor = (features + weights + K * 4 + logits + crop + shown) as u64;
        // What the maps read again was read or written by the launch before: 50 kB an image, which L2 still holds.
        let again = features + (n * maps).min(K) * C * 2 + logits;
        assert!(cam.read <= (again + crop) as u64, "{what}");
        let fresh = linear.read + linear.written + cam.written + crop as u64;
        assert!(fresh * 100 <= floor * 105, "{fresh} bytes, the floor is {floor}; {what}");
        println!(
            "{n:3} x {maps:4} {output:?} {size}: floor {floor}, touched {fresh} ({:+.1} %), through L2 {} + {}, sectors {:.3} {:.3}",
            (fresh as f64 / floor as f64 - 1.0) * 100.0,
            linear.traffic,
            cam.traffic,
            linear.sectors,
            cam.sectors,
        );
    }
}
