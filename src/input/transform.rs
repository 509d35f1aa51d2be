//! Where the pixels of a crop lie in the picture it was cut from.

use serde::Serialize;

/// The way from an original picture to the crop that the network sees: resize, then cut (or pad) a window.
///
/// All extents are `(width, height)` in pixels. Positions are continuous with pixel centres at `.5`, so that the corner of
/// a picture is `(0, 0)` and an up-sampled map and a photograph agree on where things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CropTransform {
    /// The original picture, after EXIF orientation.
    pub original: (u32, u32),
    /// The same picture after the resize.
    pub resized: (u32, u32),
    /// Corner of the crop in the resized picture; negative where the crop is larger and was padded.
    pub offset: (i32, i32),
    /// The crop: what the network sees.
    pub crop: (u32, u32),
}

impl CropTransform {
    /// Position in the original picture of a position in the crop.
    pub fn crop_to_original(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (sx, sy) = self.scale();
        ((x + f64::from(self.offset.0)) / sx, (y + f64::from(self.offset.1)) / sy)
    }

    /// Position in the crop of a position in the original picture; outside `0..crop` where the network saw nothing.
    pub fn original_to_crop(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (sx, sy) = self.scale();
        (x * sx - f64::from(self.offset.0), y * sy - f64::from(self.offset.1))
    }

    /// Resized pixels per original pixel, horizontally and vertically.
    fn scale(&self) -> (f64, f64) {
        (f64::from(self.resized.0) / f64::from(self.original.0), f64::from(self.resized.1) / f64::from(self.original.1))
    }
}
