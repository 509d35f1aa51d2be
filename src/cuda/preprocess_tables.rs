//! What the preprocessing kernels need to know about one picture: its weights are computed by the CPU's code.

use std::ops::Range;

use image::RgbImage;

use super::variants::PREPROCESS_GROUP;
use crate::input::resize::{Taps, vertical_first};
use crate::input::{CropPlan, Recipe};

/// Weights of both passes and the normalisation, for pictures of one size under one recipe.
pub struct PreprocessTables {
    /// Columns and rows of the picture that the weights reach.
    window: (Range<usize>, Range<usize>),
    crop: (usize, usize),
    /// Pixels of the crop that show the picture, and where they begin.
    seen: (usize, usize),
    at: (usize, usize),
    between: (usize, usize),
    passes: [Pass; 2],
    words: Vec<i32>,
    /// Where in `words` the normalisation begins.
    normalisation: usize,
}

/// One filtered axis. Positions are those of `PreprocessTables::words`.
pub(super) struct Pass {
    pub is_horizontal: bool,
    /// Pixels of a row of its input.
    pub in_w: usize,
    /// Weights of each output: as many as any needs.
    pub taps: usize,
    /// `[outputs]`: first input of each output.
    pub starts: usize,
    /// `[outputs, taps]`, filled up with zeros. The horizontal pass has whole groups of taps, its weights 16-byte aligned.
    pub weights: usize,
}

impl PreprocessTables {
    /// Computes the weights of `plan`, which `recipe` made.
    pub fn new(recipe: &Recipe, plan: &CropPlan) -> Self {
        let pair = |(a, b): (u32, u32)| (a as usize, b as usize);
        let CropPlan { transform, interpolation, x, y } = plan;
        let (from, to) = (transform.original, transform.resized);
        let across = Taps::new(from.0, to.0, x.seen.clone(), *interpolation);
        let down = Taps::new(from.1, to.1, y.seen.clone(), *interpolation);
        let window @ (columns, rows) = &(across.reach(), down.reach());
        let seen = (x.seen.len(), y.seen.len());
        let mut words = Vec::new();
        let (first, second, between) = if vertical_first(from, to) {
            let first = Pass::new(&mut words, &down, false, rows.start, columns.len());
            (first, Pass::new(&mut words, &across, true, columns.start, columns.len()), (columns.len(), seen.1))
        } else {
            let first = Pass::new(&mut words, &across, true, columns.start, columns.len());
            (first, Pass::new(&mut words, &down, false, rows.start, seen.0), (seen.0, rows.len()))
        };
        let normalisation = words.len();
        words.extend([recipe.mean, recipe.std].as_flattened().iter().map(|value| value.to_bits() as i32));
        let (window, crop, at) = (window.clone(), pair(transform.crop), pair((x.at, y.at)));
        Self { window, crop, seen, at, between, passes: [first, second], words, normalisation }
    }

    /// Columns and rows of the picture that have a part in the crop. The kernels are given these pixels alone.
    pub fn window(&self) -> &(Range<usize>, Range<usize>) {
        &self.window
    }

    /// Copies the window of a picture into `to`, row after row: 3 bytes for each pixel.
    ///
    /// # Panics
    /// If `picture` is not of the size that was planned for, or `to` does not hold the window.
    pub fn copy_window(&self, picture: &RgbImage, to: &mut [u8]) {
        let (columns, rows) = &self.window;
        assert_eq!(to.len(), self.window_bytes(), "the window's bytes");
        let pitch = 3 * picture.width() as usize;
        let lines = picture.as_raw().chunks_exact(pitch).skip(rows.start);
        for (from, to) in lines.zip(to.chunks_exact_mut(3 * columns.len())) {
            to.copy_from_slice(&from[3 * columns.start..3 * columns.end]);
        }
    }

    /// Bytes of the window, its rows packed.
    pub fn window_bytes(&self) -> usize {
        3 * self.window.0.len() * self.window.1.len()
    }

    /// All tables, as the kernels read them in device memory.
    pub fn words(&self) -> &[i32] {
        &self.words
    }

    /// Size `(width, height)` of the crop.
    pub fn crop(&self) -> (usize, usize) {
        self.crop
    }

    /// Bytes of the picture between the two passes.
    pub fn between_bytes(&self) -> usize {
        self.between.0 * self.between.1 * 3
    }

    pub(super) fn between(&self) -> (usize, usize) {
        self.between
    }

    pub(super) fn seen(&self) -> (usize, usize) {
        self.seen
    }

    pub(super) fn at(&self) -> (usize, usize) {
        self.at
    }

    pub(super) fn passes(&self) -> &[Pass; 2] {
        &self.passes
    }

    /// `[2, 3]` f32, mean and standard deviation: where in `words` they begin.
    pub(super) fn normalisation(&self) -> usize {
        self.normalisation
    }
}

impl Pass {
    /// Adds the kernel's form of `taps` to `words`, for an input of rows of `in_w` pixels that begins at `origin`.
    fn new(words: &mut Vec<i32>, taps: &Taps, is_horizontal: bool, origin: usize, in_w: usize) -> Self {
        let group = if is_horizontal { PREPROCESS_GROUP as usize } else { 1 };
        // The zeros before and behind a run, for whole groups.
        let lead = |first: usize| (first - origin) % group;
        let most = taps.iter().map(|(first, weights)| lead(first) + weights.len()).max().unwrap_or(0).next_multiple_of(group);
        let starts = words.len();
        words.extend(taps.iter().map(|(first, _)| (first - origin - lead(first)) as i32));
        let table = words.len().next_multiple_of(group);
        words.resize(table, 0);
        for (first, weights) in taps.iter() {
            let row = words.len();
            words.resize(row + most, 0);
            words[row + lead(first)..][..weights.len()].copy_from_slice(weights);
        }
        Self { is_horizontal, in_w, taps: most, starts, weights: table }
    }
}
