//! Where a map says that something is: weakly supervised localisation (Zhou et al. 2016, section 3.2).

use serde::{Deserialize, Serialize};

use super::{Map, MapError};
use crate::input::CropTransform;

/// The share of a map's greatest value that Zhou et al. cut at.
pub const PAPER_THRESHOLD: f32 = 0.2;

/// A box `(x0, y0)` to `(x1, y1)` in pixels; the far corner is just outside, so that its size is the difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelBox {
    /// Left edge.
    pub x0: f64,
    /// Upper edge.
    pub y0: f64,
    /// Right edge.
    pub x1: f64,
    /// Lower edge.
    pub y1: f64,
}

impl PixelBox {
    /// Pixels inside.
    pub fn area(&self) -> f64 {
        (self.x1 - self.x0).max(0.0) * (self.y1 - self.y0).max(0.0)
    }

    /// Intersection over union; 0 where both are empty.
    pub fn iou(&self, other: &Self) -> f64 {
        let both =
            Self { x0: self.x0.max(other.x0), y0: self.y0.max(other.y0), x1: self.x1.min(other.x1), y1: self.y1.min(other.y1) };
        let inside = both.area();
        let union = self.area() + other.area() - inside;
        if union > 0.0 { inside / union } else { 0.0 }
    }

    /// Whether a point lies inside.
    pub fn contains(&self, (x, y): (f64, f64)) -> bool {
        (self.x0..self.x1).contains(&x) && (self.y0..self.y1).contains(&y)
    }

    /// A box of the crop in the original picture, as far as it lies inside that.
    pub fn in_original(&self, transform: &CropTransform) -> Self {
        let (width, height) = (f64::from(transform.original.0), f64::from(transform.original.1));
        let (x0, y0) = transform.crop_to_original((self.x0, self.y0));
        let (x1, y1) = transform.crop_to_original((self.x1, self.y1));
        Self { x0: x0.clamp(0.0, width), y0: y0.clamp(0.0, height), x1: x1.clamp(0.0, width), y1: y1.clamp(0.0, height) }
    }
}

/// Connected cells of a map that are above a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Region {
    /// The smallest box around them.
    pub bounds: PixelBox,
    /// How many.
    pub cells: usize,
    /// The greatest value among them.
    pub peak: f32,
}

impl Map {
    /// The regions of cells whose value is above `share` of the greatest value, cells touching by a side or a corner belonging
    /// together, the one with most cells first (of equals the one that begins first, row by row). A map without a positive value
    /// says that nothing is there: it has none.
    ///
    /// # Errors
    /// If the map is empty or holds a value that is not finite.
    pub fn regions(&self, share: f32) -> Result<Vec<Region>, MapError> {
        let limit = share * self.stats()?.max;
        let mut open: Vec<bool> = self.data().iter().map(|&value| value > 0.0 && value > limit).collect();
        let mut regions = Vec::new();
        for start in 0..open.len() {
            if open[start] {
                regions.push(self.flood(start, &mut open));
            }
        }
        regions.sort_by_key(|region: &Region| std::cmp::Reverse(region.cells)); // stable
        Ok(regions)
    }

    /// Collects the region of cell `start`, closing its cells in `open`.
    fn flood(&self, start: usize, open: &mut [bool]) -> Region {
        let (w, h) = (self.w(), self.h());
        let (mut x0, mut y0, mut x1, mut y1) = (w, h, 0, 0);
        let (mut cells, mut peak) = (0, f32::NEG_INFINITY);
        let mut waiting = vec![start];
        open[start] = false;
        while let Some(at) = waiting.pop() {
            let (x, y) = (at % w, at / w);
            (x0, y0, x1, y1) = (x0.min(x), y0.min(y), x1.max(x + 1), y1.max(y + 1));
            cells += 1;
            peak = if self.data()[at] > peak { self.data()[at] } else { peak };
            for row in y.saturating_sub(1)..(y + 2).min(h) {
                for column in x.saturating_sub(1)..(x + 2).min(w) {
                    let next = row * w + column;
                    if std::mem::take(&mut open[next]) {
                        waiting.push(next);
                    }
                }
            }
        }
        let bounds = PixelBox { x0: x0 as f64, y0: y0 as f64, x1: x1 as f64, y1: y1 as f64 };
        Region { bounds, cells, peak }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: &[&[f32]]) -> Map {
        Map::new(rows.len(), rows[0].len(), rows.concat())
    }

    fn corners(region: &Region) -> (f64, f64, f64, f64) {
        (region.bounds.x0, region.bounds.y0, region.bounds.x1, region.bounds.y1)
    }

    #[test]
    fn regions_by_size_with_corners_touching() {
        let map = map(&[
            &[9.0, 0.0, 0.0, 0.0, 5.0],
            &[0.0, 4.0, 0.0, 0.0, 5.0],
            &[0.0, 0.0, 0.0, 0.0, 5.0],
            &[2.0, 1.7, 0.0, -9.0, 0.0],
        ]);
        let regions = map.regions(PAPER_THRESHOLD).unwrap();
        assert_eq!(
            regions.iter().map(corners).collect::<Vec<_>>(),
            [(4.0, 0.0, 5.0, 3.0), (0.0, 0.0, 2.0, 2.0), (0.0, 3.0, 1.0, 4.0)]
        );
        assert_eq!(regions.iter().map(|region| (region.cells, region.peak)).collect::<Vec<_>>(), [(3, 5.0), (2, 9.0), (1, 2.0)]);
        assert_eq!(map.regions(0.5).unwrap().len(), 2, "4 of 9 is below one half; a value at the limit does not count");
        assert_eq!(map.regions(0.0).unwrap()[2].cells, 2, "1.7 now counts");
        assert!(map.regions(1.0).unwrap().is_empty());
    }

    #[test]
    fn nothing_positive_is_nowhere() {
        assert!(map(&[&[-1.0, 0.0]]).regions(0.2).unwrap().is_empty());
        assert!(map(&[&[1.0, f32::NAN]]).regions(0.2).is_err());
        assert!(Map::new(0, 3, vec![]).regions(0.2).is_err());
        let all = map(&[&[2.0, 2.0], &[2.0, 2.0]]).regions(0.2).unwrap();
        assert_eq!((all.len(), all[0].cells, corners(&all[0])), (1, 4, (0.0, 0.0, 2.0, 2.0)));
    }

    #[test]
    fn overlap_of_boxes() {
        let of = |x0, y0, x1, y1| PixelBox { x0, y0, x1, y1 };
        assert_eq!(of(0.0, 0.0, 2.0, 2.0).iou(&of(1.0, 0.0, 3.0, 2.0)), 2.0 / 6.0);
        assert_eq!(of(0.0, 0.0, 2.0, 2.0).iou(&of(2.0, 0.0, 3.0, 2.0)), 0.0);
        assert_eq!(of(0.0, 0.0, 0.0, 0.0).iou(&of(0.0, 0.0, 0.0, 0.0)), 0.0);
        assert!(of(0.0, 0.0, 2.0, 2.0).contains((1.9, 0.0)) && !of(0.0, 0.0, 2.0, 2.0).contains((2.0, 0.0)));
    }

    #[test]
    fn boxes_of_the_original() {
        let transform = CropTransform { original: (20, 40), resized: (10, 20), offset: (-5, 0), crop: (20, 20) };
        let found = PixelBox { x0: 0.0, y0: 5.0, x1: 10.0, y1: 20.0 }.in_original(&transform);
        assert_eq!(found, PixelBox { x0: 0.0, y0: 10.0, x1: 10.0, y1: 40.0 }, "what was padded is not in the picture");
    }
}
