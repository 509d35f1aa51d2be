//! Methods that score masked images, and smoothing: what the engine makes of many passes, against plain loops.

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use camshaft::Device;
use camshaft::cam::{Enlargement, Library, Map, Masking, Masks, Method, Normalisation, Score, Smoothing, class_activation_map};
use camshaft::cpu::{Cpu, Forward};
use camshaft::engine::{Engine, Explanation, Request};
use camshaft::input::{CropTransform, Input, Picture, Recipe};
use camshaft::tensor::Nhwc;
use common::compare::{Allowance, assert_close};
use common::goldens::{Golden, MethodGolden};
use common::safetensors_file;
use common::seeded::{Dtype, Net, Words};

fn picture(name: &str) -> Picture {
    Picture::open(&Path::new("assets/demo").join(name)).unwrap()
}

/// The bundled network at a small size, three images a pass.
fn engine(device: Device) -> Engine {
    Engine::builder().device(device).recipe(Recipe::for_size(64).unwrap()).batch(3).build().unwrap()
}

/// Images that are made have the scores of the same images read.
#[test]
fn images_that_are_made_are_scored_like_others() {
    let engine = engine(Device::Cpu);
    let pictures = ["meadow.jpg", "pavement.jpg", "gravel.jpg", "chelsea.jpg"].map(picture);
    let inputs = pictures.each_ref().map(|picture| engine.prepare(picture).unwrap());
    let tensors = inputs.each_ref().map(|input| input.tensor());
    let want = engine.explain(&pictures, &Request::top(1)).unwrap();
    for count in [0, 1, 3, 4] {
        let (made, mut seen) = (AtomicUsize::new(0), 0);
        let make = |at: usize, out: &mut [f32]| {
            made.fetch_add(1, Ordering::Relaxed);
            out.copy_from_slice(&tensors[at]);
        };
        engine
            .score_made([count, 64, 64], make, |at, logits| {
                assert_eq!(at, seen, "in order");
                seen += 1;
                for prediction in &want[at].predictions {
                    assert!((logits[prediction.class] - prediction.logit).abs() < 1e-4, "image {at} of {count}");
                }
            })
            .unwrap();
        assert_eq!((seen, made.into_inner()), (count, count));
    }
    let error = engine.score_made([2, 0, 64], |_, _| (), |_, _| ()).unwrap_err();
    assert!(error.to_string().contains('0'), "{error}");
    let error = engine.score_made([2, 64, 64], |at, out| out.fill(if at == 1 { f32::NAN } else { 0.0 }), |_, _| ()).unwrap_err();
    assert!(matches!(error, camshaft::Error::NotFinite { .. }), "{error}");
}

// ---- PyTorch and the libraries ---------------------------------------------------------------------------------------------

const GOLDEN: &str = "resnet18_w8_c10_97x161_n2_f32";

/// The network of the goldens, its images, and what `tests/goldens/make_score_cam.py` made of them.
struct Case {
    engine: Engine,
    inputs: Vec<Input>,
    golden: Golden,
    masks: MethodGolden,
}

impl Case {
    fn new(batch: usize, device: Device) -> Self {
        let golden = Golden::load(GOLDEN);
        let engine = network(&golden.net(), batch, device);
        let (h, w) = (golden.meta.h, golden.meta.w);
        let inputs = golden.input().chunks_exact(h * w * 3).map(|image| input(image.to_vec(), h, w)).collect();
        Self { engine, inputs, golden, masks: MethodGolden::of("score_cam", GOLDEN) }
    }

    fn explain(&self, request: Request) -> Vec<Explanation> {
        self.engine.explain_inputs(&self.inputs.iter().collect::<Vec<_>>(), &request).unwrap()
    }

    /// A class of the goldens by its place.
    fn class(&self, at: usize) -> String {
        self.golden.cam.class[at].to_string()
    }
}

