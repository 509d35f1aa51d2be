//! The tensors of a checkpoint's state dict, and where their elements lie.

use std::ops::Range;
use std::path::Path;

use crate::weights::entry::{Entry, MAX_RANK, StorageRange};
use crate::weights::error::{ShapeFault, WeightsError, shown, shown_list};
use crate::weights::file::Tensors;
use crate::weights::pickle::{Id, Pickle, Storage, Tensor, Value};

/// Where checkpoints keep the state dict beside epoch, optimiser and the like, in the order they are tried.
const KEYS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Tensors in one state dict; ResNet-152 has 932. Bounds the memory for hostile files.
const MAX_TENSORS: usize = 1 << 16;

/// The tensors of the state dict in `pickle`: under one of [`KEYS`], or the dictionary itself. Entries that are no tensors
/// are passed over. `locate` finds a storage's bytes in the file.
pub(super) fn tensors(
    path: &Path,
    pickle: &Pickle<'_>,
    locate: impl Fn(&Storage<'_>, &str) -> Result<Range<usize>, WeightsError>,
) -> Result<Tensors, WeightsError> {
    let mut tensors = Tensors::new();
    for &(key, value) in state_dict(path, pickle)? {
        let (&Value::Str(name), Value::Tensor(tensor)) = (pickle.get(key), pickle.get(value)) else { continue };
        if tensors.len() == MAX_TENSORS {
            let found = format!("more than {MAX_TENSORS} tensors in one dict");
            return Err(WeightsError::NoStateDict { path: path.to_owned(), found });
        }
        let entry = entry(path, pickle, name, tensor, &locate)?;
        if tensors.insert(name.to_owned(), entry).is_some() {
            return Err(WeightsError::DuplicateTensor { path: path.to_owned(), tensor: shown(name) });
        }
    }
    Ok(tensors)
}

/// The pairs of the dictionary that holds the tensors.
fn state_dict<'p>(path: &Path, pickle: &'p Pickle<'_>) -> Result<&'p [(Id, Id)], WeightsError> {
    let missing = |found| WeightsError::NoStateDict { path: path.to_owned(), found };
    let Value::Dict(root) = pickle.root() else { return Err(missing(format!("it holds {}", pickle.root().kind()))) };
    let has_tensors = |pairs: &[(Id, Id)]| pairs.iter().any(|&(_, value)| matches!(pickle.get(value), Value::Tensor(_)));
    for wanted in KEYS {
        let under = root.iter().find(|&&(key, _)| matches!(pickle.get(key), Value::Str(key) if *key == wanted));
        if let Some(&(_, value)) = under
            && let Value::Dict(inner) = pickle.get(value)
            && has_tensors(inner)
        {
            return Ok(inner);
        }
    }
    if has_tensors(root) {
        return Ok(root);
    }
    let names = root.iter().filter_map(|&(key, _)| if let Value::Str(key) = pickle.get(key) { Some(shown(key)) } else { None });
    let names: Vec<_> = names.take(8).collect();
    Err(missing(match &names[..] {
        [] => "an empty dict".to_owned(),
        names => format!("a dict without tensors, with the keys {}", names.join(", ")),
    }))
}

/// Where the elements of `tensor` lie.
fn entry(
    path: &Path,
    pickle: &Pickle<'_>,
    name: &str,
    tensor: &Tensor,
    locate: impl Fn(&Storage<'_>, &str) -> Result<Range<usize>, WeightsError>,
) -> Result<Entry, WeightsError> {
    let storage = pickle.storage(tensor);
    let shape = pickle.integers(tensor.shape, MAX_RANK + 1);
    let strides = pickle.integers(tensor.strides, MAX_RANK + 1);
    let (Some(storage), Some(shape), Some(strides)) = (storage, shape, strides) else {
        let found = format!("something else in tensor `{}`", shown(name));
        return Err(WeightsError::Content { path: path.to_owned(), part: "shape or strides", found, expected: "integers" });
    };
    let fail = |fault| WeightsError::Shape {
        path: path.to_owned(),
        tensor: shown(name),
        shape: format!("shape {}, strides {} and offset {}", shown_list(&shape), shown_list(&strides), tensor.offset),
        fault,
    };
    let bytes = part_of(locate(storage, name)?, storage, tensor).map_err(fail)?;
    Entry::view(&StorageRange { dtype: tensor.dtype, bytes }, tensor.offset, &shape, &strides).map_err(fail)
}

/// The bytes of the part of a storage that a tensor is built on: all of it, except in old files with views of storages.
fn part_of(whole: Range<usize>, storage: &Storage<'_>, tensor: &Tensor) -> Result<Range<usize>, ShapeFault> {
    let Some((offset, length)) = storage.part else { return Ok(whole) };
    let size = (tensor.dtype.bitsize() / 8) as i128;
    let held = whole.len() as u64 / size as u64;
    let begin = usize::try_from(offset).map_err(|_| ShapeFault::Offset)?;
    let length = usize::try_from(length).map_err(|_| ShapeFault::NegativeDimension)?;
    let end = begin.checked_add(length).ok_or(ShapeFault::Overflow)?;
    if end as u64 > held {
        return Err(ShapeFault::OutOfStorage { reached: end as u128, held });
    }
    let size = size as usize;
    Ok(whole.start + begin * size..whole.start + end * size)
}
