//! Poolings and the linear layer by definition.

use crate::network::Window;
use crate::tensor::Nhwc;

/// Largest value of each window, the border never winning; a NaN in a window wins. Returns `output`, `[N, P, Q, C]`.
pub fn max_pool2d(x: &Nhwc, window: Window, output: [usize; 4]) -> Vec<f32> {
    let ([_, h, w, _], [n, p, q, c]) = (x.shape(), output);
    let mut y = Vec::with_capacity(n * p * q * c);
    for image in 0..n {
        for (ip, iq, ic) in (0..p * q * c).map(|i| (i / (q * c), i / c % q, i % c)) {
            let mut largest = f32::NEG_INFINITY;
            for (ir, is) in (0..window.size.0 * window.size.1).map(|i| (i / window.size.1, i % window.size.1)) {
                let inside = |i: usize, extent: usize| i.checked_sub(window.pad).filter(|&i| i < extent);
                if let (Some(ih), Some(iw)) = (inside(ip * window.stride + ir, h), inside(iq * window.stride + is, w)) {
                    let value = x.image(image)[(ih * w + iw) * c + ic];
                    if value > largest || value.is_nan() {
                        largest = value;
                    }
                }
            }
            y.push(largest);
        }
    }
    y
}

/// Mean over all positions, `[N, C]`.
pub fn global_avg_pool(x: &Nhwc) -> Vec<f32> {
    let [n, h, w, c] = x.shape();
    let mean = |image: &[f32], ic: usize| image.iter().skip(ic).step_by(c).map(|&v| f64::from(v)).sum::<f64>() / (h * w) as f64;
    (0..n * c).map(|i| mean(x.image(i / c), i % c) as f32).collect()
}

/// `y[n,k] = bias[k] + sum_c x[n,c] * weight[k,c]`.
pub fn linear(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let c = weight.len() / bias.len();
    let dot = |x: &[f32], row: &[f32]| x.iter().zip(row).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum::<f64>();
    x.chunks_exact(c)
        .flat_map(|x| weight.chunks_exact(c).zip(bias).map(move |(row, &bias)| (dot(x, row) + f64::from(bias)) as f32))
        .collect()
}
