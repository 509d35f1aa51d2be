//! Convolution as im2col and matrix product, a band of output pixels at a time.
//!
//! The image matrix `[gemm_m, gemm_k]` is never whole in memory: each task copies the taps of some hundred pixels, multiplies
//! them while they are in its core's cache, and finishes its outputs (bias, residual, ReLU) before it goes on.

use std::cell::RefCell;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::conv2d::Problem;
use crate::network::Conv2dShape;

/// Elements of the image matrix that one task copies: 512 KiB, half of a common second-level cache.
const BAND_ELEMENTS: usize = 128 * 1024;

/// Pixels below which a product is too narrow for its speed, so that the filters are divided over the threads instead.
const FEW_PIXELS: usize = 48;

thread_local! {
    /// The image matrix of the task at hand, kept between calls: allocating it anew costs page faults on every layer.
    static BAND: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `y = epilogue(conv2d(x, filter))` on the current rayon pool; `filter` KRSC, `y` NPQK.
pub(super) fn conv2d_im2col_gemm(problem: Problem, y: &mut [f32]) {
    let Problem { shape, x, filter, epilogue } = problem;
    let (gemm_m, k, gemm_k) = (shape.gemm_m(), shape.gemm_n(), shape.gemm_k());
    let threads = rayon::current_num_threads();
    if threads > 1 && gemm_m < FEW_PIXELS * threads && k >= 16 * threads {
        return by_filters(problem, y, threads);
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
fn by_filters(problem: Problem, y: &mut [f32], threads: usize) {
    let Problem { shape, x, filter, epilogue } = problem;
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
