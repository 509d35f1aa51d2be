//! Methods against their papers' definitions (by autograd, see `tests/goldens/make_methods.py`, and by plain loops) and against
//! what torchcam and pytorch-grad-cam return.

mod common;

use camshaft::cam::{Evidence, Head, Library, Map, Method, MethodError, Score, Target, Term};
use camshaft::render::{Colormap, LibraryStyle};
use camshaft::tensor::Nhwc;
use common::compare::{Allowance, assert_close};
use common::goldens::{Golden, MethodGolden};
use common::seeded::{Values, Words};

/// Of the largest magnitude: our rows are rounded to f32 once, the goldens' features and maps as well.
const EXACT: f32 = 2e-6;

/// What the goldens were made from: features, logits and classifier of a network of `tests/goldens/network`.
struct Case {
    name: &'static str,
    methods: MethodGolden,
    golden: Golden,
    features: Nhwc,
    head: Head,
}

impl Case {
    fn all() -> [Self; 2] {
        ["resnet18_w8_c10_97x161_n2_f32", "resnet18_w64_c1000_224x224_n1_f32"].map(Self::new)
    }

    fn new(name: &'static str) -> Self {
        let golden = Golden::load(name);
        let tensors = golden.net().tensors();
        let values = |name: &str| match &tensors.iter().find(|tensor| tensor.name == name).unwrap().values {
            Values::Float(values) => values.clone(),
            Values::Count(_) => panic!("{name} holds no floats"),
        };
        let head = Head::new(values("fc.weight"), values("fc.bias"));
        let (h, w) = golden.cam.size;
        let features = Nhwc::new([golden.meta.n, h, w, head.channels()], golden.layer4.clone().unwrap());
        Self { name, methods: MethodGolden::load(name), golden, features, head }
    }

    fn evidence(&self, image: usize) -> Evidence<'_> {
        let k = self.head.classes();
        Evidence::new(&self.head, &self.features, image, &self.golden.logits[image * k..][..k]).unwrap()
    }

    /// The maps of every image.
    fn maps(&self, method: Method, target: &Target, library: Option<Library>) -> Vec<Map> {
        (0..self.golden.meta.n).map(|image| self.evidence(image).map(method, target, library).unwrap()).collect()
    }
}

fn cells(maps: &[Map]) -> Vec<f32> {
    maps.iter().flat_map(|map| map.data().to_vec()).collect()
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |largest, v| largest.max(v.abs()))
}

fn target(terms: &[(usize, f64)], score: Score) -> Target {
    Target::new(terms.iter().map(|&(class, factor)| Term { class, factor }).collect(), score).unwrap()
}

#[test]
fn every_definition_holds() {
    let mut seen = 0;
    for case in Case::all() {
        let [a, b, ..] = case.golden.cam.class[..] else { panic!("two classes") };
        for (name, want) in case.methods.starting_with("def.") {
            let (method, what) = name.split_once('.').unwrap();
            let method: Method = method.parse().unwrap();
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
            method.serves(&target, case.head.classes(), None).unwrap();
            let got = cells(&case.maps(method, &target, None));
            // An eigenvector of a matrix with f32 entries is as far off as these, divided by the gap between eigenvalues.
            let tolerance = if name.starts_with("eigen") { 1e-5 } else { EXACT };
            assert_close(&format!("{} {name}", case.name), &got, &want, Allowance::of_largest(tolerance, largest(&want)));
            seen += 1;
        }
    }
    assert_eq!(seen, 2 * (7 * 9 + 3), "nine methods for seven targets, three for one");
}

/// Maps in `0..=1` within 1e-4, the measure that is promised; in fact nearer.
const PARITY: Allowance = Allowance { abs: 1e-4, rel: 0.0 };

#[test]
fn torchcam_is_reproduced() {
    for case in Case::all() {
        for (name, want) in case.methods.starting_with("torchcam.") {
            let (method, target) = library_case(&case, &name);
            assert!(Library::TorchCam.methods().contains(&method), "{name}");
            let maps = case.maps(method, &target, Some(Library::TorchCam));
            let got: Vec<Map> = maps.iter().map(|map| Library::TorchCam.normalise(method, map).unwrap()).collect();
            assert_close(&format!("{} {name}", case.name), &cells(&got), &want, PARITY);
        }
    }
}

