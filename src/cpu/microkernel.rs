//! The loop that all time is spent in: some pixels by two vectors of output channels, summed in registers.
//!
//! Written once for all instruction sets; no index in the inner loop needs a check at run time, because every slice is cut to
//! the length of the run before it.

use pulp::{Simd, WithSimd};

/// Vectors of output channels in a tile.
const VECTORS: usize = 2;

/// Output channels in a tile, and so in a block of packed filters, for registers of `lanes` numbers.
pub(super) const fn block(lanes: usize) -> usize {
    VECTORS * lanes
}

/// Most pixels in a tile: sums, filters and one input number have to fit into the registers.
pub(super) const fn most_pixels<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 14 } else { 6 }
}

/// Most sums of a tile, of any instruction set: 14 pixels by two vectors of 16.
pub(super) const MOST_SUMS: usize = 14 * VECTORS * 16;

/// Where the taps of one output pixel lie: `runs` runs of `run` numbers each, their starts `apart` numbers from each other.
#[derive(Clone, Copy)]
pub(super) struct Taps {
    pub runs: usize,
    pub apart: usize,
    pub run: usize,
}

/// `y[j, 0..block] = sum_i x[starts[j] + i] * filter[i, 0..block]` over the taps `i`, for up to [`most_pixels`] pixels `j`;
/// rows of `y` are `stride` apart.
pub(super) struct Tile<'a> {
    pub x: &'a [f32],
    pub starts: &'a [usize],
    pub taps: Taps,
    pub filter: &'a [f32],
    pub y: &'a mut [f32],
    pub stride: usize,
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        macro_rules! fixed {
            ($($pixels:literal)*) => {
                match self.starts.len() {
                    $($pixels if $pixels <= most_pixels::<S>() => tile::<S, $pixels>(simd, self),)*
                    pixels => unreachable!("a tile of {pixels} pixels"),
                }
            };
        }
        fixed!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }
}

#[inline(always)]
fn tile<S: Simd, const PIXELS: usize>(simd: S, tile: Tile) {
    let Tile { x, starts, taps, filter, y, stride } = tile;
    let (filter, _) = S::as_simd_f32s(filter);
    let (filter, _) = filter.as_chunks::<VECTORS>();
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; PIXELS];
    for r in 0..taps.runs {
        let x: [&[f32]; PIXELS] = std::array::from_fn(|j| &x[starts[j] + r * taps.apart..][..taps.run]);
        for (i, filter) in filter[r * taps.run..][..taps.run].iter().enumerate() {
            for j in 0..PIXELS {
                let x = simd.splat_f32s(x[j][i]);
                for v in 0..VECTORS {
                    sums[j][v] = simd.mul_add_f32s(x, filter[v], sums[j][v]);
                }
            }
        }
    }
    for (j, sums) in sums.iter().enumerate() {
        let (y, _) = S::as_mut_simd_f32s(&mut y[j * stride..][..block(S::F32_LANES)]);
        y.copy_from_slice(sums);
    }
}

/// Splits `count` pixels into as few tiles as possible, of sizes that differ by one at most: `(from, to)` of each.
pub(super) fn tiles(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = count.div_ceil(most);
    (0..tiles).map(move |i| (count * i / tiles, count * (i + 1) / tiles))
}
