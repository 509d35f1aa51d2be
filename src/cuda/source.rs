//! What a pass reads, and what becomes of its maps.

use super::{CudaError, PreprocessTables};
use crate::cam::Enlarge;
use crate::input::{Input, Photograph};
use crate::render::Style;
use crate::tensor::Nhwc;

/// Images for a pass.
#[derive(Clone, Copy, Debug)]
pub enum Images<'a> {
    /// Normalised, `[N, H, W, 3]`.
    Tensor(&'a Nhwc),
    /// Of one size. Pictures are resized, cut and normalised on the device, with the bytes that [`Input::crop`] has.
    Inputs(&'a [&'a Input]),
}

/// What becomes of maps on the device, beside the maps themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Show {
    /// Enlarged and normalised.
    Enlarged(Enlarge),
    /// Drawn over the crop, with the bytes that [`crate::render::Scene::overlay`] gives. Only where the images come as pictures.
    Overlay(Style),
}

/// Images as a pipeline takes them.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// `[N, H, W, 3]`.
    Tensor(&'a [f32]),
    /// To be resized.
    Pictures(&'a [Planned<'a>]),
}

/// A picture with what its resize takes, which is worked out before the device is locked.
pub(super) struct Planned<'a> {
    pub photograph: &'a Photograph,
    pub tables: PreprocessTables,
}

impl<'a> Planned<'a> {
    pub(super) fn new(photograph: &'a Photograph) -> Self {
        Self { photograph, tables: PreprocessTables::new(&photograph.recipe, &photograph.plan) }
    }
}

impl<'a> Source<'a> {
    /// The images `first..first + count`, each of `pixels` pixels.
    pub(super) fn part(self, first: usize, count: usize, pixels: usize) -> Self {
        match self {
            Self::Tensor(values) => Self::Tensor(&values[first * pixels * 3..][..count * pixels * 3]),
            Self::Pictures(pictures) => Self::Pictures(&pictures[first..][..count]),
        }
    }

    pub(super) fn is_pictures(self) -> bool {
        matches!(self, Self::Pictures(_))
    }
}

/// Height and width of all `inputs`, 0 and 0 if there are none.
///
/// # Errors
/// [`CudaError::Sizes`] if one has another.
pub(super) fn size(inputs: &[&Input]) -> Result<(usize, usize), CudaError> {
    let Some(first) = inputs.first().map(|input| (input.h(), input.w())) else { return Ok((0, 0)) };
    match inputs.iter().map(|input| (input.h(), input.w())).find(|&size| size != first) {
        None => Ok(first),
        Some(found) => Err(CudaError::Sizes { first, found }),
    }
}
