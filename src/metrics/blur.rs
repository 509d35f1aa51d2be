//! A blurred image, as something to insert into.

/// Pixels on either side that take part.
const RADIUS: usize = 5;
/// Standard deviation in pixels.
const SIGMA: f64 = 5.0;

/// `image` `[h, w, 3]` blurred by a Gaussian of 11 x 11 pixels with a standard deviation of 5, the size that Petsiuk et al. use. At
/// the border the weights inside the image are enlarged to add up to 1.
pub(super) fn blur(image: &[f32], h: usize, w: usize) -> Vec<f32> {
    let rows = along(image, h, w, 3, 3 * w);
    along(&rows, w, h, 3 * w, 3)
}

/// One axis: `lines` lines of `length` pixels, `step` values from pixel to pixel and `stride` from line to line.
fn along(image: &[f32], lines: usize, length: usize, step: usize, stride: usize) -> Vec<f32> {
    let kernel: Vec<f64> = (0..=RADIUS).map(|d| (-0.5 * (d as f64 / SIGMA).powi(2)).exp()).collect();
    let mut out = vec![0.0; image.len()];
    for at in 0..length {
        let taps = at.saturating_sub(RADIUS)..(at + RADIUS + 1).min(length);
        let total: f64 = taps.clone().map(|tap| kernel[tap.abs_diff(at)]).sum();
        for base in (0..lines).flat_map(|line| (0..3).map(move |c| line * stride + c)) {
            let sum: f64 = taps.clone().map(|tap| kernel[tap.abs_diff(at)] * f64::from(image[base + tap * step])).sum();
            out[base + at * step] = (sum / total) as f32;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_sum_over_a_window() {
        let (h, w) = (9, 14);
        let image: Vec<f32> = (0..h * w * 3).map(|i| ((i * i + 3 * i) % 17) as f32 - 8.0).collect();
        let got = blur(&image, h, w);
        for (i, &got) in got.iter().enumerate() {
            let (y, x, c) = ((i / 3 / w) as f64, (i / 3 % w) as f64, i % 3);
            let (mut sum, mut total) = (0.0, 0.0);
            for (j, &value) in image.iter().enumerate().filter(|(j, _)| j % 3 == c) {
                let (dy, dx) = ((j / 3 / w) as f64 - y, (j / 3 % w) as f64 - x);
                if dy.abs() <= 5.0 && dx.abs() <= 5.0 {
                    let weight = (-(dy * dy + dx * dx) / 50.0).exp();
                    sum += weight * f64::from(value);
                    total += weight;
                }
            }
            assert!((f64::from(got) - sum / total).abs() < 1e-5, "value {i}: {got}, expected {}", sum / total);
        }
        assert!(blur(&[2.5; 3], 1, 1) == [2.5; 3]);
    }
}
