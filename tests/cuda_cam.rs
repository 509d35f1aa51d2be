//! Maps, their enlargement and the overlay on the device against the CPU's: features and weights are small integers, so that the
//! raw maps are exact, and everything after them has to have the same bits.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cam::{Map, Normalisation, class_activation_map};
use camshaft::cuda::{CamClasses, CamOutput, CamShape, CamUpsample, CamUpsampleArgs, CudaError, Element};
use camshaft::input::CropTransform;
use camshaft::render::{Alpha, Colormap, Scene, Style, View};
use camshaft::tensor::Nhwc;
use common::compare::{Allowance, assert_close};
use common::cuda::{Buffer, Device, Guarded, Room, equal, integers};
use common::seeded;
use half::{bf16, f16};
use image::RgbImage;

/// Features, weights and classes of some maps.
struct Problem {
    shape: CamShape,
    features: Vec<f32>,
    weights: Vec<f32>,
    /// `[N, class_stride]`, or `[maps]` with stride 0.
    classes: Vec<f32>,
    class_stride: usize,
    normalisation: Normalisation,
    room: Room,
}

/// What the kernel left.
struct Found {
    raw: Vec<f32>,
    range: Vec<f32>,
    shown: Vec<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Output {
    F32,
    F16,
    U8,
}

impl Problem {
    fn new(shape: CamShape, class_stride: usize, normalisation: Normalisation, room: Room) -> Self {
        let rows = if class_stride == 0 { shape.maps } else { shape.n * class_stride };
        let classes = integers(3, rows, 1000).iter().map(|v| v.rem_euclid(shape.classes as f32)).collect();
        let features = integers(1, shape.n * shape.h * shape.w * shape.c, 9);
        Self { shape, features, weights: integers(2, shape.classes * shape.c, 9), classes, class_stride, normalisation, room }
    }

    /// The raw map `m` of image `n`, by the CPU.
    fn map(&self, n: usize, m: usize) -> Map {
        let CamShape { h, w, c, .. } = self.shape;
        let features = Nhwc::new([self.shape.n, h, w, c], self.features.clone());
        let class = self.classes[n * self.class_stride + m] as usize;
        class_activation_map(&features, n, &self.weights[class * c..][..c])
    }

    fn run<T: Element + Guarded>(&self, device: &Device, output: Output) -> Found {
        let pixels = self.shape.pixels();
        let mut to_f32 = Buffer::<f32>::output(device, pixels, self.room);
        let mut to_f16 = Buffer::<f16>::output(device, pixels, self.room);
        let mut to_u8 = Buffer::<u8>::output(device, pixels, self.room);
        let (raw, range) = self.launch::<T>(
            device,
            match output {
                Output::F32 => CamOutput::F32(to_f32.span_mut(device)),
                Output::F16 => CamOutput::F16(to_f16.span_mut(device)),
                Output::U8 => CamOutput::U8(to_u8.span_mut(device)),
            },
        );
        let shown = match output {
            Output::F32 => to_f32.values(device),
            Output::F16 => to_f16.values(device),
            Output::U8 => to_u8.values(device),
        };
        Found { raw, range, shown }
    }

