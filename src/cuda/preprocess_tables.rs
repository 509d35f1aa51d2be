//! What the preprocessing kernels need to know about one size of picture: computed by the CPU's code, kept on the device.

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};

use super::CudaError;
use crate::input::resize::{Taps, vertical_first};
use crate::input::{CropPlan, Recipe};

/// Weights of both passes and the values of the normalisation, for pictures of one size under one recipe.
pub struct PreprocessTables {
    picture: (usize, usize),
    crop: (usize, usize),
    /// Pixels of the crop that show the picture, and where they begin.
    seen: (usize, usize),
    at: (usize, usize),
    between: (usize, usize),
    /// First column and row of the picture that the first pass is given: it looks at nothing before them.
    source: (usize, usize),
    passes: [Pass; 2],
    table: CudaSlice<f32>,
}

/// One filtered axis.
pub(super) struct Pass {
    pub is_horizontal: bool,
    pub outputs: usize,
    /// Most weights that one output has.
    pub taps: usize,
    /// `[outputs]`: first input of each output.
    starts: CudaSlice<i32>,
    /// `[taps, outputs]`, filled up with zeros.
    weights: CudaSlice<i32>,
}

impl PreprocessTables {
    /// Computes the weights of `plan`, which `recipe` made, and copies them to the device of `stream`.
    ///
    /// # Errors
    /// [`CudaError::Driver`], for want of memory.
    pub fn new(stream: &std::sync::Arc<CudaStream>, recipe: &Recipe, plan: &CropPlan) -> Result<Self, CudaError> {
        let pair = |(a, b): (u32, u32)| (a as usize, b as usize);
        let CropPlan { transform, interpolation, x, y } = plan;
        let (from, to) = (transform.original, transform.resized);
        let across = Taps::new(from.0, to.0, x.seen.clone(), *interpolation);
        let down = Taps::new(from.1, to.1, y.seen.clone(), *interpolation);
        let (columns, rows) = (across.reach(), down.reach());
        let seen = (x.seen.len(), y.seen.len());
        let (passes, between, source) = if vertical_first(from, to) {
            // The first pass is given the needed columns alone, so that the second one counts from the first of them.
            let passes = [Pass::new(stream, &down, false, 0)?, Pass::new(stream, &across, true, columns.start)?];
            (passes, (columns.len(), seen.1), (columns.start, 0))
        } else {
            let passes = [Pass::new(stream, &across, true, 0)?, Pass::new(stream, &down, false, rows.start)?];
            (passes, (seen.0, rows.len()), (0, rows.start))
        };
        let table = stream.clone_htod(recipe.table().as_flattened())?;
        let (picture, crop, at) = (pair(from), pair(transform.crop), pair((x.at, y.at)));
        Ok(Self { picture, crop, seen, at, between, source, passes, table })
    }

    /// Size `(width, height)` of the pictures.
    pub fn picture(&self) -> (usize, usize) {
        self.picture
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

    /// Where the first pass starts to read, in a picture whose rows are `pitch` bytes apart.
    pub(super) fn source_offset(&self, pitch: usize) -> usize {
        self.source.1 * pitch + 3 * self.source.0
    }

    pub(super) fn first_pass(&self) -> &Pass {
        &self.passes[0]
    }

    pub(super) fn second_pass(&self) -> &Pass {
        &self.passes[1]
    }

    pub(super) fn table_address(&self, stream: &CudaStream) -> u64 {
        self.table.device_ptr(stream).0
    }
}

impl Pass {
    /// The kernel's form of `taps`, for an input that begins at `origin`.
    fn new(stream: &std::sync::Arc<CudaStream>, taps: &Taps, is_horizontal: bool, origin: usize) -> Result<Self, CudaError> {
        let outputs = taps.iter().count();
        let most = taps.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let starts: Vec<i32> = taps.iter().map(|(first, _)| (first - origin) as i32).collect();
        let mut table = vec![0; most * outputs];
        for (at, (_, weights)) in taps.iter().enumerate() {
            for (tap, &weight) in weights.iter().enumerate() {
                table[tap * outputs + at] = weight;
            }
        }
        let (starts, weights) = (stream.clone_htod(&starts)?, stream.clone_htod(&table)?);
        Ok(Self { is_horizontal, outputs, taps: most, starts, weights })
    }

    /// Of `starts` and `weights`.
    pub(super) fn addresses(&self, stream: &CudaStream) -> (u64, u64) {
        (self.starts.device_ptr(stream).0, self.weights.device_ptr(stream).0)
    }
}
