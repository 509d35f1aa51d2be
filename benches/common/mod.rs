//! Pictures for several benches: the bundled ones, at other sizes.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{ExtendedColorType, RgbImage};

/// A bundled picture, by its name.
pub fn bundled(name: &str) -> RgbImage {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo").join(name).with_extension("jpg");
    image::open(path).expect("a bundled picture").into_rgb8()
}

/// `picture` at another size.
pub fn sized(picture: &RgbImage, (w, h): (u32, u32)) -> RgbImage {
    image::imageops::resize(picture, w, h, FilterType::Triangle)
}

/// As a JPEG of quality 90.
pub fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 90);
    let Ok(()) = encoder.encode(picture.as_raw(), picture.width(), picture.height(), ExtendedColorType::Rgb8) else {
        unreachable!("a picture in memory")
    };
    bytes
}
