//! Class activation maps and their kin: methods, targets, up-sampling, normalisation.

mod bicubic;
pub(crate) mod choice;
mod enlarge;
mod evidence;
mod found;
mod head;
mod library;
mod map;
mod method;
mod methods;
mod normalise;
mod score;
mod selection;
mod softmax;
mod stats;
mod target;
pub(crate) mod upsample;
mod weighted_sum;

pub use choice::UnknownChoice;
pub use enlarge::{Enlarge, Enlarged, Levels};
pub use evidence::Evidence;
pub use found::Found;
pub(crate) use found::FoundImage;
pub use head::Head;
pub use library::Library;
pub use map::Map;
pub use method::{Method, MethodError};
pub use normalise::Normalisation;
pub use score::Score;
pub(crate) use selection::ranking;
pub use selection::{Asked, Selection, Targets};
pub(crate) use softmax::Softmax;
pub use stats::{MapError, MapStats};
pub use target::{Target, TargetError, Term};
pub use weighted_sum::class_activation_map;
