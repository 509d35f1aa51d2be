//! Poolings and the linear layer, vectorised over channels.

use rayon::prelude::*;

use crate::network::Window;

/// Largest value of each window; the border never wins, a NaN does. `x` `[N, H, W, C]`, `y` `[N, P, Q, C]`.
pub(crate) fn max_pool2d(x: &[f32], [_, h, w, c]: [usize; 4], window: Window, [_, p, q, _]: [usize; 4], y: &mut [f32]) {
    y.par_chunks_mut(q * c).enumerate().for_each(|(row, y)| {
        let (n, ip) = (row / p, row % p);
        let rows = inside(ip * window.stride, window.size.0, window.pad, h);
        for (iq, y) in y.chunks_exact_mut(c).enumerate() {
            y.fill(f32::NEG_INFINITY);
            for ih in rows.clone() {
                for iw in inside(iq * window.stride, window.size.1, window.pad, w) {
                    let x = &x[((n * h + ih) * w + iw) * c..][..c];
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x > *y || x.is_nan() { x } else { *y });
                }
            }
        }
    });
}

/// Positions of the image under a window that starts at `start` of the padded image.
fn inside(start: usize, size: usize, pad: usize, extent: usize) -> std::ops::Range<usize> {
    start.saturating_sub(pad)..(start + size).saturating_sub(pad).min(extent)
}

/// Mean over all positions, summed in f64: `x` `[N, H, W, C]`, `y` `[N, C]`.
pub(crate) fn global_avg_pool(x: &[f32], [_, h, w, c]: [usize; 4], y: &mut [f32]) {
    let mut sums = vec![0f64; c];
    for (x, y) in x.chunks_exact(h * w * c).zip(y.chunks_exact_mut(c)) {
        sums.fill(0.0);
        for x in x.chunks_exact(c) {
            sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        y.iter_mut().zip(&sums).for_each(|(y, sum)| *y = (sum / (h * w) as f64) as f32);
    }
}

/// `y[n,k] = bias[k] + sum_c x[n,c] * weight[k,c]`, summed in f64 over eight lanes.
pub(crate) fn linear(x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let (c, k) = (weight.len() / bias.len(), bias.len());
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(k)) {
        y.par_iter_mut().with_min_len(64).zip(weight.par_chunks_exact(c)).zip(bias).for_each(|((y, row), &bias)| {
            let mut lanes = [0f64; 8];
            let (whole, rest) = (x.chunks_exact(8).zip(row.chunks_exact(8)), c / 8 * 8..c);
            for (x, row) in whole {
                lanes.iter_mut().zip(x.iter().zip(row)).for_each(|(lane, (&x, &w))| *lane += f64::from(x) * f64::from(w));
            }
            let rest: f64 = rest.map(|i| f64::from(x[i]) * f64::from(row[i])).sum();
            *y = (lanes.iter().sum::<f64>() + rest + f64::from(bias)) as f32;
        });
    }
}
