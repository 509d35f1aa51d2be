//! Writes state dicts as `.safetensors`.

use std::borrow::Cow;
use std::path::Path;

use safetensors::tensor::{View, serialize_to_file};

use super::seeded::{Dtype, Tensor, Values};

struct Stored<'a> {
    tensor: &'a Tensor,
    dtype: safetensors::Dtype,
    bytes: Vec<u8>,
}

impl View for Stored<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes `tensors` to `path`, floats as `dtype`, counters as I64.
pub fn write(path: &Path, tensors: &[Tensor], dtype: Dtype) {
    let views = tensors.iter().map(|tensor| {
        let stored = match (&tensor.values, dtype) {
            (Values::Count(_), _) => safetensors::Dtype::I64,
            (Values::Float(_), Dtype::F32) => safetensors::Dtype::F32,
            (Values::Float(_), Dtype::F16) => safetensors::Dtype::F16,
            (Values::Float(_), Dtype::Bf16) => safetensors::Dtype::BF16,
        };
        (tensor.name.as_str(), Stored { tensor, dtype: stored, bytes: tensor.bytes(dtype) })
    });
    serialize_to_file(views, None, path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
