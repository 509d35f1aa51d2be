//! NPY files: maps for numpy.

use std::path::Path;

use npyz::WriterBuilder;

use super::{OutputError, write_atomically};
use crate::cam::Map;

/// Writes `map` as an NPY array `[H, W]` of little-endian f32 in C order, whole or not at all.
///
/// # Errors
/// If the file exists and `force` is false, or it cannot be written.
pub fn write_npy(path: &Path, map: &Map, force: bool) -> Result<(), OutputError> {
    write_atomically(path, force, |w| {
        let dtype = npyz::DType::Plain("<f4".parse().map_err(std::io::Error::other)?);
        let shape = [map.h() as u64, map.w() as u64];
        let mut writer = npyz::WriteOptions::new().dtype(dtype).shape(&shape).writer(w).begin_nd()?;
        writer.extend(map.data().iter().copied())?;
        writer.finish()
    })
}
