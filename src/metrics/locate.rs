//! Whether a map is where the object is.

use super::Truth;
use crate::cam::{Map, MapError, Normalisation, Region};
use crate::input::CropTransform;

/// A map at the size of the crop, to be compared with where objects are.
pub struct Locator<'a> {
    transform: &'a CropTransform,
    /// Raw, signed.
    map: Map,
}

impl<'a> Locator<'a> {
    /// Enlarges `map` to the size of the crop.
    ///
    /// # Errors
    /// If the map is empty or holds a value that is not finite.
    pub fn new(map: &Map, transform: &'a CropTransform) -> Result<Self, MapError> {
        map.stats()?;
        Ok(Self { transform, map: map.upsample(transform.crop.1 as usize, transform.crop.0 as usize) })
    }

    /// The pointing game (Zhang et al., IJCV 2018, section 4.2; they allow 15 pixels): whether the map's greatest value is on the
    /// object, or at most `tolerance` pixels of the original away. Of equal greatest values the first in reading order counts, so
    /// that a constant map points at a corner.
    ///
    /// # Errors
    /// If the map holds a value that is not finite.
    pub fn points_at(&self, truth: &Truth, tolerance: f64) -> Result<bool, MapError> {
        let (x, y) = self.map.stats()?.argmax;
        Ok(truth.is_near(self.transform.crop_to_original((x as f64 + 0.5, y as f64 + 0.5)), tolerance))
    }

    /// Intersection over union of the object's box and the box round the largest region above `share` of the map's greatest value
    /// (see [`Map::regions`]), in pixels of the original; of several objects that which fits best. A map without a positive value
    /// has no box: 0.
    ///
    /// # Errors
    /// If the map holds a value that is not finite.
    pub fn box_iou(&self, truth: &Truth, share: f32) -> Result<f64, MapError> {
        Ok(self.iou_of(self.map.regions(share)?.first(), truth))
    }

    /// [`Locator::box_iou`] of the normalised map at the thresholds `0, 1 / levels, 2 / levels` and so on below 1 (Choi et al., CVPR
    /// 2020, eq. 2), for [`BoxAccuracy`].
    ///
    /// # Errors
    /// If the map holds a value that is not finite.
    pub fn box_ious(&self, truth: &Truth, normalisation: Normalisation, levels: usize) -> Result<Vec<f64>, MapError> {
        let shown = self.map.normalise(normalisation)?;
        let shares: Vec<f32> = (0..levels).map(|level| level as f32 / levels as f32).collect();
        Ok(shown.largest_regions(&shares)?.iter().map(|largest| self.iou_of(largest.as_ref(), truth)).collect())
    }

    fn iou_of(&self, largest: Option<&Region>, truth: &Truth) -> f64 {
        let Some(largest) = largest else { return 0.0 };
        let found = largest.bounds.in_original(self.transform);
        truth.boxes().iter().map(|truth| found.iou(truth)).fold(0.0, f64::max)
    }

    /// Intersection over union of the object's pixels and those above `share` of the map's greatest value, within the crop; 0 where
    /// there are neither. `None` where only boxes are known.
    ///
    /// # Errors
    /// If the map holds a value that is not finite.
    pub fn mask_iou(&self, truth: &Truth, share: f32) -> Result<Option<f64>, MapError> {
        let limit = share * self.map.stats()?.max;
        let Some(mask) = truth.crop_mask() else { return Ok(None) };
        let (mut both, mut either) = (0, 0);
        for (&value, &inside) in self.map.data().iter().zip(mask) {
            let found = value > 0.0 && value > limit;
            both += usize::from(found && inside);
            either += usize::from(found || inside);
        }
        Ok(Some(if either == 0 { 0.0 } else { both as f64 / either as f64 }))
    }
}

/// The share of boxes that overlap their object well enough, at the threshold that is best for all of them (MaxBoxAcc, Choi et al.
/// 2020, eq. 3).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BoxAccuracy {
    hits: Vec<u64>,
    objects: u64,
}

impl BoxAccuracy {
    /// Adds an object's overlaps, of [`Locator::box_ious`], always as many; `overlap` and more of it is a hit.
    pub fn add(&mut self, ious: &[f64], overlap: f64) {
        self.hits.resize(self.hits.len().max(ious.len()), 0);
        self.hits.iter_mut().zip(ious).for_each(|(hits, iou)| *hits += u64::from(*iou >= overlap));
        self.objects += 1;
    }

