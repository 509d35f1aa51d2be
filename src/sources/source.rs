//! What `--weights` can say.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::SourceError;
use super::hub::{HubRepo, Revision};
use super::torchvision::Torchvision;

/// Where weights come from.
///
/// Written `demo`, `resnet18`, `hf:owner/name`, `hf:owner/name@revision`; anything else is a path. A name wins over a file that
/// is called the same; `./demo` means the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The model that is part of this crate.
    Demo,
    /// A file, taken as it is.
    Path(PathBuf),
    /// One of torchvision's ImageNet models.
    Torchvision(Torchvision),
    /// `model.safetensors` of a repository on the Hugging Face hub.
    Hub {
        /// The repository.
        repo: HubRepo,
        /// Branch, tag or commit.
        revision: Revision,
    },
}

impl FromStr for Source {
    type Err = SourceError;

    /// # Errors
    /// [`SourceError::Name`] for an empty text, a bad hub name, a URL, or a word that is neither a known name nor an existing
    /// file. A path with a folder or a file extension in it is not looked up here.
    fn from_str(text: &str) -> Result<Self, SourceError> {
        let bad = |problem: &str| SourceError::Name { name: text.to_owned(), problem: problem.to_owned() };
        if text.is_empty() {
            return Err(bad("is empty"));
        }
        if text == "demo" {
            return Ok(Self::Demo);
        }
        if let Some(model) = Torchvision::ALL.into_iter().find(|model| model.name() == text) {
            return Ok(Self::Torchvision(model));
        }
        if let Some(hub) = text.strip_prefix("hf:") {
            let (repo, revision) = hub.split_once('@').unwrap_or((hub, Revision::DEFAULT));
            return Ok(Self::Hub { repo: repo.parse()?, revision: revision.parse()? });
        }
        if text.contains("://") {
            return Err(bad("is a URL; download the file and give its path"));
        }
        let path = Path::new(text);
        let is_word = !text.contains(['/', '\\']) && path.extension().is_none() && text != "." && text != "..";
        if is_word && !path.exists() {
            return Err(bad("is neither a file nor a name of weights"));
        }
        Ok(Self::Path(path.to_owned()))
    }
}

/// As [`FromStr`] reads it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demo => f.write_str("demo"),
            Self::Path(path) => path.display().fmt(f),
            Self::Torchvision(model) => f.write_str(model.name()),
            Self::Hub { repo, revision } if revision.as_str() == Revision::DEFAULT => write!(f, "hf:{repo}"),
            Self::Hub { repo, revision } => write!(f, "hf:{repo}@{revision}"),
        }
    }
}
