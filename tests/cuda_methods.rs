//! Every method's maps on the device against the processor's, which work in f64.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cam::{Asked, Head, Library, Map, Method, Normalisation, Score, Target, Targets};
use camshaft::cuda::{AskedShape, CamEigen, CamRows, Element, RowsShape, Show};
use camshaft::render::Style;
use camshaft::tensor::Nhwc;
use common::compare::{Allowance, assert_close};
use common::cuda::{Device, Guarded, Room, equal, integers, software, with_settings};
use common::goldens::{Golden, MethodGolden};
use common::methods::{Batch, asked, largest, target, telling};
use common::seeded::Values;
use half::{bf16, f16};

/// Of the largest magnitude: the device's rows are the processor's, rounded to f32, but its weighted sums are f32.
const ROWS: f32 = 1e-5;
/// An eigenvector of an f32 matrix, and a weighted sum less its offset.
const EIGENVECTORS: f32 = 1e-4;

/// Compares the raw maps of every image with the processor's.
fn check<T: Element + Guarded>(device: &Device, batch: &Batch, what: &str, asked: &Asked) {
    let found = batch.run::<T>(device, asked, None, (3, 4));
    let [n, h, w, _] = batch.features.shape();
    let maps: Vec<Map> = (0..n).flat_map(|image| batch.maps(image, asked)).collect();
    assert_eq!(found.raw.len(), maps.len() * h * w);
    for (at, (raw, want)) in found.raw.chunks_exact(h * w).zip(&maps).enumerate() {
        let method = asked.methods[at % asked.methods.len()];
        let share = if matches!(method, Method::EigenCam | Method::EigenGradCam) { EIGENVECTORS } else { ROWS };
        let allowance = Allowance::of_largest(share, largest(want.data()));
        let library = asked.library;
        let what = format!("{what}: {method} {library:?}, map {at} of {:?} {}", batch.features.shape(), T::NAME);
        assert_close(&what, raw, want.data(), allowance);
    }
    let k = asked.targets.of(batch.logits(0)).len();
    if matches!(asked.targets, Targets::Top(..)) {
        let class = |target: &Target| target.class().unwrap() as f32;
        let want: Vec<f32> =
            (0..n).flat_map(|image| asked.targets.of(batch.logits(image)).iter().map(class).collect::<Vec<_>>()).collect();
        equal(&format!("{what}: the {k} classes"), &found.index, &want);
    }
}

/// Shapes `[N, h, w, C]` with classes: channels and classes that are no whole tiles, one cell, one class against few others, more
/// classes than threads, more cells than a tile of the eigenvector's matrix.
const SHAPES: [([usize; 4], usize); 6] =
    [([2, 7, 7, 40], 12), ([1, 1, 1, 8], 3), ([3, 5, 3, 16], 2), ([1, 4, 6, 72], 300), ([2, 2, 1, 8], 5), ([1, 9, 8, 32], 4)];

#[test]
fn every_method_is_the_processors() {
    let device = Device::open();
    for (index, (shape, classes)) in SHAPES.into_iter().enumerate() {
        let room = if index % 2 == 0 { Room::Guarded } else { Room::Exact };
        let batch = Batch::integers(shape, classes, room);
        let given = Targets::Given(vec![Target::of_class(1), Target::of_class(0)]);
        let two = asked(given, Method::ONE_PASS, None);
        check::<f16>(&device, &batch, "two classes", &two);
        if device.modules.capability() >= 80 {
            check::<bf16>(&device, &batch, "two classes", &two);
        }
        check::<f32>(&device, &batch, "ranked", &asked(Targets::Top(2, Score::Logit), Method::ONE_PASS, None));
        for &library in Library::ALL {
            let targets = Targets::Given(vec![Target::of_class(classes - 1)]);
            let one_pass: Vec<Method> =
                library.methods().iter().copied().filter(|method| Method::ONE_PASS.contains(method)).collect();
            check::<f32>(&device, &batch, "a library", &asked(targets, &one_pass, Some(library)));
        }
    }
}

