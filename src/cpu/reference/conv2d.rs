//! Convolution and batch norm by definition.

use rayon::prelude::*;

use crate::network::Conv2dShape;

/// `y[n,p,q,k] = bias[k] + sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] * filter[k,r,s,c]`, taps outside the image
/// being zero. `x` is NHWC, `filter` KRSC; returns NPQK. The sum is in f64.
///
/// # Panics
/// If a slice is shorter than `shape` says.
pub fn conv2d(shape: &Conv2dShape, x: &[f32], filter: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let (h, w, c, k) = (shape.h(), shape.w(), shape.c(), shape.k());
    let (p, q, r, s) = (shape.p(), shape.q(), shape.r(), shape.s());
    let mut y = vec![0.0; shape.gemm_m() * k];
    y.par_chunks_mut(q * k).enumerate().for_each(|(row, y)| {
        let (n, ip) = (row / p, row % p);
        for iq in 0..q {
            for ik in 0..k {
                let mut sum = bias.map_or(0.0, |bias| f64::from(bias[ik]));
                for ir in 0..r {
                    let Some(ih) = (ip * shape.stride() + ir).checked_sub(shape.pad()).filter(|&ih| ih < h) else { continue };
                    for is in 0..s {
                        let Some(iw) = (iq * shape.stride() + is).checked_sub(shape.pad()).filter(|&iw| iw < w) else { continue };
                        let x = &x[((n * h + ih) * w + iw) * c..][..c];
                        let taps = &filter[((ik * r + ir) * s + is) * c..][..c];
                        sum += x.iter().zip(taps).map(|(&x, &tap)| f64::from(x) * f64::from(tap)).sum::<f64>();
                    }
                }
                y[iq * k + ik] = sum as f32;
            }
        }
    });
    y
}

/// `y[.., k] = y[.., k] * scale[k] + shift[k]` (Ioffe and Szegedy 2015, at inference), in f64.
pub fn batch_norm(y: &mut [f32], scale: &[f32], shift: &[f32]) {
    for y in y.chunks_exact_mut(scale.len()) {
        for ((y, &scale), &shift) in y.iter_mut().zip(scale).zip(shift) {
            *y = (f64::from(*y) * f64::from(scale) + f64::from(shift)) as f32;
        }
    }
}
