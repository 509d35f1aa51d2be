//! The algorithms of convolution, and the choice among them.

use super::conv2d_direct::{Packed, conv2d_direct};
use super::conv2d_im2col_gemm::conv2d_im2col_gemm;
use super::conv2d_winograd::{self, Transformed, conv2d_winograd};
use super::epilogue::Epilogue;
use super::filter::Kcrs;
use super::isa::{Isa, Vectors};
use crate::network::Conv2dShape;

/// Input channels up to which Winograd's algorithm is the quicker one where it can run. It multiplies the filters' bytes by
/// four: those of more channels come from memory in more time than their products take (`docs/performance.md`).
const MOST_WINOGRAD_CHANNELS: usize = 256;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Algorithm {
    /// im2col and a matrix product, on any machine.
    Im2colGemm,
    /// Direct.
    Direct(Vectors),
    /// Winograd's F(4x4, 3x3).
    Winograd(Vectors),
}

impl Algorithm {
    /// All that can run `shape` with an instruction set, the quickest first.
    pub(super) fn all(isa: Isa, shape: &Conv2dShape) -> Vec<Self> {
        let Some(vectors) = Vectors::new(isa) else { return vec![Self::Im2colGemm] };
        let (direct, winograd) = (Self::Direct(vectors), Self::Winograd(vectors));
        match (conv2d_winograd::can_run(vectors, shape), shape.c() <= MOST_WINOGRAD_CHANNELS) {
            (false, _) => vec![direct],
            (true, false) => vec![direct, winograd],
            (true, true) => vec![winograd, direct],
        }
    }

    /// The kernel's name.
    pub(super) fn name(self) -> String {
        match self {
            Self::Im2colGemm => "conv2d_im2col_gemm".to_owned(),
            Self::Direct(vectors) => format!("conv2d_direct_{}_nhwc", vectors.isa().name()),
            Self::Winograd(vectors) => format!("conv2d_winograd_{}_nhwc", vectors.isa().name()),
        }
    }

    /// `filter` in the form that the algorithm reads; made on the current rayon pool.
    pub(super) fn prepare(self, filter: &Kcrs) -> Filter {
        match self {
            Self::Im2colGemm => Filter::Im2colGemm(filter.krsc()),
            Self::Direct(vectors) => Filter::Direct(vectors, Packed::new(vectors, filter)),
            Self::Winograd(vectors) => Filter::Winograd(vectors, Transformed::new(vectors, filter)),
        }
    }
}

/// Filters in the form that an algorithm reads.
pub(super) enum Filter {
    /// `[K, R, S, C]`.
    Im2colGemm(Vec<f32>),
    /// For direct convolution.
    Direct(Vectors, Packed),
    /// For Winograd's.
    Winograd(Vectors, Transformed),
}

impl Filter {
    /// The algorithm that it is for.
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Im2colGemm(_) => Algorithm::Im2colGemm,
            Self::Direct(vectors, _) => Algorithm::Direct(*vectors),
            Self::Winograd(vectors, _) => Algorithm::Winograd(*vectors),
        }
    }

    /// Numbers that it holds.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Im2colGemm(filter) => filter.len(),
            Self::Direct(_, filter) => filter.numbers().len(),
            Self::Winograd(_, filter) => filter.numbers().len(),
        }
    }

    /// `y = epilogue(conv2d(x, filter))` on the current rayon pool; `x` NHWC, `y` NPQK.
    pub(super) fn conv2d(&self, shape: &Conv2dShape, x: &[f32], epilogue: Epilogue, y: &mut [f32]) {
        match self {
            Self::Im2colGemm(filter) => conv2d_im2col_gemm(shape, x, filter, epilogue, y),
            Self::Direct(vectors, filter) => conv2d_direct(*vectors, shape, x, filter, epilogue, y),
            Self::Winograd(vectors, filter) => conv2d_winograd(*vectors, shape, x, filter, epilogue, y),
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
                let allowed = if matches!(algorithm, Algorithm::Winograd(_)) { 2e-5 * largest } else { 0.0 };
                let packed = algorithm.prepare(&source);
                for (pool, (with_residual, relu)) in pools.iter().flat_map(|pool| epilogues.map(|epilogue| (pool, epilogue))) {
                    let residual = with_residual.then_some(&residual[..]);
                    let want = |i: usize| {
                        let sum = sums[i] + residual.map_or(0.0, |residual| residual[i]);
                        if relu { sum.max(0.0) } else { sum }
                    };
                    let mut got = vec![f32::NAN; sums.len()];
                    pool.install(|| packed.conv2d(&shape, &x, Epilogue { bias: &bias, residual, relu }, &mut got));
                    let near = |i: usize| (got[i] - want(i)).abs() <= allowed;
                    let bad = (0..sums.len()).find(|&i| !near(i)).map(|i| (i, got[i], want(i)));
                    let (name, threads) = (algorithm.name(), pool.current_num_threads());
                    assert_eq!(bad, None, "case {number}, {name}, {threads} threads, residual {with_residual}, relu {relu}");
                }
            }
        }
    }
}