fn network(net: &Net, batch: usize, device: Device) -> Engine {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &net.tensors(), Dtype::F32);
    let source = path.display().to_string().parse().unwrap();
    Engine::builder().weights(source).device(device).batch(batch).mmap(false).build().unwrap()
}

fn input(tensor: Vec<f32>, h: usize, w: usize) -> Input {
    let size = (w as u32, h as u32);
    let transform = CropTransform { original: size, resized: size, offset: (0, 0), crop: size };
    Input::from_tensor(tensor, image::RgbImage::new(size.0, size.1), transform).unwrap()
}

/// All maps of all images, one after the other; each must be alone in its explanation.
fn cells<'a>(maps: impl IntoIterator<Item = &'a Map>) -> Vec<f32> {
    maps.into_iter().flat_map(|map| map.data().to_vec()).collect()
}

/// Maps in `0..=1`.
const PARITY: Allowance = Allowance { abs: 1e-4, rel: 0.0 };

#[test]
fn definitions_hold() {
    let case = Case::new(7, Device::Cpu);
    let mut seen = 0;
    for (name, want) in case.masks.starting_with("def.") {
        let (how, what) = name.split_once('.').unwrap();
        let (method, smoothed) = how.split_once('+').unwrap_or((how, ""));
        let method: Method = method.parse().unwrap();
        let (class, score) = match what {
            "a-b" => (format!("{} - {}", case.class(0), case.class(1)), Score::Logit),
            "pa" => (case.class(0), Score::Probability),
            "a" => (case.class(0), Score::Logit),
            what => panic!("target {what}"),
        };
        let samples = if method == Method::IsCam { 4 } else { 3 };
        let masking = Masking { samples: Some(samples), deviation: 0.5, seed: 0 };
        let smoothing = Smoothing { eigen: smoothed == "eigen", augment: smoothed == "aug" };
        let request = Request::classes([class]).score(score).methods([method]).masking(masking).smoothing(smoothing);
        let found = case.explain(request);
        let maps: Vec<&Map> = found.iter().map(|explanation| &explanation.maps[0].map).collect();
        // SS-CAM: channels that are off share their noise, of which the definition has one each; it moves all weights alike.
        if method != Method::SsCam {
            let largest = want.iter().fold(0f32, |most, v| most.max(v.abs()));
            assert_close(&name, &cells(maps.iter().copied()), &want, Allowance::of_largest(1e-4, largest));
        }
        let size = maps[0].h() * maps[0].w();
        for (map, want) in maps.iter().zip(want.chunks_exact(size)) {
            let want = Map::new(map.h(), map.w(), want.to_vec()).normalise(Normalisation::ReluMinMax).unwrap();
            assert_close(&name, map.normalise(Normalisation::ReluMinMax).unwrap().data(), want.data(), PARITY);
        }
        seen += 1;
    }
    assert_eq!(seen, 3 * 3 + 2 + 3, "three methods for three targets, two averaged, three of principal components");
}

#[test]
fn torchcam_is_reproduced() {
    let case = Case::new(16, Device::Cpu);
    for (name, want) in case.masks.starting_with("torchcam.") {
        let (method, class) = name.split_once('.').unwrap();
        let method: Method = method.parse().unwrap();
        let masking = Masking { samples: (method == Method::SsCam).then_some(3), ..Masking::default() };
        let request = Request::classes([case.class(class.parse().unwrap())]).library(Library::TorchCam);
        let found = case.explain(request.methods([method]).masking(masking));
        let shown = found.iter().map(|found| Library::TorchCam.normalise(method, &found.maps[0].map).unwrap());
        assert_close(&name, &cells(&shown.collect::<Vec<_>>()), &want, PARITY);
    }
}

