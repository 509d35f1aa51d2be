//! A decoded picture.

use std::{fs::File, io::Read, path::Path, sync::Arc};

use image::RgbImage;

use super::{InputError, MAX_FILE_BYTES, decode};

/// A decoded picture: 8-bit RGB, turned upright by its EXIF orientation.
///
/// Colours are those of Pillow's `convert("RGB")`: grey is repeated, palettes are looked up, alpha is dropped without blending
/// (a transparent pixel shows the colour that is stored under it), CMYK is `(255 - c) * (255 - k) / 255`, and of 16-bit samples
/// the high byte is kept. One difference: 16-bit grey, too, gives its high byte, where Pillow clips at 255 and makes nearly every
/// such picture white. Colour profiles are not applied. Of an animation, the first frame is taken; what a GIF frame leaves free of its
/// canvas is black.
///
/// Cheap to clone: the pixels are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The file, or the name that was given; for messages and manifests.
    pub name: String,
    /// The pixels.
    pub rgb: Arc<RgbImage>,
}

impl Picture {
    /// Reads and decodes a JPEG, PNG, WebP, BMP, TIFF or GIF file. The format is taken from the content, not from the extension.
    ///
    /// # Errors
    /// [`InputError`], always with the file's name: unreadable, a folder, empty, of another format, cut short, damaged or too large.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        Self::open_within(path, &mut |_| {})
    }

    /// As [`Picture::open`], for readers of many pictures at a time: `room` is told, before the memory is taken, how many bytes
    /// the file has, and then how many more its pixels need; it returns when there is room for them.
    ///
    /// # Errors
    /// As [`Picture::open`].
    pub fn open_within(path: &Path, room: &mut dyn FnMut(u64)) -> Result<Self, InputError> {
        let name = path.display().to_string();
        let read = |source| InputError::Read { name: name.clone(), source };
        let metadata = path.metadata().map_err(read)?;
        if metadata.is_dir() {
            return Err(InputError::Folder { name });
        }
        room(metadata.len().min(MAX_FILE_BYTES));
        let mut bytes = Vec::new();
        // The limit also ends the reading of a file without end, such as a device.
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)).map_err(read)?;
        Ok(Self { rgb: decode::decode(&name, &bytes, room)?.into(), name })
    }

    /// Decodes the bytes of a picture file; `name` is for messages.
    ///
    /// # Errors
    /// As [`Picture::open`], less those of the file system.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self, InputError> {
        Ok(Self { name: name.to_owned(), rgb: decode::decode(name, bytes, &mut |_| {})?.into() })
    }

    /// A picture from pixels, already upright.
    pub fn from_rgb(name: impl Into<String>, rgb: impl Into<Arc<RgbImage>>) -> Self {
        Self { name: name.into(), rgb: rgb.into() }
    }
}