#[test]
fn grad_cam_is_reproduced() {
    for case in Case::all() {
        let (at, meta) = (&case.methods.at, &case.golden.meta);
        for (name, want) in case.methods.starting_with("grad-cam.") {
            let (method, target) = library_case(&case, &name);
            assert!(Library::GradCam.methods().contains(&method), "{name}");
            let mut got = Vec::new();
            for map in case.maps(method, &target, Some(Library::GradCam)) {
                let shown = Library::GradCam.normalise(method, &map).unwrap();
                let full = Library::GradCam.enlarge(&shown, meta.h, meta.w);
                got.extend(at.iter().map(|&i| full.data()[i]));
            }
            assert_close(&format!("{} {name}", case.name), &got, &want, PARITY);
        }
    }
}

/// `METHOD.I` or `METHOD.pa`.
fn library_case(case: &Case, name: &str) -> (Method, Target) {
    let (method, what) = name.split_once('.').unwrap();
    let target = match what {
        "pa" => target(&[(case.golden.cam.class[0], 1.0)], Score::Probability),
        number => Target::of_class(case.golden.cam.class[number.parse::<usize>().unwrap()]),
    };
    (method.parse().unwrap(), target)
}

/// As `photo` in make_methods.py.
fn photo(w: u32, h: u32) -> image::RgbImage {
    image::RgbImage::from_fn(w, h, |x, y| image::Rgb([0, 1, 2].map(|c| (((x * 7 + y * 13 + c * 29) ^ (x * y / 16)) & 255) as u8)))
}

#[test]
fn library_overlays_are_reproduced() {
    let case = Case::new("resnet18_w8_c10_97x161_n2_f32");
    let (h, w) = (case.golden.meta.h, case.golden.meta.w);
    let rows: Vec<usize> = (0..h).step_by(8).collect();
    let whole = photo(w as u32, h as u32);
    let mut sampled = image::RgbImage::new(w as u32, rows.len() as u32);
    for (x, y, pixel) in sampled.enumerate_pixels_mut() {
        *pixel = *whole.get_pixel(x, rows[y as usize] as u32);
    }
    let class = Target::of_class(case.golden.cam.class[0]);
    for library in Library::ALL.iter().copied() {
        let mask = case.methods.floats(&format!("{library}.mask"));
        // From map to mask: by our own enlargement.
        let map = case.evidence(0).map(Method::GradCam, &class, Some(library)).unwrap();
        let own = library.enlarge(&library.normalise(Method::GradCam, &map).unwrap(), h, w);
        let own_rows: Vec<f32> = rows.iter().flat_map(|&y| own.data()[y * w..][..w].to_vec()).collect();
        assert_close(&format!("{library}: mask"), &own_rows, &mask, Allowance { abs: 1e-5, rel: 0.0 });
        // From mask to picture: from the library's, as a value that differs in the last bit may take the next colour.
        let style = LibraryStyle::of(library);
        let overlay = style.overlay(&sampled, &Map::new(rows.len(), w, mask)).unwrap();
        let want = case.methods.bytes(&format!("{library}.overlay"));
        assert_eq!(overlay.as_raw().len(), want.len());
        let worst = overlay.as_raw().iter().zip(&want).map(|(got, want)| got.abs_diff(*want)).max().unwrap();
        assert!(worst <= 1, "{library}: {worst} levels");
        // The picture says something: the colours are there.
        assert!(sampled.as_raw().iter().zip(&want).any(|(from, to)| from.abs_diff(*to) > 60));
    }
    assert_eq!(LibraryStyle::of(Library::GradCam).colormap, Colormap::JetOpencv);
}

// ---- plain loops -----------------------------------------------------------------------------------------------------------

/// A problem of small numbers in awkward shapes, with channels that are off.
struct Small {
    features: Nhwc,
    head: Head,
    logits: Vec<f32>,
}

impl Small {
    fn new(h: usize, w: usize, c: usize, k: usize, seed: u64) -> Self {
        let features: Vec<f32> = {
            let words = Words::new("features", seed);
            (0..h * w * c).map(|i| if i % c % 3 == 2 { 0.0 } else { words.sym(i).max(0.0) }).collect()
        };
        let floats = |name: &str, count: usize| (0..count).map(|i| Words::new(name, seed).sym(i)).collect::<Vec<f32>>();
        let head = Head::new(floats("weights", k * c), floats("bias", k));
        let features = Nhwc::new([1, h, w, c], features);
        let logits = logits(&head, &means(&features)).iter().map(|&y| y as f32).collect();
        Self { features, head, logits }
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence::new(&self.head, &self.features, 0, &self.logits).unwrap()
    }

