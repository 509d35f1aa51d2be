//! Convolution as im2col and matrix product, a band of output pixels at a time.
//!
//! The image matrix `[gemm_m, gemm_k]` is never whole in memory: each task copies the taps of some hundred pixels, multiplies
//! them while they are in its core's cache, and finishes its outputs (bias, residual, ReLU) before it goes on.

use std::cell::RefCell;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::network::Conv2dShape;

/// Elements of the image matrix that one task copies: 512 KiB, half of a common second-level cache.
const BAND_ELEMENTS: usize = 128 * 1024;

/// Pixels below which a product is too narrow for its speed, so that the filters are divided over the threads instead.
const FEW_PIXELS: usize = 48;

thread_local! {
    /// The image matrix of the task at hand, kept between calls: allocating it anew costs page faults on every layer.
    static BAND: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// What happens to a sum before it is stored.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    /// Added per output channel, `[K]`.
    pub bias: &'a [f32],
    /// Added per output element, NPQK.
    pub residual: Option<&'a [f32]>,
    /// Whether negative values become 0.
    pub relu: bool,
}

impl Epilogue<'_> {
    /// Finishes `y`, whose first element is element `start` of the whole output.
    fn apply(&self, y: &mut [f32], start: usize) {
        let relu = |v: f32| if self.relu && v < 0.0 { 0.0 } else { v };
        let k = self.bias.len();
        match self.residual {
            None => y.chunks_exact_mut(k).for_each(|y| y.iter_mut().zip(self.bias).for_each(|(y, b)| *y = relu(*y + b))),
            Some(residual) => y.chunks_exact_mut(k).zip(residual[start..].chunks_exact(k)).for_each(|(y, residual)| {
                y.iter_mut().zip(self.bias).zip(residual).for_each(|((y, b), r)| *y = relu(*y + b + r));
            }),
        }
    }
}

/// `y = epilogue(conv2d(x, filter))` on the current rayon pool; `x` NHWC, `filter` KRSC, `y` NPQK.
pub(crate) fn conv2d_im2col_gemm(shape: &Conv2dShape, x: &[f32], filter: &[f32], epilogue: Epilogue, y: &mut [f32]) {
    let (gemm_m, k, gemm_k) = (shape.gemm_m(), shape.gemm_n(), shape.gemm_k());
    let threads = rayon::current_num_threads();
    if threads > 1 && gemm_m < FEW_PIXELS * threads && k >= 16 * threads {
        return by_filters(shape, x, filter, epilogue, y, threads);
    }
    let most = (BAND_ELEMENTS / gemm_k).clamp(32, 1024);
    // A multiple of the threads, so that none waits for another's last band.
    let bands = gemm_m.div_ceil(most).next_multiple_of(threads);
    let rows = gemm_m.div_ceil(bands);
    y.par_chunks_mut(rows * k).enumerate().for_each(|(band, y)| {
        let pixels = y.len() / k;
        with_image_matrix(shape, x, band * rows, pixels, |image| product(y, image, filter, gemm_k));
        epilogue.apply(y, band * rows * k);
    });
}

/// All pixels at once for a share of the filters per thread: for the last stages, which have few pixels and much weight.
fn by_filters(shape: &Conv2dShape, x: &[f32], filter: &[f32], epilogue: Epilogue, y: &mut [f32], threads: usize) {
    let (gemm_m, k, gemm_k) = (shape.gemm_m(), shape.gemm_n(), shape.gemm_k());
    let share = k.div_ceil(threads).next_multiple_of(16);
    let parts: Vec<Vec<f32>> = filter
        .par_chunks(share * gemm_k)
        .map(|filter| {
            let mut part = vec![0.0; gemm_m * (filter.len() / gemm_k)];
            with_image_matrix(shape, x, 0, gemm_m, |image| product(&mut part, image, filter, gemm_k));
            part
        })
        .collect();
    for (index, part) in parts.iter().enumerate() {
        let width = part.len() / gemm_m;
        for (y, part) in y.chunks_exact_mut(k).zip(part.chunks_exact(width)) {
            y[index * share..][..width].copy_from_slice(part);
        }
    }
    epilogue.apply(y, 0);
}

/// `y[m,k] = sum_i image[m,i] * filter[k,i]`.
fn product(y: &mut [f32], image: &[f32], filter: &[f32], gemm_k: usize) {
    let (gemm_m, k) = (image.len() / gemm_k, filter.len() / gemm_k);
    let y = MatMut::from_row_major_slice_mut(y, gemm_m, k);
    let image = MatRef::from_row_major_slice(image, gemm_m, gemm_k);
    let filter = MatRef::from_column_major_slice(filter, gemm_k, k);
    matmul(y, Accum::Replace, image, filter, 1.0, Par::Seq);
}

/// Calls `with` with rows `first .. first + pixels` of the image matrix `[gemm_m, R*S*C]`: the taps of one output pixel each.
fn with_image_matrix(shape: &Conv2dShape, x: &[f32], first: usize, pixels: usize, with: impl FnOnce(&[f32])) {
    let gemm_k = shape.gemm_k();
    let pointwise = shape.r() == 1 && shape.s() == 1 && shape.stride() == 1 && shape.pad() == 0;
    if pointwise {
        return with(&x[first * gemm_k..][..pixels * gemm_k]);
    }
    // A task may be interrupted by another of its pool inside `with` only if the product itself forked, which it does not.
    BAND.with_borrow_mut(|band| {
        if band.len() < pixels * gemm_k {
            band.resize(pixels * gemm_k, 0.0);
        }
        let band = &mut band[..pixels * gemm_k];
        for (row, taps) in band.chunks_exact_mut(gemm_k).enumerate() {
            copy_taps(shape, x, first + row, taps);
        }
        with(band);
    });
}

