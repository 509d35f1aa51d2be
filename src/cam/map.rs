//! A map: one f32 per cell.

/// A signed map `[H, W]`, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    h: usize,
    w: usize,
    data: Vec<f32>,
}

impl Map {
    /// A map of `h` rows and `w` columns.
    ///
    /// # Panics
    /// If `data` does not hold `h * w` values: a mistake of the caller, not of any input.
    pub fn new(h: usize, w: usize, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), h * w, "a {h}x{w} map");
        Self { h, w, data }
    }

    /// Rows.
    pub fn h(&self) -> usize {
        self.h
    }

    /// Columns.
    pub fn w(&self) -> usize {
        self.w
    }

    /// The values, row after row.
    pub fn data(&self) -> &[f32] {
        &self.data
    }
}
