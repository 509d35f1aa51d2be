//! A tensor of a weight file and its values.

use std::borrow::Cow;
use std::path::Path;

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use safetensors::Dtype;

use super::entry::Entry;
use super::error::WeightsError;

/// A tensor of a [`WeightFile`](super::WeightFile), borrowed from it. Cheap to copy; holds no values of its own.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    path: &'a Path,
    name: &'a str,
    entry: &'a Entry,
    /// The elements from first to last; with holes where the strides leave some.
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    pub(super) fn new(path: &'a Path, name: &'a str, entry: &'a Entry, file: &'a [u8]) -> Self {
        Self { path, name, entry, bytes: &file[entry.bytes.clone()] }
    }

    /// Its name in the file, without a `module.` prefix that all tensors share.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Element type in the file.
    pub fn dtype(&self) -> Dtype {
        self.entry.dtype
    }

    /// Length of each dimension, outermost first, each at least 1; empty for a scalar. A convolution's filter is `KCRS`
    /// here, PyTorch's order.
    pub fn shape(&self) -> &'a [usize] {
        &self.entry.shape
    }

    /// Number of elements.
    pub fn num_elements(&self) -> usize {
        self.entry.shape.iter().product()
    }

    /// The elements as f32, row after row.
    ///
    /// An F32 tensor that lies in the file without holes and on a multiple of four bytes is borrowed from there, which is the
    /// usual case; F16 and BF16 are widened (exactly), and a view with other strides, such as a transposed one, is gathered.
    /// NaN and infinity are passed on as they are.
    ///
    /// # Errors
    /// [`WeightsError::Dtype`] for any other element type.
    pub fn to_f32(&self) -> Result<Cow<'a, [f32]>, WeightsError> {
        match self.entry.dtype {
            Dtype::F32 => Ok(match self.in_place::<f32>() {
                Some(values) => Cow::Borrowed(values),
                None => Cow::Owned(self.gather(f32::from_le_bytes)),
            }),
            Dtype::F16 => Ok(Cow::Owned(match self.in_place::<f16>() {
                Some(values) => values.to_f32_vec(),
                None => self.gather(|bytes| f16::from_le_bytes(bytes).to_f32()),
            })),
            Dtype::BF16 => Ok(Cow::Owned(match self.in_place::<bf16>() {
                Some(values) => values.to_f32_vec(),
                None => self.gather(|bytes| bf16::from_le_bytes(bytes).to_f32()),
            })),
            found => Err(WeightsError::Dtype { path: self.path.to_owned(), tensor: self.name.to_owned(), found }),
        }
    }

    /// The elements where they are, if they lie there without holes, aligned, and in this machine's byte order.
    fn in_place<T: bytemuck::AnyBitPattern>(&self) -> Option<&'a [T]> {
        if cfg!(target_endian = "big") || !self.entry.is_contiguous() {
            return None;
        }
        bytemuck::try_cast_slice(self.bytes).ok()
    }

    /// The elements row after row, each decoded from its `SIZE` little-endian bytes.
    fn gather<const SIZE: usize>(&self, decode: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
        // `Entry` promises that the largest index is the last element of `bytes`
        let (elements, _) = self.bytes.as_chunks::<SIZE>();
        let (shape, strides) = (&self.entry.shape, &self.entry.strides);
        let mut values = Vec::with_capacity(self.num_elements());
        let mut index = vec![0; shape.len()];
        let mut at = 0;
        loop {
            values.push(decode(elements[at]));
            // the next index in row order, like an odometer
            let mut axis = shape.len();
            loop {
                if axis == 0 {
                    return values;
                }
                axis -= 1;
                index[axis] += 1;
                at += strides[axis];
                if index[axis] < shape[axis] {
                    break;
                }
                at -= strides[axis] * shape[axis];
                index[axis] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::entry::StorageRange;
    use super::*;

    /// The element at each index in row order, found one index at a time from the definition of strides.
    fn reference(values: &[f32], offset: usize, shape: &[usize], strides: &[usize]) -> Vec<f32> {
        (0..shape.iter().product())
            .map(|flat: usize| {
                let mut rest = flat;
                let mut at = offset;
                for (d, stride) in shape.iter().zip(strides).rev() {
                    at += rest % d * stride;
                    rest /= d;
                }
                values[at]
            })
            .collect()
    }

    proptest! {
        #[test]
        fn gather_equals_a_plain_loop(
            offset in 0usize..4,
            dims in prop::collection::vec((1usize..5, 1usize..7), 0..5),
            misaligned in 0usize..4,
        ) {
            let (shape, strides): (Vec<_>, Vec<_>) = dims.into_iter().unzip();
            let reach: usize = shape.iter().zip(&strides).map(|(d, s)| (d - 1) * s).sum();
            // large enough for every view, those with repeated elements included
            let held = (offset + reach + 1).max(shape.iter().product());
            let values: Vec<f32> = (0..held).map(|i| i as f32 - 7.5).collect();
            let mut file = vec![0; misaligned];
            file.extend(values.iter().flat_map(|v| v.to_le_bytes()));

            let storage = StorageRange { dtype: Dtype::F32, bytes: misaligned..file.len() };
            let signed = |v: &[usize]| v.iter().map(|&x| x as i128).collect::<Vec<_>>();
            let entry = Entry::view(&storage, offset as i128, &signed(&shape), &signed(&strides)).unwrap();
            let view = TensorView::new(Path::new("test"), "t", &entry, &file);
            prop_assert_eq!(view.to_f32().unwrap().into_owned(), reference(&values, offset, &shape, &strides));
        }
    }
}