    fn launch<T: Element + Guarded>(&self, device: &Device, output: CamOutput<'_>) -> (Vec<f32>, Vec<f32>) {
        let features = Buffer::<T>::new(device, &self.features, self.room);
        let weights = Buffer::<T>::new(device, &self.weights, self.room);
        let classes = Buffer::<i32>::new(device, &self.classes, self.room);
        let mut raw = Buffer::<f32>::output(device, self.shape.cells(), self.room);
        let mut range = Buffer::<f32>::output(device, self.shape.n * self.shape.maps * 2, self.room);
        let args = CamUpsampleArgs {
            shape: self.shape,
            features: features.span(device),
            weights: weights.span(device),
            classes: CamClasses::Given { classes: classes.span(device), stride: self.class_stride },
            normalisation: self.normalisation,
            raw: raw.span_mut(device),
            range: range.span_mut(device),
            output,
        };
        CamUpsample::<T>::new(&device.modules).unwrap().launch(&device.stream, args).unwrap();
        (raw.values(device), range.values(device))
    }
}

fn shape([n, h, w, c]: [usize; 4], classes: usize, maps: usize, (out_h, out_w): (usize, usize)) -> CamShape {
    CamShape { n, h, w, c, classes, maps, out_h, out_w }
}

/// Shapes and strides of the class lists: ResNet's, many classes and images, odd sizes whose rows are not whole quads, one cell,
/// shrinking, rows longer than a block has threads.
fn shapes() -> Vec<(CamShape, usize)> {
    vec![
        (shape([1, 7, 7, 512], 10, 1, (224, 224)), 1),
        (shape([2, 7, 7, 64], 11, 3, (96, 80)), 5),
        (shape([2, 3, 5, 8], 4, 2, (37, 53)), 0),
        (shape([1, 1, 1, 16], 2, 1, (5, 3)), 1),
        (shape([3, 13, 9, 24], 6, 2, (6, 4)), 2),
        (shape([1, 2, 2, 8], 2, 2, (10, 1100)), 2),
        (shape([1, 10, 13, 40], 3, 1, (320, 411)), 0),
        (shape([40, 2, 3, 8], 5, 4, (8, 12)), 4), // more maps than multiprocessors
        (shape([1, 2, 2, 8], 2, 2, (10, 1101)), 2),
        (shape([1, 4, 3, 8], 3, 1, (9, 301)), 1), // lanes without a pixel
    ]
}

#[test]
fn maps_are_the_cpus() {
    let device = Device::open();
    for (index, (shape, class_stride)) in shapes().into_iter().enumerate() {
        for &normalisation in Normalisation::ALL {
            let room = if index % 2 == 0 { Room::Guarded } else { Room::Exact };
            let problem = Problem::new(shape, class_stride, normalisation, room);
            check::<f32>(&device, &problem);
            check::<f16>(&device, &problem);
            if device.modules.capability() >= 80 {
                check::<bf16>(&device, &problem);
            }
        }
    }
}

fn check<T: Element + Guarded>(device: &Device, problem: &Problem) {
    let shape = problem.shape;
    let what = format!("{} {shape:?} {:?}", T::NAME, problem.normalisation);
    let [full, half, bytes] = [Output::F32, Output::F16, Output::U8].map(|output| problem.run::<T>(device, output));
    let (cells, pixels) = (shape.h * shape.w, shape.out_h * shape.out_w);
    for at in 0..shape.n * shape.maps {
        let map = problem.map(at / shape.maps, at % shape.maps);
        equal(&format!("raw map {at}, {what}"), &full.raw[at * cells..][..cells], map.data());
        let enlarged = map.upsample(shape.out_h, shape.out_w);
        let stats = enlarged.stats().unwrap();
        equal(&format!("range of map {at}, {what}"), &full.range[at * 2..][..2], &[stats.min, stats.max]);
        let want = enlarged.normalise(problem.normalisation).unwrap();
        equal(&format!("map {at}, {what}"), &full.shown[at * pixels..][..pixels], want.data());
        let rounded: Vec<f32> = want.data().iter().map(|&v| f16::from_f32(v).to_f32()).collect();
        equal(&format!("map {at} in f16, {what}"), &half.shown[at * pixels..][..pixels], &rounded);
        let entries: Vec<f32> = want.data().iter().map(|&v| (v * 256.0).clamp(0.0, 255.0).trunc()).collect();
        equal(&format!("map {at} in u8, {what}"), &bytes.shown[at * pixels..][..pixels], &entries);
    }
}

/// As long a row as 32 bits can place between cells.
#[test]
fn a_long_row_is_the_cpus() {
    let device = Device::open();
    let shape = shape([1, 1, 2001, 8], 1, 1, (1, 1_073_205));
    assert!(((1 << 31) - shape.w..1 << 31).contains(&(shape.w * shape.out_w)));
    let problem = Problem::new(shape, 1, Normalisation::None, Room::Exact);
    let found = problem.run::<f32>(&device, Output::F32);
    let want = problem.map(0, 0).upsample(1, shape.out_w);
    equal("a long row", &found.shown, want.data());
}

#[test]
fn overlays_are_the_cpus() {
    let device = Device::open();
    for (index, (shape, class_stride)) in shapes().into_iter().enumerate() {
        let normalisation = Normalisation::ALL[index % 3];
        let style = Style {
            colormap: Colormap::ALL[index % Colormap::ALL.len()],
            alpha: Alpha::new([0.5, 0.37, 1.0, 0.0, 0.85][index % 5]).unwrap(),
            normalisation,
        };
        let room = if index % 2 == 0 { Room::Guarded } else { Room::Exact };
        let problem = Problem::new(shape, class_stride, normalisation, room);
        overlay::<f32>(&device, &problem, &style);
        overlay::<f16>(&device, &problem, &style);
        if device.modules.capability() >= 80 {
            overlay::<bf16>(&device, &problem, &style);
        }
    }
}

fn overlay<T: Element + Guarded>(device: &Device, problem: &Problem, style: &Style) {
    let CamShape { n, maps, out_h, out_w, .. } = problem.shape;
    let crops: Vec<Vec<u8>> = (0..n).map(|image| seeded::picture(image, out_h, out_w, 1)).collect();
    let bytes: Vec<f32> = crops.iter().flatten().map(|&v| v.into()).collect();
    let colors: Vec<f32> = style.colormap.table().as_flattened().iter().map(|&v| v.into()).collect();
    let (crop, colormap) = (Buffer::<u8>::new(device, &bytes, problem.room), Buffer::<u8>::new(device, &colors, problem.room));
    let mut picture = Buffer::<u8>::output(device, problem.shape.pixels() * 3, problem.room);
    let (crop, colormap) = (crop.span(device), colormap.span(device));
    let output = CamOutput::Overlay { crop, colormap, alpha: style.alpha.get(), picture: picture.span_mut(device) };
    problem.launch::<T>(device, output);

    let (found, size) = (picture.values(device), (out_w as u32, out_h as u32));
    for at in 0..n * maps {
        let crop = RgbImage::from_raw(size.0, size.1, crops[at / maps].clone()).unwrap();
        let transform = CropTransform { original: size, resized: size, offset: (0, 0), crop: size };
        let scene = Scene::new(View::Crop, &crop, &crop, &transform).unwrap();
        let want = scene.overlay(&problem.map(at / maps, at % maps), style).unwrap();
        let want: Vec<f32> = want.as_raw().iter().map(|&v| v.into()).collect();
        let what = format!("overlay {at}, {} {:?} {style:?}", T::NAME, problem.shape);
        equal(&what, &found[at * want.len()..][..want.len()], &want);
    }
}

/// Ranges that f32 arithmetic would lose.
#[test]
fn extreme_ranges_are_scaled_as_in_f64() {
    let device = Device::open();
    let sets =
        [[3e38, -3e38, 1.0, 2.0], [1e-42, 3e-42, 2e-42, -1e-42], [5.0; 4], [-4.0, -3.0, -2.0, -1.0], [1e30, 1.0, -1e-30, 0.0]];
    for values in sets {
        for &normalisation in Normalisation::ALL {
            let mut problem = Problem::new(shape([1, 2, 2, 4], 1, 1, (9, 12)), 1, normalisation, Room::Guarded);
            problem.weights = vec![1.0, 0.0, 0.0, 0.0];
            problem.features = values.iter().flat_map(|&v| [v, 1.0, 2.0, 3.0]).collect();
            let want = problem.map(0, 0).upsample(9, 12).normalise(normalisation).unwrap();
            let found = problem.run::<f32>(&device, Output::F32);
            // Quotients below the normal numbers are rounded twice.
            let allowance = Allowance { abs: f32::MIN_POSITIVE, rel: 0.0 };
            assert_close(&format!("{values:?} {normalisation}"), &found.shown, want.data(), allowance);
        }
    }
}

#[test]
fn what_is_not_finite_is_told() {
    let device = Device::open();
    for fault in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        // Shrunk to fewer pixels than cells, so that of the first image's cells the last has weight 0 and the first none at all.
        for (size, cell) in [((12, 16), 8), ((1, 1), 8), ((1, 1), 0)] {
            let mut problem = Problem::new(shape([2, 3, 3, 8], 4, 2, size), 2, Normalisation::MinMax, Room::Guarded);
            problem.features[cell * 8] = fault;
            problem.weights.iter_mut().step_by(8).for_each(|w| *w = 1.0);
            let found = problem.run::<f32>(&device, Output::F32);
            assert!(found.range[..4].iter().all(|v| v.is_nan()), "{fault}: {:?}", found.range);
            assert!(found.range[4..].iter().all(|v| v.is_finite()), "the other image is not hurt: {:?}", found.range);
        }
    }
}

