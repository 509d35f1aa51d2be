//! Direct convolution: the taps of a pixel are read where they are, the filters are packed by blocks of output channels.
//!
//! In an image with its border, the taps of one filter row are a run of `S * C` numbers, NHWC. So a task copies the rows of
//! its band with the border (they are used `R * S * K` times) and multiplies them without another copy.

use std::cell::RefCell;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::conv2d::Problem;
use super::epilogue::Epilogue;
use super::filter::Kcrs;
use super::isa::Vectors;
use super::microkernel::{Product, Taps, block};
use super::numbers::Numbers;
use super::pool::{max_pool_row, under};
use super::share::{Piece, Share, even, share};
use crate::network::{Conv2dShape, Window};

/// Filters and bytes of images that may stay in a core's second-level cache while the other streams past: half of 2 MiB.
const CACHE: usize = 1 << 20;

/// Bytes of filters that are multiplied with all pixels of a group before the next are: some tiles then find them in the caches
/// nearest to the arithmetic, while those that follow are on their way there.
const PART: usize = 128 << 10;

/// Pixels whose sums are in the first-level cache meanwhile.
const GROUP: usize = 112;

/// Bands per thread where there is a choice: enough to even out what else a core does.
const BANDS_PER_THREAD: usize = 2;

/// Numbers of packed filters `[K / block, R*S*C, block]`, missing ones zero.
pub(super) fn filter_len(vectors: Vectors, shape: &Conv2dShape) -> usize {
    shape.k().next_multiple_of(block(vectors.lanes())) * shape.gemm_k()
}

/// Packs `filter` on the current rayon pool.
pub(super) fn pack(vectors: Vectors, filter: &Kcrs, packed: &mut [f32]) {
    let (block, k, c, gemm_k) = (block(vectors.lanes()), filter.k(), filter.c, filter.taps * filter.c);
    packed.par_chunks_mut(block * gemm_k).enumerate().for_each(|(index, packed)| {
        for ic in 0..c {
            for j in 0..block.min(k - index * block) {
                let (taps, scale) = filter.plane(index * block + j, ic);
                taps.iter().enumerate().for_each(|(tap, value)| packed[(tap * c + ic) * block + j] = value * scale);
            }
        }
    });
}

/// What a task needs besides its output, kept between calls.
#[derive(Default)]
struct Scratch {
    /// Rows of the image with border.
    rows: Vec<f32>,
    /// Start of each pixel's taps.
    starts: Vec<usize>,
    /// Sums of some pixels `[GROUP, block]`.
    sums: Numbers,
    /// Outputs that are pooled next.
    between: Numbers,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `y = epilogue(conv2d(x, filter))` on the current rayon pool; `y` NPQK.
pub(super) fn conv2d_direct(vectors: Vectors, problem: Problem, y: &mut [f32]) {
    let divided = shared(vectors, problem.shape, rayon::current_num_threads());
    share(problem.shape, divided, y, |piece| SCRATCH.with_borrow_mut(|scratch| compute(vectors, problem, piece, scratch)));
}

/// As [`conv2d_direct`], then the largest value of each window; `y` has the shape `[N, P', Q', K]`. Of what lies between the two, no
/// more is in memory than a core's cache takes.
pub(super) fn conv2d_direct_max_pool(
    vectors: Vectors,
    problem: Problem,
    window: Window,
    [n, rows, columns, k]: [usize; 4],
    y: &mut [f32],
) {
    let (p, q) = (problem.shape.p(), problem.shape.q());
    let threads = rayon::current_num_threads();
    let few = rows.div_ceil((BANDS_PER_THREAD * threads).div_ceil(n));
    let band = even(n, rows, threads, few.min(CACHE / (window.stride * q * k * size_of::<f32>())));
    y.par_chunks_mut(rows * columns * k).enumerate().for_each(|(n, y)| {
        y.par_chunks_mut(band * columns * k).enumerate().for_each(|(index, y)| {
            let under = |row: usize| under(row * window.stride, window.size.0, window.pad, p);
            let first = index * band;
            let (from, to) = (under(first).start, under(first + y.len() / (columns * k) - 1).end);
            SCRATCH.with_borrow_mut(|scratch| {
                let mut between = std::mem::take(&mut scratch.between);
                let outputs = between.at_least((to - from) * q * k);
                let piece = Piece { first: (n * p + from) * q, channels: 0..k, pixels: outputs.chunks_exact_mut(k).collect() };
                compute(vectors, problem, piece, scratch);
                for (row, y) in (first..).zip(y.chunks_exact_mut(columns * k)) {
                    let rows = under(row).start - from..under(row).end - from;
                    max_pool_row(Some(vectors), (outputs, [q, k]), rows, window, y);
                }
                scratch.between = between;
            });
        });
    });
}

fn compute(vectors: Vectors, problem: Problem, piece: Piece, scratch: &mut Scratch) {
    let Problem { shape, x, filter, epilogue } = problem;
    let Scratch { rows, starts, sums, .. } = scratch;
    starts.clear();
    let border = shape.pad() > 0;
    let columns = if border { copy_rows(shape, x, &piece, rows, starts) } else { in_place(shape, &piece, starts) };
    let taps = Taps { runs: shape.r(), apart: columns * shape.c(), run: shape.s() * shape.c() };
    let x = if border { rows } else { x };
    let sums = sums.at_least(GROUP.min(starts.len()) * block(vectors.lanes()));
    vectors.run(Task { x, starts, taps, filter, sums, epilogue, piece });
}

/// Small filters are read by every thread, which takes some rows. Of large ones each takes its part, for as many images as
/// stay in its cache, so that no filter is read twice. No task copies more of the images than that.
fn shared(vectors: Vectors, shape: &Conv2dShape, threads: usize) -> Share {
    let (block, number) = (block(vectors.lanes()), size_of::<f32>());
    let row = shape.stride() * (shape.w() + 2 * shape.pad()) * shape.c() * number; // what an output row reads anew
    let most = (CACHE / row).max(1);
    if shape.gemm_k() * shape.k() * number <= CACHE {
        let bands = (threads * BANDS_PER_THREAD).div_ceil(shape.n());
        let rows = even(shape.n(), shape.p(), threads, shape.p().div_ceil(bands).min(most));
        return Share { rows, channels: shape.k() };
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
    sums: &'a mut [f32],
    epilogue: Epilogue<'a>,
    piece: Piece<'a>,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, starts, taps, filter, sums, epilogue, mut piece } = self;
        let (block, gemm_k) = (block(S::F32_LANES), taps.runs * taps.run);
        let together = (PART / (taps.run * block * size_of::<f32>())).clamp(1, taps.runs);
        for first in piece.channels.clone().step_by(block) {
            let width = block.min(piece.channels.end - first);
            for from in (0..starts.len()).step_by(GROUP) {
                let starts = &starts[from..starts.len().min(from + GROUP)];
                for run in (0..taps.runs).step_by(together) {
                    let taps = Taps { runs: together.min(taps.runs - run), ..taps };
                    let (filter, next) =
                        filter[(first * gemm_k + run * taps.run * block)..].split_at(taps.runs * taps.run * block);
                    let x = &x[run * taps.apart..];
                    Product { x, starts, taps, filter, next, y: sums, add: run > 0 }.run(simd);
                }
                for (pixel, sums) in (from..).zip(sums.chunks_exact(block)).take(starts.len()) {
                    let y = &mut piece.pixels[pixel][first - piece.channels.start..][..width];
                    epilogue.store(simd, &sums[..width], piece.first + pixel, first, y);
                }
            }
        }
    }
}
