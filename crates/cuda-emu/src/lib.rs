//! A software CUDA device: executes PTX on the CPU, checks memory, races and barriers, and counts.

#![deny(missing_docs)]

pub mod check;
pub mod driver;
pub mod exec;
pub mod memory;
pub mod profile;
pub mod ptx;
pub mod report;
