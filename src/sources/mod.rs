//! Where weights come from: a path, the bundled model, a download.
//!
//! [`Source`] says what is wanted, [`fetch`] turns it into a file on this machine: found in a cache, or downloaded, checked and
//! put there. Nothing is printed; a caller draws its progress bar from [`Progress`].
//!
//! ```no_run
//! use camshaft::sources::{fetch, Options, Source};
//!
//! let source: Source = "resnet18".parse()?;
//! let path = fetch(&source, &Options::from_env(), &mut |progress| {
//!     eprint!("\r{} of {:?} bytes", progress.done, progress.total);
//! })?;
//! # Ok::<_, camshaft::sources::SourceError>(())
//! ```
//!
//! # Downloads
//! A file grows as `NAME.part` beside its final place and is renamed when its length and hash are right, so that the final name
//! never holds half a file. If the connection is cut, the next attempt (or the next run) asks for the rest with a `Range` request
//! and starts over when the server does not grant it. A process that downloads holds a lock on `NAME.lock`; another that wants the
//! same file waits for it and then finds the file. The lock belongs to the open file, so it ends with its process however that
//! ends; the empty lock file stays behind, since removing it would let two processes hold locks on two files of one name.
//!
//! Proxies are taken from `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, except for addresses of this machine.

mod digest;
#[cfg(feature = "download")]
mod download;
mod error;
#[cfg(feature = "download")]
mod http;
mod hub;
#[cfg(feature = "download")]
mod hub_download;
#[cfg(feature = "download")]
mod lock;
mod options;
mod source;
mod torchvision;
mod verdict;

use std::path::PathBuf;

pub use error::SourceError;
pub use hub::{HubRepo, Revision};
pub use options::{Options, Progress, Stage, Token};
pub use source::Source;
pub use torchvision::Torchvision;

/// The file that holds the weights of `source`, downloaded first if need be.
///
/// - A path is returned as it is; whether a file is there shows when it is opened.
/// - Torchvision's models are looked for in the folder of `torch.hub` and in Camshaft's own, then downloaded to the latter. A file
///   that is found is checked against the hash in its name as well; the verdict is remembered in Camshaft's folder, with the
///   file's length, inode and times, and holds until one of them differs.
/// - A repository of the Hugging Face hub is looked for in the hub's cache, then downloaded to it in the layout of Python's
///   `huggingface_hub`, so that each finds what the other fetched. A cached revision is taken without asking whether the branch
///   has moved on.
///
/// `progress` is called from this thread, with `Stage::Waiting` while another process downloads the same file and after each block
/// of a download; not at all if the file is there.
///
/// # Errors
/// See [`SourceError`]; [`SourceError::Bundled`] for [`Source::Demo`], which has no file.
pub fn fetch(source: &Source, options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, SourceError> {
    match source {
        Source::Demo => Err(SourceError::Bundled),
        Source::Path(path) => Ok(path.clone()),
        Source::Torchvision(model) => torchvision::fetch(*model, options, progress),
        Source::Hub { repo, revision } => hub::fetch(repo, revision, options, progress),
    }
}
