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
    let logits = |class: usize| {
        let logit = f64::from(evidence.logits()[class]);
        head.row(class).iter().zip(means).map(move |(&weight, mean)| logit - f64::from(weight) * mean)
    };
    for class in 0..head.classes() {
        largest.iter_mut().zip(logits(class)).for_each(|(largest, logit)| *largest = largest.max(logit));
    }
    for class in 0..head.classes() {
        let terms = logits(class).zip(&largest).map(|(logit, largest)| (logit - largest).exp());
        totals.iter_mut().zip(terms).for_each(|(total, term)| *total += term);
    }
    totals.iter().zip(&largest).map(|(total, largest)| largest + total.ln()).collect()
}
