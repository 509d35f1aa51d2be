//! Bilinear sampling of a map: up-sampling, and reading it at any position.

use super::Map;

impl Map {
    /// The map at `h` rows and `w` columns: bilinear with half-pixel centres, clamped at the edges, as
    /// `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` does (so shrinking takes samples, it does not
    /// average). Agrees with torch up to f32 rounding. A NaN spreads to every cell that reads it; an empty map has no value to
    /// give, so that its enlargement is all NaN.
    pub fn upsample(&self, h: usize, w: usize) -> Self {
        let mut data = vec![f32::NAN; h * w];
        if w > 0 && self.h() > 0 && self.w() > 0 {
            let rows = (0..h).map(|y| (y as f64 + 0.5) / h as f64);
            let columns = (0..w).map(|x| (x as f64 + 0.5) / w as f64);
            let sampler = Sampler::new(self, rows, columns);
            let mut scratch = Vec::new();
            for (y, out) in data.chunks_exact_mut(w).enumerate() {
                sampler.row(y, &mut scratch, out);
            }
        }
        Self::new(h, w, data)
    }
}

/// Reads a map at the crossings of given rows and columns.
pub(crate) struct Sampler<'a> {
    map: &'a Map,
    rows: Vec<Tap>,
    columns: Vec<Tap>,
}

/// The two cells that a position lies between, along one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tap {
    pub low: usize,
    pub high: usize,
    /// Weight of `high`; `low` has the rest.
    pub weight: f32,
}

impl Tap {
    /// `position` is a fraction of the axis: 0 its start, 1 its end, `(i + 0.5) / cells` the centre of cell `i`. Worked out in
    /// f64, because an f32 position has few digits left for the weight.
    fn at(position: f64, cells: usize) -> Self {
        Self::near(position * cells as f64 - 0.5, cells)
    }

    /// Where pixel `at` of `pixels` lies, which have the same outer edges as the cells.
    pub(crate) fn centred(at: usize, pixels: usize, cells: usize) -> Self {
        Self::at((at as f64 + 0.5) / pixels as f64, cells)
    }

    /// Where pixel `at` of `pixels` lies, the first and last of which have the centres of the first and last cell.
    pub(crate) fn aligned(at: usize, pixels: usize, cells: usize) -> Self {
        Self::near(if pixels > 1 { at as f64 * (cells - 1) as f64 / (pixels - 1) as f64 } else { 0.0 }, cells)
    }

    /// `centre` in cells, from the centre of the first; those outside take the nearest.
    fn near(centre: f64, cells: usize) -> Self {
        let last = cells - 1;
        let centre = centre.clamp(0.0, last as f64);
        let low = centre as usize;
        Self { low, high: (low + 1).min(last), weight: (centre - low as f64) as f32 }
    }

    pub(crate) fn mix(self, low: f32, high: f32) -> f32 {
        (1.0 - self.weight) * low + self.weight * high
    }
}

impl<'a> Sampler<'a> {
    /// Positions are fractions of the map's height and width; those outside `0..1` take the nearest edge. `map` is not empty.
    pub(crate) fn new(map: &'a Map, rows: impl Iterator<Item = f64>, columns: impl Iterator<Item = f64>) -> Self {
        let rows = rows.map(|y| Tap::at(y, map.h())).collect();
        let columns = columns.map(|x| Tap::at(x, map.w())).collect();
        Self { map, rows, columns }
    }

    /// Values along row `y`, one for each column. Blends down first, once for each cell of the map, then across: far fewer
    /// operations than four reads a pixel. `scratch` saves an allocation a row.
    pub(crate) fn row(&self, y: usize, scratch: &mut Vec<f32>, out: &mut [f32]) {
        let (tap, w) = (self.rows[y], self.map.w());
        let low = &self.map.data()[tap.low * w..][..w];
        let high = &self.map.data()[tap.high * w..][..w];
        scratch.clear();
        scratch.extend(low.iter().zip(high).map(|(&low, &high)| tap.mix(low, high)));
        for (out, tap) in out.iter_mut().zip(&self.columns) {
            *out = tap.mix(scratch[tap.low], scratch[tap.high]);
        }
    }
}
