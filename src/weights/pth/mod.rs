//! PyTorch's `.pth` files: a pickle that describes tensors, and storages that hold their elements.

mod legacy;
mod state_dict;
mod zipped;

use std::path::Path;

pub(super) use self::legacy::read as read_legacy;
pub(super) use self::zipped::read as read_zip;
use super::error::{WeightsError, shown};
use super::pickle::{self, Pickle, Storage};

/// Reads the pickle that `bytes` begin with; errors name it `part` and count its bytes from `base`.
fn pickle<'a>(path: &Path, part: &str, bytes: &'a [u8], base: usize) -> Result<Pickle<'a>, WeightsError> {
    pickle::read(bytes, base).map_err(|source| WeightsError::Pickle {
        path: path.to_owned(),
        part: part.to_owned(),
        source: Box::new(source),
    })
}

/// Length of a storage in bytes, as the pickle has it.
fn storage_bytes(path: &Path, storage: &Storage<'_>) -> Result<u64, WeightsError> {
    let bytes = u64::try_from(storage.elements).ok().and_then(|elements| elements.checked_mul(element_size(storage)));
    bytes.ok_or_else(|| WeightsError::StorageLength {
        path: path.to_owned(),
        storage: shown(storage.key),
        elements: storage.elements,
    })
}

/// Bytes of an element; 1 where the storage does not say what it holds.
fn element_size(storage: &Storage<'_>) -> u64 {
    storage.dtype.map_or(1, |dtype| dtype.bitsize() as u64 / 8)
}
