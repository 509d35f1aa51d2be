//! A checked tensor of a file: where its elements lie.

use std::ops::Range;

use safetensors::Dtype;

use super::error::ShapeFault;

/// The rank limit of PyTorch; it also bounds the work that one hostile shape can cause.
pub(super) const MAX_RANK: usize = 64;

/// Where a tensor's elements lie in the file. Everything was checked against the file's length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Elements from one index to the next, per dimension.
    pub(super) strides: Vec<usize>,
    /// Bytes of the file from the first element to the last.
    pub(super) bytes: Range<usize>,
}

/// A run of elements in the file that tensors may view. Tensors may share one.
#[derive(Clone, Debug)]
pub(super) struct StorageRange {
    pub(super) dtype: Dtype,
    /// Bytes of the file. What is left of them behind the last whole element is not used.
    pub(super) bytes: Range<usize>,
}

impl Entry {
    /// A tensor without holes, row after row, in `bytes` of the file.
    pub(super) fn contiguous(dtype: Dtype, shape: Vec<usize>, bytes: Range<usize>) -> Self {
        Self { dtype, strides: row_major(&shape), shape, bytes }
    }

    /// A view of `storage` as a pickle describes it; `offset` and `strides` in elements.
    ///
    /// Views that repeat elements (stride 0, or more elements than the storage holds) are refused: no trained weight is one,
    /// and a few bytes could claim terabytes.
    pub(super) fn view(storage: &StorageRange, offset: i128, shape: &[i128], strides: &[i128]) -> Result<Self, ShapeFault> {
        let shape = checked_shape(shape)?;
        if shape.len() != strides.len() {
            return Err(ShapeFault::StrideCount);
        }
        let size = storage.dtype.bitsize() / 8;
        let held = (storage.bytes.len() / size.max(1)) as u64;
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or(ShapeFault::Overflow)?;
        let mut last = u128::try_from(offset).map_err(|_| ShapeFault::Offset)?;
        let mut kept = Vec::with_capacity(strides.len());
        for (&d, &stride) in shape.iter().zip(strides) {
            if d == 1 {
                // PyTorch leaves any value here, and it is never used
                kept.push(1);
                continue;
            }
            if stride < 1 {
                return Err(ShapeFault::Stride);
            }
            let stride = usize::try_from(stride).map_err(|_| ShapeFault::Overflow)?;
            let reach = (stride as u128).checked_mul(d as u128 - 1).ok_or(ShapeFault::Overflow)?;
            last = last.checked_add(reach).ok_or(ShapeFault::Overflow)?;
            kept.push(stride);
        }
        let reached = last.max(elements as u128 - 1);
        if reached >= u128::from(held) {
            return Err(ShapeFault::OutOfStorage { reached, held });
        }
        // both are below `held`, whose bytes lie in the file, so that neither product nor sum can overflow
        let begin = storage.bytes.start + offset as usize * size;
        let end = storage.bytes.start + (last as usize + 1) * size;
        Ok(Self { dtype: storage.dtype, shape, strides: kept, bytes: begin..end })
    }

    /// Whether the elements lie one behind the other, row after row.
    pub(super) fn is_contiguous(&self) -> bool {
        let expected = row_major(&self.shape);
        self.shape.iter().zip(&self.strides).zip(&expected).all(|((&d, found), expected)| d == 1 || found == expected)
    }
}

/// At most [`MAX_RANK`] dimensions of at least one.
pub(super) fn checked_shape(shape: &[i128]) -> Result<Vec<usize>, ShapeFault> {
    if shape.len() > MAX_RANK {
        return Err(ShapeFault::Rank(shape.len()));
    }
    shape
        .iter()
        .map(|&d| match d {
            0 => Err(ShapeFault::ZeroDimension),
            d if d < 0 => Err(ShapeFault::NegativeDimension),
            d => usize::try_from(d).map_err(|_| ShapeFault::Overflow),
        })
        .collect()
}

/// Strides of a tensor whose elements lie row after row. The product of `shape` was checked not to overflow.
fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn storage(elements: usize) -> StorageRange {
        StorageRange { dtype: Dtype::F32, bytes: 100..100 + 4 * elements }
    }

    #[test]
    fn view_covers_first_to_last_element() {
        let entry = Entry::view(&storage(24), 2, &[3, 2], &[1, 8]).unwrap();
        assert_eq!(entry.bytes, 108..100 + 4 * (2 + 2 + 8 + 1));
        assert!(!entry.is_contiguous());
        assert!(Entry::view(&storage(6), 0, &[3, 1, 2], &[2, 77, 1]).unwrap().is_contiguous());
    }

    #[test]
    fn each_fault_is_found() {
        let view = |offset, shape: &[i128], strides: &[i128]| Entry::view(&storage(6), offset, shape, strides).unwrap_err();
        assert_eq!(view(0, &[3, 0], &[1, 1]), ShapeFault::ZeroDimension);
        assert_eq!(view(0, &[3, -2], &[1, 1]), ShapeFault::NegativeDimension);
        assert_eq!(view(0, &[1; 65], &[1; 65]), ShapeFault::Rank(65));
        assert_eq!(view(0, &[3], &[1, 1]), ShapeFault::StrideCount);
        assert_eq!(view(0, &[3], &[0]), ShapeFault::Stride);
        assert_eq!(view(0, &[3], &[-1]), ShapeFault::Stride);
        assert_eq!(view(-1, &[3], &[1]), ShapeFault::Offset);
        assert_eq!(view(0, &[i128::from(u64::MAX), 3], &[1, 1]), ShapeFault::Overflow);
        assert_eq!(view(0, &[3], &[i128::MAX]), ShapeFault::Overflow);
        assert_eq!(view(4, &[3], &[1]), ShapeFault::OutOfStorage { reached: 6, held: 6 });
        assert_eq!(view(i128::MAX, &[1], &[1]), ShapeFault::OutOfStorage { reached: i128::MAX as u128, held: 6 });
        // 3x3 elements out of six: the last index fits, yet elements repeat
        assert_eq!(view(0, &[3, 3], &[1, 1]), ShapeFault::OutOfStorage { reached: 8, held: 6 });
    }

    proptest! {
        /// Whatever a pickle claims, an accepted view lies inside its storage.
        #[test]
        fn accepted_views_stay_inside(
            offset in -2i128..40,
            dims in prop::collection::vec((-1i128..5, -1i128..12), 0..4),
        ) {
            let (shape, strides): (Vec<_>, Vec<_>) = dims.into_iter().unzip();
            let storage = storage(30);
            if let Ok(entry) = Entry::view(&storage, offset, &shape, &strides) {
                prop_assert!(entry.bytes.start >= storage.bytes.start && entry.bytes.end <= storage.bytes.end);
                prop_assert!(entry.shape.iter().product::<usize>() <= 30);
            }
        }
    }
}
