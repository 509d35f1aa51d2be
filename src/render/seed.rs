//! The base of the seed article's picture.

use image::RgbImage;

use super::RenderError;
use crate::input::{Interpolation, resize};

/// Side of the seed's picture, whatever the network's input is.
pub(super) const SIDE: u32 = 224;

/// `photo` squashed as `PIL.Image.resize((224, 224))` does it: bicubic with antialiasing, aspect ratio lost.
pub(super) fn squash(photo: &RgbImage) -> Result<RgbImage, RenderError> {
    Ok(resize("the seed view's photograph", photo, (SIDE, SIDE), Interpolation::Bicubic)?)
}
