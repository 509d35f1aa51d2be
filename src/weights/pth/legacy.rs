//! The form before PyTorch 1.6: five pickles one behind the other (a magic number, the protocol, facts on the machine, the
//! object, the keys of the storages), then each storage behind its length in elements.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::{element_size, pickle, state_dict, storage_bytes};
use crate::weights::error::{WeightsError, shown};
use crate::weights::file::Tensors;
use crate::weights::pickle::{Pickle, Storage, Value};

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i128 = 1001;

/// Reads and checks the pickles, and finds the storages.
pub(in crate::weights) fn read(path: &Path, bytes: &[u8]) -> Result<Tensors, WeightsError> {
    let content = |part, found: String, expected| WeightsError::Content { path: path.to_owned(), part, found, expected };
    let mut at = 0;
    let mut next = |part| {
        let pickle = pickle(path, part, bytes.get(at..).unwrap_or_default(), at)?;
        at += pickle.length;
        Ok::<_, WeightsError>(pickle)
    };

    let magic = next("first pickle")?;
    if !matches!(magic.root(), Value::Int(MAGIC)) {
        let found = integer_or_kind(magic.root());
        return Err(content("first pickle", found, "the magic number of torch.save; this is a pickle, but not of PyTorch"));
    }
    let protocol = next("protocol pickle")?;
    if !matches!(protocol.root(), Value::Int(PROTOCOL)) {
        return Err(content("protocol pickle", integer_or_kind(protocol.root()), "1001"));
    }
    let machine = next("machine pickle")?;
    if is_big_endian(&machine) {
        return Err(WeightsError::ByteOrder { path: path.to_owned(), found: "big".to_owned() });
    }
    let object = next("object pickle")?;
    let keys = next("pickle of storage keys")?;
    let storages = storages(path, bytes, &object, &keys, at)?;

    state_dict::tensors(path, &object, |storage, tensor| {
        storages.get(storage.key).cloned().ok_or_else(|| WeightsError::MissingStorage {
            path: path.to_owned(),
            tensor: shown(tensor),
            storage: shown(storage.key),
        })
    })
}

fn integer_or_kind(value: &Value<'_>) -> String {
    if let Value::Int(value) = value { value.to_string() } else { value.kind().to_owned() }
}

fn is_big_endian(machine: &Pickle<'_>) -> bool {
    let Value::Dict(pairs) = machine.root() else { return false };
    let is_it =
        |&(key, value)| matches!((machine.get(key), machine.get(value)), (Value::Str("little_endian"), Value::Bool(false)));
    pairs.iter().any(is_it)
}

/// The bytes of each storage, by key, from byte `at` of the file on.
fn storages<'k>(
    path: &Path,
    bytes: &[u8],
    object: &Pickle<'_>,
    keys: &'k Pickle<'_>,
    mut at: usize,
) -> Result<HashMap<&'k str, Range<usize>>, WeightsError> {
    let content = |found: String, expected| WeightsError::Content {
        path: path.to_owned(),
        part: "pickle of storage keys",
        found,
        expected,
    };
    // the file gives lengths in elements, and only the pickle says how long an element is
    let mut known: HashMap<&str, &Storage<'_>> = HashMap::new();
    for value in object.values() {
        let Value::Storage(storage) = value else { continue };
        let first = known.entry(storage.key).or_insert(storage);
        if (first.elements, first.dtype) != (storage.elements, storage.dtype) {
            return Err(content(format!("storage `{}` with two lengths or types", shown(storage.key)), "one"));
        }
    }
    let Value::List(list) = keys.root() else { return Err(content(keys.root().kind().to_owned(), "a list")) };
    let mut found = HashMap::with_capacity(list.len());
    for &key in list {
        let &Value::Str(key) = keys.get(key) else { return Err(content(keys.get(key).kind().to_owned(), "strings")) };
        let Some(storage) = known.get(key) else {
            return Err(content(format!("`{}`", shown(key)), "only storages that the object pickle uses"));
        };
        let expected = storage_bytes(path, storage)?;
        let size_error = |found| WeightsError::StorageSize { path: path.to_owned(), storage: shown(key), expected, found };
        let rest = bytes.get(at..).unwrap_or_default();
        let Some((elements, data)) = rest.split_first_chunk() else { return Err(size_error(0)) };
        let length = u64::from_le_bytes(*elements).saturating_mul(element_size(storage));
        if length != expected {
            return Err(size_error(length));
        }
        let Some(length) = usize::try_from(length).ok().filter(|&length| length <= data.len()) else {
            return Err(size_error(data.len() as u64));
        };
        let begin = at + 8;
        at = begin + length;
        if found.insert(key, begin..at).is_some() {
            return Err(content(format!("storage `{}` twice", shown(key)), "each once"));
        }
    }
    Ok(found)
}
