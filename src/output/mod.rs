//! Files that appear whole or not at all: PNG, NPY and the manifest of a run.

mod atomic;
mod error;
mod manifest;
mod merge;
mod names;
mod npy;
mod png;
mod record;
mod settings;

pub use atomic::{check_free, create_folder, write_atomically};
pub use error::OutputError;
pub use manifest::{
    Artifacts, Asked, AskedClass, AskedClasses, Boxes, ClassEntry, Display, ImageEntry, Manifest, MapSize, Model, Outcome, Tool,
};
pub use merge::{Merged, merge};
pub use names::{Artifact, OutputNames};
pub use npy::write_npy;
pub use png::write_png;
pub use record::{Record, Start};
