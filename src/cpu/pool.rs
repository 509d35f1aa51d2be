//! Poolings and the linear layer, vectorised over channels.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::isa::Vectors;
use crate::network::Window;

/// Largest value of each window; the border never wins, a NaN does. `x` `[N, H, W, C]`, `y` `[N, P, Q, C]`. Without vectors one
/// number at a time.
pub(super) fn max_pool2d(
    vectors: Option<Vectors>,
    x: &[f32],
    [_, h, w, c]: [usize; 4],
    window: Window,
    [_, p, q, _]: [usize; 4],
    y: &mut [f32],
) {
    y.par_chunks_mut(q * c).enumerate().for_each(|(row, y)| {
        let (n, ip) = (row / p, row % p);
        let rows = under(ip * window.stride, window.size.0, window.pad, h);
        max_pool_row(vectors, (&x[n * h * w * c..][..h * w * c], [w, c]), rows, window, y);
    });
}

/// One row of outputs, `y` `[Q, C]`, of `rows` of an image `x` `[.., W, C]`.
pub(super) fn max_pool_row(
    vectors: Option<Vectors>,
    (x, [w, c]): (&[f32], [usize; 2]),
    rows: Range<usize>,
    window: Window,
    y: &mut [f32],
) {
    for (iq, y) in y.chunks_exact_mut(c).enumerate() {
        let columns = under(iq * window.stride, window.size.1, window.pad, w);
        let largest = Largest { x, rows: rows.clone(), columns, w, y };
        match vectors {
            Some(vectors) => vectors.run(largest),
            None => largest.with_simd(pulp::Scalar),
        }
    }
}

/// Largest value over some rows and columns of an image, per channel.
struct Largest<'a> {
    x: &'a [f32],
    rows: Range<usize>,
    columns: Range<usize>,
    w: usize,
    y: &'a mut [f32],
}

impl WithSimd for Largest<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, rows, columns, w, y } = self;
        let c = y.len();
        y.fill(f32::NEG_INFINITY);
        let (largest, rest) = S::as_mut_simd_f32s(y);
        for ih in rows {
            for iw in columns.clone() {
                let (x, x_rest) = S::as_simd_f32s(&x[(ih * w + iw) * c..][..c]);
                for (y, &x) in largest.iter_mut().zip(x) {
                    let larger = simd.select_f32s(simd.less_than_f32s(*y, x), x, *y);
                    *y = simd.select_f32s(simd.equal_f32s(x, x), larger, x); // a NaN does not equal itself
                }
                for (y, &x) in rest.iter_mut().zip(x_rest) {
                    *y = if x > *y || x.is_nan() { x } else { *y };
                }
            }
        }
    }
}

/// Positions of the image under a window that starts at `start` of the padded image.
pub(super) fn under(start: usize, size: usize, pad: usize, extent: usize) -> Range<usize> {
    start.saturating_sub(pad)..(start + size).saturating_sub(pad).min(extent)
}

/// Mean over all positions, summed in f64: `x` `[N, H, W, C]`, `y` `[N, C]`.
pub(super) fn global_avg_pool(x: &[f32], [_, h, w, c]: [usize; 4], y: &mut [f32]) {
    let mut sums = vec![0f64; c];
    for (x, y) in x.chunks_exact(h * w * c).zip(y.chunks_exact_mut(c)) {
        sums.fill(0.0);
        for x in x.chunks_exact(c) {
            sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        y.iter_mut().zip(&sums).for_each(|(y, sum)| *y = (sum / (h * w) as f64) as f32);
    }
}

/// Rows of the linear layer that a task takes.
const ROWS: usize = 64;

/// Sums of a row at a time: enough for the latency of an addition, in whole vectors of every instruction set.
const LANES: usize = 32;

/// `y[n,k] = bias[k] + sum_c x[n,c] * weight[k,c]`, summed in f64.
pub(super) fn linear(vectors: Option<Vectors>, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let (c, k) = (weight.len() / bias.len(), bias.len());
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(k)) {
        let parts = y.par_chunks_mut(ROWS).zip(weight.par_chunks(ROWS * c)).zip(bias.par_chunks(ROWS));
        parts.for_each(|((y, weight), bias)| {
            let rows = Rows { x, weight, bias, y };
            match vectors {
                Some(vectors) => vectors.run(rows),
                None => rows.with_simd(pulp::Scalar),
            }
        });
    }
}

struct Rows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Rows<'_> {
    type Output = ();

    /// Plain loops, which the compiler vectorises for the instruction set; NEON it leaves alone.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, weight, bias, y } = self;
        let (whole, rest) = x.as_chunks::<LANES>();
        for ((y, row), &bias) in y.iter_mut().zip(weight.chunks_exact(x.len())).zip(bias) {
            let (row_whole, row_rest) = row.as_chunks::<LANES>();
            let mut lanes = [0f64; LANES];
            for (x, row) in whole.iter().zip(row_whole) {
                for i in 0..LANES {
                    lanes[i] += f64::from(x[i]) * f64::from(row[i]);
                }
            }
            let rest: f64 = rest.iter().zip(row_rest).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
            *y = (lanes.iter().sum::<f64>() + rest + f64::from(bias)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Isa, reference};
    use crate::tensor::Nhwc;

    /// Bit for bit, with NaN first, last and alone in windows, and channels that fill no vector.
    #[test]
    fn max_pool_equals_the_definition() {
        for (shape, window) in [
            ([2, 7, 5, 37], Window { size: (3, 3), stride: 2, pad: 1 }),
            ([1, 1, 1, 8], Window { size: (3, 3), stride: 2, pad: 1 }),
            ([1, 6, 9, 16], Window { size: (2, 3), stride: 1, pad: 0 }),
        ] {
            let value = |i: usize| if i % 11 == 3 { f32::NAN } else { (i * 37 % 101) as f32 - 120.0 };
            let x = Nhwc::new(shape, (0..shape.iter().product()).map(value).collect());
            let (p, q) = window.outputs(shape[1], shape[2]).unwrap();
            let output = [shape[0], p, q, shape[3]];
            let want: Vec<u32> = reference::max_pool2d(&x, window, output).iter().map(|v| v.to_bits()).collect();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let mut y = vec![0.0; want.len()];
                max_pool2d(Vectors::new(isa), x.data(), shape, window, output, &mut y);
                let got: Vec<u32> = y.iter().map(|v: &f32| v.to_bits()).collect();
                assert_eq!(got, want, "{shape:?} {}", isa.name());
            }
        }
    }

    /// On small integers, whose sums are exact, for equality: rows of whole groups of sums, of less than one and of both.
    #[test]
    fn linear_equals_the_definition() {
        for (n, c, k) in [(1, 64, 3), (2, 5, 130), (3, 97, 65), (1, 1, 1)] {
            let integers = |len: usize, step: usize| (0..len).map(|i| (i * step % 17) as f32 - 8.0).collect::<Vec<f32>>();
            let (x, weight, bias) = (integers(n * c, 5), integers(k * c, 7), integers(k, 3));
            let want = reference::linear(&x, &weight, &bias);
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let mut y = vec![f32::NAN; n * k];
                linear(Vectors::new(isa), &x, &weight, &bias, &mut y);
                assert_eq!(y, want, "{n} x {c} to {k}, {}", isa.name());
            }
        }
    }
}
