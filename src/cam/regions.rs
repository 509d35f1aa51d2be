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

    /// For each of `shares`, which do not fall, the first of [`Map::regions`]: cells come in from the greatest value down, and regions
    /// grow together, so that all shares take little longer than one.
    ///
    /// # Errors
    /// As [`Map::regions`].
    pub(crate) fn largest_regions(&self, shares: &[f32]) -> Result<Vec<Option<Region>>, MapError> {
        let max = self.stats()?.max;
        let limits: Vec<f32> = shares.iter().map(|share| share * max).collect();
        // Cells by how many of the limits they are above.
        let mut above: Vec<Vec<usize>> = vec![Vec::new(); limits.len() + 1];
        for (at, &value) in self.data().iter().enumerate().filter(|(_, value)| **value > 0.0) {
            above[limits.partition_point(|&limit| value > limit)].push(at);
        }
        let mut growing = Growing::new(self);
        let mut largest: Vec<_> = above.iter().skip(1).rev().map(|cells| growing.add(cells)).collect();
        largest.reverse();
        Ok(largest)
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

/// Regions to which cells are added (union-find).
struct Growing<'a> {
    map: &'a Map,
    /// For each cell one that was in its region before it, or itself; of no region at all: `usize::MAX`.
    parents: Vec<usize>,
    /// Of a region's first parent: the cell that it begins with, row by row, and the region.
    regions: Vec<(usize, Region)>,
    largest: Option<(usize, Region)>,
}

impl<'a> Growing<'a> {
    fn new(map: &'a Map) -> Self {
        let region = |at: usize| {
            let (x, y) = ((at % map.w()) as f64, (at / map.w()) as f64);
            let bounds = PixelBox { x0: x, y0: y, x1: x + 1.0, y1: y + 1.0 };
            (at, Region { bounds, cells: 1, peak: map.data()[at] })
        };
        let cells = map.data().len();
        Self { map, parents: vec![usize::MAX; cells], regions: (0..cells).map(region).collect(), largest: None }
    }

    /// Adds cells and returns the largest region then, of equals the one that begins first.
    fn add(&mut self, cells: &[usize]) -> Option<Region> {
        let (h, w) = (self.map.h(), self.map.w());
        for &cell in cells {
            self.parents[cell] = cell;
            let (y, x) = (cell / w, cell % w);
            for row in y.saturating_sub(1)..(y + 2).min(h) {
                for column in x.saturating_sub(1)..(x + 2).min(w) {
                    if self.parents[row * w + column] != usize::MAX {
                        self.join(cell, row * w + column);
                    }
                }
            }
            let root = self.root(cell);
            let (first, region) = self.regions[root];
            let order = |(first, region): &(usize, Region)| (region.cells, std::cmp::Reverse(*first));
            if self.largest.as_ref().is_none_or(|largest| order(&(first, region)) > order(largest)) {
                self.largest = Some((first, region));
            }
        }
        self.largest.map(|(_, region)| region)
    }

    fn root(&mut self, mut cell: usize) -> usize {
        while self.parents[cell] != cell {
            self.parents[cell] = self.parents[self.parents[cell]];
            cell = self.parents[cell];
        }
        cell
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        let (small, large) = if self.regions[a].1.cells < self.regions[b].1.cells { (a, b) } else { (b, a) };
        self.parents[small] = large;
        let (first, Region { bounds: other, cells, peak }) = self.regions[small];
        let (start, region) = &mut self.regions[large];
        let bounds = region.bounds;
        *start = first.min(*start);
        *region = Region {
            bounds: PixelBox {
                x0: bounds.x0.min(other.x0),
                y0: bounds.y0.min(other.y0),
                x1: bounds.x1.max(other.x1),
                y1: bounds.y1.max(other.y1),
            },
            cells: region.cells + cells,
            peak: if peak > region.peak { peak } else { region.peak },
        };
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

    /// Values with many ties, so that regions of one size come up, at every limit and between them.
    #[test]
    fn all_thresholds_at_once_find_the_first_region_of_each() {
        for (h, w) in [(1, 1), (1, 7), (9, 1), (13, 17), (30, 40)] {
            for step in 1..40 {
                let value = |i: usize| ((i * i * step + i / w * 7 + i * 3) % 23) as f32 / 2.0 - 3.0;
                let map = Map::new(h, w, (0..h * w).map(value).collect());
                let shares: Vec<f32> = (0..20).map(|level| level as f32 / 20.0).chain([1.0]).collect();
                let want: Vec<_> = shares.iter().map(|&share| map.regions(share).unwrap().first().copied()).collect();
                assert_eq!(map.largest_regions(&shares).unwrap(), want, "{h}x{w}, {step}");
            }
        }
        assert!(map(&[&[1.0, f32::NAN]]).largest_regions(&[0.2]).is_err());
        assert_eq!(map(&[&[-1.0, 0.0]]).largest_regions(&[0.0, 0.5]).unwrap(), [None, None]);
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
