//! The algorithms of convolution, and the choice among them.

use super::conv2d_direct::{self, conv2d_direct};
use super::conv2d_im2col_gemm::conv2d_im2col_gemm;
use super::conv2d_winograd::{self, TileSide, conv2d_winograd};
use super::epilogue::Epilogue;
use super::filter::Kcrs;
use super::isa::{Isa, Vectors};
use crate::network::Conv2dShape;

/// Input channels up to which Winograd's larger tiles are the quicker ones, and then the smaller ones, at every batch size. They
/// multiply the filters' bytes by four and by 1.8, and filters of more channels come from memory in more time than the products take
/// that they save (`docs/performance.md`).
const MOST_CHANNELS_OF_FOUR: usize = 128;
const MOST_CHANNELS_OF_TWO: usize = 256;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Algorithm {
    /// im2col and a matrix product, on any machine.
    Im2colGemm,
    /// Direct.
    Direct(Vectors),
    /// Winograd's.
    Winograd(Vectors, TileSide),
}

impl Algorithm {
    /// All that can run `shape` with an instruction set, the quickest first.
    pub(super) fn all(isa: Isa, shape: &Conv2dShape) -> Vec<Self> {
        let Some(vectors) = Vectors::new(isa) else { return vec![Self::Im2colGemm] };
        let direct = Self::Direct(vectors);
        if !conv2d_winograd::can_run(vectors, shape) {
            return vec![direct];
        }
        let (two, four) = (Self::Winograd(vectors, TileSide::Two), Self::Winograd(vectors, TileSide::Four));
        match shape.c() {
            c if c <= MOST_CHANNELS_OF_FOUR => vec![four, two, direct],
            c if c <= MOST_CHANNELS_OF_TWO => vec![two, four, direct],
            _ => vec![direct, two, four],
        }
    }

    /// The kernel's name.
    pub(super) fn name(self) -> String {
        match self {
            Self::Im2colGemm => "conv2d_im2col_gemm".to_owned(),
            Self::Direct(vectors) => format!("conv2d_direct_{}_nhwc", vectors.isa().name()),
            Self::Winograd(vectors, side) => format!("conv2d_winograd_{}_{}_nhwc", side.m(), vectors.isa().name()),
        }
    }

    /// Numbers of a filter in the form that it reads.
    pub(super) fn filter_len(self, shape: &Conv2dShape) -> usize {
        match self {
            Self::Im2colGemm => shape.k() * shape.gemm_k(),
            Self::Direct(vectors) => conv2d_direct::filter_len(vectors, shape),
            Self::Winograd(_, side) => conv2d_winograd::filter_len(side, shape),
        }
    }

    /// Writes `filter` in the form that it reads to `packed`, [`Algorithm::filter_len`] zeros; on the current rayon pool.
    pub(super) fn pack(self, filter: &Kcrs, packed: &mut [f32]) {
        match self {
            Self::Im2colGemm => filter.krsc(packed),
            Self::Direct(vectors) => conv2d_direct::pack(vectors, filter, packed),
            Self::Winograd(vectors, side) => conv2d_winograd::pack(vectors, side, filter, packed),
        }
    }

    /// `y = epilogue(conv2d(x, filter))` on the current rayon pool; `y` NPQK.
    pub(super) fn conv2d(self, problem: Problem, y: &mut [f32]) {
        match self {
            Self::Im2colGemm => conv2d_im2col_gemm(problem, y),
            Self::Direct(vectors) => conv2d_direct(vectors, problem, y),
            Self::Winograd(vectors, side) => conv2d_winograd(vectors, side, problem, y),
        }
    }
}

