//! Why weights cannot be had.

use std::io;
use std::path::{Path, PathBuf};

/// Why a source names nothing, or its file cannot be had. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The text names no source.
    #[error(
        "weights `{name}`: this {problem}; give a file, or one of demo, resnet18, resnet34, resnet50, hf:owner/name[@revision]"
    )]
    Name {
        /// The text.
        name: String,
        /// What is wrong with it, as the rest of a sentence.
        problem: String,
    },
    /// The bundled model was asked for as a file.
    #[error("the demo weights are part of the program and have no file")]
    Bundled,
    /// The file is not on this machine and the network cannot be used.
    #[error("{name}: not on this machine, and {reason}; {}", by_hand(.url, .places))]
    Unavailable {
        /// The source as the user writes it.
        name: String,
        /// Why there is no download, as a sentence.
        reason: String,
        /// Where the file would come from.
        url: String,
        /// Where to put it by hand, any of these; best first.
        places: Vec<PathBuf>,
    },
    /// There is no folder to download to.
    #[error("{name}: no folder for downloads is known; set {variable}")]
    NoCacheDir {
        /// The source as the user writes it.
        name: String,
        /// The environment variable that names the folder.
        variable: &'static str,
    },
    /// A file or folder cannot be read, made or written.
    #[error("{}: cannot {action}: {source}{}", .path.display(), advice(.source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, such as `write the download`.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file that was on this machine already is not what its name says.
    #[error(
        "{}: SHA-256 starts with {found}, expected {expected}: the file is damaged or another; delete it and run again",
        .path.display()
    )]
    WrongFile {
        /// The file to delete.
        path: PathBuf,
        /// The hexadecimal digits in its name.
        expected: String,
        /// As many digits of the hash of its content.
        found: String,
    },
    /// A download came in whole and is not the expected file.
    #[error(
        "{url}: SHA-256 of the download is {found}, expected {expected}; it was removed, so run again, and if that fails too, see whether a proxy or a mirror replaces the file"
    )]
    WrongDownload {
        /// Where it came from.
        url: String,
        /// The expected hexadecimal digits.
        expected: String,
        /// As many digits of the hash of the download.
        found: String,
    },
    /// The file on the server has a length that cannot be right.
    #[error("{url}: the file has {found} bytes, expected {expected}")]
    WrongLength {
        /// Where it comes from.
        url: String,
        /// Bytes expected, or what is allowed, in words.
        expected: String,
        /// Bytes announced or received.
        found: u64,
    },
    /// The server refused.
    #[error("{url}: the server answered {status}{hint}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status code.
        status: u16,
        /// What it means here, beginning with `: `, or empty.
        hint: String,
    },
    /// The connection broke, and so did the further attempts.
    #[error("{url}: the connection broke after {done} of {} bytes ({reason}); run again to go on from there, or delete {} to start over",
        .total.map_or("an unknown number of".to_owned(), |t| t.to_string()), .part.display())]
    Interrupted {
        /// What was asked for.
        url: String,
        /// Bytes that are on this machine.
        done: u64,
        /// Bytes of the whole file, if known.
        total: Option<u64>,
        /// The partial file, kept for the next run.
        part: PathBuf,
        /// What happened last.
        reason: String,
    },
    /// The request makes no sense, or the answer does not.
    #[error("{url}: {problem}")]
    Protocol {
        /// What was asked for.
        url: String,
        /// What is wrong.
        problem: String,
    },
}

impl SourceError {
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}

fn by_hand(url: &str, places: &[PathBuf]) -> String {
    let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    if places.is_empty() {
        return format!("get {url} and give the path of the file as the weights");
    }
    format!("get {url} and save it as {}, or give the path of the file as the weights", places.join(" or "))
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room, or set CAMSHAFT_CACHE or HF_HOME elsewhere",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotADirectory => {
            "; another folder can be set with CAMSHAFT_CACHE or HF_HOME"
        }
        _ => "",
    }
}