#[test]
fn grad_cam_is_reproduced() {
    let case = Case::new(16, Device::Cpu);
    let mut seen = 0;
    for (name, want) in case.masks.starting_with("grad-cam.") {
        let (how, class) = name.split_once('.').unwrap();
        let smoothing = Smoothing { eigen: how.contains("+eigen"), augment: how.contains("+aug") };
        let method: Method = how.trim_end_matches("+eigen").trim_end_matches("+aug").parse().unwrap();
        let request = Request::classes([case.class(class.parse().unwrap())]).library(Library::GradCam);
        let mut got = Vec::new();
        for found in case.explain(request.methods([method]).smoothing(smoothing)) {
            let map = &found.maps[0];
            assert_eq!(map.parts.len(), if smoothing.augment { 6 } else { 0 });
            let parts = if smoothing.augment { &map.parts[..] } else { std::slice::from_ref(&map.map) };
            let (_, shown) = Library::GradCam.show(method, parts, case.golden.meta.h, case.golden.meta.w).unwrap();
            got.extend(case.masks.at.iter().map(|&at| shown.data()[at]));
        }
        assert_close(&name, &got, &want, PARITY);
        seen += 1;
    }
    assert!(seen >= 25, "{seen}");
}

// ---- plain loops -----------------------------------------------------------------------------------------------------------

/// The score of every masked image by itself, with masks as the paper writes them.
#[test]
fn score_cam_is_a_loop() {
    let engine = engine(Device::Cpu);
    let inputs = ["meadow.jpg", "pavement.jpg"].map(|name| engine.prepare(&picture(name)).unwrap());
    let request = Request::top(3).methods([Method::ScoreCam, Method::GradCam]);
    let found = engine.explain_inputs(&inputs.each_ref(), &request).unwrap();
    let cpu = Cpu::new(engine.model(), Some(1)).unwrap();
    for (input, found) in inputs.iter().zip(&found) {
        let Forward { features, .. } = forward(&cpu, input);
        let ([_, h, w, c], tensor) = (features.shape(), input.tensor());
        let masked: Vec<Vec<f32>> = (0..c)
            .map(|k| {
                let channel = Map::new(h, w, features.data().iter().skip(k).step_by(c).copied().collect());
                let mask = channel.upsample(64, 64).normalise(Normalisation::MinMax).unwrap();
                let image = tensor.chunks_exact(3).zip(mask.data()).flat_map(|(p, m)| [p[0] * m, p[1] * m, p[2] * m]);
                forward(&cpu, &self::input(image.collect(), 64, 64)).logits.into_data()
            })
            .collect();
        assert_eq!(found.maps.len(), 6);
        for map in &found.maps {
            let class = map.target.class().unwrap();
            if map.method == Method::GradCam {
                continue;
            }
            let most = masked.iter().map(|logits| logits[class]).fold(f32::NEG_INFINITY, f32::max);
            let exp: Vec<f64> = masked.iter().map(|logits| f64::from(logits[class] - most).exp()).collect();
            let total: f64 = exp.iter().sum();
            let weights: Vec<f32> = exp.iter().map(|exp| (exp / total) as f32).collect();
            let want = class_activation_map(&features, 0, &weights);
            let largest = want.data().iter().fold(0f32, |most, v| most.max(v.abs()));
            assert_close(&map.label, map.map.data(), want.data(), Allowance::of_largest(1e-4, largest));
            // Beside it, the other method is what it is by itself.
            let alone =
                engine.explain_inputs(&[input], &Request::classes([class.to_string()]).methods([Method::GradCam])).unwrap();
            let beside = found.maps.iter().find(|other| other.target == map.target && other.method == Method::GradCam).unwrap();
            assert_close(&map.label, beside.map.data(), alone[0].maps[0].map.data(), Allowance { abs: 1e-6, rel: 1e-5 });
        }
        let constant = (0..c).filter(|&k| features.data().iter().skip(k).step_by(c).all(|v| *v == features.data()[k])).count();
        assert_eq!(found.forwards, 1 + c - constant + usize::from(constant > 0), "{constant} of {c} are constant");
    }
}

