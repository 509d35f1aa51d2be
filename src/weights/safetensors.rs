//! The safetensors format: eight bytes of header length, a JSON header, the bytes of the tensors.
//!
//! The `safetensors` crate supplies the types of the header and decides whether tensors tile the data. Its own reading of a
//! file keeps the last of two tensors of one name, adds up hostile offsets until they overflow, and does not say which tensor
//! has the wrong size, so names and ranges are checked here first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use ::safetensors::SafeTensorError;
use ::safetensors::tensor::{Metadata as Tiling, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::entry::{Entry, checked_shape};
use super::error::{ShapeFault, WeightsError, shown, shown_list, shown_up_to};
use super::file::{Metadata, Tensors};

/// Reads and checks the header.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<(Tensors, Metadata), WeightsError> {
    let truncated =
        |header: u64, available: usize| WeightsError::HeaderLength { path: path.to_owned(), header, available: available as u64 };
    let (prefix, rest) = bytes.split_first_chunk().ok_or_else(|| truncated(8, bytes.len()))?;
    let length = u64::from_le_bytes(*prefix);
    let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let (header, data) = split.ok_or_else(|| truncated(length, rest.len()))?;

    let header_error = |reason: String| WeightsError::Header { path: path.to_owned(), reason };
    let Header { mut tensors, metadata } =
        serde_json::from_slice(header).map_err(|error| header_error(shown_up_to(&error.to_string(), 400)))?;
    check_each(path, &tensors, data.len())?;

    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let tiling = Tiling::new(None, tensors.clone()).map_err(|error| match error {
        SafeTensorError::InvalidOffset(name) => overlap(path, &tensors, &name),
        error => header_error(error.to_string()),
    })?;
    if tiling.data_len() != data.len() {
        return Err(WeightsError::TrailingBytes { path: path.to_owned(), expected: tiling.data_len(), found: data.len() });
    }

    let first = bytes.len() - data.len();
    let entries = tensors.into_iter().map(|(name, info)| {
        let (begin, end) = info.data_offsets;
        (name, Entry::contiguous(info.dtype, info.shape, first + begin..first + end))
    });
    Ok((entries.collect(), metadata))
}

/// Each tensor for itself: its name, its range, and whether its shape fills that range.
fn check_each(path: &Path, tensors: &[(String, TensorInfo)], available: usize) -> Result<(), WeightsError> {
    let path = || path.to_owned();
    let mut names = BTreeSet::new();
    for (name, info) in tensors {
        let tensor = || shown(name);
        if !names.insert(name) {
            return Err(WeightsError::DuplicateTensor { path: path(), tensor: tensor() });
        }
        let (begin, end) = info.data_offsets;
        if begin > end || end > available {
            let (begin, end, available) = (begin as u64, end as u64, available as u64);
            return Err(WeightsError::OutOfRange { path: path(), tensor: tensor(), begin, end, available });
        }
        let dimensions: Vec<i128> = info.shape.iter().map(|&d| d as i128).collect();
        let shape_error = |fault| WeightsError::Shape {
            path: path(),
            tensor: tensor(),
            shape: format!("shape {}", shown_list(&dimensions)),
            fault,
        };
        let shape = checked_shape(&dimensions).map_err(shape_error)?;
        let bits = shape.iter().try_fold(info.dtype.bitsize(), |bits, &d| bits.checked_mul(d));
        let expected = bits.ok_or(ShapeFault::Overflow).map_err(shape_error)?.div_ceil(8);
        if expected != end - begin {
            let (dtype, found) = (info.dtype, end - begin);
            return Err(WeightsError::Size { path: path(), tensor: tensor(), dtype, shape, expected, found });
        }
    }
    Ok(())
}

/// The tensor `name` begins before the one in front of it ends, or behind. `tensors` are in order of their ranges.
fn overlap(path: &Path, tensors: &[(String, TensorInfo)], name: &str) -> WeightsError {
    let at = tensors.iter().position(|(other, _)| other == name).unwrap_or(0);
    let expected = tensors[..at].last().map_or(0, |(_, before)| before.data_offsets.1);
    let found = tensors.get(at).map_or(0, |(_, info)| info.data_offsets.0);
    WeightsError::Overlap { path: path.to_owned(), tensor: shown(name), expected, found }
}

/// The header as it is written: a name twice where it stands twice.
struct Header {
    tensors: Vec<(String, TensorInfo)>,
    metadata: Metadata,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut tensors = Vec::new();
                let mut metadata = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let named = |error: A::Error| A::Error::custom(format_args!("`{}`: {error}", shown(&name)));
                    if name == "__metadata__" {
                        metadata = map.next_value().map_err(named)?;
                    } else {
                        let info = map.next_value().map_err(named)?;
                        tensors.push((name, info));
                    }
                }
                Ok(Header { tensors, metadata })
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}
