//! Boxes round what a map marks.

use serde::{Deserialize, Serialize};

use super::choice::impl_choice;
use super::{Map, MapError, PixelBox};
use crate::input::CropTransform;

/// Which regions of a map get a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Keep {
    /// The one of most pixels, as in Zhou et al.
    #[default]
    Largest,
    /// Each.
    All,
}

impl_choice!(Keep, "choice of boxes");

impl Keep {
    /// Every choice, in the order shown to users.
    pub const ALL: &'static [Self] = &[Self::Largest, Self::All];

    /// The spelling on the command line and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Largest => "largest",
            Self::All => "all",
        }
    }
}

/// How a map becomes boxes (Zhou et al. 2016, section 3.2): pixels above a share of the greatest value, the regions in which they
/// hang together, and the smallest box round each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BoxRule {
    /// Which regions.
    pub keep: Keep,
    /// Shares of the map's greatest value, see [`Map::regions`].
    pub thresholds: Vec<f32>,
}

/// A box round a region of a map.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundBox {
    /// The share of the map's greatest value above which the region's pixels are.
    pub threshold: f32,
    /// In pixels of the crop.
    pub crop: PixelBox,
    /// In pixels of the original picture, as far as it lies in that; `None` where it lies in padding only.
    pub original: Option<PixelBox>,
    /// Pixels of the region, which are fewer than the box's.
    pub pixels: usize,
    /// The region's greatest value.
    pub peak: f32,
}

impl BoxRule {
    /// The boxes of `map`, which has the size of the crop (see [`Map::upsample`]): threshold by threshold, the largest region first.
    /// A map without a positive value has none.
    ///
    /// # Errors
    /// If the map is empty or holds a value that is not finite.
    pub fn find(&self, map: &Map, transform: &CropTransform) -> Result<Vec<FoundBox>, MapError> {
        let mut found = Vec::new();
        for &threshold in &self.thresholds {
            let regions = map.regions(threshold)?;
            let kept = match self.keep {
                Keep::Largest => regions.len().min(1),
                Keep::All => regions.len(),
            };
            found.extend(regions[..kept].iter().map(|region| {
                let original = region.bounds.in_original(transform);
                FoundBox {
                    threshold,
                    crop: region.bounds,
                    original: (original.area() > 0.0).then_some(original),
                    pixels: region.cells,
                    peak: region.peak,
                }
            }));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_and_regions() {
        // 6 x 3 pixels of a picture of 4 x 6 that was halved and padded on the left and right.
        let transform = CropTransform { original: (4, 6), resized: (2, 3), offset: (-2, 0), crop: (6, 3) };
        let map = Map::new(3, 6, vec![4., 0., 0., 0., 0., 0., 0., 0., 9., 9., 0., 0., 0., 0., 9., 0., 0., 1.]);
        let boxes = |keep, thresholds: &[f32]| BoxRule { keep, thresholds: thresholds.to_vec() }.find(&map, &transform).unwrap();
        let largest = boxes(Keep::Largest, &[0.2, 0.5]);
        assert_eq!(largest.len(), 2);
        assert_eq!(largest[0], FoundBox { threshold: 0.2, ..largest[1] });
        assert_eq!(largest[0].crop, PixelBox { x0: 2.0, y0: 1.0, x1: 4.0, y1: 3.0 });
        assert_eq!(largest[0].original, Some(PixelBox { x0: 0.0, y0: 2.0, x1: 4.0, y1: 6.0 }));
        assert_eq!((largest[0].pixels, largest[0].peak), (3, 9.0));
        let all = boxes(Keep::All, &[0.2]);
        assert_eq!(all.len(), 2, "1 is below a fifth of 9");
        assert_eq!(all[1].original, None, "what is padded is nowhere in the original");
        assert!(boxes(Keep::All, &[]).is_empty());
        assert!(
            BoxRule { keep: Keep::All, thresholds: vec![0.2] }
                .find(&Map::new(1, 2, vec![-1.0, 0.0]), &transform)
                .unwrap()
                .is_empty()
        );
    }
}