fn forward(cpu: &Cpu, input: &Input) -> Forward {
    cpu.forward(&Nhwc::new([1, input.h(), input.w(), 3], input.tensor().into_owned())).unwrap()
}

/// One run serves all classes, and neither the batch nor the company matters.
#[test]
fn classes_and_batches_do_not_matter() {
    let net = Net { depth: 18, width: 8, classes: 5, seed: 3 };
    let image = |seed| input(common::seeded::network_input(1, 70, 64, seed), 70, 64);
    let (first, second) = (image(1), image(2));
    let masking = Masking { samples: Some(2), deviation: 1.0, seed: 9 };
    let all = |engine: &Engine, inputs: &[&Input], classes: &[&str]| {
        let methods = [Method::ScoreCam, Method::SsCam, Method::IsCam];
        let found = engine.explain_inputs(inputs, &Request::classes(classes.to_vec()).methods(methods).masking(masking)).unwrap();
        found.into_iter().map(|found| (found.forwards, cells(found.maps.iter().map(|map| &map.map)))).collect::<Vec<_>>()
    };
    let engine = network(&net, 5, Device::Cpu);
    let together = all(&engine, &[&first, &second], &["0", "3", "1 - 2"]);
    for batch in [1, 64] {
        let engine = network(&net, batch, Device::Cpu);
        let mut parts = [Vec::new(), Vec::new()];
        for class in ["0", "3", "1 - 2"] {
            for (part, input) in parts.iter_mut().zip([&first, &second]) {
                let found = all(&engine, &[input], &[class]).swap_remove(0);
                part.extend(found.1);
            }
        }
        for ((_, together), part) in together.iter().zip(&parts) {
            assert_close(&format!("batch {batch}"), together, part, Allowance { abs: 1e-6, rel: 1e-4 });
        }
    }
    // Another seed is other noise, for SS-CAM alone; the same seed the same.
    let with_seed = |seed| {
        let masking = Masking { seed, ..masking };
        let request = Request::classes(["0"]).methods([Method::SsCam, Method::ScoreCam]).masking(masking);
        engine.explain_inputs(&[&first], &request).unwrap().swap_remove(0).maps
    };
    let (one, other) = (with_seed(1), with_seed(2));
    assert!(one[0] != other[0] && one[1] == other[1] && with_seed(1) == one);
}

#[test]
fn smoothing_by_variants_is_a_mean() {
    let engine = engine(Device::Cpu);
    let plain = engine.prepare(&picture("meadow.jpg")).unwrap();
    let request = |class: &str| Request::classes([class]).methods([Method::FinerCam, Method::EigenCam, Method::Fem]);
    let smooth = Smoothing { augment: true, eigen: false };
    let found = engine.explain_inputs(&[&plain], &request("3").smoothing(smooth)).unwrap().swap_remove(0);
    assert_eq!((found.forwards, found.maps.len()), (6, 3));
    let mut sums = vec![Vec::new(); 3];
    for mirrored in [false, true] {
        for factor in [0.9, 1.0, 1.1] {
            let mut image = Vec::new();
            for at in 0..64 * 64 {
                let from = if mirrored { at / 64 * 64 + 63 - at % 64 } else { at };
                image.extend(plain.tensor()[from * 3..][..3].iter().map(|v| v * factor));
            }
            let one = engine.explain_inputs(&[&input(image, 64, 64)], &request("3")).unwrap();
            for (sums, map) in sums.iter_mut().zip(&one[0].maps) {
                let w = map.map.w();
                sums.resize(map.map.data().len(), 0.0);
                for (at, sum) in sums.iter_mut().enumerate() {
                    let from = if mirrored { at / w * w + w - 1 - at % w } else { at };
                    *sum += map.map.data()[from] / 6.0;
                }
            }
        }
    }
    for (map, want) in found.maps.iter().zip(&sums) {
        let largest = want.iter().fold(0f32, |most, v| most.max(v.abs()));
        assert_close(map.method.name(), map.map.data(), want, Allowance::of_largest(1e-4, largest));
    }
}