    fn means(&self) -> Vec<f64> {
        means(&self.features)
    }
}

fn means(features: &Nhwc) -> Vec<f64> {
    let [_, h, w, c] = features.shape();
    (0..c).map(|k| (0..h * w).map(|i| f64::from(features.data()[i * c + k])).sum::<f64>() / (h * w) as f64).collect()
}

fn logits(head: &Head, means: &[f64]) -> Vec<f64> {
    let dot = |class: usize| head.row(class).iter().zip(means).map(|(&w, a)| f64::from(w) * a).sum::<f64>();
    (0..head.classes()).map(|class| f64::from(head.bias()[class]) + dot(class)).collect()
}

/// A target's value, by the softmax's definition.
fn value(target: &Target, y: &[f64]) -> f64 {
    let total: f64 = y.iter().map(|y| y.exp()).sum();
    let score = |class: usize| match target.score() {
        Score::Logit => y[class],
        Score::Probability => y[class].exp() / total,
        _ => y[class] + (y[class].exp() / total).ln(),
    };
    target.terms().iter().map(|term| term.factor * score(term.class)).sum()
}

const SHAPES: [[usize; 4]; 6] = [[1, 1, 1, 2], [1, 1, 8, 3], [3, 5, 7, 4], [7, 7, 16, 5], [5, 13, 11, 9], [2, 1, 3, 2]];

fn small_targets() -> Vec<Target> {
    Score::ALL
        .iter()
        .flat_map(|&score| {
            [&[(0, 1.0)][..], &[(1, -1.0)], &[(0, 1.0), (1, -1.0)], &[(1, 2.5), (0, 0.5)]].map(|t| target(t, score))
        })
        .collect()
}

/// Gradients by differences: what a small change of each channel's mean does to the target.
#[test]
fn rows_are_gradients() {
    for (seed, [h, w, c, k]) in SHAPES.into_iter().enumerate() {
        let small = Small::new(h, w, c, k, seed as u64);
        let (evidence, means) = (small.evidence(), small.means());
        for target in small_targets() {
            let at = |means: &[f64]| value(&target, &logits(&small.head, means));
            let moved = |channel: usize, by: f64| {
                let mut means = means.clone();
                means[channel] += by;
                at(&means)
            };
            let step = 1e-5;
            let want: Vec<f32> = (0..c).map(|k| ((moved(k, step) - moved(k, -step)) / (2.0 * step)) as f32).collect();
            let got = evidence.row(Method::Cam, &target, None).unwrap().unwrap();
            let what = format!("{h}x{w}x{c}, {target:?}");
            assert_close(&what, &got, &want, Allowance { abs: 2e-6, rel: 1e-5 });
            assert!((target.value(&small.logits) - at(&means)).abs() < 1e-5, "{what}");

            // ShapleyCAM: the gradient less half its change when all means grow by their own size.
            let gradient = |scale: f64, channel: usize| {
                let mut means: Vec<f64> = means.iter().map(|a| a * scale).collect();
                means[channel] += 1e-4;
                let more = at(&means);
                means[channel] -= 2e-4;
                (more - at(&means)) / 2e-4
            };
            let step = 1e-3;
            let bend = |k: usize| (gradient(1.0 + step, k) - gradient(1.0 - step, k)) / (2.0 * step);
            let want: Vec<f32> = (0..c).map(|k| ((gradient(1.0, k) - 0.5 * bend(k)) / (h * w) as f64) as f32).collect();
            let got = evidence.row(Method::ShapleyCam, &target, None).unwrap().unwrap();
            assert_close(&what, &got, &want, Allowance { abs: 1e-5, rel: 1e-4 });
        }
    }
}

#[test]
fn ablation_is_ablation() {
    for (seed, [h, w, c, k]) in SHAPES.into_iter().enumerate() {
        let small = Small::new(h, w, c, k, seed as u64 + 50);
        for target in small_targets() {
            let whole = value(&target, &logits(&small.head, &small.means()));
            let without = |channel: usize| {
                let mut features = small.features.clone();
                let mut data = features.data().to_vec();
                data.iter_mut().skip(channel).step_by(c).for_each(|v| *v = 0.0);
                features = Nhwc::new(features.shape(), data);
                value(&target, &logits(&small.head, &means(&features)))
            };
            let want: Vec<f32> = (0..c).map(|k| ((whole - without(k)) / whole) as f32).collect();
            let got = small.evidence().row(Method::AblationCam, &target, None).unwrap().unwrap();
            // The logits given are f32; a target near 0 multiplies their rounding.
            let rounding = (1e-6 / whole.abs()) as f32;
            assert_close(&format!("{h}x{w}x{c}, {target:?}"), &got, &want, Allowance { abs: rounding, rel: 1e-5 + rounding });
        }
    }
}

