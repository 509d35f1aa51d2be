//! From pictures to overlays on the device: the same bytes as by the processor's own code, in whatever order streams run, and
//! with several submissions under way.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cam::{Found, Normalisation, Selection};
use camshaft::cuda::{Cuda, CudaError, Images, Options, Show, Ticket};
use camshaft::input::{Input, Interpolation, Picture, Recipe};
use camshaft::network::Model;
use camshaft::render::{Alpha, Colormap, Scene, Style};
use camshaft::tensor::{Nhwc, Precision};
use camshaft::weights::WeightFile;
use common::cuda::with_settings;
use common::goldens::Golden;
use common::{safetensors_file, seeded, software};
use image::RgbImage;

fn model() -> Model {
    let golden = Golden::load("resnet18_w8_c10_97x161_n2_f32");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &golden.net().tensors(), golden.dtype());
    Model::load(WeightFile::open(&path).unwrap()).unwrap()
}

fn cuda(precision: Precision) -> Cuda {
    Cuda::new(&model(), 0, Options { precision: Some(precision), ..Options::default() }).unwrap_or_else(|error| panic!("{error}"))
}

fn input(recipe: &Recipe, (w, h): (u32, u32), seed: u64) -> Input {
    let bytes = seeded::picture(seed as usize, h as usize, w as usize, 7);
    recipe.apply(&Picture::from_rgb("seeded", RgbImage::from_raw(w, h, bytes).unwrap())).unwrap()
}

/// Wide, tall, tiny (padded on all sides) and so tall that the height is resized first.
const SIZES: [(u32, u32); 5] = [(90, 61), (50, 130), (9, 7), (12, 300), (64, 64)];

fn recipe(filter: Interpolation, side: u32) -> Recipe {
    let mut recipe = Recipe::timm(side, 0.9, filter).unwrap();
    recipe.mean = [0.4, 0.5, 0.6];
    recipe
}

fn tensor(inputs: &[Input]) -> Nhwc {
    let data: Vec<f32> = inputs.iter().flat_map(|input| input.tensor().into_owned()).collect();
    Nhwc::new([inputs.len(), inputs[0].h(), inputs[0].w(), 3], data)
}

fn run(cuda: &Cuda, inputs: &[Input], show: Option<Show>) -> Found {
    let borrowed: Vec<&Input> = inputs.iter().collect();
    let mut found = Found::default();
    let ticket = cuda.submit(Images::Inputs(&borrowed), Selection::Top(2), show).unwrap();
    cuda.collect(ticket, &mut found).unwrap();
    found
}

#[test]
fn pictures_give_what_prepared_tensors_give() {
    let device = software::device(&[]);
    for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
        let cuda = cuda(precision);
        for (filter, side) in [(Interpolation::Bilinear, 48), (Interpolation::Bicubic, 33)] {
            // In one batch: two recipes, and pictures of every size, so that each has tables of its own.
            let mut inputs: Vec<Input> = (0..).zip(SIZES).map(|(seed, size)| input(&recipe(filter, side), size, seed)).collect();
            let mut other = recipe(filter, side);
            other.std = [0.5; 3];
            inputs.push(input(&other, (77, 78), 9));
            let want = cuda.run(&tensor(&inputs), Selection::Top(2)).unwrap();
            for how in ["step by step", "as a graph", "as a graph again"] {
                assert_eq!(run(&cuda, &inputs, None), want, "{precision} {filter} {how}");
            }
            // Fewer and larger pictures, then the first ones: what is left of other pictures shows in none.
            run(&cuda, &[input(&recipe(filter, side), (150, 200), 3)], None);
            assert_eq!(run(&cuda, &inputs, None), want, "{precision} {filter} after others");
        }
    }
    software::assert_no_findings(device);
}