/// A convolution and what it reads.
#[derive(Clone, Copy)]
pub(super) struct Problem<'a> {
    pub shape: &'a Conv2dShape,
    /// NHWC.
    pub x: &'a [f32],
    /// As [`Algorithm::pack`] wrote it.
    pub filter: &'a [f32],
    pub epilogue: Epilogue<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::conv2d_direct::conv2d_direct_max_pool;
    use crate::cpu::numbers::Numbers;
    use crate::cpu::pool::max_pool2d;
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
    const CASES: [Case; 26] = [
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
        case([3, 14, 6, 32], 64, (3, 3), 1, 1),
        case([9, 5, 7, 32], 64, (3, 3), 1, 1),
        case([1, 97, 3, 4], 8, (3, 3), 1, 1),
        case([1, 56, 56, 3], 64, (7, 7), 2, 3),
        case([1, 56, 56, 64], 64, (3, 3), 1, 1),
        case([1, 28, 28, 64], 128, (3, 3), 2, 1),
        case([1, 28, 28, 64], 128, (1, 1), 2, 0),
        case([1, 14, 14, 256], 256, (3, 3), 1, 1),
        case([1, 14, 14, 256], 512, (3, 3), 2, 1),
        case([1, 7, 7, 512], 512, (3, 3), 1, 1),
    ];

    /// `[K, R, S, C]` to the file's `[K, C, R, S]`.
    fn kcrs(krsc: &[f32], c: usize, taps: usize) -> Vec<f32> {
        let filters = krsc.chunks_exact(c * taps);
        filters.flat_map(|krsc| (0..c * taps).map(move |i| krsc[i % taps * c + i / taps])).collect()
    }

    /// Every algorithm of every instruction set that this machine has. All but Winograd's, which has sixths, must give equal
    /// results; filters have a factor each, so that a mistaken one is seen.
    #[test]
    fn equals_the_definition_on_integers() {
        let pools = [1, 2, 3, 8].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        let epilogues = [(true, true), (false, false), (false, true)];
        for (number, &Case { image, k, window }) in CASES.iter().enumerate() {
            let shape = Conv2dShape::new(image, k, window).unwrap();
            let seed = number as u64 + 1;
            let x = integers(image.iter().product(), seed);
            let plain = integers(k * shape.gemm_k(), seed + 100);
            let scale: Vec<f32> = (0..k).map(|k| [1.0, 2.0, -1.0][k % 3]).collect();
            let filter: Vec<f32> = plain.iter().enumerate().map(|(i, v)| v * scale[i / shape.gemm_k()]).collect();
            let plain = kcrs(&plain, shape.c(), shape.r() * shape.s());
            let source = Kcrs { filter: &plain, scale: &scale, c: shape.c(), taps: shape.r() * shape.s() };
            let (bias, residual) = (integers(k, seed + 200), integers(shape.gemm_m() * k, seed + 300));
            let sums = reference::conv2d(&shape, &x, &filter, Some(&bias));
            let largest = sums.iter().fold(0f32, |largest, v| largest.max(v.abs()));
            let algorithms = Isa::ALL.into_iter().filter(|isa| isa.is_available()).flat_map(|isa| Algorithm::all(isa, &shape));
            for algorithm in algorithms {
                let allowed = if matches!(algorithm, Algorithm::Winograd(..)) { 2e-5 * largest } else { 0.0 };
                let mut packed = Numbers::zeros(algorithm.filter_len(&shape));
                algorithm.pack(&source, packed.as_mut_slice());
                for (pool, (with_residual, relu)) in pools.iter().flat_map(|pool| epilogues.map(|epilogue| (pool, epilogue))) {
                    let residual = with_residual.then_some(&residual[..]);
                    let want = |i: usize| {
                        let sum = sums[i] + residual.map_or(0.0, |residual| residual[i]);
                        if relu { sum.max(0.0) } else { sum }
                    };
                    let mut got = vec![f32::NAN; sums.len()];
                    let epilogue = Epilogue { bias: &bias, residual, relu };
                    let problem = Problem { shape: &shape, x: &x, filter: packed.as_slice(), epilogue };
                    pool.install(|| algorithm.conv2d(problem, &mut got));
                    let near = |i: usize| (got[i] - want(i)).abs() <= allowed;
                    let bad = (0..sums.len()).find(|&i| !near(i)).map(|i| (i, got[i], want(i)));
                    let (name, threads) = (algorithm.name(), pool.current_num_threads());
                    assert_eq!(bad, None, "case {number}, {name}, {threads} threads, residual {with_residual}, relu {relu}");
                }
            }
        }
    }

    /// A convolution with the max pool after it is the one and then the other, bit for bit: bands that end in the middle of an
    /// image, images of one row, batches, pools with and without border.
    #[test]
    fn pooled_equals_one_after_the_other() {
        let stem = Window { size: (7, 7), stride: 2, pad: 3 };
        let (wide, small) = (Window { size: (3, 3), stride: 2, pad: 1 }, Window { size: (2, 2), stride: 1, pad: 0 });
        for (image, pool) in [([1, 61, 45, 3], wide), ([3, 4, 9, 3], wide), ([2, 1, 1, 3], wide), ([9, 33, 8, 3], small)] {
            let k = 40;
            let shape = Conv2dShape::new(image, k, stem).unwrap();
            let (x, filter) = (integers(image.iter().product(), 1), integers(k * shape.gemm_k(), 2));
            let (scale, bias) = (vec![1.0; k], integers(k, 3));
            let source = Kcrs { filter: &filter, scale: &scale, c: shape.c(), taps: shape.r() * shape.s() };
            let pooled = Conv2dShape::new(shape.output(), k, pool).unwrap().output();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let Some(vectors) = Vectors::new(isa) else { continue };
                let algorithm = Algorithm::Direct(vectors);
                let mut packed = vec![0.0; algorithm.filter_len(&shape)];
                algorithm.pack(&source, &mut packed);
                let epilogue = Epilogue { bias: &bias, residual: None, relu: true };
                let problem = Problem { shape: &shape, x: &x, filter: &packed, epilogue };
                let mut between = vec![f32::NAN; shape.output().iter().product()];
                algorithm.conv2d(problem, &mut between);
                let mut want = vec![f32::NAN; pooled.iter().product()];
                max_pool2d(Some(vectors), &between, shape.output(), pool, pooled, &mut want);
                for threads in [1, 2, 5] {
                    let mut got = vec![f32::NAN; want.len()];
                    let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    threads.install(|| conv2d_direct_max_pool(vectors, problem, pool, pooled, &mut got));
                    assert_eq!(got, want, "{image:?} {} {threads:?}", isa.name());
                }
            }
        }
    }
}
