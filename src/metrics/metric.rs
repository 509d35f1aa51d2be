//! The measures by name.

use crate::cam::choice::impl_choice;

/// A measure of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Metric {
    /// Share of the score that masking by the map loses; see [`super::Confidence::drop`].
    AverageDrop,
    /// Whether masking by the map raises the score; see [`super::Confidence::increased`].
    Increase,
    /// Area under the score while the map's pixels come in; see [`super::Curve`].
    Insertion,
    /// Area under the score while they go.
    Deletion,
    /// See [`super::Road::combined`].
    Road,
    /// See [`super::Locator::points_at`].
    Pointing,
    /// See [`super::Locator::box_iou`].
    BoxIou,
    /// See [`super::BoxAccuracy`].
    MaxBoxAcc,
    /// See [`super::Locator::mask_iou`].
    MaskIou,
}

impl_choice!(Metric, "metric");

impl Metric {
    /// Every metric, in the order shown to users.
    pub const ALL: &'static [Self] = &[
        Self::AverageDrop,
        Self::Increase,
        Self::Insertion,
        Self::Deletion,
        Self::Road,
        Self::Pointing,
        Self::BoxIou,
        Self::MaxBoxAcc,
        Self::MaskIou,
    ];

    /// The spelling on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::AverageDrop => "average-drop",
            Self::Increase => "increase",
            Self::Insertion => "insertion",
            Self::Deletion => "deletion",
            Self::Road => "road",
            Self::Pointing => "pointing",
            Self::BoxIou => "box-iou",
            Self::MaxBoxAcc => "max-box-acc",
            Self::MaskIou => "mask-iou",
        }
    }

    /// Whether it asks where the object is.
    pub fn needs_truth(self) -> bool {
        matches!(self, Self::Pointing | Self::BoxIou | Self::MaxBoxAcc | Self::MaskIou)
    }

    /// Whether more of it is better.
    pub fn higher_is_better(self) -> bool {
        !matches!(self, Self::AverageDrop | Self::Deletion)
    }
}
