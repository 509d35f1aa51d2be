//! Where a map's cells lie on a picture.

use std::ops::Range;

use crate::cam::Map;
use crate::cam::upsample::Sampler;
use crate::input::CropTransform;

/// The pixels that a map covers, and for each of them where in the map it lies.
pub(super) struct Layout {
    /// Columns of the picture that the map covers.
    pub columns: Range<usize>,
    /// Rows of the picture that the map covers.
    pub rows: Range<usize>,
    /// For each of `columns`, the pixel centre as a fraction of the map's width.
    across: Vec<f64>,
    /// For each of `rows`, the pixel centre as a fraction of the map's height.
    down: Vec<f64>,
}

impl Layout {
    /// The map covers all of a picture of this size.
    pub fn whole((width, height): (u32, u32)) -> Self {
        let axis = |pixels: u32| covered(pixels, |centre| centre / f64::from(pixels));
        Self::new(axis(width), axis(height))
    }

    /// The map covers the part of the original photograph that the crop was cut from.
    pub fn in_original(transform: &CropTransform) -> Self {
        let ((width, height), (crop_w, crop_h)) = (transform.original, transform.crop);
        Self::new(
            covered(width, |x| transform.original_to_crop((x, 0.0)).0 / f64::from(crop_w)),
            covered(height, |y| transform.original_to_crop((0.0, y)).1 / f64::from(crop_h)),
        )
    }

    fn new((columns, across): (Range<usize>, Vec<f64>), (rows, down): (Range<usize>, Vec<f64>)) -> Self {
        Self { columns, rows, across, down }
    }

    /// Reads `map` at the covered pixels.
    pub fn sampler<'a>(&self, map: &'a Map) -> Sampler<'a> {
        Sampler::new(map, self.down.iter().copied(), self.across.iter().copied())
    }
}

/// The pixels whose centre falls on the map (a fraction within `0..1`), and those fractions. `fraction` grows with its argument,
/// so that they are neighbours.
fn covered(pixels: u32, fraction: impl Fn(f64) -> f64) -> (Range<usize>, Vec<f64>) {
    let at = |i: u32| fraction(f64::from(i) + 0.5);
    let start = (0..pixels).find(|&i| at(i) >= 0.0).unwrap_or(pixels);
    let fractions: Vec<f64> = (start..pixels).map(at).take_while(|&f| f < 1.0).collect();
    (start as usize..start as usize + fractions.len(), fractions)
}
