//! Class activation maps: weighted channel sum, up-sampling, normalisation.

mod map;

pub use map::Map;
