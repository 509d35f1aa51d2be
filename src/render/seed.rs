//! The base of the seed article's picture.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use super::RenderError;

/// Side of the seed's picture, whatever the network's input is.
pub(super) const SIDE: u32 = 224;

/// `photo` squashed as `PIL.Image.resize((224, 224))` does it: bicubic (a = -0.5) with antialiasing, aspect ratio lost.
pub(super) fn squash(photo: &RgbImage) -> Result<RgbImage, RenderError> {
    let from = photo.dimensions();
    let failed = |cause: &dyn std::fmt::Display| RenderError::Resize { from, side: SIDE, cause: cause.to_string() };
    let source = ImageRef::new(from.0, from.1, photo.as_raw(), PixelType::U8x3).map_err(|e| failed(&e))?;
    let mut target = Image::new(SIDE, SIDE, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    Resizer::new().resize(&source, &mut target, &options).map_err(|e| failed(&e))?;
    RgbImage::from_raw(SIDE, SIDE, target.into_vec()).ok_or_else(|| failed(&"too few bytes"))
}
