//! From a file's bytes to the network's input: decoding, the resize with Pillow's bytes beside the `image` crate's of the same
//! filter, normalisation, and all of it.
//!
//! ```text
//! cargo bench --bench preprocess
//! ```
//!
//! One thread. The ids are `preprocess/STEP/KERNEL/WIDTHxHEIGHT/n1`, of the picture that comes in; throughput is in its pixels.
//! `resize/pillow_window` computes no more than the network will see, which is what the program does. Before anything is timed it is
//! checked that the three resizes agree: the window is a part of the whole, the `image` crate's pixels lie within 2 levels.

mod common;

use std::hint::black_box;

use camshaft::input::{Input, Interpolation, Picture, Recipe, resize};
use common::{bundled, jpeg, sized};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use image::RgbImage;
use image::imageops::{self, FilterType};

/// A thumbnail, the size of most data sets' pictures, a screen, a phone's camera.
const SIZES: [(u32, u32); 4] = [(160, 120), (500, 375), (1920, 1080), (4032, 3024)];

/// The size whose short side is 256.
fn resized((w, h): (u32, u32)) -> (u32, u32) {
    let short = u64::from(w.min(h));
    let scaled = |side: u32| (u64::from(side) * 256 / short) as u32;
    (scaled(w), scaled(h))
}

fn check(whole: &RgbImage, other: &RgbImage, input: &Input) {
    let apart = whole.as_raw().iter().zip(other.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(apart.is_some_and(|apart| apart <= 2), "the image crate's resize is {apart:?} levels apart");
    let ((x, y), (w, h)) = (input.transform().offset, input.crop().dimensions());
    let part = imageops::crop_imm(whole, x as u32, y as u32, w, h).to_image();
    assert!(part == *input.crop(), "the window is no part of the whole");
}

fn preprocess(criterion: &mut Criterion) {
    let recipe = Recipe::default();
    let mut group = criterion.benchmark_group("preprocess");
    group.sample_size(10);
    let source = bundled("meadow");
    for size in SIZES {
        let rgb = sized(&source, size);
        let id = |kernel: &str| BenchmarkId::new(kernel, format!("{}x{}/n1", size.0, size.1));
        group.throughput(Throughput::Elements(u64::from(size.0) * u64::from(size.1)));
        let bytes = jpeg(&rgb);
        group.bench_function(id("decode/jpeg"), |b| b.iter(|| Picture::decode("a.jpg", black_box(&bytes)).expect("a picture")));

        let (w, h) = resized(size);
        let ours = || resize("rgb", black_box(&rgb), (w, h), Interpolation::Bilinear).expect("a picture");
        let theirs = || imageops::resize(black_box(&rgb), w, h, FilterType::Triangle);
        let picture = Picture::from_rgb("rgb", rgb.clone());
        let window = || recipe.apply(black_box(&picture)).expect("an input").cut();
        check(&ours(), &theirs(), &window());
        group.bench_function(id("resize/pillow_window"), |b| b.iter(window));
        group.bench_function(id("resize/pillow"), |b| b.iter(ours));
        group.bench_function(id("resize/image_triangle"), |b| b.iter(theirs));

        group.bench_function(id("all"), |b| {
            b.iter(|| {
                let picture = Picture::decode("a.jpg", black_box(&bytes)).expect("a picture");
                recipe.apply(&picture).expect("an input").tensor().into_owned()
            });
        });
    }
    for side in [224, 448] {
        let mut recipe = recipe;
        (recipe.resize, recipe.crop) = (None, Some(side));
        let input = recipe.apply(&Picture::from_rgb("rgb", sized(&source, (side, side)))).expect("an input");
        input.crop(); // computed once, then kept
        group.throughput(Throughput::Elements(u64::from(side) * u64::from(side)));
        group.bench_function(BenchmarkId::new("normalise", format!("{side}x{side}/n1")), |b| {
            b.iter(|| black_box(&input).tensor().into_owned());
        });
    }
    group.finish();
}

criterion_group!(benches, preprocess);
criterion_main!(benches);
