//! Preprocessing has the bytes of Pillow and torchvision. Goldens: `goldens/make_preprocess.py`.

use std::{fs, path::PathBuf};

use camshaft::input::{Interpolation, Picture, Recipe, resize};
use image::RgbImage;
use sha2::{Digest, Sha256};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/preprocess").join(name)
}

/// Rows of a tab-separated golden.
fn rows(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(golden(name)).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// The script's `picture`: splitmix64 bytes, or those bytes driven to 0 and 255.
fn picture(w: u32, h: u32, pattern: &str) -> RgbImage {
    let mut state = u64::from(w) * 65536 + u64::from(h);
    let mut bytes = Vec::new();
    let length = (w * h * 3) as usize;
    while bytes.len() < length {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend((z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    if pattern == "extreme" {
        bytes.iter_mut().for_each(|b| *b = if *b < 128 { 0 } else { 255 });
    }
    RgbImage::from_raw(w, h, bytes).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

#[test]
fn resize_has_pillows_bytes() {
    let rows = rows("resize.tsv");
    assert!(rows.len() >= 400, "200 sizes with two filters");
    let mut wrong = Vec::new();
    for row in &rows {
        let [w, h, tw, th] = [0, 1, 2, 3].map(|i| row[i].parse().unwrap());
        let filter: Interpolation = row[4].parse().unwrap();
        let out = resize("noise", &picture(w, h, &row[5]), (tw, th), filter).unwrap();
        assert_eq!(out.dimensions(), (tw, th));
        if digest(out.as_raw()) != row[6] {
            wrong.push(row.join(" "));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ: {wrong:#?}", wrong.len(), rows.len());
}

/// `None` for the script's 0.
fn side(text: &str) -> Option<u32> {
    Some(text.parse().unwrap()).filter(|v| *v > 0)
}

#[test]
fn recipes_have_torchvisions_sizes_and_bytes() {
    for row in rows("recipe.tsv") {
        let [w, h, rw, rh, cw, ch] = [0, 1, 5, 6, 7, 8].map(|i| row[i].parse().unwrap());
        let mut recipe = Recipe::default();
        (recipe.resize, recipe.crop) = (side(&row[2]), side(&row[3]));
        recipe.interpolation = row[4].parse().unwrap();
        let input = recipe.apply(&Picture::from_rgb("noise", picture(w, h, "noise"))).unwrap();
        let transform = input.transform();
        assert_eq!((transform.original, transform.resized, transform.crop), ((w, h), (rw, rh), (cw, ch)), "{row:?}");
        assert_eq!((input.crop().width(), input.crop().height(), input.w(), input.h()), (cw, ch, cw as usize, ch as usize));
        assert_eq!(input.tensor().len(), input.w() * input.h() * 3);
        assert_eq!(digest(input.crop().as_raw()), row[9], "{row:?}");
    }
}

/// The offset in the transform is the one that was cut at: the crop equals that window of the resized picture, black outside.
#[test]
fn the_transform_tells_where_the_crop_lies() {
    for row in rows("recipe.tsv") {
        let [w, h, rw, rh] = [0, 1, 5, 6].map(|i| row[i].parse::<u32>().unwrap());
        let noise = picture(w, h, "noise");
        let mut recipe = Recipe::default();
        (recipe.resize, recipe.crop) = (side(&row[2]), side(&row[3]));
        recipe.interpolation = row[4].parse().unwrap();
        if u64::from(rw) * u64::from(rh) > 1 << 20 {
            continue;
        }
        let whole = resize("noise", &noise, (rw, rh), recipe.interpolation).unwrap();
        let input = recipe.apply(&Picture::from_rgb("noise", noise)).unwrap();
        let (left, top) = input.transform().offset;
        for (x, y, pixel) in input.crop().enumerate_pixels() {
            let at = (x.checked_add_signed(left), y.checked_add_signed(top));
            let want = match at {
                (Some(x), Some(y)) => whole.get_pixel_checked(x, y).copied(),
                _ => None,
            };
            assert_eq!(*pixel, want.unwrap_or(image::Rgb([0; 3])), "{row:?} at {x},{y}");
        }
    }
}

#[test]
fn crop_offsets_round_half_to_even() {
    let mut recipe = Recipe::default();
    (recipe.resize, recipe.crop) = (None, Some(10));
    // Python: int(round((w - 10) / 2)), and -((10 - w) // 2) for the padding of smaller pictures.
    for (w, offset) in
        [(10, 0), (11, 0), (12, 1), (13, 2), (14, 2), (15, 2), (16, 3), (17, 4), (19, 4), (9, 0), (8, -1), (7, -1), (1, -4)]
    {
        let input = recipe.apply(&Picture::from_rgb("x", picture(w, 10, "noise"))).unwrap();
        assert_eq!(input.transform().offset, (offset, 0), "width {w}");
    }
}

#[test]
fn the_tensor_is_torchvisions_bit_for_bit() {
    let bytes = fs::read(golden("tensor.bin")).unwrap();
    let want: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    let rgb = RgbImage::from_fn(16, 16, |x, y| {
        let v = y * 16 + x;
        image::Rgb([v as u8, (v * 7 + 3) as u8, 255 - v as u8])
    });
    let mut recipe = Recipe::default();
    (recipe.resize, recipe.crop) = (None, None);
    let input = recipe.apply(&Picture::from_rgb("bytes", rgb)).unwrap();
    let got: Vec<u32> = input.tensor().iter().map(|v| v.to_bits()).collect();
    assert_eq!(got, want);
}

/// A picture whose resized form has 1,280,000 rows: only the crop is computed.
#[test]
fn a_thin_picture_needs_little_memory() {
    let thin = Picture::from_rgb("thin", picture(1, 5000, "noise"));
    let input = Recipe::default().apply(&thin).unwrap();
    assert_eq!(input.transform().resized, (256, 1_280_000));
    assert_eq!(input.transform().offset, (16, 639_888));
    // The middle 224 of 1,280,000 rows lie within one source pixel of row 2500's edge.
    let middle: Vec<u8> = [2499, 2500].iter().flat_map(|&y| thin.rgb.get_pixel(0, y).0).collect();
    for (x, y, pixel) in input.crop().enumerate_pixels() {
        for c in 0..3 {
            let (low, high) = (middle[c].min(middle[c + 3]), middle[c].max(middle[c + 3]));
            assert!((low..=high).contains(&pixel.0[c]), "{x},{y}");
        }
    }
}

#[test]
fn recipes_by_name() {
    let sizes = |recipe: Recipe| (recipe.resize, recipe.crop, recipe.interpolation);
    assert_eq!(sizes(Recipe::default()), (Some(256), Some(224), Interpolation::Bilinear));
    assert_eq!(Recipe::for_size(224).unwrap(), Recipe::default());
    // Python: math.floor(size / 0.875).
    for (size, short) in [(1, 1), (96, 109), (128, 146), (160, 182), (288, 329), (448, 512), (4096, 4681)] {
        assert_eq!(sizes(Recipe::for_size(size).unwrap()), (Some(short), Some(size), Interpolation::Bilinear));
    }
    let timm = Recipe::timm(224, 0.95, Interpolation::Bicubic).unwrap();
    assert_eq!(sizes(timm), (Some(235), Some(224), Interpolation::Bicubic));
    assert_eq!(sizes(Recipe::timm(288, 1.0, Interpolation::Bicubic).unwrap()), (Some(288), Some(288), Interpolation::Bicubic));
    assert_eq!(format!("{:>9}|{:<9}", Interpolation::Bilinear, Interpolation::Bicubic), " bilinear|bicubic  ");
}

/// Every sample has Pillow's pixels; those of lossy formats within 2 levels, since decoders round their transforms differently.
#[test]
fn samples_have_pillows_pixels() {
    let rows = rows("samples.tsv");
    assert!(rows.len() >= 50);
    for row in &rows {
        let path = golden("samples").join(&row[0]);
        let picture = Picture::open(&path).unwrap();
        assert_eq!(picture.name, path.display().to_string());
        let [w, h] = [2, 3].map(|i| row[i].parse::<u32>().unwrap());
        assert_eq!(picture.rgb.dimensions(), (w, h), "{row:?}");
        let values = golden("samples").join(format!("{}.rgb", row[0]));
        if let Ok(want) = fs::read(values) {
            assert_eq!(want.len(), picture.rgb.as_raw().len());
            let off = picture.rgb.as_raw().iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(off <= 2, "{row:?}: {off} levels off");
        } else {
            assert_eq!(digest(picture.rgb.as_raw()), row[4], "{row:?}");
        }
    }
}

/// The content decides, whatever the extension says.
#[test]
fn a_wrong_extension_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.jpg");
    fs::copy(golden("samples/rgb.png"), &path).unwrap();
    assert_eq!(Picture::open(&path).unwrap().rgb, Picture::open(&golden("samples/rgb.png")).unwrap().rgb);
}