/// Power iteration on the matrix itself, position by position.
fn component(small: &Small, weights: &[f64]) -> Vec<f64> {
    let [_, h, w, c] = small.features.shape();
    let means = small.means();
    let entry = |i: usize, k: usize| weights[k] * (f64::from(small.features.data()[i * c + k]) - means[k]);
    let mut v: Vec<f64> = (0..c).map(|k| 1.0 + 0.3 * (k as f64).sin()).collect();
    let project = |v: &[f64]| (0..h * w).map(|i| (0..c).map(|k| entry(i, k) * v[k]).sum::<f64>()).collect::<Vec<_>>();
    for _ in 0..20_000 {
        let p = project(&v);
        let next: Vec<f64> = (0..c).map(|k| (0..h * w).map(|i| entry(i, k) * p[i]).sum::<f64>()).collect();
        let norm = next.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm == 0.0 {
            return vec![0.0; h * w];
        }
        v = next.iter().map(|v| v / norm).collect();
    }
    project(&v)
}

#[test]
fn eigen_maps_are_principal_components() {
    for (seed, [h, w, c, k]) in SHAPES.into_iter().enumerate() {
        let small = Small::new(h, w, c, k, seed as u64 + 90);
        let class = Target::of_class(1);
        let cam = small.evidence().map(Method::Cam, &class, None).unwrap();
        let ones = vec![1.0; c];
        let gradient: Vec<f64> = small.head.row(1).iter().map(|&w| f64::from(w) / (h * w_of(&small)) as f64).collect();
        for (method, weights) in [(Method::EigenCam, &ones), (Method::EigenGradCam, &gradient)] {
            let map = small.evidence().map(method, &class, None).unwrap();
            let mut want: Vec<f32> = component(&small, weights).iter().map(|&v| v as f32).collect();
            let covariance = |map: &[f32]| map.iter().zip(cam.data()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            if covariance(&want) < 0.0 {
                want.iter_mut().for_each(|v| *v = -*v);
            }
            let what = format!("{method} {h}x{w}x{c}");
            assert_close(&what, map.data(), &want, Allowance::of_largest(1e-5, largest(&want).max(1e-6)));
            assert!(covariance(map.data()) >= -1e-9, "{what}");
        }
    }
}

fn w_of(small: &Small) -> usize {
    small.features.shape()[2]
}

#[test]
fn an_eigen_map_of_tiny_or_huge_features_is_the_same_map() {
    let small = Small::new(4, 4, 9, 3, 5);
    let class = Target::of_class(0);
    let map = small.evidence().map(Method::EigenCam, &class, None).unwrap();
    for scale in [1e-30f32, 1e30] {
        let scaled: Vec<f32> = small.features.data().iter().map(|v| v * scale).collect();
        let features = Nhwc::new(small.features.shape(), scaled);
        let got = Evidence::new(&small.head, &features, 0, &small.logits).unwrap().map(Method::EigenCam, &class, None).unwrap();
        let back: Vec<f32> = got.data().iter().map(|v| v / scale).collect();
        assert_close("scaled", &back, map.data(), Allowance::of_largest(1e-5, largest(map.data())));
    }
}

#[test]
fn fem_counts_what_stands_out() {
    // Twelve positions: one far above the rest, one channel constant, one off.
    let mut data = vec![0.0; 12 * 3];
    for (i, cell) in data.chunks_exact_mut(3).enumerate() {
        cell.copy_from_slice(&[if i == 7 { 9.0 } else { 1.0 }, 2.0, 0.0]);
    }
    let (features, head) = (Nhwc::new([1, 3, 4, 3], data), Head::new(vec![1.0; 6], vec![0.0; 2]));
    let row =
        Evidence::new(&head, &features, 0, &[1.0, 2.0]).unwrap().row(Method::Fem, &Target::of_class(0), None).unwrap().unwrap();
    assert_eq!(row, [1.0 / 12.0, 0.0, 0.0]);
}

/// Features that are all off, all alike, or a score of 0: a defined map, and pictures of zeros, never NaN.
#[test]
fn nothing_to_see_is_zeros() {
    let head = Head::new(vec![0.5, -1.0, 0.25, 0.0, 0.0, 0.0], vec![0.0, 0.0]);
    for level in [0.0, 3.0] {
        let features = Nhwc::new([1, 4, 5, 3], vec![level; 4 * 5 * 3]);
        let y: Vec<f32> = logits(&head, &means(&features)).iter().map(|&y| y as f32).collect();
        for &method in Method::ALL.iter().filter(|method| !method.masks()) {
            for class in [0, 1] {
                let map = Evidence::new(&head, &features, 0, &y).unwrap().map(method, &Target::of_class(class), None).unwrap();
                assert!(map.data().iter().all(|v| v.is_finite()), "{method}, {level}");
                let shown = map.upsample(9, 9).normalise(method.normalisation()).unwrap();
                assert!(shown.data().iter().all(|&v| v == 0.0), "{method}, {level}: {:?}", shown.data());
                for &library in Library::ALL {
                    if library.methods().contains(&method) {
                        let map = Evidence::new(&head, &features, 0, &y)
                            .unwrap()
                            .map(method, &Target::of_class(class), Some(library))
                            .unwrap();
                        let shown = library.enlarge(&library.normalise(method, &map).unwrap(), 9, 9);
                        assert!(shown.data().iter().all(|v| v.abs() < 1e-6), "{library} {method}, {level}: {:?}", shown.data());
                    }
                }
            }
        }
    }
}

#[test]
fn methods_say_what_they_cannot_do() {
    let contrast = target(&[(0, 1.0), (1, -1.0)], Score::Logit);
    let probability = target(&[(0, 1.0)], Score::Probability);
    for method in [Method::EigenCam, Method::Fem, Method::RandomCam] {
        for what in [&contrast, &probability] {
            assert_eq!(method.serves(what, 5, None), Err(MethodError::NoClass { method }));
        }
        assert_eq!(method.serves(&Target::of_class(4), 5, None), Ok(()));
    }
    let method = Method::FinerCam;
    assert_eq!(method.serves(&contrast, 5, None), Err(MethodError::OwnContrast { method }));
    assert_eq!(method.serves(&Target::of_class(0), 1, None), Err(MethodError::OneClass { method, classes: 1 }));
    let (library, method) = (Library::GradCam, Method::Cam);
    assert_eq!(method.serves(&Target::of_class(0), 5, Some(library)), Err(MethodError::NotOffered { library, method }));
    assert_eq!(Method::GradCam.serves(&contrast, 5, Some(Library::GradCam)), Ok(()));
}

#[test]
fn a_target_is_checked() {
    let term = |class, factor| Term { class, factor };
    for (terms, words) in [
        (vec![], "needs a class"),
        (vec![term(3, 1.0), term(3, -1.0)], "class 3 stands in one target twice"),
        (vec![term(2, 0.0)], "factor 0"),
        (vec![term(2, f64::NAN)], "factor NaN"),
    ] {
        let error = Target::new(terms, Score::Logit).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// What one forward pass does not tell, and classes that are not there, are errors that name the way out.
#[test]
fn what_evidence_cannot_tell_is_an_error() {
    let small = Small::new(2, 3, 4, 5, 9);
    let evidence = small.evidence();
    for &method in Method::ALL {
        let of = |class| {
            let target = Target::of_class(class);
            [
                evidence.map(method, &target, None).map(drop),
                evidence.eigen_map(method, &target, None).map(drop),
                evidence.row(method, &target, Some(Library::GradCam)).map(drop),
            ]
        };
        let want = if method.masks() { Err(MethodError::Masks { method }) } else { Ok(()) };
        assert!(of(4).iter().all(|got| *got == want), "{method}");
        assert!(of(5).iter().all(|got| *got == Err(MethodError::NoSuchClass { class: 5, classes: 5 })), "{method}");
    }
    assert_eq!(evidence.class_activation_map(7), Err(MethodError::NoSuchClass { class: 7, classes: 5 }));
    // Of another network, or of no image.
    let [images, .., channels] = small.features.shape();
    for (image, logits) in [(images, 5), (0, 4)] {
        let error = Evidence::new(&small.head, &small.features, image, &[0.0; 5][..logits]).err().unwrap();
        assert!(matches!(error, MethodError::OtherHead { classes: 5, .. }), "{error}");
        assert!(error.to_string().contains(&format!("5 classes of {channels} channels")), "{error}");
    }
    let error = evidence.map(Method::ScoreCam, &Target::of_class(0), None).unwrap_err().to_string();
    assert!(error.contains("`scorecam`") && error.contains("`Engine::explain`"), "{error}");
}