/// Taps `[R, S, C]` of one output pixel, those outside the image zero.
fn copy_taps(shape: &Conv2dShape, x: &[f32], pixel: usize, taps: &mut [f32]) {
    let (h, w, c, s) = (shape.h(), shape.w(), shape.c(), shape.s());
    let (n, p, q) = (pixel / (shape.p() * shape.q()), pixel / shape.q() % shape.p(), pixel % shape.q());
    let (top, left) = (p * shape.stride(), q * shape.stride()); // in the padded image
    // Columns of the window inside the image: all of them but near the left and right border.
    let from = shape.pad().saturating_sub(left).min(s);
    let to = (w + shape.pad()).saturating_sub(left).min(s).max(from);
    for (r, taps) in taps.chunks_exact_mut(s * c).enumerate() {
        match (top + r).checked_sub(shape.pad()).filter(|&ih| ih < h) {
            None => taps.fill(0.0),
            Some(ih) => {
                taps[..from * c].fill(0.0);
                taps[to * c..].fill(0.0);
                if from < to {
                    let start = ((n * h + ih) * w + left + from - shape.pad()) * c;
                    taps[from * c..to * c].copy_from_slice(&x[start..][..(to - from) * c]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::reference;
    use crate::network::Window;

    /// Small integers from a seed: sums of their products are exact in f32, so results must be equal, not near.
    fn integers(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % 9) as f32 - 4.0
        };
        (0..len).map(|_| next()).collect()
    }

    #[derive(Clone, Copy)]
    struct Case {
        image: [usize; 4],
        k: usize,
        window: Window,
    }

    const fn case(image: [usize; 4], k: usize, size: (usize, usize), stride: usize, pad: usize) -> Case {
        Case { image, k, window: Window { size, stride, pad } }
    }

    /// Awkward shapes: single pixels, windows wider than the image, primes, residues in every extent, batches, strides, and
    /// the shapes of each stage of ResNet-18.
    const CASES: [Case; 24] = [
        case([1, 1, 1, 1], 1, (1, 1), 1, 0),
        case([1, 1, 1, 3], 8, (7, 7), 2, 3),
        case([1, 2, 2, 5], 7, (3, 3), 1, 1),
        case([2, 3, 1, 8], 16, (3, 3), 2, 1),
        case([1, 1, 9, 8], 8, (3, 3), 1, 1),
        case([3, 7, 5, 13], 11, (3, 3), 1, 1),
        case([2, 11, 13, 17], 19, (3, 3), 2, 1),
        case([1, 5, 5, 8], 8, (5, 5), 1, 0),
        case([1, 4, 6, 3], 8, (2, 3), 3, 2),
        case([5, 7, 7, 24], 40, (1, 1), 1, 0),
        case([2, 9, 7, 16], 24, (1, 1), 2, 0),
        case([1, 31, 37, 3], 16, (7, 7), 2, 3),
        case([7, 2, 2, 64], 72, (3, 3), 1, 1),
        case([1, 7, 7, 128], 33, (3, 3), 1, 1),
        case([1, 3, 3, 40], 257, (3, 3), 1, 1),
        case([1, 2, 3, 64], 64, (3, 3), 1, 1),
        case([1, 97, 3, 4], 8, (3, 3), 1, 1),
        case([1, 56, 56, 3], 64, (7, 7), 2, 3),
        case([1, 56, 56, 64], 64, (3, 3), 1, 1),
        case([1, 28, 28, 64], 128, (3, 3), 2, 1),
        case([1, 28, 28, 64], 128, (1, 1), 2, 0),
        case([1, 14, 14, 256], 256, (3, 3), 1, 1),
        case([1, 14, 14, 256], 512, (3, 3), 2, 1),
        case([1, 7, 7, 512], 512, (3, 3), 1, 1),
    ];

    #[test]
    fn equals_the_definition_on_integers() {
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for (number, &Case { image, k, window }) in CASES.iter().enumerate() {
                let shape = Conv2dShape::new(image, k, window).unwrap();
                let seed = number as u64 + 1;
                let x = integers(image.iter().product(), seed);
                let filter = integers(k * shape.gemm_k(), seed + 100);
                let (bias, residual) = (integers(k, seed + 200), integers(shape.gemm_m() * k, seed + 300));
                let sums = reference::conv2d(&shape, &x, &filter, Some(&bias));
                for (with_residual, relu) in [(false, false), (true, true), (false, true)] {
                    let residual = with_residual.then_some(&residual[..]);
                    let finish = |i: usize| {
                        let sum = sums[i] + residual.map_or(0.0, |residual| residual[i]);
                        if relu { sum.max(0.0) } else { sum }
                    };
                    let want: Vec<f32> = (0..sums.len()).map(finish).collect();
                    let mut got = vec![f32::NAN; sums.len()];
                    pool.install(|| conv2d_im2col_gemm(&shape, &x, &filter, Epilogue { bias: &bias, residual, relu }, &mut got));
                    let bad = (0..want.len()).find(|&i| got[i] != want[i]);
                    assert_eq!(bad, None, "case {number}, {threads} threads, residual {with_residual}, relu {relu}");
                }
            }
        }
    }

    #[test]
    fn relu_keeps_nan() {
        let mut y = [f32::NAN, -1.0];
        Epilogue { bias: &[0.0, 0.0], residual: None, relu: true }.apply(&mut y, 0);
        assert!(y[0].is_nan() && y[1] == 0.0);
    }
}
