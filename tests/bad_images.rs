//! Pictures that are empty, damaged, cut short or absurd are errors that name the file; nothing panics.

use std::{fs, io::Cursor, path::PathBuf, sync::LazyLock};

use camshaft::input::{InputError, Interpolation, Picture, Recipe, resize};
use image::{ExtendedColorType, ImageEncoder, ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;

/// The picture files that the goldens' script made, with their names.
static SAMPLES: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/preprocess/samples");
    let mut out: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e != "rgb"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    out.sort();
    assert!(out.len() > 50);
    out
});

fn sample(name: &str) -> Vec<u8> {
    SAMPLES.iter().find(|(found, _)| found == name).unwrap().1.clone()
}

/// The error of decoding, which must name the picture.
fn error(bytes: &[u8]) -> InputError {
    let e = Picture::decode("some picture", bytes).expect_err("an error");
    assert!(e.to_string().starts_with("some picture: "), "{e}");
    e
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let path = folder.path().join(name);
        let e = Picture::open(&path).expect_err("an error");
        assert!(e.to_string().starts_with(&path.display().to_string()), "{e}");
        e
    };
    assert!(matches!(open("missing.jpg"), InputError::Read { .. }));
    fs::create_dir(folder.path().join("folder.jpg")).unwrap();
    assert!(matches!(open("folder.jpg"), InputError::Folder { .. }));
    fs::write(folder.path().join("empty.jpg"), b"").unwrap();
    assert!(matches!(open("empty.jpg"), InputError::Empty { .. }));
    fs::write(folder.path().join("text.jpg"), b"not a picture at all\n").unwrap();
    let e = open("text.jpg");
    assert!(matches!(e, InputError::Format { .. }) && e.to_string().contains("`not a picture at all`"), "{e}");
}

