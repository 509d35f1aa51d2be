//! Ablation-CAM without the ablations.

use pulp::{Simd, WithSimd};

use super::super::target::Normaliser;
use super::super::{Evidence, Score, Target};

/// What the target loses without each channel, as a share of the target. Without channel `k`, logit `j` is smaller by
/// `W[j, k] a[k]`; the softmax of the rest is added up anew for each channel. A target of exactly 0 has no shares: all zeros.
pub(super) fn row(evidence: &Evidence<'_>, target: &Target) -> Vec<f64> {
    let (head, means) = (evidence.head(), evidence.means());
    let logit = |class: usize| f64::from(evidence.logits()[class]);
    let without = |k: usize, class: usize| logit(class) - f64::from(head.row(class)[k]) * means[k];
    let whole = target.value_in(evidence.softmax(), logit);
    let losses: Vec<f64> = match target.score() {
        // The difference of two logits would lose digits that their derivative keeps.
        Score::Logit => super::gradient::by_means(evidence, target).iter().zip(means).map(|(r, mean)| r * mean).collect(),
        Score::Probability | Score::Rest => {
            let totals = log_totals(evidence);
            (0..means.len()).map(|k| whole - target.value_in(&LogTotal(totals[k]), |class| without(k, class))).collect()
        }
    };
    losses.into_iter().map(|loss| if whole == 0.0 { 0.0 } else { loss / whole }).collect()
}

struct LogTotal(f64);

impl Normaliser for LogTotal {
    fn log_probability(&self, logit: f64) -> f64 {
        logit - self.0
    }
}

/// `ln sum_j exp(y[j] - W[j, k] a[k])` for each channel.
fn log_totals(evidence: &Evidence<'_>) -> Vec<f64> {
    let (head, means) = (evidence.head(), evidence.means());
    let logits: Vec<f64> = evidence.logits().iter().map(|&logit| logit.into()).collect();
    match Totals::new(head.weights(), &logits, means) {
        Some(totals) => pulp::Arch::new().dispatch(totals),
        None => log_totals_of_any(head.weights(), &logits, means),
    }
}

/// From each channel's largest term down, so that nothing can overflow.
fn log_totals_of_any(weights: &[f32], logits: &[f64], means: &[f64]) -> Vec<f64> {
    let log_total = |(k, mean): (usize, &f64)| {
        let terms = weights.iter().skip(k).step_by(means.len()).zip(logits).map(|(&w, logit)| logit - f64::from(w) * mean);
        let largest = terms.clone().fold(f64::NEG_INFINITY, |m: f64, v| if v > m { v } else { m });
        largest + terms.map(|term| (term - largest).exp()).sum::<f64>().ln()
    };
    means.iter().enumerate().map(log_total).collect()
}

/// All terms with the vectors that this machine has, where no channel moves a logit far: `exp(y[j] - y) exp(-W[j, k] a[k])`, with `y`
/// the largest logit, of which the first factor is one of K exponentials and the second a series.
struct Totals<'a> {
    weights: &'a [f32],
    logits: &'a [f64],
    largest: f64,
    /// `-a[k]`, halved so often.
    means: Vec<f64>,
    halvings: i32,
    /// Below this a class's first factor is lost in every total's last place.
    least: f64,
}

