//! The whole network and its maps on a CUDA device, against PyTorch: f32 within 1e-4 of the largest magnitude, f16 within 2e-2
//! with maps that point the same way and the same best class.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cam::{Enlarge, Found, Levels, Normalisation, Selection};
use camshaft::cpu::{Cpu, Forward};
use camshaft::cuda::{Cuda, CudaError, Norm, Options};
use camshaft::network::Model;
use camshaft::tensor::{Nhwc, Precision};
use camshaft::weights::WeightFile;
use common::compare::{Allowance, assert_close};
use common::cuda::with_settings;
use common::goldens::Golden;
use common::{safetensors_file, software};

const SMALL: &str = "resnet18_w8_c10_97x161_n2_f32";
/// Channels that are no multiples of what kernels move at a time.
const ODD: &str = "resnet18_w5_c10_65x96_n2_f32";
const ODD_BOTTLENECK: &str = "resnet50_w3_c10_65x96_n2_f32";
const FULL: &str = "resnet18_w64_c1000_224x224_n1_f32";

fn model(golden: &Golden) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &golden.net().tensors(), golden.dtype());
    Model::load(WeightFile::open(&path).unwrap()).unwrap()
}

fn input(golden: &Golden) -> Nhwc {
    let meta = &golden.meta;
    Nhwc::new([meta.n, meta.h, meta.w, 3], golden.input())
}

fn cuda(model: &Model, precision: Precision) -> Cuda {
    software::device(&[]);
    Cuda::new(model, 0, Options { precision: Some(precision), ..Options::default() }).unwrap_or_else(|error| panic!("{error}"))
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |largest, v| largest.max(v.abs()))
}