    /// Objects so far.
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// The best threshold, the least of equal ones, and the share of hits there; `None` without objects.
    pub fn best(&self) -> Option<(f64, f64)> {
        let most = *self.hits.iter().max()?;
        let level = self.hits.iter().position(|hits| *hits == most)?;
        Some((level as f64 / self.hits.len() as f64, most as f64 / self.objects as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cam::PixelBox;
    use crate::metrics::Mask;

    /// The middle 8 x 8 of a 12 x 8 picture.
    const CUT: CropTransform = CropTransform { original: (12, 8), resized: (12, 8), offset: (2, 0), crop: (8, 8) };

    fn boxes(of: &[(f64, f64, f64, f64)]) -> Truth {
        Truth::of_boxes(of.iter().map(|&(x0, y0, x1, y1)| PixelBox { x0, y0, x1, y1 }).collect(), &CUT).unwrap()
    }

    /// 8 x 8: a block of 2 x 2 with the value 5 at `(x, y)`, one of 4 x 2 with 3 below it.
    fn blocks() -> Map {
        let value = |i: usize| match (i % 8, i / 8) {
            (4..6, 2..4) => 5.0,
            (3..7, 4..6) => 3.0,
            (0, 0) => -9.0,
            _ => 0.5,
        };
        Map::new(8, 8, (0..64).map(value).collect())
    }

    #[test]
    fn overlaps_by_hand() {
        let map = blocks();
        let locator = Locator::new(&map, &CUT).unwrap();
        // Above 0.2 of 5: both blocks, columns 3 to 6 and rows 2 to 5, in the original columns 5 to 8.
        assert_eq!(locator.box_iou(&boxes(&[(5.0, 2.0, 9.0, 6.0)]), 0.2).unwrap(), 1.0);
        assert_eq!(locator.box_iou(&boxes(&[(0.0, 0.0, 1.0, 1.0), (5.0, 2.0, 9.0, 10.0)]), 0.2).unwrap(), 0.5);
        assert_eq!(locator.box_iou(&boxes(&[(6.0, 2.0, 8.0, 4.0)]), 0.7).unwrap(), 1.0);
        assert!(locator.points_at(&boxes(&[(6.0, 2.0, 7.0, 3.0)]), 0.0).unwrap());
        assert!(!locator.points_at(&boxes(&[(9.0, 2.0, 10.0, 3.0)]), 2.0).unwrap());
        assert!(locator.points_at(&boxes(&[(9.0, 2.0, 10.0, 3.0)]), 2.5).unwrap());
        let mask = Mask::new(8, 8, (0..64).map(|i| (4..6).contains(&(i % 8)) && i / 8 < 4).collect());
        let truth = Truth::of_mask(&mask, &CUT).unwrap();
        // 4 of its 8 pixels are among the 12 that are marked.
        assert_eq!(locator.mask_iou(&truth, 0.2).unwrap(), Some(4.0 / 16.0));
        assert_eq!(locator.mask_iou(&boxes(&[(5.0, 2.0, 9.0, 6.0)]), 0.2).unwrap(), None);
        // Normalised from -9 to 5, everything but the corner is above 0.6, and the upper block alone above 0.9.
        let ious = locator.box_ious(&boxes(&[(6.0, 2.0, 8.0, 4.0)]), Normalisation::MinMax, 10).unwrap();
        assert_eq!((ious[6], ious[7], ious[9]), (4.0 / 64.0, 4.0 / 16.0, 1.0));
    }

    #[test]
    fn maps_without_a_place_have_none_and_nan_is_an_error() {
        let truth = boxes(&[(2.0, 0.0, 10.0, 8.0)]);
        for map in [Map::new(8, 8, vec![0.0; 64]), Map::new(2, 2, vec![-3.0; 4])] {
            let locator = Locator::new(&map, &CUT).unwrap();
            assert_eq!(locator.box_iou(&truth, 0.2).unwrap(), 0.0);
            assert_eq!(locator.box_ious(&truth, Normalisation::MinMax, 3).unwrap(), [0.0; 3]);
            assert!(locator.points_at(&truth, 0.0).unwrap(), "the first pixel, which is inside");
            let mask = Truth::of_mask(&Mask::new(8, 8, vec![true; 64]), &CUT).unwrap();
            assert_eq!(locator.mask_iou(&mask, 0.2).unwrap(), Some(0.0));
        }
        assert!(Locator::new(&Map::new(1, 2, vec![1.0, f32::NAN]), &CUT).is_err());
        assert!(Locator::new(&Map::new(0, 0, vec![]), &CUT).is_err());
    }

    #[test]
    fn one_threshold_for_all_objects() {
        let mut accuracy = BoxAccuracy::default();
        assert_eq!(accuracy.best(), None);
        for ious in [[0.1, 0.5, 0.6, 0.0], [0.9, 0.4, 0.5, 0.5], [0.0, 0.0, 0.49, 0.9]] {
            accuracy.add(&ious, 0.5);
        }
        assert_eq!(accuracy.best(), Some((0.5, 2.0 / 3.0)));
    }
}
