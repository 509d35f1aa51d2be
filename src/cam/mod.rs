//! Class activation maps: weighted channel sum, up-sampling, normalisation.

pub(crate) mod choice;
mod enlarge;
mod found;
mod map;
mod normalise;
mod selection;
mod stats;
pub(crate) mod upsample;
mod weighted_sum;

pub use choice::UnknownChoice;
pub use enlarge::{Enlarge, Enlarged, Levels};
pub use found::Found;
pub(crate) use found::FoundImage;
pub use map::Map;
pub use normalise::Normalisation;
pub use selection::Selection;
pub use stats::{MapError, MapStats};
pub use weighted_sum::class_activation_map;
