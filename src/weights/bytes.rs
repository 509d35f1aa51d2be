//! Where the bytes of a weight file live.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use memmap2::Mmap;

use super::error::WeightsError;
use super::map;

/// A whole file: mapped, read into memory, or part of the program.
#[derive(Debug)]
pub(super) enum Bytes {
    Mapped(Mmap),
    Held(Cow<'static, [u8]>),
}

impl Bytes {
    /// Maps or reads the regular file at `path`. A directory, a pipe or a device is refused before it is opened, because
    /// opening a pipe waits for a writer and a device may have no end.
    pub(super) fn open(path: &Path, mmap: bool) -> Result<Self, WeightsError> {
        let io_error = |source| WeightsError::Io { path: path.to_owned(), source };
        let kind = fs::metadata(path).map_err(io_error)?.file_type();
        if !kind.is_file() {
            let found = if kind.is_dir() { "a folder" } else { "a pipe, socket or device" };
            return Err(WeightsError::NotAFile { path: path.to_owned(), found });
        }
        let file = File::open(path).map_err(io_error)?;
        let len = file.metadata().map_err(io_error)?.len();
        if len == 0 {
            return Err(WeightsError::Empty { path: path.to_owned() });
        }
        if mmap {
            return map::map(&file).map(Self::Mapped).map_err(|source| WeightsError::Map { path: path.to_owned(), source });
        }
        let mut bytes = Vec::new();
        file.take(len).read_to_end(&mut bytes).map_err(io_error)?;
        Ok(Self::Held(bytes.into()))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }
}