fn best(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Pictures of the golden, over and over, as a batch of `n`.
fn batch(golden: &Golden, n: usize) -> Nhwc {
    let images = input(golden);
    let [have, h, w, c] = images.shape();
    Nhwc::new([n, h, w, c], (0..n).flat_map(|image| images.image(image % have).to_vec()).collect())
}

/// Of the largest magnitude, and the least cosine between maps. Measured over the goldens on the software device, logits and
/// maps: f16 1.5e-3 and 0.999996, with sums in f16 2.7e-3 and 0.99999, bf16 8.1e-3 and 0.9997. What is tolerated leaves room for
/// tensor cores that round sums less well than f32 does.
fn tolerances(precision: Precision) -> (f32, f64) {
    match precision {
        Precision::F32 => (1e-4, 0.999_999),
        Precision::F16 | Precision::F16Fast => (2e-2, 0.999_9),
        Precision::Bf16 => (2e-2, 0.999),
    }
}

/// Compares what was found in pictures `0, 1, ..., 0, 1, ...` of a golden, with the maps of its classes.
fn check(what: &str, golden: &Golden, found: &Found, precision: Precision) {
    let (tolerance, least_alike) = tolerances(precision);
    let (classes, pictures) = (golden.meta.classes, golden.meta.n);
    let cells = golden.cam.size.0 * golden.cam.size.1;
    for image in 0..found.images() {
        let what = format!("{what} {}, image {image}", golden.name);
        let want = &golden.logits[image % pictures * classes..][..classes];
        assert_close(
            &format!("{what}: logits"),
            found.logits(image),
            want,
            Allowance::of_largest(tolerance, largest(&golden.logits)),
        );
        assert_eq!(best(found.logits(image)), best(want), "{what}: best class");
        assert_eq!(found.maps(image).len(), golden.cam.class.len());
        for (at, (class, map)) in found.maps(image).iter().enumerate() {
            assert_eq!(*class, golden.cam.class[at]);
            assert_eq!((map.h(), map.w()), golden.cam.size);
            let want = &golden.cam.raw[(image % pictures * golden.cam.class.len() + at) * cells..][..cells];
            let allowance = Allowance::of_largest(tolerance, largest(&golden.cam.raw));
            assert_close(&format!("{what}: map of {class}"), map.data(), want, allowance);
            let alike = cosine(map.data(), want);
            println!("{what}: map of {class}: cosine {alike:.6}");
            assert!(alike >= least_alike, "{what}: map of {class}: cosine {alike}");
        }
    }
}

fn agrees(name: &str, precision: Precision) {
    let golden = Golden::load(name);
    let cuda = cuda(&model(&golden), precision);
    let found = cuda.run(&input(&golden), Selection::Classes(&golden.cam.class)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.images(), golden.meta.n);
    check(precision.name(), &golden, &found, precision);
}

#[test]
fn small_networks_in_f32() {
    for name in [ODD, SMALL, "resnet18_w24_c10_33x224_n1_bf16", "resnet50_w16_c10_65x96_n2_f32"] {
        agrees(name, Precision::F32);
    }
}

#[test]
fn small_networks_in_f16() {
    for name in [ODD, ODD_BOTTLENECK, SMALL, "resnet18_w24_c10_33x224_n1_bf16", "resnet50_w16_c10_65x96_n2_f32"] {
        agrees(name, Precision::F16);
    }
}

#[test]
fn small_networks_with_sums_in_f16() {
    for name in [ODD, SMALL, "resnet18_w24_c10_33x224_n1_bf16", "resnet50_w16_c10_65x96_n2_f32", "resnet101_w8_c10_64x64_n1_f32"]
    {
        agrees(name, Precision::F16Fast);
    }
}

#[test]
fn small_networks_in_bf16() {
    for name in [ODD, SMALL, "resnet18_w24_c10_33x224_n1_bf16", "resnet50_w16_c10_65x96_n2_f32", "resnet101_w8_c10_64x64_n1_f32"]
    {
        agrees(name, Precision::Bf16);
    }
}

#[test]
fn deep_networks_in_f16() {
    for name in ["resnet101_w8_c10_64x64_n1_f32", "resnet152_w8_c10_64x64_n1_f16"] {
        agrees(name, Precision::F16);
    }
}

#[test]
fn resnet18_at_full_size_in_f16() {
    agrees(FULL, Precision::F16);
}

#[test]
fn resnet18_at_full_size_in_f32() {
    agrees(FULL, Precision::F32);
}

#[test]
fn resnet18_at_full_width_in_f32() {
    agrees("resnet18_w64_c10_97x161_n2_f16", Precision::F32);
}

#[test]
fn batches_and_replays_agree() {
    let golden = Golden::load(SMALL);
    let model = model(&golden);
    for precision in [Precision::F32, Precision::F16] {
        let cuda = cuda(&model, precision);
        for n in [1, 2, 7] {
            let images = batch(&golden, n);
            let selection = Selection::Classes(&golden.cam.class);
            let steps = cuda.run(&images, selection).unwrap();
            check(&format!("{} batch {n}", precision.name()), &golden, &steps, precision);
            // The second run records the graph, the third replays it; other images in between must not shine through.
            assert_eq!(cuda.run(&images, selection).unwrap(), steps, "recorded");
            let other = Nhwc::new(images.shape(), images.data().iter().map(|v| 0.5 * v).collect());
            assert_ne!(cuda.run(&other, selection).unwrap(), steps);
            assert_eq!(cuda.run(&images, selection).unwrap(), steps, "replayed");
        }
    }
}

#[test]
fn a_replay_has_classes_of_its_own() {
    let golden = Golden::load(SMALL);
    let cuda = cuda(&model(&golden), Precision::F32);
    let images = input(&golden);
    let all: Vec<usize> = (0..golden.meta.classes).collect();
    let every = cuda.run(&images, Selection::Classes(&all)).unwrap();
    // Step by step, recorded, replayed, replayed.
    for classes in [[1, 2], [5, 1], [7, 3], [2, 2]] {
        let found = cuda.run(&images, Selection::Classes(&classes)).unwrap();
        for image in 0..golden.meta.n {
            assert_eq!(found.maps(image), classes.map(|class| every.maps(image)[class].clone()), "{classes:?}");
        }
    }
}

/// The software device runs queued work as late as it may, or in another order, in processes of their own.
#[test]
fn streams_run_in_any_legal_order() {
    if std::env::var("CAMSHAFT_TEST_DEVICE").is_ok_and(|device| device == "gpu") {
        return; // a GPU has its own order
    }
    let lazy = [("CUDA_EMU_STREAMS", "lazy"), ("CUDA_EMU_SEED", "0")];
    let random = ["1", "2"].map(|seed| [("CUDA_EMU_STREAMS", "random"), ("CUDA_EMU_SEED", seed)]);
    for variables in random.into_iter().chain([lazy]) {
        with_settings(&variables, &["--exact", "a_replay_has_classes_of_its_own", "sizes_and_shapes_follow_each_other"], 2);
    }
}

/// Writes scores and maps, bit by bit, to the file that `CAMSHAFT_TEST_RESULTS` names.
#[test]
#[ignore = "started by the test below, in processes of its own"]
fn results_of_this_process() {
    let path = std::env::var_os("CAMSHAFT_TEST_RESULTS").expect("CAMSHAFT_TEST_RESULTS names a file");
    let mut bits = Vec::new();
    for (name, precision) in [(FULL, Precision::F16), (SMALL, Precision::F16), (SMALL, Precision::F32)] {
        let golden = Golden::load(name);
        let found = cuda(&model(&golden), precision).run(&input(&golden), Selection::Classes(&golden.cam.class)).unwrap();
        check(precision.name(), &golden, &found, precision);
        for image in 0..found.images() {
            let maps = found.maps(image).iter().flat_map(|(_, map)| map.data());
            bits.extend(found.logits(image).iter().chain(maps).flat_map(|value| value.to_bits().to_le_bytes()));
        }
    }
    std::fs::write(path, bits).unwrap();
}

/// Blocks and warps take turns in four orders: not a bit of the results changes.
#[test]
fn results_do_not_depend_on_the_order_of_blocks() {
    if std::env::var("CAMSHAFT_TEST_DEVICE").is_ok_and(|device| device == "gpu") {
        return; // a GPU has its own order
    }
    let folder = tempfile::tempdir().unwrap();
    let results = [("in-order", "0"), ("random", "1"), ("random", "2"), ("random", "3")].map(|(order, seed)| {
        let path = folder.path().join(format!("{order}-{seed}"));
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "results_of_this_process"])
            .envs([("CUDA_EMU_ORDER", order), ("CUDA_EMU_SEED", seed)])
            .env("CAMSHAFT_TEST_RESULTS", &path)
            .output()
            .unwrap();
        let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(output.status.success() && stdout.contains("1 passed"), "{order} {seed}\n{stdout}\n{stderr}");
        std::fs::read(path).unwrap()
    });
    assert!(!results[0].is_empty());
    for (seed, result) in results.iter().enumerate().skip(1) {
        assert!(*result == results[0], "results differ with seed {seed}");
    }
}

