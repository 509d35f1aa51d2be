//! The zip form, since PyTorch 1.6: `NAME/data.pkl` describes tensors, `NAME/data/0` and so on hold them, uncompressed.
//!
//! The archive's checksums are not verified: that would read the whole file, which a map is there to avoid, and PyTorch does not
//! do it either.

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::{pickle, state_dict, storage_bytes};
use crate::weights::error::{WeightsError, shown};
use crate::weights::file::Tensors;

/// Reads and checks the directory and the pickle.
pub(in crate::weights) fn read(path: &Path, bytes: &[u8]) -> Result<Tensors, WeightsError> {
    let entries = Entries::read(path, bytes)?;
    let root = entries.root(path)?;
    if let Some(order) = entries.find(path, &format!("{root}byteorder"))? {
        let order = bytes[order].trim_ascii();
        if order != b"little" {
            let found = shown(&String::from_utf8_lossy(order));
            return Err(WeightsError::ByteOrder { path: path.to_owned(), found });
        }
    }
    let name = format!("{root}data.pkl");
    let range = entries.find(path, &name)?.ok_or_else(|| missing(path, &name))?;
    let pickle = pickle(path, &shown(&name), &bytes[range], 0)?;
    state_dict::tensors(path, &pickle, |storage, tensor| {
        let name = format!("{root}data/{}", storage.key);
        let Some(bytes) = entries.find(path, &name)? else {
            let (tensor, storage) = (shown(tensor), shown(&name));
            return Err(WeightsError::MissingStorage { path: path.to_owned(), tensor, storage });
        };
        let (expected, found) = (storage_bytes(path, storage)?, bytes.len() as u64);
        if expected != found {
            let storage = shown(&name);
            return Err(WeightsError::StorageSize { path: path.to_owned(), storage, expected, found });
        }
        Ok(bytes)
    })
}

fn missing(path: &Path, entry: &str) -> WeightsError {
    WeightsError::MissingEntry { path: path.to_owned(), entry: shown(entry) }
}

/// The archive's entries by name: their bytes in the file, or what keeps them from being used in place.
struct Entries(HashMap<String, Result<Range<usize>, String>>);

impl Entries {
    fn read(path: &Path, bytes: &[u8]) -> Result<Self, WeightsError> {
        let zip_error = |source| WeightsError::Zip { path: path.to_owned(), source };
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(zip_error)?;
        if archive.has_duplicate_names() {
            return Err(WeightsError::DuplicateEntry { path: path.to_owned() });
        }
        let mut entries = HashMap::with_capacity(archive.len());
        let mut ranges = Vec::with_capacity(archive.len());
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index).map_err(zip_error)?;
            let name = entry.name().map_err(zip_error)?.into_owned();
            let begin = entry.data_start().unwrap_or(0);
            let end = begin.saturating_add(entry.compressed_size());
            if end > bytes.len() as u64 {
                let fault = format!("lie outside the {} bytes of the file", bytes.len());
                return Err(WeightsError::EntryRange { path: path.to_owned(), entry: shown(&name), begin, end, fault });
            }
            let obstacle = if entry.encrypted() {
                Some("encrypted".to_owned())
            } else if entry.compression() != CompressionMethod::Stored {
                Some(format!("compressed ({})", entry.compression()))
            } else if entry.size() != entry.compressed_size() {
                Some(format!("stored in {} bytes, but {} bytes long", entry.compressed_size(), entry.size()))
            } else {
                None
            };
            // in range, so both fit
            let range = begin as usize..end as usize;
            ranges.push((range.clone(), name.clone()));
            entries.insert(name, obstacle.map_or(Ok(range), Err));
        }
        ranges.sort_by_key(|(range, _)| (range.start, range.end));
        for pair in ranges.windows(2) {
            let [(before, other), (range, name)] = pair else { continue };
            if range.start < before.end {
                let (begin, end) = (range.start as u64, range.end as u64);
                let fault = format!("overlap those of `{}`", shown(other));
                return Err(WeightsError::EntryRange { path: path.to_owned(), entry: shown(name), begin, end, fault });
            }
        }
        Ok(Self(entries))
    }

    /// The folder that all entries of a checkpoint lie in, with its slash.
    fn root(&self, path: &Path) -> Result<&str, WeightsError> {
        let roots = self.0.keys().filter_map(|name| name.strip_suffix("data.pkl"));
        let mut roots: Vec<_> = roots.filter(|root| root.is_empty() || root.find('/') == Some(root.len() - 1)).collect();
        roots.sort_unstable();
        roots.first().copied().ok_or_else(|| missing(path, "*/data.pkl"))
    }

    /// The bytes of an entry, if there is one of that name.
    fn find(&self, path: &Path, name: &str) -> Result<Option<Range<usize>>, WeightsError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Ok(range)) => Ok(Some(range.clone())),
            Some(Err(found)) => Err(WeightsError::NotStored { path: path.to_owned(), entry: shown(name), found: found.clone() }),
        }
    }
}
