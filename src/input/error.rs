//! What can be wrong with a picture or with a recipe.

use std::io;

use image::{ImageError, ImageFormat};
use thiserror::Error;

/// Why a picture could not be read or prepared. Every message names the file (or the name given) and, where there is one, the way out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InputError {
    /// The file cannot be opened or read.
    #[error("{name}: cannot read the file: {source}")]
    Read {
        /// The file.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A folder was given where a picture is expected.
    #[error("{name}: this is a folder, expected a picture file")]
    Folder {
        /// The folder.
        name: String,
    },
    /// The file holds no bytes.
    #[error("{name}: the file is empty")]
    Empty {
        /// The file.
        name: String,
    },
    /// The file is longer than [`MAX_FILE_BYTES`](super::MAX_FILE_BYTES).
    #[error("{name}: the file is longer than {limit} bytes, the limit for a picture")]
    FileTooLong {
        /// The file.
        name: String,
        /// The limit.
        limit: u64,
    },
    /// The first bytes are those of no format that is read here.
    #[error("{name}: not a JPEG, PNG, WebP, BMP, TIFF or GIF picture: {found}")]
    Format {
        /// The file.
        name: String,
        /// What the file seems to be.
        found: String,
    },
    /// The file ends before the picture does.
    #[error("{name}: the {format:?} picture is cut short: the file ends before all pixels are there; copy or download it again")]
    Truncated {
        /// The file.
        name: String,
        /// Its format.
        format: ImageFormat,
    },
    /// The decoder refused the file.
    #[error("{name}: cannot decode the {format:?} picture: {}", crate::text::plain(&source.to_string()))]
    Decode {
        /// The file.
        name: String,
        /// Its format.
        format: ImageFormat,
        /// What the decoder said.
        source: ImageError,
    },
    /// The decoder panicked.
    #[error("{name}: the decoder gave up on this picture")]
    GaveUp {
        /// The file.
        name: String,
    },
    /// The header claims more pixels than [`MAX_PIXELS`](super::MAX_PIXELS) or more bytes than
    /// [`MAX_DECODED_BYTES`](super::MAX_DECODED_BYTES).
    #[error("{name}: the picture says it is {w}x{h} pixels, expected at most {max_pixels} pixels and {max_bytes} decoded bytes; scale it down first", max_pixels = super::MAX_PIXELS, max_bytes = super::MAX_DECODED_BYTES)]
    TooLarge {
        /// The file.
        name: String,
        /// Width in the header.
        w: u32,
        /// Height in the header.
        h: u32,
    },
    /// Samples with no agreed white: floating point.
    #[error(
        "{name}: samples are {found}, expected 8 or 16-bit integers: floating point has no agreed white; save it as 8-bit first"
    )]
    Samples {
        /// The file.
        name: String,
        /// The decoder's name for the pixel type.
        found: String,
    },
    /// A picture without pixels.
    #[error("{name}: the picture is {w}x{h} pixels, expected at least 1x1")]
    NoPixels {
        /// The file or the name given.
        name: String,
        /// Width.
        w: u32,
        /// Height.
        h: u32,
    },
    /// A resize whose result (or the step to it) would not fit into memory.
    #[error("{name}: {from:?} pixels would become {to:?}, too large a picture{way_out}")]
    Resized {
        /// The picture.
        name: String,
        /// Width and height before.
        from: (u32, u32),
        /// Width and height after.
        to: (u64, u64),
        /// What to do, or nothing.
        way_out: &'static str,
    },
    /// A value in a recipe that makes no sense.
    #[error("{argument} is {found}, expected {expected}")]
    Argument {
        /// The recipe's field, which is also the option on the command line.
        argument: &'static str,
        /// The value.
        found: String,
        /// What would do.
        expected: String,
    },
}