// ---- edges -----------------------------------------------------------------------------------------------------------------

/// `[h, w, C]` of small numbers; every third channel constant, the last of these at 0.
fn features(h: usize, w: usize, c: usize) -> Vec<f32> {
    let words = Words::new("features", 4);
    let value = |i: usize| match i % c % 3 {
        2 if i % c > 2 => 0.0,
        2 => 1.5,
        _ => words.sym(i).max(0.0),
    };
    (0..h * w * c).map(value).collect()
}

/// The pixels of a mask, one by one, in f64.
fn plain_mask(cells: &[f32], (h, w): (usize, usize), (out_h, out_w): (usize, usize), library: Option<Library>) -> Vec<f64> {
    let place = |at: usize, pixels: usize, cells: usize| {
        let centre = match library {
            Some(Library::GradCam) if pixels > 1 => at as f64 * (cells - 1) as f64 / (pixels - 1) as f64,
            Some(Library::GradCam) => 0.0,
            _ => (at as f64 + 0.5) / pixels as f64 * cells as f64 - 0.5,
        };
        let centre = centre.clamp(0.0, (cells - 1) as f64);
        (centre.floor() as usize, (centre.floor() as usize + 1).min(cells - 1), centre.fract())
    };
    let range =
        |values: &[f64]| values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
    let mut pixels = Vec::new();
    for y in 0..out_h {
        for x in 0..out_w {
            let ((y0, y1, v), (x0, x1, u)) = (place(y, out_h, h), place(x, out_w, w));
            let cell = |y: usize, x: usize| f64::from(cells[y * w + x]);
            let (top, bottom) = (cell(y0, x0) * (1.0 - u) + cell(y0, x1) * u, cell(y1, x0) * (1.0 - u) + cell(y1, x1) * u);
            pixels.push(top * (1.0 - v) + bottom * v);
        }
    }
    let of_cells: Vec<f64> = cells.iter().map(|&v| v.into()).collect();
    let (low, high) = if library == Some(Library::TorchCam) { range(&of_cells) } else { range(&pixels) };
    let guard = if library.is_some() { 1e-8 } else { 0.0 };
    let constant = range(&of_cells).0 == range(&of_cells).1 || low == high;
    pixels.iter().map(|v| if constant { 0.0 } else { (v - low) / (high - low + guard) }).collect()
}

#[test]
fn masks_are_enlarged_channels() {
    for ((h, w), pixels) in [((7, 7), (224, 224)), ((1, 4), (20, 33)), ((3, 5), (7, 6)), ((2, 1), (1, 9)), ((6, 5), (4, 3))] {
        for library in [None, Some(Library::TorchCam), Some(Library::GradCam)] {
            let c = 7;
            let features = features(h, w, c);
            let enlargement = Enlargement::new((h, w), pixels, library);
            let masks = Masks::new(Method::ScoreCam, library, &Masking::default(), &enlargement, &features);
            let image: Vec<f32> = (0..pixels.0 * pixels.1 * 3).map(|i| Words::new("image", 1).sym(i)).collect();
            for mask in masks.masks() {
                let cells: Vec<f32> = features.iter().skip(mask.channel).step_by(c).copied().collect();
                let mut out = vec![f32::NAN; image.len()];
                enlargement.paint(mask, &cells, &image, &mut out);
                let plain = plain_mask(&cells, (h, w), pixels, library);
                let want: Vec<f32> = image.iter().enumerate().map(|(i, &v)| (f64::from(v) * plain[i / 3]) as f32).collect();
                let what = format!("{h}x{w} to {pixels:?}, {library:?}, channel {}", mask.channel);
                assert_close(&what, &out, &want, Allowance { abs: 2e-6, rel: 0.0 });
            }
        }
    }
}

