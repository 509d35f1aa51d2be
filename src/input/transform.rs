//! Where the pixels of a crop lie in the picture it was cut from.

use serde::{Deserialize, Serialize};

/// The way from an original picture to the crop that the network sees: resize, then cut (or pad) a window.
///
/// All extents are `(width, height)` in pixels. Positions are continuous with pixel centres at `.5`, so that the corner of
/// a picture is `(0, 0)` and an up-sampled map and a photograph agree on where things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_there_and_back() {
        // 451x300 to 384x256, then the middle 224x224.
        let cut = CropTransform { original: (451, 300), resized: (384, 256), offset: (80, 16), crop: (224, 224) };
        assert_eq!(cut.original_to_crop((225.5, 150.0)), (112.0, 112.0), "the centre");
        assert_eq!(cut.crop_to_original((-80.0, -16.0)), (0.0, 0.0), "the corner lies outside the crop");
        assert_eq!(cut.crop_to_original((304.0, 240.0)), (451.0, 300.0));
        let padded = CropTransform { original: (20, 40), resized: (10, 20), offset: (-5, 0), crop: (20, 20) };
        assert_eq!(padded.original_to_crop((0.0, 0.0)), (5.0, 0.0), "padding moves the picture to the right");
        for transform in [cut, padded] {
            let (x, y) = transform.original_to_crop(transform.crop_to_original((3.25, 200.5)));
            assert!((x - 3.25).abs() < 1e-12 && (y - 200.5).abs() < 1e-12);
        }
    }
}
