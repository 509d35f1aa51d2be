//! Activations in memory.

use crate::cam::choice::impl_choice;

/// What activations and filters are stored in; sums are f32 but where it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Single precision.
    F32,
    /// Half precision, for tensor cores.
    F16,
    /// Half precision, and the convolutions' sums too over at most 64 products at a time: twice as fast on GeForce cards, less exact.
    F16Fast,
    /// The upper half of single precision, for tensor cores from compute capability 8.0 up: the range of f32, but 8 bits.
    Bf16,
}

impl_choice!(Precision, "precision");

impl Precision {
    /// Every choice, in the order shown to users.
    pub const ALL: &'static [Self] = &[Self::F32, Self::F16, Self::F16Fast, Self::Bf16];

    /// The spelling on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::F16Fast => "f16-fast",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::F16Fast | Self::Bf16 => 2,
        }
    }
}

/// Activations `[N, H, W, C]`, channels last: element `(n, h, w, c)` is at `((n * H + h) * W + w) * C + c`.
#[derive(Clone, Debug, PartialEq)]
pub struct Nhwc {
    shape: [usize; 4],
    data: Vec<f32>,
}

impl Nhwc {
    /// Activations of `shape` `[N, H, W, C]`.
    ///
    /// # Panics
    /// If `data` does not hold exactly that many values: a mistake of the caller, not of any input.
    pub fn new(shape: [usize; 4], data: Vec<f32>) -> Self {
        assert_eq!(data.len(), shape.iter().product::<usize>(), "activations of shape {shape:?}");
        Self { shape, data }
    }

    /// `[N, H, W, C]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The values.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values, for writing.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// One image of the batch, `[H, W, C]`.
    ///
    /// # Panics
    /// If the batch has no image `n`.
    pub fn image(&self, n: usize) -> &[f32] {
        let size = self.shape[1..].iter().product::<usize>();
        &self.data[n * size..][..size]
    }

    /// The buffer, given back.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }
}