#[test]
fn an_unknown_class_reads_nothing() {
    let device = Device::open();
    for class in [-1.0, 4.0, 2e9] {
        let mut problem = Problem::new(shape([1, 2, 2, 8], 4, 2, (8, 8)), 2, Normalisation::MinMax, Room::Exact);
        problem.classes[1] = class;
        let found = problem.run::<f32>(&device, Output::F32);
        assert!(found.raw[4..].iter().chain(&found.range[2..]).all(|v| v.is_nan()), "{:?}", found.raw);
        equal("the other map", &found.raw[..4], problem.map(0, 0).data());
    }
}

/// Classes by falling logit, equal ones by index, as the device should choose them.
fn ranked(logits: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order.truncate(k);
    order
}

/// The classes are chosen where they are used: no copy to the host between logits and maps. Few and many classes, more than a
/// block keeps keys of, every rank of some, all logits alike, numbers that are none.
#[test]
fn the_likeliest_classes_are_shown_without_a_round_trip() {
    let device = Device::open();
    let specials = [1.0, f32::NAN, f32::NEG_INFINITY, 3.0, f32::INFINITY, -0.0, 0.0, -f32::NAN, 1e-45, -1e-45];
    for (index, (n, classes, maps, span)) in
        [(3, 50, 2, 1 << 20), (1, 1, 1, 3), (2, 33, 33, 9), (1, 1000, 5, 80), (1, 300, 300, 0), (1, 4500, 3, 7), (1, 10, 10, -1)]
            .into_iter()
            .enumerate()
    {
        let logits = match span {
            -1 => specials.to_vec(),
            span => integers(5, n * classes, span).iter().map(|v| v / 8.0).collect(),
        };
        let room = if index % 2 == 0 { Room::Guarded } else { Room::Exact };
        let mut problem = Problem::new(shape([n, 2, 3, 8], classes, maps, (4, 8)), maps, Normalisation::MinMax, room);
        let of_image = |image: usize| ranked(&logits[image * classes..][..classes], maps);
        problem.classes = (0..n).flat_map(of_image).map(|class| class as f32).collect();
        likeliest::<f32>(&device, &problem, &logits);
        likeliest::<f16>(&device, &problem, &logits);
    }
}