#[test]
fn the_device_chooses_the_best_classes() {
    let golden = Golden::load(SMALL);
    let cuda = cuda(&model(&golden), Precision::F32);
    // The second image is the first one's negative, so that each has classes of its own.
    let mut data = batch(&golden, 1).data().to_vec();
    data.extend_from_within(..);
    let half = data.len() / 2;
    data[half..].iter_mut().for_each(|v| *v *= -4.0);
    let images = Nhwc::new([2, golden.meta.h, golden.meta.w, 3], data);
    let all: Vec<usize> = (0..golden.meta.classes).collect();
    let every = cuda.run(&images, Selection::Classes(&all)).unwrap();
    assert_ne!(best(every.logits(0)), best(every.logits(1)), "the case cannot tell images apart");
    for k in [0, 1, 3, 10, 1000] {
        let found = cuda.run(&images, Selection::Top(k)).unwrap();
        for image in 0..golden.meta.n {
            let mut ranked = all.clone();
            ranked.sort_by(|&a, &b| every.logits(image)[b].total_cmp(&every.logits(image)[a]));
            let want: Vec<_> = ranked.iter().take(k).map(|&class| every.maps(image)[class].clone()).collect();
            assert_eq!(found.maps(image), want, "top {k}");
            assert_eq!(found.logits(image), every.logits(image));
        }
    }
    // One class twice, and out of order.
    let found = cuda.run(&images, Selection::Classes(&[7, 2, 7])).unwrap();
    assert_eq!(found.maps(1).iter().map(|(class, _)| *class).collect::<Vec<_>>(), [7, 2, 7]);
    assert_eq!(found.maps(1)[0], every.maps(1)[7]);
    assert_eq!(found.maps(1)[1], every.maps(1)[2]);
}

