//! The linear layer behind the pooling.

use super::MethodError;

/// The classifier: one row of weights and one bias for each class. `logit = bias + row . mean of the features`.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    weights: Vec<f32>,
    bias: Vec<f32>,
    channels: usize,
}

impl Head {
    /// From `fc.weight` `[K, C]`, row after row, and `fc.bias` `[K]`.
    ///
    /// # Panics
    /// If there is no class, or the weights are not the same number for each: a mistake of the caller, not of any input.
    pub fn new(weights: Vec<f32>, bias: Vec<f32>) -> Self {
        assert!(!bias.is_empty() && weights.len().is_multiple_of(bias.len()), "one row of weights for each class");
        let channels = weights.len() / bias.len();
        Self { weights, bias, channels }
    }

    /// Number of classes, K.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }

    /// # Errors
    /// [`MethodError::NoSuchClass`] if there is no such class.
    pub(crate) fn has(&self, class: usize) -> Result<(), MethodError> {
        let classes = self.classes();
        if class < classes { Ok(()) } else { Err(MethodError::NoSuchClass { class, classes }) }
    }

    /// Weights of a class, C.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Weights of `class`, `[C]`.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn row(&self, class: usize) -> &[f32] {
        &self.weights[class * self.channels..][..self.channels]
    }

    /// All weights, `[K, C]`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Bias of each class, `[K]`.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }
}
