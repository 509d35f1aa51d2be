//! From an image file to the tensor that the network reads.
//!
//! ```
//! use camshaft::input::{Picture, Recipe};
//! # let grey = image::RgbImage::from_pixel(300, 200, image::Rgb([128; 3]));
//! # let picture = Picture::from_rgb("grey", grey);
//! // let picture = Picture::open("photo.jpg".as_ref())?;
//! let input = Recipe::default().apply(&picture)?;
//! assert_eq!(input.tensor().len(), 224 * 224 * 3);
//! assert_eq!(input.transform().resized, (384, 256));
//! # Ok::<(), camshaft::input::InputError>(())
//! ```

mod decode;
mod error;
mod picture;
mod prepared;
mod recipe;
pub(crate) mod resize;
mod sniff;
mod transform;

pub use error::InputError;
pub use picture::Picture;
pub use prepared::Input;
#[cfg(feature = "cuda")]
pub(crate) use prepared::Photograph;
pub(crate) use prepared::batch;
pub use recipe::{CropPlan, MAX_CROP, MAX_INPUT_PIXELS, MAX_RESIZE, Recipe};
pub use resize::{Interpolation, resize};
pub use transform::CropTransform;

/// Most bytes a picture file may have: 1 GiB.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// Most pixels a picture may have; beyond this number Pillow, too, suspects a decompression bomb and stops.
pub const MAX_PIXELS: u64 = 178_956_970;
/// Most bytes that a decoded picture may take before it is turned into 8-bit RGB: 1 GiB.
pub const MAX_DECODED_BYTES: u64 = 1 << 30;
