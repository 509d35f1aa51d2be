//! Class activation maps with ResNet, from memory-mapped weights to finished pictures.

#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod bench;
pub mod cam;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod engine;
mod error;
pub mod input;
pub mod labels;
pub mod metrics;
pub mod network;
pub mod output;
pub mod pipeline;
pub mod render;
mod share;
pub mod sources;
pub mod tensor;
mod text;
pub mod weights;

pub use engine::{Device, Engine, Request};
pub use error::Error;

/// The examples of the README, compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