fn likeliest<T: Element + Guarded>(device: &Device, problem: &Problem, logits: &[f32]) {
    let (shape, room) = (problem.shape, problem.room);
    let logits = Buffer::<f32>::new(device, logits, room);
    let mut index = Buffer::<i32>::output(device, shape.n * shape.maps, room);
    let (features, weights) =
        (Buffer::<T>::new(device, &problem.features, room), Buffer::<T>::new(device, &problem.weights, room));
    let mut raw = Buffer::<f32>::output(device, shape.cells(), room);
    let mut range = Buffer::<f32>::output(device, shape.n * shape.maps * 2, room);
    let mut shown = Buffer::<f32>::output(device, shape.pixels(), room);
    let args = CamUpsampleArgs {
        shape,
        features: features.span(device),
        weights: weights.span(device),
        classes: CamClasses::Likeliest { logits: logits.span(device), index: index.span_mut(device) },
        normalisation: problem.normalisation,
        raw: raw.span_mut(device),
        range: range.span_mut(device),
        output: CamOutput::F32(shown.span_mut(device)),
    };
    CamUpsample::<T>::new(&device.modules).unwrap().launch(&device.stream, args).unwrap();
    let what = format!("{} {shape:?}", T::NAME);
    equal(&format!("classes, {what}"), &index.values(device), &problem.classes);
    let want: Vec<f32> =
        (0..shape.n * shape.maps).flat_map(|at| problem.map(at / shape.maps, at % shape.maps).data().to_vec()).collect();
    equal(&format!("maps, {what}"), &raw.values(device), &want);
}

#[test]
fn mistakes_are_refused() {
    let device = Device::open();
    let kernel = CamUpsample::<f16>::new(&device.modules).unwrap();
    let good = shape([1, 2, 2, 8], 4, 2, (8, 8));
    let reason = |shape: CamShape| kernel.can_run(&shape).unwrap_err().to_string();
    assert!(reason(CamShape { c: 12, ..good }).contains("multiple of 8"));
    assert!(reason(CamShape { maps: 0, ..good }).contains("no maps"));
    assert!(reason(CamShape { out_w: 0, ..good }).contains("empty"));
    assert!(reason(CamShape { h: 1000, w: 1000, ..good }).contains("shared memory"));
    assert!(reason(CamShape { w: 2048, out_h: 1, out_w: 1 << 20, ..good }).contains("2^31 elements"));

    let room = Room::Guarded;
    let (x, w) = (Buffer::<f16>::new(&device, &[0.0; 32], room), Buffer::<f16>::new(&device, &[0.0; 32], room));
    let classes = Buffer::<i32>::new(&device, &[0.0; 2], room);
    let (mut raw, mut range) = (Buffer::<f32>::output(&device, 8, room), Buffer::<f32>::output(&device, 4, room));
    let mut shown = Buffer::<u8>::output(&device, 127, room);
    let mut launch = |stride| {
        let args = CamUpsampleArgs {
            shape: good,
            features: x.span(&device),
            weights: w.span(&device),
            classes: CamClasses::Given { classes: classes.span(&device), stride },
            normalisation: Normalisation::MinMax,
            raw: raw.span_mut(&device),
            range: range.span_mut(&device),
            output: CamOutput::U8(shown.span_mut(&device)),
        };
        kernel.launch(&device.stream, args).unwrap_err()
    };
    assert!(launch(1).to_string().contains("2 maps of each image, but 1"));
    let error = launch(2);
    assert!(matches!(error, CudaError::Length { buffer: "output", expected: 128, found: 127, .. }), "{error}");
    assert!(raw.values(&device).iter().all(|v| v.is_nan()), "nothing ran");
}