/// Positions that are shared among threads in either way, on the device's edge between them, and as many as it has room for.
#[test]
fn large_matrices_are_the_processors() {
    let device = Device::open();
    let targets = Targets::Given(vec![Target::of_class(2)]);
    let asked = asked(targets, &[Method::EigenCam, Method::EigenGradCam], None);
    for shape in [[1, 8, 11, 24], [1, 3, 31, 24], [1, 2, 47, 24], [1, 10, 11, 24], [1, 2, 71, 24]] {
        let batch = Batch::integers(shape, 3, Room::Guarded);
        match CamEigen::<f32>::new(&device.modules).unwrap().can_run(&batch.shape(&asked)) {
            Ok(()) => check::<f32>(&device, &batch, "a large matrix", &asked),
            Err(unsupported) => assert!(unsupported.to_string().contains("shared memory"), "{unsupported}"),
        }
    }
}

/// Where there is no room for rows that a warp stores at once, they lie close, and it stores one at a time: on a T4 88 positions in
/// two turns, on an A100 142 in four (by `cargo test --lib shared_memory_is_the_kernels`).
#[test]
fn matrices_lie_close_where_they_must() {
    if !software() {
        return; // a GPU has the memory that it has
    }
    with_settings(&[("CUDA_EMU_DEVICE", "T4")], &["large_matrices"], 1);
}

#[test]
fn every_target_is_the_processors() {
    let device = Device::open();
    for (index, (shape, classes)) in SHAPES.into_iter().enumerate() {
        let room = if index % 2 == 1 { Room::Guarded } else { Room::Exact };
        let mut batch = Batch::integers(shape, classes, room);
        // Probabilities of all sizes, whatever the features are.
        batch.logits = integers(14, batch.logits.len(), 40).iter().map(|v| v / 8.0).collect();
        let targets = Score::ALL.iter().flat_map(|&score| {
            [&[(0, 1.0)][..], &[(1, -1.0)], &[(0, 1.0), (1, -1.0)], &[(1, 2.5), (0, 0.5)]].map(|terms| target(terms, score))
        });
        check::<f32>(&device, &batch, "scores", &asked(Targets::Given(targets.collect()), &telling(), None));
        check::<f16>(&device, &batch, "ranked", &asked(Targets::Top(2, Score::Probability), &telling(), None));
    }
}

/// A class that is all but certain: its probability's derivative is a difference of almost equal numbers.
#[test]
fn a_certain_class_keeps_its_digits() {
    let device = Device::open();
    let mut batch = Batch::integers([1, 3, 4, 16], 6, Room::Guarded);
    for margin in [5.0, 12.0, 20.0] {
        batch.logits = vec![1.0, 2.0, 2.0 + margin, -1.0, 0.5, 2.0];
        let methods = [Method::Cam, Method::GradCamPlusPlus, Method::ShapleyCam, Method::AblationCam];
        // The share that Ablation-CAM takes of a probability near 1 is lost in f64 as well.
        let methods = if margin > 12.0 { &methods[..3] } else { &methods[..] };
        check::<f32>(&device, &batch, "certain", &asked(Targets::Top(1, Score::Probability), methods, None));
    }
}

/// Where weights and factors are whole numbers, so are the maps: the same bits.
#[test]
fn whole_numbers_are_exact() {
    let device = Device::open();
    let batch = Batch::integers([2, 7, 7, 64], 40, Room::Guarded);
    let sums = [&[(3, 1.0), (9, -1.0)][..], &[(5, -1.0)], &[(0, 1.0), (1, 1.0), (2, 2.0)], &[(39, 1.0)]];
    let asked = asked(Targets::Given(sums.map(|terms| target(terms, Score::Logit)).into()), &[Method::Cam], None);
    let want: Vec<f32> = (0..2).flat_map(|image| batch.maps(image, &asked)).flat_map(|map| map.data().to_vec()).collect();
    equal("f16", &batch.run::<f16>(&device, &asked, None, (2, 2)).raw, &want);
    equal("f32", &batch.run::<f32>(&device, &asked, None, (2, 2)).raw, &want);
}

