//! What of a class is explained.

use super::choice::impl_choice;

/// A number for each class of which a map explains where it comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Score {
    /// `y[c]`, the network's output before the softmax.
    #[default]
    Logit,
    /// `p[c] = softmax(y)[c]`: evidence for a class counts less where it is evidence for others as well.
    Probability,
    /// `y[c] + ln p[c]`: Cai, 2025 (ReST), which that paper recommends for ShapleyCAM.
    Rest,
}

impl_choice!(Score, "score");

impl Score {
    /// Every score, in the order shown to users.
    pub const ALL: &'static [Self] = &[Self::Logit, Self::Probability, Self::Rest];

    /// The spelling on the command line and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logit => "logit",
            Self::Probability => "probability",
            Self::Rest => "rest",
        }
    }
}
