//! What can be wrong with weights as a network.

use std::path::PathBuf;

use super::Window;
use crate::weights::WeightsError;

/// Why a file's tensors do not make a network that this crate runs, or why an image does not fit it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// No ResNet of torchvision's naming.
    #[error("{}: not a torchvision ResNet: {reason}; camshaft runs ResNet-18, 34, 50, 101 and 152 (tensors: {tensors})", .path.display())]
    Architecture {
        /// The file.
        path: PathBuf,
        /// What is missing or different.
        reason: String,
        /// The first few tensor names found.
        tensors: String,
    },
    /// A tensor that the architecture needs is not in the file.
    #[error("{}: tensor `{tensor}` is missing ({architecture} needs it with shape {expected:?})", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The architecture that the other tensors make.
        architecture: String,
        /// Its shape.
        expected: Vec<usize>,
    },
    /// A tensor that the architecture does not have.
    #[error("{}: tensor `{tensor}` (shape {found:?}) has no place in {architecture}{more}; remove it or use the network it belongs to", .path.display())]
    Surplus {
        /// The file.
        path: PathBuf,
        /// The first such tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The architecture that the other tensors make.
        architecture: String,
        /// How many others, in words.
        more: String,
    },
    /// A tensor of another shape.
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected {expected:?} in {architecture}", .path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape that the architecture needs.
        expected: Vec<usize>,
        /// The architecture that the other tensors make.
        architecture: String,
    },
    /// A weight that is NaN or infinite, or a variance below zero.
    #[error("{}: tensor `{tensor}` holds {value} at index {index}; expected {expected}, so the file is damaged or its training diverged", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Position of the first such value.
        index: usize,
        /// The value.
        value: f32,
        /// What it should be.
        expected: &'static str,
    },
    /// A layer that cannot be computed for an image.
    #[error("images {image:?} (N H W C) cannot go through {k} filters of {window}: {reason}")]
    Geometry {
        /// `[N, H, W, C]`.
        image: [usize; 4],
        /// Output channels.
        k: usize,
        /// The window.
        window: Window,
        /// What does not fit.
        reason: &'static str,
    },
    /// A tensor that cannot be read as numbers.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}