/// Each map is shown as its own method is.
#[test]
fn methods_have_a_normalisation_of_their_own() {
    let device = Device::open();
    let batch = Batch::integers([1, 4, 5, 24], 7, Room::Guarded);
    let methods = [Method::Cam, Method::GradCam, Method::EigenCam];
    for own_normalisation in [true, false] {
        let asked = Asked { own_normalisation, ..asked(Targets::Top(2, Score::Logit), &methods, None) };
        let style = Style { normalisation: Normalisation::MinMax, ..Style::default() };
        let found = batch.run::<f32>(&device, &asked, Some(Show::Overlay(style)), (9, 12));
        for (at, (shown, raw)) in found.shown.chunks_exact(9 * 12).zip(found.raw.chunks_exact(4 * 5)).enumerate() {
            let normalisation = if own_normalisation { methods[at % 3].normalisation() } else { Normalisation::MinMax };
            let want = Map::new(4, 5, raw.to_vec()).upsample(9, 12).normalise(normalisation).unwrap();
            equal(&format!("map {at}, {normalisation}"), shown, want.data());
        }
    }
}

/// Features that are all off or all alike: zeros where the method looks at differences, never NaN.
#[test]
fn nothing_to_see_is_zeros() {
    let device = Device::open();
    for level in [0.0, 3.0, 0.1] {
        let features = Nhwc::new([1, 5, 7, 8], vec![level; 5 * 7 * 8]);
        let batch = Batch::new(features, Head::new(integers(3, 3 * 8, 4), vec![0.0; 3]), Room::Guarded);
        let asked = Asked { own_normalisation: true, ..asked(Targets::Top(3, Score::Logit), Method::ONE_PASS, None) };
        let found = batch.run::<f32>(&device, &asked, Some(Show::Overlay(Style::default())), (9, 8));
        assert!(found.raw.iter().all(|v| v.is_finite()), "{level}");
        assert!(found.shown.iter().all(|&v| v == 0.0), "{level}");
        let eigens: Vec<usize> =
            (0..Method::ONE_PASS.len()).filter(|&m| Method::ONE_PASS[m].name().starts_with("eigen")).collect();
        for (at, map) in found.raw.chunks_exact(35).enumerate() {
            assert!(
                !eigens.contains(&(at % Method::ONE_PASS.len())) || map.iter().all(|&v| v == 0.0),
                "{level}: map {at} {map:?}"
            );
        }
    }
}

#[test]
fn scale_does_not_matter_to_an_eigenvector() {
    let device = Device::open();
    for scale in [1e-30f32, 1e30] {
        let mut batch = Batch::integers([1, 4, 4, 12], 3, Room::Guarded);
        let scaled = batch.features.data().iter().map(|v| v * scale).collect();
        batch.features = Nhwc::new([1, 4, 4, 12], scaled);
        let class = Targets::Given(vec![Target::of_class(0)]);
        check::<f32>(&device, &batch, "scaled", &asked(class, &[Method::EigenCam, Method::EigenGradCam], None));
    }
}