#[test]
fn constant_channels_share_a_mask_and_keep_their_weights() {
    let enlargement = Enlargement::new((3, 4), (9, 10), None);
    let features = features(3, 4, 8);
    for (method, samples) in [(Method::ScoreCam, 1), (Method::IsCam, 10), (Method::SsCam, 35)] {
        let masks = Masks::new(method, None, &Masking::default(), &enlargement, &features);
        // Of 8 channels 2 and 5 are constant.
        assert_eq!(masks.masks().len(), 7 * samples, "{method}");
        let scores: Vec<f64> =
            masks.masks().iter().map(|mask| [0.5, 1.0, -3.0, 2.0, 0.0, 7.0, 0.25, 0.75][mask.channel]).collect();
        let weights = masks.weights(&scores);
        let exp = [0.5f64, 1.0, -3.0, 2.0, 0.0, -3.0, 0.25, 0.75].map(f64::exp);
        let want = exp.map(|v| (v / exp.iter().sum::<f64>()) as f32);
        assert_close(method.name(), &weights, &want, Allowance { abs: 0.0, rel: 1e-5 });
    }
    let one = Masks::new(Method::ScoreCam, None, &Masking::default(), &enlargement, &features[..12]);
    assert_eq!((one.masks().len(), one.weights(&[-1e30])), (1, vec![1.0]), "one channel has all the weight");
}

/// A range beyond what f32 can divide by, features that are all off: masks of 0, never NaN.
#[test]
fn nothing_to_see_is_no_mask() {
    let enlargement = Enlargement::new((2, 2), (6, 6), None);
    for library in [None, Some(Library::TorchCam), Some(Library::GradCam)] {
        for values in [[0.0; 4], [3.0; 4], [0.0, 1e-40, 0.0, 0.0], [2.0, 2.0, 2.0, f32::MIN_POSITIVE]] {
            let masks = Masks::new(Method::IsCam, library, &Masking::default(), &enlargement, &values);
            for mask in masks.masks() {
                let mut out = vec![f32::NAN; 108];
                enlargement.paint(mask, &values, &[1.0; 108], &mut out);
                assert!(out.iter().all(|v| v.is_finite()), "{values:?} {library:?} {mask:?}");
                if values[0] == values[1] && values[1] == values[3] || values[1] < 1e-39 {
                    assert!(out.iter().all(|v| *v == 0.0 || library.is_some() && *v < 1e-30), "{values:?}");
                }
            }
            assert_eq!(masks.weights(&vec![1.0; masks.masks().len()]), [1.0]);
        }
    }
}

#[test]
fn what_cannot_be_smoothed_is_said() {
    let engine = engine(Device::Cpu);
    let eigen = Smoothing { eigen: true, augment: false };
    let augment = Smoothing { eigen: false, augment: true };
    let error = |request: Request| engine.resolve(&request).unwrap_err().to_string();
    for method in [Method::EigenCam, Method::EigenGradCam] {
        let message = error(Request::top(1).methods([method]).smoothing(eigen));
        assert!(message.contains("principal component already"), "{message}");
    }
    for (library, method, smoothing) in [
        (Library::TorchCam, Method::GradCam, augment),
        (Library::TorchCam, Method::ScoreCam, eigen),
        (Library::GradCam, Method::Fem, eigen),
        (Library::GradCam, Method::FinerCam, augment),
    ] {
        let message = error(Request::top(1).methods([method]).smoothing(smoothing).library(library));
        assert!(message.contains(&format!("{library} does not smooth maps of `{method}`")), "{message}");
    }
    let message = error(Request::top(1).methods([Method::SsCam]).library(Library::GradCam));
    assert!(message.contains("grad-cam has no method `sscam`"), "{message}");
    let unknown = "scorecan".parse::<Method>().unwrap_err().to_string();
    assert!(unknown.contains("did you mean `scorecam`?"), "{unknown}");
}
