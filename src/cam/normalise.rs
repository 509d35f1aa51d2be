//! From signed values to the range `0..=1` that is shown.

use super::choice::impl_choice;
use super::{Map, MapError, MapStats};

/// How a map's values become `0..=1` for display. Applied after up-sampling, so that the picture uses the whole range: the
/// peaks of a bilinear enlargement are lower than those of the map itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Normalisation {
    /// `(v - min) / (max - min)`; a constant map becomes zeros, also one that is constant but for rounding. Negative evidence shows as the low end.
    #[default]
    MinMax,
    /// Negative values become 0 first, then as `MinMax`. A map without positive values becomes zeros.
    ReluMinMax,
    /// Values are left alone; a picture shows those outside `0..=1` as the nearer end.
    None,
}

impl_choice!(Normalisation, "normalisation");

impl Normalisation {
    /// Every choice, in the order shown to users.
    pub const ALL: &'static [Self] = &[Self::MinMax, Self::ReluMinMax, Self::None];

    /// The spelling on the command line and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::MinMax => "minmax",
            Self::ReluMinMax => "relu-minmax",
            Self::None => "none",
        }
    }

    /// The scale that fits a map with these statistics.
    pub(crate) fn scale(self, stats: &MapStats) -> Scale {
        let relu = self == Self::ReluMinMax;
        let clip = |v: f32| if relu && v < 0.0 { 0.0 } else { f64::from(v) };
        match self {
            Self::MinMax | Self::ReluMinMax => {
                let (low, high) = (clip(stats.min), clip(stats.max));
                let span = high - low;
                let magnitude = low.abs().max(high.abs());
                // A map that reaches from 0 to its largest magnitude is not constant, however little that is.
                let constant = span < magnitude && span <= noise(magnitude);
                Scale { relu, low, span: if constant { 0.0 } else { span } }
            }
            Self::None => Scale { relu, low: 0.0, span: 1.0 },
        }
    }
}

/// The range that up-sampling alone may give a constant map of this magnitude: two mixes, each rounded four times, move a value by
/// six units in the last place at most, up or down; 16 are allowed. A range like that is not stretched over the whole colormap.
fn noise(magnitude: f64) -> f64 {
    const UNITS: f64 = 16.0 / (1 << 23) as f64;
    let exponent = ((magnitude as f32).to_bits() >> 23) as i32 - 127;
    if magnitude == 0.0 { 0.0 } else { UNITS * 2f64.powi(exponent) }
}

/// A normalisation fitted to one map. f64, so that no finite f32 range overflows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    relu: bool,
    low: f64,
    span: f64,
}

impl Scale {
    pub(crate) fn apply(&self, value: f32) -> f32 {
        if self.span == 0.0 {
            return 0.0;
        }
        let value = if self.relu && value < 0.0 { 0.0 } else { f64::from(value) };
        ((value - self.low) / self.span) as f32
    }
}

impl Map {
    /// The map scaled by its own range.
    ///
    /// # Errors
    /// If the map is empty or holds a value that is not finite, whatever the normalisation: a NaN is never hidden.
    pub fn normalise(&self, normalisation: Normalisation) -> Result<Self, MapError> {
        let scale = normalisation.scale(&self.stats()?);
        Ok(Self::new(self.h(), self.w(), self.data().iter().map(|&v| scale.apply(v)).collect()))
    }
}