#[test]
fn what_is_not_finite_and_what_is_not_there_is_nan() {
    let device = Device::open();
    for fault in [f32::NAN, f32::INFINITY] {
        let mut batch = Batch::integers([1, 3, 3, 8], 4, Room::Exact);
        let mut data = batch.features.data().to_vec();
        data[8 * 4] = fault;
        batch.features = Nhwc::new([1, 3, 3, 8], data);
        let methods = [Method::Cam, Method::AblationCam, Method::Fem, Method::EigenCam, Method::EigenGradCam];
        let found = batch.run::<f32>(&device, &asked(Targets::Given(vec![Target::of_class(1)]), &methods, None), None, (2, 2));
        for (map, method) in found.raw.chunks_exact(9).zip(methods) {
            assert!(map.iter().any(|v| !v.is_finite()), "{method}: {map:?}");
        }
    }
    let batch = Batch::integers([1, 2, 2, 8], 4, Room::Exact);
    let targets = [Target::of_class(9), Target::of_class(2)];
    for score in Score::ALL {
        let targets = Targets::Given(targets.iter().map(|target| target.clone().with_score(*score)).collect());
        let found = batch.run::<f32>(&device, &asked(targets, &[Method::Cam, Method::ShapleyCam], None), None, (2, 2));
        assert!(
            found.raw[..8].iter().all(|v| v.is_nan()) && found.raw[8..].iter().all(|v| v.is_finite()),
            "{score}: {:?}",
            found.raw
        );
    }
}

/// A network's features and the definitions by autograd.
#[test]
fn every_definition_holds() {
    let device = Device::open();
    let name = "resnet18_w8_c10_97x161_n2_f32";
    let (golden, methods) = (Golden::load(name), MethodGolden::load(name));
    let tensors = golden.net().tensors();
    let values = |name: &str| match &tensors.iter().find(|tensor| tensor.name == name).unwrap().values {
        Values::Float(values) => values.clone(),
        Values::Count(_) => panic!("{name} holds no floats"),
    };
    let head = Head::new(values("fc.weight"), values("fc.bias"));
    let ((h, w), n) = (golden.cam.size, golden.meta.n);
    let features = Nhwc::new([n, h, w, head.channels()], golden.layer4.clone().unwrap());
    let batch = Batch { features, head, logits: golden.logits.clone(), room: Room::Guarded };
    let [a, b, ..] = golden.cam.class[..] else { panic!("two classes") };
    for (name, want) in methods.starting_with("def.") {
        let (method, what) = name.split_once('.').unwrap();
        let target = match what {
            "a" => Target::of_class(a),
            "-a" => target(&[(a, -1.0)], Score::Logit),
            "a-b" => target(&[(a, 1.0), (b, -1.0)], Score::Logit),
            "a+b" => target(&[(a, 1.0), (b, 1.0)], Score::Logit),
            "pa" => target(&[(a, 1.0)], Score::Probability),
            "pa-pb" => target(&[(a, 1.0), (b, -1.0)], Score::Probability),
            "ra" => target(&[(a, 1.0)], Score::Rest),
            what => panic!("target {what}"),
        };
        let asked = asked(Targets::Given(vec![target]), &[method.parse().unwrap()], None);
        let got = batch.run::<f32>(&device, &asked, None, (2, 2)).raw;
        let allowance = Allowance::of_largest(if name.starts_with("eigen") { EIGENVECTORS } else { ROWS }, largest(&want));
        assert_close(&name, &got, &want, allowance);
    }
}

#[test]
fn too_many_positions_are_refused() {
    let device = Device::open();
    let kernel = CamEigen::<f16>::new(&device.modules).unwrap();
    let asked = asked(Targets::Top(1, Score::Logit), &[Method::EigenCam], None);
    let shape = |cells| RowsShape { n: 1, cells, c: 512, classes: 10, asked: AskedShape::of(&asked, 10).unwrap() };
    assert!(kernel.can_run(&shape(49)).is_ok());
    let reason = kernel.can_run(&shape(400)).unwrap_err().to_string();
    assert!(reason.contains("400 positions") && reason.contains("shared memory"), "{reason}");
    let rows = CamRows::<f16>::new(&device.modules).unwrap();
    assert!(rows.can_run(&RowsShape { c: 6, ..shape(4) }).unwrap_err().to_string().contains("multiple of 4"));
}