#[test]
fn maps_are_enlarged_as_the_cpu_does() {
    let golden = Golden::load(SMALL);
    let cuda = cuda(&model(&golden), Precision::F16);
    let images = input(&golden);
    let plain = cuda.run(&images, Selection::Top(2)).unwrap();
    for (normalisation, levels) in [
        (Normalisation::MinMax, Levels::U8),
        (Normalisation::MinMax, Levels::F32),
        (Normalisation::ReluMinMax, Levels::F16),
        (Normalisation::None, Levels::F32),
    ] {
        // Other extents than the crop's, so that rows and columns cannot be mistaken for each other.
        let enlarge = Enlarge { h: 50, w: 83, normalisation, levels };
        for _ in ["step by step", "as a graph"] {
            let mut found = Found::default();
            cuda.run_into(&images, Selection::Top(2), Some(enlarge), &mut found).unwrap();
            for image in 0..golden.meta.n {
                assert_eq!((found.logits(image), found.maps(image)), (plain.logits(image), plain.maps(image)));
                let want: Vec<_> = found.maps(image).iter().map(|(_, map)| enlarge.apply(map)).collect();
                assert_eq!(found.enlarged(image), want, "{enlarge:?}");
            }
        }
    }
}

#[test]
fn every_layer_agrees_with_the_cpu() {
    let golden = Golden::load("resnet50_w16_c10_65x96_n2_f32");
    let model = model(&golden);
    let images = input(&golden);
    let mut layers = Vec::new();
    let Forward { .. } = Cpu::new(&model, Some(2))
        .unwrap()
        .forward_with(&images, |layer, shape, values| layers.push((layer.name.clone(), shape, values.to_vec())))
        .unwrap();
    for norm in [Norm::Folded, Norm::Unfolded] {
        for (precision, tolerance) in [(Precision::F32, 2e-5), (Precision::F16, 2e-2)] {
            software::device(&[]);
            let cuda = Cuda::new(&model, 0, Options { precision: Some(precision), norm, serial: true }).unwrap();
            let mut next = layers.iter();
            cuda.visit(&images, |layer, shape, values| {
                if layer.name == "conv1" {
                    return; // the processor shows it pooled only, as the next layer
                }
                let (name, want_shape, want) = next.next().unwrap();
                assert_eq!((&layer.name, shape), (name, *want_shape));
                let what = format!("{} {norm:?}: {name}", precision.name());
                assert_close(&what, values, want, Allowance::of_largest(tolerance, largest(want)));
            })
            .unwrap();
            assert!(next.next().is_none());
        }
    }
}

