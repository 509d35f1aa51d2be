//! Ablation-CAM without the ablations.

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

/// `ln sum_j exp(y[j] - W[j, k] a[k])` for each channel, from each channel's largest term down, so that it cannot overflow.
fn log_totals(evidence: &Evidence<'_>) -> Vec<f64> {
    let (head, means) = (evidence.head(), evidence.means());
    let mut largest = vec![f64::NEG_INFINITY; means.len()];
    let mut totals = vec![0.0; means.len()];
    // K C exponentials: with the vectors that this machine has.
    pulp::Arch::new().dispatch(|| {
        for (weights, &logit) in head.weights().chunks_exact(means.len().max(1)).zip(evidence.logits()) {
            for ((largest, &weight), mean) in largest.iter_mut().zip(weights).zip(means) {
                let less = f64::from(logit) - f64::from(weight) * mean;
                *largest = if less > *largest { less } else { *largest };
            }
        }
        for (weights, &logit) in head.weights().chunks_exact(means.len().max(1)).zip(evidence.logits()) {
            for (((total, largest), &weight), mean) in totals.iter_mut().zip(&largest).zip(weights).zip(means) {
                *total += exp(f64::from(logit) - f64::from(weight) * mean - largest);
            }
        }
    });
    totals.iter().zip(&largest).map(|(total, largest)| largest + total.ln()).collect()
}

/// `exp(x)` for `x <= 0`, without a branch, so that loops over it become vectors; 0 is 4e-308 here. Within 3 units in the last place:
/// `2^n` times the Taylor series at a distance of at most ln 2 / 2.
#[inline(always)]
fn exp(x: f64) -> f64 {
    const LN_2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10]; // the first times any n is exact
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 2^52: adding it leaves the nearest whole number in the lowest bits
    const SERIES: [f64; 13] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
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
    ];
    let x = if x < -708.0 { -708.0 } else { x }; // NaN stays
    let n = x * std::f64::consts::LOG2_E + ROUND;
    let whole = n - ROUND;
    let rest = x - whole * LN_2[0] - whole * LN_2[1];
    let series = SERIES.iter().fold(0.0, |sum, factor| sum * rest + factor) * rest + 1.0;
    f64::from_bits(series.to_bits().wrapping_add(n.to_bits() << 52))
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn exponentials_are_the_standard_librarys() {
        for step in 0..=70_800 {
            let x = f64::from(step) * -0.009_999_7;
            let (got, want) = (exp(x), x.exp());
            assert!((got - want).abs() <= 3.0 * f64::EPSILON * want, "exp({x}): {got:e}, not {want:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e300) < 1e-300 && exp(f64::NEG_INFINITY) < 1e-300);
        assert!(exp(f64::NAN).is_nan());
    }
}
