//! Preprocessing on the device has the CPU's bytes and values: all of them, whatever the size of the picture.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cuda::{CudaError, Element, Preprocess, PreprocessArgs, PreprocessTables, Span};
use camshaft::input::{Interpolation, Picture, Recipe};
use common::counted::Counted;
use common::cuda::{Buffer, Device, Guarded, Room, equal, install, software};
use common::seeded;
use half::{bf16, f16};
use image::RgbImage;

fn picture(w: u32, h: u32) -> Picture {
    let bytes = seeded::picture(0, h as usize, w as usize, 7);
    Picture::from_rgb("seeded", RgbImage::from_raw(w, h, bytes).unwrap())
}

fn recipe(resize: Option<u32>, crop: Option<u32>, interpolation: Interpolation) -> Recipe {
    let mut recipe = Recipe::default();
    (recipe.resize, recipe.crop, recipe.interpolation) = (resize, crop, interpolation);
    recipe
}

/// `extra` bytes lie between the rows of the picture.
fn check<T: Element + Guarded>(device: &Device, room: Room, recipe: &Recipe, picture: &Picture, channels: usize, extra: usize) {
    let (w, h) = picture.rgb.dimensions();
    let what = format!("{w}x{h} to {channels} {}, {recipe:?}", T::NAME);
    let want = recipe.apply(picture).unwrap();
    let plan = recipe.plan("seeded", (w, h)).unwrap();
    let tables = PreprocessTables::new(recipe, &plan);
    let words = device.stream.clone_htod(tables.words()).unwrap();
    let mut window = vec![0; tables.window_bytes()];
    tables.copy_window(&picture.rgb, &mut window);
    let row = 3 * tables.window().0.len();
    let pitch = row + extra;
    let rows = window.chunks_exact(row);
    let bytes: Vec<f32> = rows.flat_map(|row| row.iter().map(|&v| v.into()).chain(vec![255.0; extra])).collect();
    let source = Buffer::<u8>::new(device, &bytes, room);
    let mut between = Buffer::<u8>::output(device, tables.between_bytes(), room);
    let mut crop = Buffer::<u8>::output(device, want.crop().as_raw().len(), room);
    let mut y = Buffer::<T>::output(device, want.w() * want.h() * channels, room);
    let kernel = Preprocess::<T>::new(&device.modules, channels).unwrap();
    let mut pixels = Buffer::<u8>::output(device, want.crop().as_raw().len(), room);
    for with_values in [true, false] {
        let args = PreprocessArgs {
            window: source.span(device),
            pitch,
            tables: &tables,
            words: Span::of(&words, &device.stream),
            between: between.span_mut(device),
            crop: if with_values { crop.span_mut(device) } else { pixels.span_mut(device) },
            y: with_values.then(|| y.span_mut(device)),
        };
        kernel.launch(&device.stream, args).unwrap();
    }

    let bytes: Vec<f32> = want.crop().as_raw().iter().map(|&v| v.into()).collect();
    equal(&format!("bytes, {what}"), &crop.values(device), &bytes);
    equal(&format!("bytes alone, {what}"), &pixels.values(device), &bytes);
    let tensor = want.tensor();
    let padded = tensor.as_chunks::<3>().0.iter().flat_map(|pixel| {
        let zeros = vec![0.0; channels - 3];
        pixel.iter().map(|&v| T::from_f32(v).to_f32()).chain(zeros).collect::<Vec<_>>()
    });
    equal(&format!("values, {what}"), &y.values(device), &padded.collect::<Vec<_>>());
    between.values(device); // its guards
}

#[test]
fn pictures_have_the_cpus_bytes_and_values() {
    use Interpolation::{Bicubic, Bilinear};
    let device = Device::open();
    let cases = [
        // Smaller, larger, to the same size, and not at all.
        (picture(300, 200), recipe(Some(64), Some(56), Bilinear)),
        (picture(91, 37), recipe(Some(235), Some(224), Bicubic)),
        (picture(40, 40), recipe(Some(40), Some(33), Bicubic)),
        (picture(17, 13), recipe(None, None, Bilinear)),
        // Upright, and so tall that the height is resized first.
        (picture(61, 211), recipe(Some(29), Some(29), Bilinear)),
        (picture(40, 400), recipe(Some(30), Some(24), Bicubic)),
        (picture(3, 900), recipe(Some(32), Some(32), Bilinear)),
        // Padded with black on all sides; one pixel; only a crop.
        (picture(20, 31), recipe(Some(10), Some(21), Bilinear)),
        (picture(1, 1), recipe(Some(9), Some(16), Bicubic)),
        (picture(50, 19), recipe(None, Some(32), Bilinear)),
    ];
    for (index, (picture, recipe)) in cases.iter().enumerate() {
        let room = if index % 2 == 0 { Room::Guarded } else { Room::Exact };
        let extra = [0, 5, 64][index % 3];
        check::<f32>(&device, room, recipe, picture, 3, extra);
        check::<f32>(&device, room, recipe, picture, 4, extra);
        check::<f16>(&device, room, recipe, picture, 3, extra);
        check::<f16>(&device, room, recipe, picture, 4, extra);
        check::<f16>(&device, room, recipe, picture, 8, extra);
        check::<bf16>(&device, room, recipe, picture, 8, extra);
        check::<bf16>(&device, room, recipe, picture, 3, extra);
    }
}

