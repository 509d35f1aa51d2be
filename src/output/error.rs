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
    /// An earlier run was ended before it had seen all its inputs.
    #[error(
        "{}: an earlier run was ended here before it was finished; use --resume to go on with it, or --force to start over",
        .folder.display()
    )]
    Unfinished {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process has the folder.
    #[error("{}: another run is writing to this folder; wait for its end, or choose another output folder", .folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// A run cannot go on with other settings than it began with.
    #[error(
        "{}: cannot go on with the earlier run: its `{setting}` is {before}, not {now}; use the same settings, or --force to start over",
        .folder.display()
    )]
    Settings {
        /// The earlier run's folder.
        folder: PathBuf,
        /// The field of the manifest.
        setting: String,
        /// Its value there, as JSON.
        before: String,
        /// The new value.
        now: String,
    },
    /// A manifest cannot be read.
    #[error("{}: cannot read this file: {source}", .path.display())]
    Read {
        /// The manifest.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Manifests that are not parts of one run.
    #[error("{}: cannot merge it with the others: {problem}", .path.display())]
    Merge {
        /// The manifest, or the folder that should have one.
        path: PathBuf,
        /// What is wrong, and the way out.
        problem: String,
    },
    /// A file that is no manifest, or of another version.
    #[error("{}: this is no manifest that can be read: {problem}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
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