#[test]
fn sizes_and_shapes_follow_each_other() {
    let golden = Golden::load(SMALL);
    let model = model(&golden);
    let cuda = cuda(&model, Precision::F32);
    let cpu = Cpu::new(&model, Some(2)).unwrap();
    // More shapes than plans are kept, the first one again at the end; a single pixel is an image.
    for (n, h, w) in [(1, 97, 161), (2, 33, 32), (1, 1, 1), (3, 5, 70), (1, 64, 64), (2, 1, 40), (1, 97, 161)] {
        let data = common::seeded::network_input(n, h, w, 5);
        let images = Nhwc::new([n, h, w, 3], data);
        let want = cpu.forward(&images).unwrap();
        let found = cuda.run(&images, Selection::Top(2)).unwrap();
        let allowance = Allowance::of_largest(1e-4, largest(want.logits.data()));
        for image in 0..n {
            assert_close(&format!("{n} of {h}x{w}"), found.logits(image), want.logits.image(image), allowance);
            let [_, map_h, map_w, _] = want.features.shape();
            assert_eq!((found.maps(image)[0].1.h(), found.maps(image)[0].1.w()), (map_h, map_w));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let golden = Golden::load(SMALL);
    let cuda = cuda(&model(&golden), Precision::F32);
    let zeros = |shape: [usize; 4]| Nhwc::new(shape, vec![0.0; shape.iter().product()]);
    assert!(matches!(cuda.run(&zeros([1, 8, 8, 4]), Selection::Top(1)), Err(CudaError::Channels { found: [1, 8, 8, 4] })));
    assert!(matches!(cuda.run(&zeros([1, 0, 8, 3]), Selection::Top(1)), Err(CudaError::Network(_))));
    let beyond = cuda.run(&zeros([1, 8, 8, 3]), Selection::Classes(&[3, 10]));
    assert!(matches!(beyond, Err(CudaError::Class { class: 10, classes: 10 })));
    assert_eq!(cuda.run(&zeros([0, 8, 8, 3]), Selection::Top(1)).unwrap().images(), 0);
    assert!(cuda.run(&zeros([1, 8, 8, 3]), Selection::Top(1)).is_ok(), "a refusal ends nothing");
}

#[test]
fn plans_name_kernels_and_memory() {
    let golden = Golden::load(SMALL);
    let model = model(&golden);
    let plan = cuda(&model, Precision::F16).plan([2, 97, 161], 3).unwrap();
    let kernel = |layer: &str| plan.steps.iter().find(|step| step.layer == layer).map(|step| step.kernel.as_str());
    assert_eq!(kernel("conv1, maxpool"), Some("stem_f16_nhwc"));
    assert!(kernel("layer1.0.conv1").unwrap().starts_with("conv2d_implicit_gemm"), "{plan:?}");
    assert_eq!(kernel("cam"), Some("cam_upsample_f16_f32"));
    assert_eq!(kernel("avgpool, fc"), Some("linear_f16"));
    assert_eq!(
        plan.steps.len(),
        model.network().layers().len() - 2,
        "the stem is one step, the mean and the classifier another, the end of layer4.0 and its shortcut a third, the maps a fourth"
    );
    assert!(kernel("layer4.0.conv2, layer4.0.downsample.0").unwrap().starts_with("conv2d_implicit_gemm_projection"), "{plan:?}");
    assert!(kernel("layer3.0.conv2").is_some() && kernel("layer3.0.downsample.0").is_some(), "16 channels are no whole step");
    software::device(&[]);
    let unfolded = Options { precision: Some(Precision::F16), norm: Norm::Unfolded, serial: false };
    let unfolded = Cuda::new(&model, 0, unfolded).unwrap().plan([2, 97, 161], 3).unwrap();
    let stem: Vec<_> = unfolded.steps[..3].iter().map(|step| step.layer.as_str()).collect();
    assert_eq!(stem, ["conv1", "bn1", "maxpool"], "what cannot be joined runs by itself, and the plan says so");
    assert!(unfolded.activations > plan.activations, "the stem's kernel keeps what is between its layers to itself");
    let single = cuda(&model, Precision::F32).plan([2, 97, 161], 3).unwrap();
    assert!(single.steps.iter().any(|step| step.kernel.starts_with("conv2d_direct_f32_nhwc")));
    assert!(single.parameters > plan.parameters && single.activations > plan.activations);
    // The stem's output and the pooled one live at once, and little else: activations share their memory.
    let stem = 2 * 49 * 81 * 8 * 4;
    assert!(single.activations as usize > stem && (single.activations as usize) < 4 * stem, "{}", single.activations);
}
