//! 3x3 convolution with stride 1 by Winograd's minimal filtering: transformed tiles of the image times transformed filters.
//!
//! A task takes some rows of tiles through all three steps while they are in its core's cache: it transforms the tiles of the
//! image, multiplies them with its output channels' filters, one matrix product for each of the `N*N` points of a tile, and
//! transforms the products back.

use std::cell::RefCell;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::aligned::{Aligned, aligned};
use super::epilogue::Epilogue;
use super::filter::Kcrs;
use super::isa::Vectors;
use super::microkernel::{Taps, Tile, block, most_pixels, tiles};
use super::share::{Piece, Share, share};
use super::winograd_transforms::{self as transforms, M, N};
use crate::network::Conv2dShape;

/// Bytes of transformed tiles, or of filters, in a core's second-level cache: half of 2 MiB.
const CACHE: usize = 1 << 20;

/// Transformed filters `[K / block, N*N, C, block]`.
pub(super) struct Transformed {
    numbers: Aligned,
}

impl Transformed {
    /// Transforms `filter` on the current rayon pool.
    pub(super) fn new(vectors: Vectors, filter: &Kcrs) -> Self {
        let (block, c) = (block(vectors.lanes()), filter.c);
        let mut numbers = Aligned::zeros(N * N * filter.k() * c);
        numbers.as_mut_slice().par_chunks_mut(N * N * c * block).enumerate().for_each(|(index, packed)| {
            for ic in 0..c {
                for j in 0..block {
                    let (taps, scale) = filter.plane(index * block + j, ic);
                    let plane = std::array::from_fn(|r| std::array::from_fn(|s| f64::from(taps[r * 3 + s] * scale)));
                    for (point, &value) in transforms::filter(plane).as_flattened().iter().enumerate() {
                        packed[(point * c + ic) * block + j] = value;
                    }
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

/// Whether `shape` can be computed so: a 3x3 window that moves by one, and whole registers of channels.
pub(super) fn can_run(vectors: Vectors, shape: &Conv2dShape) -> bool {
    let window = (shape.r(), shape.s(), shape.stride());
    let whole = shape.c().is_multiple_of(vectors.lanes()) && shape.k().is_multiple_of(block(vectors.lanes()));
    window == (3, 3, 1) && whole
}

/// What a task needs besides its output, kept between calls.
#[derive(Default)]
struct Scratch {
    /// Image, first output row and column of each tile.
    tiles: Vec<[usize; 3]>,
    /// Where each tile's inputs start in a plane of `inputs`.
    starts: Vec<usize>,
    /// Transformed image `[N*N, tiles, C]`.
    inputs: Vec<f32>,
    /// Products `[N*N, tiles, channels]`.
    products: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `y = epilogue(conv2d(x, filter))` on the current rayon pool; `x` NHWC, `y` NPQK. Only where [`can_run`].
pub(super) fn conv2d_winograd(
    vectors: Vectors,
    shape: &Conv2dShape,
    x: &[f32],
    filter: &Transformed,
    epilogue: Epilogue,
    y: &mut [f32],
) {
    share(shape, shared(vectors, shape, rayon::current_num_threads()), y, |piece| {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.tiles.clear();
            for (n, rows) in piece.rows(shape) {
                for p in rows.step_by(M) {
                    scratch.tiles.extend((0..shape.q()).step_by(M).map(|q| [n, p, q]));
                }
            }
            scratch.starts.clear();
            scratch.starts.extend((0..scratch.tiles.len()).map(|tile| tile * shape.c()));
            vectors.run(Task { shape, x, filter: filter.numbers(), epilogue, piece, scratch });
        });
    });
}

/// Filters that do not stay in a core's cache are divided over the threads, each of which then transforms the image for
/// itself. Bands are as large as the cache allows, and as many for each thread.
fn shared(vectors: Vectors, shape: &Conv2dShape, threads: usize) -> Share {
    let (block, number) = (block(vectors.lanes()), size_of::<f32>());
    let (mut channels, mut sharing) = (shape.k(), threads);
    if N * N * shape.c() * shape.k() * number > CACHE {
        channels = (shape.k() / block).div_ceil(threads) * block;
        sharing = threads.div_ceil(shape.k() / channels);
    }
    let (across, down) = (shape.q().div_ceil(M), shape.p().div_ceil(M));
    let most = (CACHE / (N * N * (shape.c() + channels) * number * across)).max(1); // rows of tiles
    if most >= 2 * down && shape.n() >= 2 * sharing {
        let images = (most / down).min(shape.n() / sharing);
        return Share { rows: images * shape.p(), channels };
    }
    let even = |rows: &usize| (shape.n() * down.div_ceil(*rows)).is_multiple_of(sharing);
    let rows = (1..=most.min(down)).rev().find(even).unwrap_or(1);
    Share { rows: (rows * M).min(shape.p()), channels }
}

struct Task<'a> {
    shape: &'a Conv2dShape,
    x: &'a [f32],
    filter: &'a [f32],
    epilogue: Epilogue<'a>,
    piece: Piece<'a>,
    scratch: &'a mut Scratch,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (c, channels) = (self.shape.c(), self.piece.channels.len());
        let count = self.scratch.tiles.len();
        let mut inputs = std::mem::take(&mut self.scratch.inputs);
        let mut products = std::mem::take(&mut self.scratch.products);
        // Planes a power of two apart would share the few places of the first-level cache.
        let (input_plane, product_plane) = (count * c + LINE, count * channels + LINE);
        let (x, y) = (aligned(&mut inputs, N * N * input_plane), aligned(&mut products, N * N * product_plane));
        self.transform_image(simd, x, input_plane);
        self.multiply(simd, x, input_plane, y, product_plane);
        self.transform_back(simd, y, product_plane);
        (self.scratch.inputs, self.scratch.products) = (inputs, products);
    }
}

/// Numbers of a cache line.
const LINE: usize = 16;

#[allow(clippy::needless_range_loop)] // rows and columns of tiles are indices of the formulas
impl Task<'_> {
    #[inline(always)]
    fn transform_image<S: Simd>(&self, simd: S, inputs: &mut [f32], plane: usize) {
        let (h, w, c, pad) = (self.shape.h(), self.shape.w(), self.shape.c(), self.shape.pad());
        let (inputs, _) = S::as_mut_simd_f32s(inputs);
        let (plane, vectors) = (plane / S::F32_LANES, c / S::F32_LANES);
        let zero = simd.splat_f32s(0.0);
        for (tile, &[n, p, q]) in self.scratch.tiles.iter().enumerate() {
            let pixel = |i: usize, j: usize| {
                let (ih, iw) = ((p + i).checked_sub(pad).filter(|&ih| ih < h)?, (q + j).checked_sub(pad).filter(|&iw| iw < w)?);
                Some(S::as_simd_f32s(&self.x[((n * h + ih) * w + iw) * c..][..c]).0)
            };
            let mut patch: [[Option<&[S::f32s]>; N]; N] = [[None; N]; N];
            for i in 0..N {
                for j in 0..N {
                    patch[i][j] = pixel(i, j);
                }
            }
            for v in 0..vectors {
                let mut d = [[zero; N]; N];
                for i in 0..N {
                    for j in 0..N {
                        if let Some(pixel) = patch[i][j] {
                            d[i][j] = pixel[v];
                        }
                    }
                }
                let points = transforms::input(simd, d);
                for (point, &value) in points.as_flattened().iter().enumerate() {
                    inputs[point * plane + tile * vectors + v] = value;
                }
            }
        }
    }

    #[inline(always)]
    fn multiply<S: Simd>(&self, simd: S, inputs: &[f32], input_plane: usize, products: &mut [f32], product_plane: usize) {
        let c = self.shape.c();
        let (block, channels) = (block(S::F32_LANES), self.piece.channels.clone());
        let taps = Taps { runs: 1, apart: 0, run: c };
        for point in 0..N * N {
            let inputs = &inputs[point * input_plane..][..input_plane];
            for first in channels.clone().step_by(block) {
                let filter = &self.filter[(first * N * N + point * block) * c..][..block * c];
                for (from, to) in tiles(self.scratch.starts.len(), most_pixels::<S>()) {
                    let at = point * product_plane + from * channels.len() + first - channels.start;
                    let starts = &self.scratch.starts[from..to];
                    simd.vectorize(Tile { x: inputs, starts, taps, filter, y: &mut products[at..], stride: channels.len() });
                }
            }
        }
    }

    #[inline(always)]
    fn transform_back<S: Simd>(&mut self, simd: S, products: &[f32], plane: usize) {
        let (p_end, q_end, k) = (self.shape.p(), self.shape.q(), self.shape.k());
        let (products, _) = S::as_simd_f32s(products);
        let (bias, _) = S::as_simd_f32s(&self.epilogue.bias[self.piece.channels.clone()]);
        let (plane, vectors) = (plane / S::F32_LANES, bias.len());
        for (tile, &[n, p, q]) in self.scratch.tiles.iter().enumerate() {
            for v in 0..vectors {
                let mut m = [[simd.splat_f32s(0.0); N]; N];
                for (point, m) in m.as_flattened_mut().iter_mut().enumerate() {
                    *m = products[point * plane + tile * vectors + v];
                }
                let outputs = transforms::output(simd, m);
                for i in 0..M.min(p_end - p) {
                    for j in 0..M.min(q_end - q) {
                        let pixel = (n * p_end + p + i) * q_end + q + j;
                        let residual = self.epilogue.residual.map(|residual| {
                            S::as_simd_f32s(&residual[pixel * k + self.piece.channels.start..][..self.piece.channels.len()]).0[v]
                        });
                        let (y, _) = S::as_mut_simd_f32s(&mut *self.piece.pixels[pixel - self.piece.first]);
                        y[v] = self.epilogue.finish(simd, outputs[i][j], bias[v], residual);
                    }
                }
            }
        }
    }
}
