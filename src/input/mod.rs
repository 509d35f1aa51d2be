//! From an image file to the tensor that the network reads.

mod transform;

pub use transform::CropTransform;
