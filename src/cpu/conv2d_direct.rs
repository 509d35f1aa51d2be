//! Direct convolution: the taps of a pixel are read where they are, the filters are packed by blocks of output channels.
//!
//! In an image with its border, the taps of one filter row are a run of `S * C` numbers, NHWC. So a task copies the rows of
//! its band with the border (they are used `R * S * K` times) and multiplies them without another copy.

use std::cell::RefCell;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::aligned::Aligned;
use super::epilogue::Epilogue;
use super::filter::Kcrs;
use super::isa::Vectors;
use super::microkernel::{MOST_SUMS, Taps, Tile, block, most_pixels, tiles};
use super::share::{Piece, Share, share};
use crate::network::Conv2dShape;

/// Filters and bytes of images that may stay in a core's second-level cache while the other streams past: half of 2 MiB.
const CACHE: usize = 1 << 20;

/// Bands per thread where there is a choice: enough to even out what else a core does.
const BANDS_PER_THREAD: usize = 4;

/// Filters `[K / block, R*S*C, block]`, missing ones zero.
pub(super) struct Packed {
    numbers: Aligned,
}

impl Packed {
    /// Packs `filter` on the current rayon pool.
    pub(super) fn new(vectors: Vectors, filter: &Kcrs) -> Self {
        let (block, k, c, gemm_k) = (block(vectors.lanes()), filter.k(), filter.c, filter.taps * filter.c);
        let mut numbers = Aligned::zeros(k.next_multiple_of(block) * gemm_k);
        numbers.as_mut_slice().par_chunks_mut(block * gemm_k).enumerate().for_each(|(index, packed)| {
            for ic in 0..c {
                for j in 0..block.min(k - index * block) {
                    let (taps, scale) = filter.plane(index * block + j, ic);
                    taps.iter().enumerate().for_each(|(tap, value)| packed[(tap * c + ic) * block + j] = value * scale);
                }
            }
        });
        Self { numbers }
    }

    /// The numbers, for measuring and counting.
    pub(super) fn numbers(&self) -> &[f32] {
        self.numbers.as_slice()
    }
}

/// What a task needs besides its output, kept between calls.
#[derive(Default)]
struct Scratch {
    /// Rows of the image with border.
    rows: Vec<f32>,
    /// Start of each pixel's taps.
    starts: Vec<usize>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `y = epilogue(conv2d(x, filter))` on the current rayon pool; `x` NHWC, `y` NPQK.
pub(super) fn conv2d_direct(
    vectors: Vectors,
    shape: &Conv2dShape,
    x: &[f32],
    filter: &Packed,
    epilogue: Epilogue,
    y: &mut [f32],
) {
    share(shape, shared(vectors, shape, rayon::current_num_threads()), y, |piece| {
        SCRATCH.with_borrow_mut(|Scratch { rows, starts }| {
            starts.clear();
            let border = shape.pad() > 0;
            let columns = if border { copy_rows(shape, x, &piece, rows, starts) } else { in_place(shape, &piece, starts) };
            let taps = Taps { runs: shape.r(), apart: columns * shape.c(), run: shape.s() * shape.c() };
            let x = if border { rows } else { x };
            vectors.run(Task { x, starts, taps, filter: filter.numbers(), epilogue, piece });
        });
    });
}

/// Small filters are read by every thread, which takes some rows. Of large ones each takes its part, for as many images as
/// stay in its cache, so that no filter is read twice. No task copies more of the images than that.
fn shared(vectors: Vectors, shape: &Conv2dShape, threads: usize) -> Share {
    let (block, number) = (block(vectors.lanes()), size_of::<f32>());
    let row = shape.stride() * (shape.w() + 2 * shape.pad()) * shape.c() * number; // what an output row reads anew
    let most = (CACHE / row).max(1);
    if shape.gemm_k() * shape.k() * number <= CACHE {
        let bands = (threads * BANDS_PER_THREAD).div_ceil(shape.n());
        return Share { rows: shape.p().div_ceil(bands).min(most), channels: shape.k() };
    }
    let rows = if most < shape.p() { most } else { (most / shape.p()).min(shape.n()) * shape.p() };
    Share { rows, channels: shape.k().div_ceil(block).div_ceil(threads) * block }
}

/// Starts of the taps of a piece's pixels in the image itself; returns the columns of a row.
fn in_place(shape: &Conv2dShape, piece: &Piece, starts: &mut Vec<usize>) -> usize {
    let (h, w, c, stride) = (shape.h(), shape.w(), shape.c(), shape.stride());
    for (n, rows) in piece.rows(shape) {
        for p in rows {
            starts.extend((0..shape.q()).map(|q| ((n * h + p * stride) * w + q * stride) * c));
        }
    }
    w
}

/// Copies the rows that a piece reads, with border, and finds the starts there; returns the columns of a row.
fn copy_rows(shape: &Conv2dShape, x: &[f32], piece: &Piece, copy: &mut Vec<f32>, starts: &mut Vec<usize>) -> usize {
    let (h, w, c, stride, pad) = (shape.h(), shape.w(), shape.c(), shape.stride(), shape.pad());
    let columns = w + 2 * pad;
    copy.clear();
    for (n, rows) in piece.rows(shape) {
        let base = copy.len();
        for p in 0..rows.len() {
            starts.extend((0..shape.q()).map(|q| base + (p * columns + q) * stride * c));
        }
        for ih in rows.start * stride..(rows.end - 1) * stride + shape.r() {
            match ih.checked_sub(pad).filter(|&ih| ih < h) {
                None => copy.resize(copy.len() + columns * c, 0.0),
                Some(ih) => {
                    copy.resize(copy.len() + pad * c, 0.0);
                    copy.extend_from_slice(&x[(n * h + ih) * w * c..][..w * c]);
                    copy.resize(copy.len() + pad * c, 0.0);
                }
            }
        }
    }
    columns
}

struct Task<'a> {
    x: &'a [f32],
    starts: &'a [usize],
    taps: Taps,
    filter: &'a [f32],
    epilogue: Epilogue<'a>,
    piece: Piece<'a>,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, starts, taps, filter, epilogue, mut piece } = self;
        let (block, gemm_k) = (block(S::F32_LANES), taps.runs * taps.run);
        let mut sums = [0f32; MOST_SUMS];
        for first in piece.channels.clone().step_by(block) {
            let filter = &filter[first * gemm_k..][..block * gemm_k];
            let width = block.min(piece.channels.end - first);
            for (from, to) in tiles(starts.len(), most_pixels::<S>()) {
                simd.vectorize(Tile { x, starts: &starts[from..to], taps, filter, y: &mut sums, stride: block });
                for (pixel, sums) in (from..to).zip(sums.chunks_exact(block)) {
                    let y = &mut piece.pixels[pixel][first - piece.channels.start..][..width];
                    epilogue.store(simd, &sums[..width], piece.first + pixel, first, y);
                }
            }
        }
    }
}
