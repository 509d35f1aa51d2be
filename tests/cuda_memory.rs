//! A device with little memory: batches are split, and what cannot be split says what it needs. A process of its own, because
//! the memory of a software device is settled when it is first used.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cam::{Found, Selection};
use camshaft::cuda::{Cuda, CudaError, Images, Options};
use camshaft::input::{Input, Picture, Recipe};
use camshaft::network::Model;
use camshaft::tensor::{Nhwc, Precision};
use camshaft::weights::WeightFile;
use common::goldens::Golden;
use common::watchdog::Watchdog;
use common::{safetensors_file, seeded, software};
use image::{Rgb, RgbImage};

fn model(name: &str) -> Model {
    let golden = Golden::load(name);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &golden.net().tensors(), golden.dtype());
    Model::load(WeightFile::open(&path).unwrap()).unwrap()
}

fn images(n: usize, h: usize, w: usize) -> Nhwc {
    Nhwc::new([n, h, w, 3], seeded::network_input(n, h, w, 7))
}

#[test]
fn batches_are_split_until_they_fit() {
    let model = model("resnet18_w8_c10_97x161_n2_f32");
    let options = Options { precision: Some(Precision::F32), ..Options::default() };
    let Some(device) = software::device(&[("CUDA_EMU_MEMORY", "1200K")]) else {
        return println!("hardware has the memory that it has");
    };
    let cuda = Cuda::new(&model, 0, options).unwrap();
    let images = images(6, 64, 64);
    let whole = cuda.plan([6, 64, 64], 2).unwrap();
    let half = cuda.plan([3, 64, 64], 2).unwrap();
    let room = (1200 << 10) - whole.parameters;
    assert!(whole.activations > room && half.activations < room, "{whole:?}: the case must split once, into halves");

    let found = cuda.run(&images, Selection::Top(2)).unwrap();
    assert_eq!(found.images(), 6);
    for image in 0..6 {
        let alone = Nhwc::new([1, 64, 64, 3], images.image(image).to_vec());
        let alone = cuda.run(&alone, Selection::Top(2)).unwrap();
        assert_eq!((found.logits(image), found.maps(image)), (alone.logits(0), alone.maps(0)), "image {image}");
    }

    // An image that alone is too large: the error counts, and nothing is over.
    let error = cuda.run(&Nhwc::new([1, 512, 512, 3], vec![0.5; 512 * 512 * 3]), Selection::Top(1)).unwrap_err();
    let CudaError::OutOfMemory { needed, free, .. } = error else { panic!("{error}") };
    assert!(needed > room && free <= room && free > 0, "{needed} {free} {room}");
    assert_eq!(cuda.run(&images, Selection::Top(2)).unwrap(), found);

    // Pictures take memory of their own: such as have room one by one, and one that has none.
    let mut recipe = Recipe::default();
    (recipe.resize, recipe.crop) = (Some(64), Some(64));
    let input = |side: u32| recipe.apply(&Picture::from_rgb("grey", RgbImage::from_pixel(side, side, Rgb([90; 3])))).unwrap();
    let run = |inputs: &[&Input]| {
        let mut found = Found::default();
        let ticket = cuda.submit(Images::Inputs(inputs), Selection::Top(1), None).unwrap();
        cuda.collect(ticket, &mut found).map(|()| found)
    };
    let (small, large) = (input(200), input(1000));
    let _watchdog = Watchdog::new("a picture that has no room");
    let several = run(&[&small; 6]).unwrap();
    assert_eq!(several.images(), 6);
    assert!((0..6).all(|image| several.logits(image) == run(&[&small]).unwrap().logits(0)));
    let error = run(&[&large]).unwrap_err();
    assert!(matches!(error, CudaError::OutOfMemory { what: "a batch's pictures", .. }), "{error}");
    assert_eq!(run(&[&small; 6]).unwrap(), several);

    // Parameters that do not fit.
    let error = Cuda::new(&self::model("resnet18_w24_c10_33x224_n1_bf16"), 0, options).err().unwrap();
    assert!(matches!(error, CudaError::OutOfMemory { .. }), "{error}");
    assert!(error.to_string().contains("parameters"), "{error}");
    drop(cuda);
    software::assert_no_findings(Some(device));
}