#[test]
fn overlays_have_the_bytes_of_the_processors() {
    let device = software::device(&[]);
    for (precision, side) in [(Precision::F32, 48), (Precision::F16, 45)] {
        let cuda = cuda(precision);
        let inputs: Vec<Input> =
            (0..).zip(SIZES).map(|(seed, size)| input(&recipe(Interpolation::Bilinear, side), size, seed)).collect();
        for (index, &colormap) in Colormap::ALL.iter().enumerate() {
            let style = Style {
                colormap,
                alpha: Alpha::new([0.5, 0.37, 1.0][index % 3]).unwrap(),
                normalisation: Normalisation::ALL[index % 3],
            };
            for how in ["step by step", "as a graph"] {
                let found = run(&cuda, &inputs, Some(Show::Overlay(style)));
                for (image, input) in inputs.iter().enumerate() {
                    let scene = Scene::of_crop(input.crop(), input.transform()).unwrap();
                    let want: Vec<RgbImage> =
                        found.maps(image).iter().map(|(_, map)| scene.overlay(map, &style).unwrap()).collect();
                    assert_eq!(want.len(), 2);
                    assert!(found.overlays(image) == want, "image {image}, {style:?}, {how}");
                }
            }
        }
    }
    software::assert_no_findings(device);
}

#[test]
fn submissions_overlap_and_keep_their_results_apart() {
    let device = software::device(&[]);
    let cuda = cuda(Precision::F16);
    let recipe = recipe(Interpolation::Bilinear, 40);
    let batches: Vec<Vec<Input>> = (0..6)
        .map(|batch| SIZES.iter().take(1 + batch % 3).map(|&size| input(&recipe, size, 10 + batch as u64)).collect())
        .collect();
    let alone: Vec<Found> = batches.iter().map(|inputs| run(&cuda, inputs, None)).collect();
    let submit = |inputs: &Vec<Input>| -> Ticket {
        cuda.submit(Images::Inputs(&inputs.iter().collect::<Vec<_>>()), Selection::Top(2), None).unwrap()
    };
    let collect = |ticket| {
        let mut found = Found::default();
        cuda.collect(ticket, &mut found).unwrap();
        found
    };
    for _ in 0..2 {
        // All at once, more than two under way, collected in order and backwards.
        let tickets: Vec<Ticket> = batches.iter().map(submit).collect();
        assert_eq!(tickets.into_iter().map(collect).collect::<Vec<_>>(), alone);
        let tickets: Vec<Ticket> = batches.iter().map(submit).collect();
        let backwards: Vec<Found> = tickets.into_iter().rev().map(collect).collect();
        assert!(backwards.iter().rev().eq(&alone));
        // One ahead of the other, one that nobody collects, and one that cannot be.
        let mut before = submit(&batches[0]);
        for (inputs, want) in batches[1..].iter().zip(&alone) {
            let next = submit(inputs);
            drop(submit(&batches[2]));
            assert_eq!(collect(std::mem::replace(&mut before, next)), *want);
        }
        assert_eq!(collect(before), alone[5]);
        let other = self::recipe(Interpolation::Bilinear, 24);
        let two = [&batches[0][0], &input(&other, (30, 30), 1)];
        let error = cuda.submit(Images::Inputs(&two), Selection::Top(1), None).unwrap_err();
        assert!(matches!(error, CudaError::Sizes { first: (40, 40), found: (24, 24) }), "{error}");
        let nothing = cuda.submit(Images::Inputs(&[]), Selection::Top(1), None).unwrap();
        assert_eq!(collect(nothing).images(), 0);
    }
    drop(cuda);
    software::assert_no_findings(device);
}

/// Work that nothing orders runs in another order in each of these.
#[test]
fn in_any_legal_order() {
    if std::env::var_os("CAMSHAFT_TEST_DEVICE").is_some_and(|device| device == "gpu") {
        return println!("hardware orders as it likes");
    }
    let random = ["1", "2", "3"].map(|seed| vec![("CUDA_EMU_STREAMS", "random"), ("CUDA_EMU_SEED", seed)]);
    let reverse = vec![("CUDA_EMU_STREAMS", "lazy"), ("CUDA_EMU_ORDER", "reverse")];
    for variables in random.into_iter().chain([reverse]) {
        with_settings(&variables, &["submissions"], 1);
    }
}
