//! Enlargement as Pillow's.

use super::Map;
use crate::input::Interpolation;
use crate::input::resize::mixed;

impl Map {
    /// The map at `h` rows and `w` columns by Pillow's bicubic filter for floats (`mode="F"`): the cubic with a = -0.5, widened
    /// where the map shrinks, sums in f64, columns first, each pass rounded to f32. Values may overshoot the map's own. An empty
    /// map has no value to give, so that its enlargement is all NaN.
    pub fn resize_bicubic(&self, h: usize, w: usize) -> Self {
        if self.h() == 0 || self.w() == 0 {
            return Self::new(h, w, vec![f32::NAN; h * w]);
        }
        let wide = along_rows(self.data(), self.w(), w);
        let columns = along_rows(&transposed(&wide, self.h(), w), self.h(), h);
        Self::new(h, w, transposed(&columns, w, h))
    }
}

/// Every row of `from` values at `to` values.
fn along_rows(data: &[f32], from: usize, to: usize) -> Vec<f32> {
    let taps: Vec<(usize, Vec<f64>)> = (0..to)
        .map(|position| {
            let (first, weights) = mixed(from as u32, to as u32, position as u32, Interpolation::Bicubic);
            (first, weights.collect())
        })
        .collect();
    let mix = |row: &[f32], (first, weights): &(usize, Vec<f64>)| {
        row[*first..].iter().zip(weights).map(|(&value, weight)| f64::from(value) * weight).sum::<f64>() as f32
    };
    data.chunks_exact(from).flat_map(|row| taps.iter().map(move |tap| mix(row, tap))).collect()
}

fn transposed(data: &[f32], h: usize, w: usize) -> Vec<f32> {
    (0..w).flat_map(|x| (0..h).map(move |y| data[y * w + x])).collect()
}