/// As far as a channel may move a logit: the sums then stay far from the ends of f64's range.
const FAR: f64 = 32.0;
/// Argument of the series, at most.
const NEAR: f64 = 0.5;
/// Taylor's, to the power of 11: within 5e-13 there.
const SERIES: [f64; 12] = [
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

impl<'a> Totals<'a> {
    /// `None` where a channel moves a logit too far, or what is given is not finite.
    fn new(weights: &'a [f32], logits: &'a [f64], means: &[f64]) -> Option<Self> {
        let mut most = vec![0f32; means.len()];
        for row in weights.chunks_exact(means.len().max(1)) {
            most.iter_mut().zip(row).for_each(|(most, weight)| *most = if weight.abs() > *most { weight.abs() } else { *most });
        }
        let farthest = most.iter().zip(means).map(|(&most, mean)| f64::from(most) * mean.abs()).fold(0.0, f64::max);
        let halvings = (farthest / NEAR).log2().ceil().max(0.0) as i32;
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = 1e-20 * (-2.0 * farthest).exp();
        let means = means.iter().map(|mean| -mean * 0.5f64.powi(halvings)).collect();
        (farthest <= FAR).then_some(Self { weights, logits, largest, means, halvings, least })
    }
}

impl WithSimd for Totals<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f64> {
        let channels = self.means.len();
        let (mut x, mut totals) = (vec![0.0; channels], vec![0.0; channels]);
        for (row, logit) in self.weights.chunks_exact(channels.max(1)).zip(self.logits) {
            let factor = (logit - self.largest).exp();
            if factor < self.least {
                continue;
            }
            x.iter_mut().zip(row).zip(&self.means).for_each(|((x, &weight), mean)| *x = f64::from(weight) * mean);
            let ((x, x_rest), (sums, sums_rest)) = (S::as_simd_f64s(&x), S::as_mut_simd_f64s(&mut totals));
            let factors = simd.splat_f64s(factor);
            for (sum, &x) in sums.iter_mut().zip(x) {
                *sum = simd.mul_add_e_f64s(factors, exp(simd, x, self.halvings), *sum);
            }
            for (sum, &x) in sums_rest.iter_mut().zip(x_rest) {
                *sum += factor * exp(pulp::Scalar, x, self.halvings);
            }
        }
        totals.into_iter().map(|total| self.largest + total.ln()).collect()
    }
}

/// `exp(2^halvings x)`.
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::f64s, halvings: i32) -> S::f64s {
    let add = |sum, &factor: &f64| simd.mul_add_e_f64s(sum, x, simd.splat_f64s(factor));
    let mut power = SERIES[1..].iter().fold(simd.splat_f64s(SERIES[0]), add);
    for _ in 0..halvings {
        power = simd.mul_f64s(power, power);
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against one exponential after the other, from far below the first halving to where there is no series.
    #[test]
    fn totals_are_the_sums_of_exponentials() {
        let (classes, channels) = (37, 21); // which fill no vector
        for (spread, scale) in [(1.0, 1e-3), (30.0, 1.0), (900.0, 4.0), (5.0, 7.9), (2000.0, 7.9), (5.0, 50.0)] {
            let sine = |i: usize| ((i * i * 7 + i * 13) as f64 * 0.37).sin();
            let weights: Vec<f32> = (0..classes * channels).map(|i| (4.0 * sine(i)) as f32).collect();
            let logits: Vec<f64> = (0..classes).map(|j| spread * sine(j + 5)).collect();
            let means: Vec<f64> = (0..channels).map(|k| scale * sine(k + 9).abs()).collect();
            let want = log_totals_of_any(&weights, &logits, &means);
            let Some(totals) = Totals::new(&weights, &logits, &means) else {
                assert!(scale > 8.0);
                continue;
            };
            assert!(scale < 8.0);
            for isa in ["machine", "scalar"] {
                let totals = Totals { means: totals.means.clone(), ..totals };
                let got = if isa == "scalar" { totals.with_simd(pulp::Scalar) } else { pulp::Arch::new().dispatch(totals) };
                for (k, (got, want)) in got.iter().zip(&want).enumerate() {
                    // The series' error, doubled by each of up to six squarings, and the rounding of the largest logit.
                    assert!((got - want).abs() < 4e-11 + 1e-15 * spread, "{isa}, {spread}, {scale}: {k}: {got}, not {want}");
                }
            }
        }
        assert!(
            Totals::new(&[f32::NAN, 1.0], &[0.0, f64::NAN], &[1.0])
                .is_none_or(|totals| { totals.with_simd(pulp::Scalar).iter().all(|total| !total.is_finite()) })
        );
    }
}
