//! What a user can choose about a picture.

use std::str::FromStr;

use super::Colormap;
use crate::cam::Normalisation;
use crate::cam::choice::impl_choice;

/// Which pixels a map is drawn on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum View {
    /// The pixels that the network saw.
    #[default]
    Crop,
    /// The whole photograph at its own resolution, the map put back where its crop was cut and the unseen margin marked.
    Original,
    /// The picture of the article this tool started from: the crop's map stretched over the whole photograph squashed to
    /// 224x224, jet, half transparent. The map does **not** lie where the network looked; only for comparison.
    Seed,
}

impl_choice!(View, "view");

impl View {
    /// Every view, in the order shown to users.
    pub const ALL: &'static [Self] = &[Self::Crop, Self::Original, Self::Seed];

    /// Whether it shows the photograph itself, and not only the crop that the network saw.
    pub fn needs_photo(self) -> bool {
        self != Self::Crop
    }

    /// The spelling on the command line and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crop => "crop",
            Self::Original => "original",
            Self::Seed => "seed",
        }
    }
}

/// Opacity of the heat map over the photograph, `0..=1`: 0 leaves the photograph, 1 hides it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct Alpha(f32);

/// An opacity outside `0..=1`, or no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("alpha is `{0}`, expected a number from 0 (photograph only) to 1 (heat map only)")]
pub struct BadAlpha(String);

impl Alpha {
    /// torchcam's, whose `alpha` of 0.7 is the photograph's.
    pub(super) const TORCHCAM: Self = Self(0.3);

    /// Checks the range.
    ///
    /// # Errors
    /// If `value` is outside `0..=1` or NaN.
    pub fn new(value: f32) -> Result<Self, BadAlpha> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(BadAlpha(value.to_string())) }
    }

    /// The number.
    pub fn get(self) -> f32 {
        self.0
    }
}

impl Default for Alpha {
    fn default() -> Self {
        Self(0.5)
    }
}

impl FromStr for Alpha {
    type Err = BadAlpha;

    fn from_str(text: &str) -> Result<Self, BadAlpha> {
        text.parse().ok().and_then(|value| Self::new(value).ok()).ok_or_else(|| BadAlpha(text.to_owned()))
    }
}

/// How a map is coloured and laid over a photograph.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Style {
    /// Colours.
    pub colormap: Colormap,
    /// Opacity of the heat map.
    pub alpha: Alpha,
    /// From map values to `0..=1`.
    pub normalisation: Normalisation,
}

impl Style {
    /// The style that `view` draws with: the seed view has its own and takes no other.
    pub fn in_view(self, view: View) -> Self {
        match view {
            View::Seed => Self { colormap: Colormap::Jet, alpha: Alpha(0.5), normalisation: Normalisation::MinMax },
            View::Crop | View::Original => self,
        }
    }
}
