//! What a map's values amount to.

use super::Map;

/// Summary of a map whose values are all finite.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MapStats {
    /// Least value.
    pub min: f32,
    /// Greatest value.
    pub max: f32,
    /// Mean, summed in f64. For a raw class activation map this plus the class bias is the logit.
    pub mean: f32,
    /// Standard deviation over all cells (divided by their number, not by one less).
    pub std: f32,
    /// Cell `(x, y)` of the greatest value, the first in reading order if there are several.
    pub argmax: (usize, usize),
}

/// Why a map cannot be summarised or shown.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// No cells.
    #[error("the map is empty ({h} rows, {w} columns)")]
    Empty {
        /// Rows.
        h: usize,
        /// Columns.
        w: usize,
    },
    /// NaN or infinity: a picture of it would hide a fault, so there is none.
    #[error("the map holds {value} at column {x}, row {y}, expected finite values: check the weights for damage or overflow")]
    NotFinite {
        /// Column of the first such cell.
        x: usize,
        /// Row of the first such cell.
        y: usize,
        /// NaN or an infinity.
        value: f32,
    },
}

impl Map {
    /// Least, greatest, mean, spread and where the greatest is.
    ///
    /// # Errors
    /// If the map is empty or holds a value that is not finite.
    pub fn stats(&self) -> Result<MapStats, MapError> {
        let Some(&first) = self.data().first() else {
            return Err(MapError::Empty { h: self.h(), w: self.w() });
        };
        let (mut min, mut max, mut at, mut sum) = (first, first, 0, 0.0);
        for (i, &value) in self.data().iter().enumerate() {
            if !value.is_finite() {
                return Err(MapError::NotFinite { x: i % self.w(), y: i / self.w(), value });
            }
            if value > max {
                (max, at) = (value, i);
            }
            if value < min {
                min = value;
            }
            sum += f64::from(value);
        }
        let count = self.data().len() as f64;
        let mean = sum / count;
        let variance = self.data().iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
        let argmax = (at % self.w(), at / self.w());
        Ok(MapStats { min, max, mean: mean as f32, std: variance.sqrt() as f32, argmax })
    }
}
