//! Where to look, whom to ask, how long to wait.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How far a fetch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is going on.
    pub stage: Stage,
    /// Bytes of the file that are on this machine, those of an earlier cut download included. Falls back to 0 if a download has
    /// to start over.
    pub done: u64,
    /// Bytes of the whole file, if the server said.
    pub total: Option<u64>,
}

impl Progress {
    #[cfg(feature = "download")]
    pub(super) fn new(stage: Stage, done: u64, total: Option<u64>) -> Self {
        Self { stage, done, total }
    }
}

/// What a fetch is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Another process downloads the same file; waiting for it.
    Waiting,
    /// Bytes are coming in.
    Downloading,
}

/// A secret; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token as it goes into the `Authorization` header.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    #[cfg(feature = "download")]
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Settings of [`fetch`](super::fetch). Start from [`from_env`](Self::from_env) and change fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Camshaft's own cache folder; made when first needed. `None` if the system knows no such folder.
    pub cache_dir: Option<PathBuf>,
    /// Folder where `torch.hub` keeps its files; only read.
    pub torch_hub: Option<PathBuf>,
    /// Address of the folder that holds torchvision's files.
    pub torchvision_url: String,
    /// Cache folder of the Hugging Face hub.
    pub hub_cache: Option<PathBuf>,
    /// Address of the Hugging Face hub.
    pub hub_endpoint: String,
    /// Token for private and gated repositories; sent to `hub_endpoint` only.
    pub hub_token: Option<Token>,
    /// Take files from caches only.
    pub offline: bool,
    /// The same for the Hugging Face hub alone.
    pub hub_offline: bool,
    /// Longest wait for a connection, for an answer, and for the next bytes of a download. There is no limit on the whole.
    pub timeout: Duration,
    /// How often a download is attempted in all; at least once.
    pub attempts: u32,
    /// Pause before the second attempt; doubled before each further one.
    pub retry_delay: Duration,
}

impl Options {
    /// Settings from the environment, in brackets what holds without the variable:
    ///
    /// - `CAMSHAFT_CACHE`: own cache folder (`camshaft` in the user's cache folder);
    /// - `CAMSHAFT_TORCHVISION_URL`: a mirror of torchvision's files (`https://download.pytorch.org/models`);
    /// - `CAMSHAFT_OFFLINE`: `1`, `true`, `yes` or `on` for caches only;
    /// - `TORCH_HOME`: `hub/checkpoints` in it is searched (`~/.cache/torch`, in `$XDG_CACHE_HOME` if that is set);
    /// - `HF_HUB_CACHE`: the hub's cache (`$HF_HOME/hub`);
    /// - `HF_HOME`: (`~/.cache/huggingface`, in `$XDG_CACHE_HOME` if that is set);
    /// - `HF_ENDPOINT`: the hub or a mirror (`https://huggingface.co`);
    /// - `HF_TOKEN`: token for the hub (none);
    /// - `HF_HUB_OFFLINE`: as `CAMSHAFT_OFFLINE`, for the hub.
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var_os(name))
    }

    /// As [`from_env`](Self::from_env), with variables from elsewhere. An empty variable counts as unset.
    fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let home = dirs::home_dir();
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let path = |name: &str| {
            let path = PathBuf::from(var(name)?);
            // Not every place that sets variables (a Dockerfile, a unit file) expands this as a shell does.
            Some(match (path.strip_prefix("~"), &home) {
                (Ok(rest), Some(home)) => home.join(rest),
                _ => path,
            })
        };
        let text = |name: &str| var(name)?.into_string().ok();
        let flag = |name: &str| text(name).is_some_and(|v| ["1", "true", "yes", "on"].contains(&v.to_lowercase().as_str()));
        let url = |name: &str, default: &str| text(name).unwrap_or_else(|| default.to_owned());
        // torch and huggingface_hub use this folder on every system, also where dirs::cache_dir() is another.
        let cache = path("XDG_CACHE_HOME").or_else(|| Some(home.as_ref()?.join(".cache")));
        let in_cache = |folder: &str| cache.as_ref().map(|cache| cache.join(folder));
        Self {
            cache_dir: path("CAMSHAFT_CACHE").or_else(|| Some(dirs::cache_dir()?.join("camshaft"))),
            torch_hub: path("TORCH_HOME").or_else(|| in_cache("torch")).map(|torch| torch.join("hub").join("checkpoints")),
            torchvision_url: url("CAMSHAFT_TORCHVISION_URL", "https://download.pytorch.org/models"),
            hub_cache: path("HF_HUB_CACHE").or_else(|| Some(path("HF_HOME").or_else(|| in_cache("huggingface"))?.join("hub"))),
            hub_endpoint: url("HF_ENDPOINT", "https://huggingface.co"),
            hub_token: text("HF_TOKEN").map(|token| Token::new(token.trim())),
            offline: flag("CAMSHAFT_OFFLINE"),
            hub_offline: flag("HF_HUB_OFFLINE"),
            timeout: Duration::from_secs(30),
            attempts: 5,
            retry_delay: Duration::from_millis(500),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(vars: &[(&str, &str)]) -> Options {
        Options::from_vars(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn defaults_are_the_public_addresses() {
        let o = options(&[("HF_ENDPOINT", ""), ("HF_TOKEN", ""), ("HF_HUB_OFFLINE", "0")]);
        assert_eq!(o.torchvision_url, "https://download.pytorch.org/models");
        assert_eq!(o.hub_endpoint, "https://huggingface.co");
        assert!(!o.offline && !o.hub_offline && o.hub_token.is_none());
        assert!(o.torch_hub.unwrap().ends_with(".cache/torch/hub/checkpoints"));
        assert!(o.hub_cache.unwrap().ends_with(".cache/huggingface/hub"));
        assert!(o.cache_dir.unwrap().ends_with("camshaft"));
    }

    #[test]
    fn variables_are_honoured() {
        let o = options(&[
            ("CAMSHAFT_CACHE", "/a"),
            ("CAMSHAFT_TORCHVISION_URL", "http://mirror/x"),
            ("CAMSHAFT_OFFLINE", "Yes"),
            ("TORCH_HOME", "/t"),
            ("HF_HOME", "/h"),
            ("HF_ENDPOINT", "http://hub"),
            ("HF_TOKEN", " s3cret\n"),
            ("HF_HUB_OFFLINE", "ON"),
        ]);
        assert_eq!(o.cache_dir, Some("/a".into()));
        assert_eq!(o.torchvision_url, "http://mirror/x");
        assert_eq!(o.torch_hub, Some("/t/hub/checkpoints".into()));
        assert_eq!(o.hub_cache, Some("/h/hub".into()));
        assert_eq!(o.hub_endpoint, "http://hub");
        assert_eq!(o.hub_token, Some(Token::new("s3cret")));
        assert!(o.offline && o.hub_offline);
        assert!(!format!("{o:?}").contains("s3cret"));
    }

    #[test]
    fn narrower_variables_win() {
        let o = options(&[("XDG_CACHE_HOME", "/x"), ("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]);
        assert_eq!(o.hub_cache, Some("/c".into()));
        assert_eq!(o.torch_hub, Some("/x/torch/hub/checkpoints".into()));
        let o = options(&[("XDG_CACHE_HOME", "/x"), ("TORCH_HOME", "~/t")]);
        assert_eq!(o.hub_cache, Some("/x/huggingface/hub".into()));
        assert_eq!(o.torch_hub, Some(dirs::home_dir().unwrap().join("t/hub/checkpoints")));
    }
}
