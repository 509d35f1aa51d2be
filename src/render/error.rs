//! Why a picture cannot be drawn.

use crate::cam::MapError;

/// Why a picture cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The map is empty or not finite.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A picture without pixels.
    #[error("the {what} is {width}x{height} pixels, expected at least one")]
    Empty {
        /// Which picture.
        what: &'static str,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// A picture and a transform that do not belong together: its map would be drawn in the wrong place.
    #[error("the {what} is {}x{} pixels, but the transform is of one with {}x{}", .found.0, .found.1, .expected.0, .expected.1)]
    Mismatch {
        /// Which picture.
        what: &'static str,
        /// Its width and height.
        found: (u32, u32),
        /// Those in the transform.
        expected: (u32, u32),
    },
    /// A contact sheet without pictures, or too many.
    #[error(
        "a contact sheet of {tiles} pictures has {width}x{height} pixels, expected one picture and 2^28 pixels at most: ask for fewer maps"
    )]
    Sheet {
        /// Pictures.
        tiles: usize,
        /// Its width.
        width: u64,
        /// Its height.
        height: u64,
    },
    /// A resize failed: that for the seed view, or a sheet's.
    #[error(transparent)]
    Resize(#[from] crate::input::InputError),
}