/// A block keeps so many pixels of a row at a time, whatever the scale: here it needs several times as many.
#[test]
fn wide_pictures_go_through_shared_memory_in_pieces() {
    use Interpolation::{Bicubic, Bilinear};
    let device = Device::open();
    for (index, (picture, recipe)) in [
        (picture(1300, 40), recipe(Some(2), None, Bilinear)),
        (picture(2500, 300), recipe(Some(3), None, Bicubic)),
        // The height first, and black to the left and right.
        (picture(400, 2000), recipe(Some(10), Some(21), Bilinear)),
        (picture(1037, 3100), recipe(Some(21), Some(64), Bicubic)),
    ]
    .iter()
    .enumerate()
    {
        let room = if index % 2 == 0 { Room::Exact } else { Room::Guarded };
        check::<f16>(&device, room, recipe, picture, 8, index);
        check::<f32>(&device, room, recipe, picture, 3, 0);
    }
}

/// The first pass over photographs of usual sizes, and no bank conflicts anywhere.
#[test]
fn photographs_are_read_in_whole_sectors() {
    if !software() {
        return; // the counters are the software device's
    }
    let device = Device::open();
    for (w, h) in [(451, 300), (500, 375), (640, 480), (1201, 800)] {
        check::<f16>(&device, Room::Exact, &Recipe::default(), &picture(w, h), 8, 0);
    }
    let launches = Counted::all(&install().take_report());
    let mut photographs = 0;
    for launch in launches.iter().filter(|launch| launch.kernel.starts_with("resize_horizontal")) {
        assert_eq!(launch.conflicts, 0, "{launch:?}");
        // Other tests' pictures may be a few pixels wide.
        if launch.kernel == "resize_horizontal_u8" && launch.read > 200_000 {
            assert!(launch.coalescing() >= 0.9, "{:.3} of the sectors: {launch:?}", launch.coalescing());
            photographs += 1;
        }
    }
    assert!(photographs >= 8, "{photographs}: with and without a tensor");
}

#[test]
fn mistakes_are_refused() {
    let device = Device::open();
    let error = Preprocess::<f32>::new(&device.modules, 8).err().unwrap();
    assert!(error.to_string().contains("expected [3, 4]"), "{error}");
    let kernel = Preprocess::<f16>::new(&device.modules, 8).unwrap();

    let recipe = recipe(Some(8), Some(8), Interpolation::Bilinear);
    let tables = PreprocessTables::new(&recipe, &recipe.plan("x", (20, 10)).unwrap());
    // 20x10 to 16x8, of which the middle 8x8 is cut: the columns 4 to 12 of 16, and what the filter adds on either side.
    assert_eq!((tables.window(), tables.crop()), (&(4..16, 0..10), (8, 8)));
    let words = device.stream.clone_htod(tables.words()).unwrap();
    assert!(kernel.can_run(&tables, 35).unwrap_err().to_string().contains("expected 36"));

    let room = Room::Guarded;
    let source = Buffer::<u8>::new(&device, &[0.0; 359], room);
    let mut between = Buffer::<u8>::output(&device, tables.between_bytes(), room);
    let (mut crop, mut y) = (Buffer::<u8>::output(&device, 192, room), Buffer::<f16>::output(&device, 512, room));
    let args = PreprocessArgs {
        window: source.span(&device),
        pitch: 36,
        tables: &tables,
        words: Span::of(&words, &device.stream),
        between: between.span_mut(&device),
        crop: crop.span_mut(&device),
        y: Some(y.span_mut(&device)),
    };
    let error = kernel.launch(&device.stream, args).unwrap_err();
    assert!(matches!(error, CudaError::Length { buffer: "window", expected: 360, found: 359, .. }), "{error}");
    assert!(y.values(&device).iter().all(|v| v.is_nan()), "nothing ran");
}
