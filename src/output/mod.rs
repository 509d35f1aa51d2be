//! Files that appear whole or not at all: PNG, NPY and the manifest of a run.

mod atomic;
mod error;
mod manifest;
mod names;
mod npy;
mod png;

pub use atomic::{check_free, create_folder, write_atomically};
pub use error::OutputError;
pub use manifest::{Artifacts, ClassEntry, Display, ImageEntry, Manifest, MapSize, Model, Outcome, Tool};
pub use names::{Artifact, OutputNames};
pub use npy::write_npy;
pub use png::write_png;
