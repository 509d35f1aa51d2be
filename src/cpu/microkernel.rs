//! The loop that all time is spent in: some pixels by two vectors of output channels, summed in registers.
//!
//! Written once for all instruction sets; no index in the inner loop needs a check at run time, because every slice is cut to
//! the length of the run before it.

use pulp::{Simd, WithSimd};

use super::numbers::LINE;

/// Vectors of output channels in a tile.
const VECTORS: usize = 2;

/// Output channels in a tile, and so in a block of packed filters, for registers of `lanes` numbers.
pub(super) const fn block(lanes: usize) -> usize {
    VECTORS * lanes
}

/// Most pixels in a tile: sums, filters and one input number have to fit into the registers.
const fn most_pixels<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 14 } else { 6 }
}

/// Where the taps of one output pixel lie: `runs` runs of `run` numbers each, their starts `apart` numbers from each other.
#[derive(Clone, Copy)]
pub(super) struct Taps {
    pub runs: usize,
    pub apart: usize,
    pub run: usize,
}

/// `y[j, 0..block] = sum_i x[starts[j] + i] * filter[i, 0..block]` over the taps `i`, for pixels `j`; with `add` on top of what is
/// in `y`.
pub(super) struct Product<'a> {
    pub x: &'a [f32],
    pub starts: &'a [usize],
    pub taps: Taps,
    pub filter: &'a [f32],
    /// The filters that are read after these. They come from farther away than those that all tiles share, so that they are asked
    /// for meanwhile.
    pub next: &'a [f32],
    pub y: &'a mut [f32],
    pub add: bool,
}

impl Product<'_> {
    /// Goes through the pixels, tile by tile.
    #[inline(always)]
    pub(super) fn run<S: Simd>(self, simd: S) {
        let Self { x, starts, taps, filter, next, y, add } = self;
        let block = block(S::F32_LANES);
        for (number, (from, to)) in tiles(starts.len(), most_pixels::<S>()).enumerate() {
            // A tile asks for a line for each tap, so that two ask for all.
            let half = number % 2 * taps.runs * taps.run * LINE;
            let next = &next[half.min(next.len())..];
            simd.vectorize(Tile { x, starts: &starts[from..to], taps, filter, next, y: &mut y[from * block..], add });
        }
    }
}

/// The pixels of a [`Product`] that fit into the registers.
struct Tile<'a> {
    x: &'a [f32],
    starts: &'a [usize],
    taps: Taps,
    filter: &'a [f32],
    next: &'a [f32],
    y: &'a mut [f32],
    add: bool,
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
    let Tile { x, starts, taps, filter, next, y, add } = tile;
    let (filter, _) = S::as_simd_f32s(filter);
    let (filter, _) = filter.as_chunks::<VECTORS>();
    let (y, _) = S::as_mut_simd_f32s(y);
    // Copied as a whole: a loop of a length that the compiler does not know would keep the sums in memory, not in registers.
    let y: &mut [[S::f32s; VECTORS]; PIXELS] = y.as_chunks_mut().0.first_chunk_mut().expect("room for the sums of every pixel");
    let mut sums = if add { *y } else { [[simd.splat_f32s(0.0); VECTORS]; PIXELS] };
    for r in 0..taps.runs {
        let x: [&[f32]; PIXELS] = std::array::from_fn(|j| &x[starts[j] + r * taps.apart..][..taps.run]);
        let first = r * taps.run;
        for (i, filter) in filter[first..][..taps.run].iter().enumerate() {
            fetch(next, (first + i) * LINE);
            for j in 0..PIXELS {
                let x = simd.splat_f32s(x[j][i]);
                for v in 0..VECTORS {
                    sums[j][v] = simd.mul_add_f32s(x, filter[v], sums[j][v]);
                }
            }
        }
    }
    *y = sums;
}

/// Asks for the cache line of `numbers[index]`, to the second-level cache, where stable Rust can (on x86-64): a hint, which beyond
/// the end does no harm.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
fn fetch(numbers: &[f32], index: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(sse) = pulp::core_arch::x86::Sse::try_new() {
        sse._mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T1 }>(numbers.as_ptr().wrapping_add(index).cast());
    }
}

/// Splits `count` pixels into as few tiles as possible, of sizes that differ by one at most: `(from, to)` of each.
fn tiles(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = count.div_ceil(most);
    (0..tiles).map(move |i| (count * i / tiles, count * (i + 1) / tiles))
}
