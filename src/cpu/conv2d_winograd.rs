//! 3x3 convolution with stride 1 by Winograd's minimal filtering: transformed tiles of the image times transformed filters.
//!
//! A task takes some rows of tiles through all three steps while they are in its core's cache: it transforms the tiles of the
//! image; then, for a block of output channels after the other, it multiplies them with the filters, one matrix product for each of
//! the `N*N` points of a tile, and transforms the products back. So filters are read once, in the order in which they lie.

use std::cell::RefCell;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::conv2d::Problem;
use super::filter::Kcrs;
use super::isa::Vectors;
use super::microkernel::{Product, Taps, block};
use super::numbers::{LINE, Numbers};
use super::share::{Piece, Share, even, share};
use super::winograd_transforms::{self as transforms, Lines, Minimal, TOGETHER};
use crate::network::Conv2dShape;

/// Bytes of transformed tiles, or of filters, in a core's second-level cache of 2 MiB.
const CACHE: usize = 5 << 18;

/// Outputs of a tile in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TileSide {
    /// `F(2x2, 3x3)`.
    Two,
    /// `F(4x4, 3x3)`.
    Four,
}

impl TileSide {
    /// Outputs in each direction.
    pub(super) fn m(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Points of a tile.
    fn points(self) -> usize {
        (self.m() + 2).pow(2)
    }
}

/// Numbers of transformed filters `[K / block, N*N, C, block]`.
pub(super) fn filter_len(side: TileSide, shape: &Conv2dShape) -> usize {
    side.points() * shape.k() * shape.c()
}

/// Transforms `filter` on the current rayon pool.
pub(super) fn pack(vectors: Vectors, side: TileSide, filter: &Kcrs, packed: &mut [f32]) {
    let (block, c) = (block(vectors.lanes()), filter.c);
    packed.par_chunks_mut(side.points() * c * block).enumerate().for_each(|(index, packed)| {
        let task = Pack { filter, first: index * block, block, packed, side };
        vectors.run(task);
    });
}

/// Transforms one block of filters.
struct Pack<'a> {
    filter: &'a Kcrs<'a>,
    first: usize,
    block: usize,
    packed: &'a mut [f32],
    side: TileSide,
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.side {
            TileSide::Two => self.transform::<2, 4>(),
            TileSide::Four => self.transform::<4, 6>(),
        }
    }
}

impl Pack<'_> {
    #[inline(always)]
    fn transform<const M: usize, const N: usize>(self)
    where
        Minimal: Lines<M, N>,
    {
        let Self { filter, first, block, packed, .. } = self;
        for j in (0..block).step_by(TOGETHER) {
            for ic in 0..filter.c {
                let mut taps = [[0f64; TOGETHER]; 9];
                for i in 0..TOGETHER {
                    let (plane, scale) = filter.plane(first + j + i, ic);
                    for (taps, &value) in taps.iter_mut().zip(plane) {
                        taps[i] = f64::from(value * scale);
                    }
                }
                for (point, values) in transforms::filter::<M, N>(&taps).as_flattened().iter().enumerate() {
                    packed[(point * filter.c + ic) * block + j..][..TOGETHER].copy_from_slice(values);
                }
            }
        }
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
    /// A pixel outside the image: zeros.
    border: Vec<f32>,
    /// Transformed image `[N*N, tiles, C]`.
    inputs: Numbers,
    /// Products `[N*N, tiles, block]`.
    products: Numbers,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `y = epilogue(conv2d(x, filter))` on the current rayon pool; `y` NPQK. Only where [`can_run`].
pub(super) fn conv2d_winograd(vectors: Vectors, side: TileSide, problem: Problem, y: &mut [f32]) {
    let shape = problem.shape;
    share(shape, shared(vectors, side, shape, rayon::current_num_threads()), y, |piece| {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.tiles.clear();
            for (n, rows) in piece.rows(shape) {
                for p in rows.step_by(side.m()) {
                    scratch.tiles.extend((0..shape.q()).step_by(side.m()).map(|q| [n, p, q]));
                }
            }
            scratch.starts.clear();
            scratch.starts.extend((0..scratch.tiles.len()).map(|tile| tile * shape.c()));
            if scratch.border.len() < shape.c() {
                scratch.border.resize(shape.c(), 0.0);
            }
            vectors.run(Task { side, problem, piece, scratch });
        });
    });
}

/// Filters that do not stay in a core's cache are divided over the threads, each of which then transforms the image for
/// itself. Bands are as large as the cache allows, and as many for each thread.
fn shared(vectors: Vectors, side: TileSide, shape: &Conv2dShape, threads: usize) -> Share {
    let (block, number) = (block(vectors.lanes()), size_of::<f32>());
    let (m, points) = (side.m(), side.points());
    let (mut channels, mut sharing) = (shape.k(), threads);
    if points * shape.c() * shape.k() * number > CACHE {
        channels = (shape.k() / block).div_ceil(threads) * block;
        sharing = threads.div_ceil(shape.k() / channels);
    }
    let (across, down) = (shape.q().div_ceil(m), shape.p().div_ceil(m));
    let most = (CACHE / (points * (shape.c() + block) * number * across)).max(1); // rows of tiles
    if most >= 2 * down && shape.n() >= 2 * sharing {
        let images = (most / down).min(shape.n() / sharing);
        return Share { rows: images * shape.p(), channels };
    }
    let rows = even(shape.n(), down, sharing, most);
    Share { rows: (rows * m).min(shape.p()), channels }
}