#[cfg(unix)]
#[test]
fn a_file_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.png");
    fs::write(&path, sample("rgb.png")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read it nevertheless.
    if fs::File::open(&path).is_err() {
        assert!(matches!(Picture::open(&path), Err(InputError::Read { .. })));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_without_end() {
    // Reading stops at the limit; sparse, so that no disk is used.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.bmp");
    fs::File::create(&path).unwrap().set_len(camshaft::input::MAX_FILE_BYTES + 1).unwrap();
    assert!(matches!(Picture::open(&path), Err(InputError::FileTooLong { .. })));
}

/// Cut anywhere, a file is an error or, where only a trailer is missing, still the whole picture; never part of one.
#[test]
fn truncated_files_show_no_half_pictures() {
    for (name, bytes) in SAMPLES.iter() {
        let Ok(whole) = Picture::decode(name, bytes) else { continue };
        let mut errors = 0;
        for end in 0..bytes.len() {
            match Picture::decode(name, &bytes[..end]) {
                Ok(picture) => assert!(picture.rgb == whole.rgb, "{name} cut at {end} of {} is another picture", bytes.len()),
                Err(_) => errors += 1,
            }
        }
        // Two pictures in one file: the second is not looked at.
        assert!(errors * 3 > bytes.len(), "{name}: only {errors} of {} cuts are errors", bytes.len());
        if name.ends_with(".jpg") {
            assert_eq!(errors, bytes.len(), "{name}: Pillow demands the end marker");
        }
    }
    let jpeg = sample("rgb.jpg");
    let e = error(&jpeg[..jpeg.len() / 2]);
    assert!(matches!(e, InputError::Truncated { format: ImageFormat::Jpeg, .. }) && e.to_string().contains("cut short"), "{e}");
    let png = sample("rgb.png");
    assert!(matches!(error(&png[..png.len() - 30]), InputError::Truncated { format: ImageFormat::Png, .. }));
}

#[test]
fn damaged_files() {
    let mut png = sample("rgb.png");
    let middle = png.len() / 2;
    png[middle] ^= 0x55;
    assert!(matches!(error(&png), InputError::Decode { format: ImageFormat::Png, .. }));
    assert!(matches!(error(&sample("float.tif")), InputError::Decode { format: ImageFormat::Tiff, .. }));
}

#[test]
fn floating_point_samples() {
    let mut tiff = Cursor::new(Vec::new());
    let bytes: Vec<u8> = [0.25f32; 2 * 2 * 3].iter().flat_map(|v| v.to_ne_bytes()).collect();
    image::codecs::tiff::TiffEncoder::new(&mut tiff).write_image(&bytes, 2, 2, ExtendedColorType::Rgb32F).unwrap();
    let e = error(tiff.get_ref());
    assert!(matches!(e, InputError::Samples { .. }) && e.to_string().contains("8-bit"), "{e}");
}

/// Headers that claim 60000x60000 pixels (or the most that the format can say) in files of a few hundred bytes.
#[test]
fn enormous_headers_are_refused_before_memory_is_taken() {
    fn patch(name: &str, edits: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = sample(name);
        for (at, new) in edits {
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
        bytes
    }
    let be = 60000u32.to_be_bytes();
    let le = 60000u32.to_le_bytes();
    let mut png = patch("rgb.png", &[(16, &be), (20, &be)]);
    let crc = png_crc(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    let bmp = patch("rgb.bmp", &[(18, &le), (22, &le)]);
    let gif = patch("rgb.gif", &[(6, &le[..2]), (8, &le[..2])]);
    let jpeg = sample("rgb.jpg");
    // Baseline frame header: marker, length, precision, height, width.
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let jpeg = patch("rgb.jpg", &[(frame + 5, &be[2..]), (frame + 7, &be[2..])]);
    // Lossless WebP: 14 bits each of width - 1 and height - 1 behind the signature byte; 16383x16383 here.
    let webp = patch("rgb.webp", &[(21, &[0xfe, 0xbf, 0xff, 0x0f])]);
    for (what, bytes) in [("png", png), ("bmp", bmp), ("gif", gif), ("jpeg", jpeg), ("webp", webp), ("tiff", tiff(60000, 60000))]
    {
        let e = error(&bytes);
        assert!(matches!(e, InputError::TooLarge { w: 16383 | 60000, h: 16383 | 60000, .. }), "{what}: {e}");
        assert!(e.to_string().contains("scale it down"), "{e}");
    }
    // Few pixels enough, but of 16 bytes each.
    assert!(matches!(error(&tiff(12000, 12000)), InputError::TooLarge { w: 12000, h: 12000, .. }));
}

/// The header of an uncompressed RGBA float TIFF without its pixels.
fn tiff(w: u32, h: u32) -> Vec<u8> {
    let mut out = b"II*\0\x08\0\0\0".to_vec();
    let entries: [(u16, u16, u32, u32); 9] = [
        (256, 4, 1, w),
        (257, 4, 1, h),
        (258, 3, 4, 122), // bits per sample, behind the directory
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 138),
        (277, 3, 1, 4),
        (278, 4, 1, h),
        (279, 4, 1, 16),
    ];
    out.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        out.extend(tag.to_le_bytes().into_iter().chain(kind.to_le_bytes()).chain(count.to_le_bytes()).chain(value.to_le_bytes()));
    }
    out.extend([0; 4]);
    out.extend([32u16; 4].iter().flat_map(|v| v.to_le_bytes()));
    out.resize(154, 0);
    out
}

/// The CRC-32 of PNG chunks.
fn png_crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn tiny_pictures_work() {
    let one = Picture::from_rgb("one", RgbImage::from_pixel(1, 1, Rgb([10, 20, 30])));
    let input = Recipe::default().apply(&one).unwrap();
    assert!(input.crop().pixels().all(|pixel| pixel.0 == [10, 20, 30]));
    let e = Recipe::default().apply(&Picture::from_rgb("none", RgbImage::new(0, 5))).unwrap_err();
    assert!(matches!(e, InputError::NoPixels { w: 0, h: 5, .. }) && e.to_string().starts_with("none: "), "{e}");
}

#[test]
fn results_out_of_bounds() {
    let thin = Picture::from_rgb("thin", RgbImage::new(1, 300_000));
    let mut recipe = Recipe::default();
    recipe.resize = Some(8192);
    let e = recipe.apply(&thin).unwrap_err();
    assert!(matches!(e, InputError::Resized { .. }) && e.to_string().contains("long and thin"), "{e}");
    let mut recipe = Recipe::default();
    recipe.crop = None;
    let e = recipe.apply(&thin).unwrap_err();
    assert!(matches!(e, InputError::Resized { .. }) && e.to_string().contains("use a crop"), "{e}");
    let small = RgbImage::new(4, 4);
    let e = resize("four", &small, (40_000, 40_000), Interpolation::Bilinear).unwrap_err();
    assert!(matches!(e, InputError::Resized { .. }) && e.to_string().starts_with("four: "), "{e}");
    assert!(matches!(resize("x", &small, (0, 4), Interpolation::Bilinear), Err(InputError::Argument { argument: "size", .. })));
    assert!(matches!(resize("x", &RgbImage::new(4, 0), (4, 4), Interpolation::Bilinear), Err(InputError::NoPixels { .. })));
}

#[test]
fn senseless_arguments_are_named() {
    let named = |e: InputError, want: &str| match e {
        InputError::Argument { argument, .. } => assert_eq!(argument, want),
        e => panic!("{e}"),
    };
    for size in [0, 4097, u32::MAX] {
        named(Recipe::for_size(size).unwrap_err(), "size");
        named(Recipe::timm(size, 0.95, Interpolation::Bicubic).unwrap_err(), "crop");
    }
    for pct in [0.0, -1.0, 1.5, f64::NAN] {
        named(Recipe::timm(224, pct, Interpolation::Bicubic).unwrap_err(), "crop_pct");
    }
    named(Recipe::timm(224, 1e-9, Interpolation::Bicubic).unwrap_err(), "resize");
    let picture = Picture::from_rgb("x", RgbImage::new(3, 3));
    type Edit = fn(&mut Recipe);
    let edits: [(&str, Edit); 8] = [
        ("resize", |r| r.resize = Some(0)),
        ("resize", |r| r.resize = Some(8193)),
        ("crop", |r| r.crop = Some(0)),
        ("crop", |r| r.crop = Some(4097)),
        ("mean", |r| r.mean[1] = f32::NAN),
        ("std", |r| r.std[2] = 0.0),
        ("std", |r| r.std[2] = -0.2),
        ("std", |r| r.std[0] = f32::INFINITY),
    ];
    for (want, edit) in edits {
        let mut recipe = Recipe::default();
        edit(&mut recipe);
        named(recipe.apply(&picture).unwrap_err(), want);
    }
    let e = Recipe::for_size(0).unwrap_err().to_string();
    assert_eq!(e, "size is 0, expected 1 to 4096");
    named("nearest".parse::<Interpolation>().unwrap_err(), "interpolation");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A few bytes changed, the tail cut: an error or a picture, never a panic.
    #[test]
    fn mutated_files_do_not_panic(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let (name, mut bytes) = SAMPLES[which.index(SAMPLES.len())].clone();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(picture) = Picture::decode(&name, &bytes) {
            prop_assert!(picture.rgb.width() > 0 && picture.rgb.height() > 0);
        }
    }

    /// Any bytes behind any magic number.
    #[test]
    fn random_bytes_do_not_panic(magic in 0usize..8, tail in prop::collection::vec(any::<u8>(), 0..300)) {
        let magic: &[u8] =
            [&b""[..], b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBPVP8 ", b"BM", b"II*\0", b"MM\0*", b"GIF89a"][magic];
        let bytes = [magic, &tail].concat();
        let _ = Picture::decode("random", &bytes);
    }

    /// Any picture through any recipe that passes the checks gives what the recipe says.
    #[test]
    fn any_recipe_gives_its_size(w in 1u32..80, h in 1u32..80, resize in prop::option::of(1u32..120), crop in prop::option::of(1u32..120), bicubic: bool) {
        let mut recipe = Recipe::default();
        (recipe.resize, recipe.crop) = (resize, crop);
        recipe.interpolation = if bicubic { Interpolation::Bicubic } else { Interpolation::Bilinear };
        let input = recipe.apply(&Picture::from_rgb("flat", RgbImage::from_pixel(w, h, Rgb([255, 0, 7])))).unwrap();
        let (cw, ch) = crop.map_or(input.transform().resized, |side| (side, side));
        prop_assert_eq!((input.w(), input.h()), (cw as usize, ch as usize));
        // Weights sum to one: a flat picture stays flat, apart from the padding.
        prop_assert!(input.crop().pixels().all(|pixel| pixel.0 == [255, 0, 7] || pixel.0 == [0; 3]));
        let (x, y) = input.transform().original_to_crop((f64::from(w) / 2.0, f64::from(h) / 2.0));
        prop_assert!((x - f64::from(cw) / 2.0).abs() < 0.501 && (y - f64::from(ch) / 2.0).abs() < 0.501, "the centre stays: {x} {y}");
    }
}
