//! Why a file was not written.

use std::io;
use std::path::PathBuf;

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// It is there already.
    #[error("{}: exists already; use --force to replace it, or choose another output folder", .path.display())]
    Exists {
        /// The file that was kept.
        path: PathBuf,
    },
    /// The folder for it cannot be made, or takes no files.
    #[error("{}: cannot use this as the output folder: {source}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing failed: no permission, a full disk, a folder of that name.
    #[error("{}: cannot write this file: {source}", .path.display())]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A number that JSON cannot hold; writing `null` would hide a fault.
    #[error("{file}: the {what} of class {class} is {value}, expected a finite number: check the weights for damage or overflow")]
    NotFinite {
        /// The input.
        file: String,
        /// Which number.
        what: &'static str,
        /// The class's index.
        class: usize,
        /// NaN or an infinity.
        value: f32,
    },
}