struct Task<'a> {
    side: TileSide,
    problem: Problem<'a>,
    piece: Piece<'a>,
    scratch: &'a mut Scratch,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.side {
            TileSide::Two => self.run::<S, 2, 4>(simd),
            TileSide::Four => self.run::<S, 4, 6>(simd),
        }
    }
}

#[allow(clippy::needless_range_loop)] // rows and columns of tiles are indices of the formulas
impl Task<'_> {
    #[inline(always)]
    fn run<S: Simd, const M: usize, const N: usize>(mut self, simd: S)
    where
        Minimal: Lines<M, N>,
    {
        let (c, count, block) = (self.problem.shape.c(), self.scratch.tiles.len(), block(S::F32_LANES));
        let (mut inputs, mut products) = (std::mem::take(&mut self.scratch.inputs), std::mem::take(&mut self.scratch.products));
        // Planes a power of two apart would share the few places of the first-level cache.
        let (input_plane, product_plane) = (count * c + LINE, count * block + LINE);
        let (x, y) = (inputs.at_least(N * N * input_plane), products.at_least(N * N * product_plane));
        self.transform_image::<S, M, N>(simd, x, input_plane);
        let taps = Taps { runs: 1, apart: 0, run: c };
        for first in self.piece.channels.clone().step_by(block) {
            for point in 0..N * N {
                let (filter, next) = self.problem.filter[(first * N * N + point * block) * c..].split_at(block * c);
                let (x, y) = (&x[point * input_plane..][..input_plane], &mut y[point * product_plane..][..product_plane]);
                Product { x, starts: &self.scratch.starts, taps, filter, next, y, add: false }.run(simd);
            }
            self.transform_back::<S, M, N>(simd, y, product_plane, first);
        }
        (self.scratch.inputs, self.scratch.products) = (inputs, products);
    }

    #[inline(always)]
    fn transform_image<S: Simd, const M: usize, const N: usize>(&self, simd: S, inputs: &mut [f32], plane: usize)
    where
        Minimal: Lines<M, N>,
    {
        let (h, w, c, pad) = (self.problem.shape.h(), self.problem.shape.w(), self.problem.shape.c(), self.problem.shape.pad());
        let (inputs, _) = S::as_mut_simd_f32s(inputs);
        let (border, _) = S::as_simd_f32s(&self.scratch.border[..c]);
        let (plane, vectors) = (plane / S::F32_LANES, c / S::F32_LANES);
        for (tile, &[n, p, q]) in self.scratch.tiles.iter().enumerate() {
            let pixel = |i: usize, j: usize| {
                let (ih, iw) = ((p + i).checked_sub(pad).filter(|&ih| ih < h)?, (q + j).checked_sub(pad).filter(|&iw| iw < w)?);
                Some(S::as_simd_f32s(&self.problem.x[((n * h + ih) * w + iw) * c..][..c]).0)
            };
            let patch: [[&[S::f32s]; N]; N] = std::array::from_fn(|i| std::array::from_fn(|j| pixel(i, j).unwrap_or(border)));
            for v in 0..vectors {
                transforms::input::<S, M, N>(
                    simd,
                    |i, j| patch[i][j][v],
                    |i, j, value| inputs[(i * N + j) * plane + tile * vectors + v] = value,
                );
            }
        }
    }

    /// Finishes channels `first..` of one block.
    #[inline(always)]
    fn transform_back<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, products: &[f32], plane: usize, first: usize)
    where
        Minimal: Lines<M, N>,
    {
        let (p_end, q_end, k, block) =
            (self.problem.shape.p(), self.problem.shape.q(), self.problem.shape.k(), block(S::F32_LANES));
        let (products, _) = S::as_simd_f32s(products);
        let (bias, _) = S::as_simd_f32s(&self.problem.epilogue.bias[first..][..block]);
        let (plane, vectors) = (plane / S::F32_LANES, bias.len());
        for (tile, &[n, p, q]) in self.scratch.tiles.iter().enumerate() {
            for v in 0..vectors {
                let outputs = transforms::output::<S, M, N>(simd, |i, j| products[(i * N + j) * plane + tile * vectors + v]);
                for i in 0..M.min(p_end - p) {
                    for j in 0..M.min(q_end - q) {
                        let pixel = (n * p_end + p + i) * q_end + q + j;
                        let residual = self.problem.epilogue.residual;
                        let residual = residual.map(|residual| S::as_simd_f32s(&residual[pixel * k + first..][..block]).0[v]);
                        let y = &mut self.piece.pixels[pixel - self.piece.first][first - self.piece.channels.start..];
                        let (y, _) = S::as_mut_simd_f32s(&mut y[..block]);
                        y[v] = self.problem.epilogue.finish(simd, outputs[i][j], bias[v], residual);
                    }
                }
            }
        }
    }
}
