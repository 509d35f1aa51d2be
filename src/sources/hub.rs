//! Names on the Hugging Face hub, and its cache on this machine.
//!
//! The cache is that of Python's `huggingface_hub`:
//!
//! ```text
//! models--OWNER--NAME/blobs/ETAG                              the bytes
//!                     refs/REVISION                           the commit that a branch or tag was, as text
//!                     snapshots/COMMIT/model.safetensors      link to ../../blobs/ETAG
//! .locks/models--OWNER--NAME/ETAG.lock
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::SourceError;
use super::options::{Options, Progress};

/// The one file that is read from a repository.
pub(super) const FILE: &str = "model.safetensors";

/// A repository of the Hugging Face hub, `owner/name`.
///
/// Both parts are letters, digits, `-`, `_` and `.`, at most 96 of them, without `--` and `..`, and begin and end with none of
/// `-` and `.`: the hub's own rule, which also keeps them from leaving the cache folder or changing an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubRepo {
    owner: String,
    name: String,
}

impl HubRepo {
    /// Name of the repository's folder in the hub's cache.
    pub(super) fn folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.name)
    }
}

impl fmt::Display for HubRepo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for HubRepo {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let bad = || SourceError::Name {
            name: format!("hf:{text}"),
            problem: "is no repository of the Hugging Face hub, which is written owner/name".to_owned(),
        };
        let (owner, name) = text.split_once('/').ok_or_else(bad)?;
        let good = |part: &str| {
            (1..=96).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                && !part.contains("--")
                && !part.contains("..")
                && !part.starts_with(['-', '.'])
                && !part.ends_with(['-', '.'])
                && !part.ends_with(".git")
        };
        if good(owner) && good(name) { Ok(Self { owner: owner.to_owned(), name: name.to_owned() }) } else { Err(bad()) }
    }
}

/// A branch, tag or commit: letters, digits, `-`, `_`, `.` and `/`, where no part between slashes is empty or begins with `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(String);

impl Revision {
    /// The branch that is meant if none is given.
    pub const DEFAULT: &str = "main";

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a whole commit hash and can mean nothing else.
    pub(super) fn is_commit(&self) -> bool {
        is_commit(&self.0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Revision {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let good = text.len() <= 200
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
            && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
        if good {
            return Ok(Self(text.to_owned()));
        }
        Err(SourceError::Name { name: format!("@{text}"), problem: "is no branch, tag or commit".to_owned() })
    }
}

/// Whether `text` is a commit hash as the hub writes it.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Address of the file.
pub(super) fn url(repo: &HubRepo, revision: &Revision, options: &Options) -> String {
    let endpoint = options.hub_endpoint.trim_end_matches('/');
    // The only character of a revision that an address would take for its own.
    let revision = revision.as_str().replace('/', "%2F");
    format!("{endpoint}/{repo}/resolve/{revision}/{FILE}")
}

/// Where a file that was fetched by hand is looked for: the hub's cache cannot be filled by hand, since it wants the commit.
fn by_hand(repo: &HubRepo, revision: &Revision, options: &Options) -> Option<PathBuf> {
    let folder = options.cache_dir.as_ref()?.join("hub");
    Some(folder.join(&repo.owner).join(&repo.name).join(revision.as_str()).join(FILE))
}

pub(super) fn unavailable(repo: &HubRepo, revision: &Revision, options: &Options, reason: impl Into<String>) -> SourceError {
    SourceError::Unavailable {
        name: format!("hf:{repo}@{revision}"),
        reason: reason.into(),
        url: url(repo, revision, options),
        places: by_hand(repo, revision, options).into_iter().collect(),
    }
}

/// The file of `commit` in the cache folder of a repository.
pub(super) fn snapshot(repo_dir: &Path, commit: &str) -> PathBuf {
    repo_dir.join("snapshots").join(commit).join(FILE)
}

/// Whether there is a file at `path`; links are followed.
///
/// # Errors
/// The system refuses to say.
pub(super) fn is_there(path: &Path) -> Result<bool, SourceError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(SourceError::io(path, "look for it")(e)),
    }
}

fn cached(repo: &HubRepo, revision: &Revision, options: &Options) -> Result<Option<PathBuf>, SourceError> {
    if let Some(cache) = &options.hub_cache {
        let repo_dir = cache.join(repo.folder());
        let commit = if revision.is_commit() {
            Some(revision.as_str().to_owned())
        } else {
            // Unreadable or odd content is no commit: the download writes it anew.
            let text = std::fs::read_to_string(repo_dir.join("refs").join(revision.as_str())).unwrap_or_default();
            Some(text.trim().to_owned()).filter(|text| is_commit(text))
        };
        if let Some(path) = commit.map(|commit| snapshot(&repo_dir, &commit))
            && is_there(&path)?
        {
            return Ok(Some(path));
        }
    }
    match by_hand(repo, revision, options) {
        Some(path) if is_there(&path)? => Ok(Some(path)),
        _ => Ok(None),
    }
}

pub(super) fn fetch(
    repo: &HubRepo,
    revision: &Revision,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, SourceError> {
    if let Some(path) = cached(repo, revision, options)? {
        return Ok(path);
    }
    if options.offline || options.hub_offline {
        return Err(unavailable(repo, revision, options, "offline mode is on"));
    }
    download(repo, revision, options, progress)
}

#[cfg(feature = "download")]
use super::hub_download::download;

#[cfg(not(feature = "download"))]
fn download(repo: &HubRepo, revision: &Revision, options: &Options, _: &mut dyn FnMut(Progress)) -> Result<PathBuf, SourceError> {
    Err(unavailable(repo, revision, options, "this build of camshaft cannot download (feature `download`)"))
}
