//! The softmax of an image's logits, and how it changes.

use super::target::Normaliser;

/// Probabilities `p`, and their derivative `p'` along a direction in the space of logits, in f64.
pub(crate) struct Softmax {
    probabilities: Vec<f64>,
    slopes: Vec<f64>,
    log_total: f64,
}

impl Softmax {
    pub(crate) fn new(logits: &[f32]) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp: Vec<f64> = logits.iter().map(|&logit| (f64::from(logit) - f64::from(largest)).exp()).collect();
        let total: f64 = exp.iter().sum();
        let log_total = f64::from(largest) + total.ln();
        Self { probabilities: exp.into_iter().map(|exp| exp / total).collect(), slopes: Vec::new(), log_total }
    }

    /// With the derivative along `direction` `[K]`: `p'[j] = p[j] (d[j] - sum p d)`.
    pub(crate) fn along(mut self, direction: impl Iterator<Item = f64> + Clone) -> Self {
        let mean: f64 = self.probabilities.iter().zip(direction.clone()).map(|(p, d)| p * d).sum();
        self.slopes = self.probabilities.iter().zip(direction).map(|(p, d)| p * (d - mean)).collect();
        self
    }

    pub(crate) fn probability(&self, class: usize) -> f64 {
        self.probabilities[class]
    }

    pub(crate) fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    pub(crate) fn slope(&self, class: usize) -> f64 {
        self.slopes[class]
    }

    pub(crate) fn slopes(&self) -> &[f64] {
        &self.slopes
    }
}

impl Normaliser for Softmax {
    fn log_probability(&self, logit: f64) -> f64 {
        logit - self.log_total
    }
}
