//! From the Hugging Face hub into its cache.
//!
//! Written out rather than taken from the `hf-hub` crate: version 1.0 brings 225 packages (an async runtime, a second HTTP client
//! and TLS stack, the Xet protocol), and 0.5 checks no hash and knows neither `HF_HUB_CACHE` nor `HF_HUB_OFFLINE`. One file of one
//! repository needs two requests.

use std::fs::{create_dir_all, remove_file, rename, write};
use std::path::{Path, PathBuf};

use super::download::{Download, Failure, beside, with_retries};
use super::error::SourceError;
use super::http::{Attempt, Client, header, is_busy};
use super::hub::{FILE, HubRepo, Revision, is_commit, is_there, snapshot, unavailable, url};
use super::lock::lock;
use super::options::{Options, Progress};

/// Redirects followed within the hub, as when a repository has moved.
const REDIRECTS: usize = 5;

/// What the hub says about a file.
struct Metadata {
    /// Commit that the revision is at.
    commit: String,
    /// Name of the content: its SHA-256 for a large file.
    etag: String,
    /// Length in bytes.
    len: Option<u64>,
}

pub(super) fn download(
    repo: &HubRepo,
    revision: &Revision,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, SourceError> {
    let no_folder = || SourceError::NoCacheDir { name: format!("hf:{repo}"), variable: "HF_HOME" };
    let cache = options.hub_cache.as_ref().ok_or_else(no_folder)?;
    let file_url = url(repo, revision, options);
    let failed = |failure| match failure {
        Failure::Unreachable(reason) => unavailable(repo, revision, options, reason),
        Failure::Source(e) => e,
    };
    let metadata = metadata(&file_url, options).map_err(failed)?;
    let repo_dir = cache.join(repo.folder());
    let blob = repo_dir.join("blobs").join(&metadata.etag);
    let _lock = lock(&cache.join(".locks").join(repo.folder()).join(format!("{}.lock", metadata.etag)), progress)?;
    // Another process may have put it there while this one waited, or another revision may have the same content.
    if !is_there(&blob)? {
        make_parent(&blob)?;
        let part = beside(&blob, "incomplete"); // as huggingface_hub calls it
        let is_sha256 = metadata.etag.len() == 64 && metadata.etag.bytes().all(|b| b.is_ascii_hexdigit());
        let job = Download {
            url: &file_url,
            token: options.hub_token.as_ref(),
            part: &part,
            len: metadata.len,
            sha256: is_sha256.then_some(&metadata.etag),
            hint: &hint,
        };
        job.run(options, progress).map_err(failed)?;
        rename(&part, &blob).map_err(SourceError::io(&blob, "move the download into place"))?;
    }
    let path = snapshot(&repo_dir, &metadata.commit);
    link(&metadata.etag, &blob, &path)?;
    if !revision.is_commit() {
        let reference = repo_dir.join("refs").join(revision.as_str());
        make_parent(&reference)?;
        write(&reference, &metadata.commit).map_err(SourceError::io(&reference, "write the revision"))?;
    }
    Ok(path)
}

fn make_parent(path: &Path) -> Result<(), SourceError> {
    match path.parent() {
        Some(folder) => create_dir_all(folder).map_err(SourceError::io(folder, "make the folder")),
        None => Ok(()),
    }
}

/// Makes `path` a link to the blob, relative so that the cache can be moved; a hard link where the system or the file system has
/// no symbolic ones. A link that is there already is replaced, as it may lead nowhere.
fn link(etag: &str, blob: &Path, path: &Path) -> Result<(), SourceError> {
    make_parent(path)?;
    let fresh = beside(path, "new");
    let _ = remove_file(&fresh); // left by a process that was killed here
    let target = Path::new("..").join("..").join("blobs").join(etag);
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(target, &fresh);
    #[cfg(windows)]
    let linked = std::os::windows::fs::symlink_file(target, &fresh);
    linked
        .or_else(|_| std::fs::hard_link(blob, &fresh))
        .and_then(|()| rename(&fresh, path))
        .map_err(SourceError::io(path, "link to the download"))
}

/// Asks for the file's headers. The answer that names the commit is the hub's own; it may be a redirect to where the bytes lie,
/// which is not followed here, while redirects within the hub are.
fn metadata(file_url: &str, options: &Options) -> Result<Metadata, Failure> {
    let client = Client::new(file_url, options.hub_token.as_ref(), 0, options)?;
    with_retries(options, || {
        let mut url = file_url.to_owned();
        for _ in 0..=REDIRECTS {
            let response = client.head(&url)?;
            let status = response.status().as_u16();
            match status {
                300..400 => match header(&response, "location").and_then(|to| within(file_url, to)) {
                    Some(to) => url = to,
                    None => return Ok(read_metadata(file_url, &response)?),
                },
                200..300 => return Ok(read_metadata(file_url, &response)?),
                status if is_busy(status) => return Err(Attempt::Busy(status)),
                status => {
                    let code = header(&response, "x-error-code").unwrap_or_default();
                    return Err(SourceError::Status { url: file_url.to_owned(), status, hint: hint(status, code) }.into());
                }
            }
        }
        Err(SourceError::Protocol { url: file_url.to_owned(), problem: "too many redirects".to_owned() }.into())
    })
    .map_err(|failure| match failure {
        Attempt::Fatal(e) => Failure::Source(e),
        Attempt::NoRoute(reason) | Attempt::Broken(reason) => {
            Failure::Unreachable(format!("the server cannot be reached ({reason})"))
        }
        Attempt::Busy(status) => SourceError::Status { url: file_url.to_owned(), status, hint: hint(status, "") }.into(),
    })
}

/// The address that a `Location` header leads to, if it is on the same server as `url`.
fn within(url: &str, location: &str) -> Option<String> {
    let host = url.find("://")? + 3;
    let origin = &url[..url[host..].find('/').map_or(url.len(), |slash| host + slash)];
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(format!("{origin}{location}"));
    }
    location.strip_prefix(origin).is_some_and(|rest| rest.starts_with('/')).then(|| location.to_owned())
}

fn read_metadata(url: &str, response: &ureq::http::Response<ureq::Body>) -> Result<Metadata, SourceError> {
    let bad = |what: &str| SourceError::Protocol {
        url: url.to_owned(),
        problem: format!("this is no Hugging Face hub (HF_ENDPOINT): the answer has no usable {what} header"),
    };
    let commit = header(response, "x-repo-commit").filter(|commit| is_commit(commit)).ok_or_else(|| bad("X-Repo-Commit"))?;
    let etag = header(response, "x-linked-etag").or_else(|| header(response, "etag")).ok_or_else(|| bad("ETag"))?;
    let etag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    // It becomes a file name.
    if !(1..=128).contains(&etag.len()) || !etag.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
        return Err(bad("ETag"));
    }
    let len = match header(response, "x-linked-size") {
        Some(size) => size.parse().ok(),
        // Of a redirect this would be the length of its own text.
        None if response.status().is_success() => header(response, "content-length").and_then(|len| len.parse().ok()),
        None => None,
    };
    Ok(Metadata { commit: commit.to_owned(), etag: etag.to_owned(), len })
}

/// What a refusal of the hub means.
fn hint(status: u16, code: &str) -> String {
    match (status, code) {
        (_, "GatedRepo") => ": access to the repository has to be granted on its page; then set HF_TOKEN".to_owned(),
        (_, "RevisionNotFound") => ": the repository has no such branch, tag or commit".to_owned(),
        (_, "EntryNotFound") => format!(": the repository has no file {FILE}"),
        (401, _) => ": no such repository, or it is private or gated and HF_TOKEN is not set or not valid".to_owned(),
        (403, _) => ": HF_TOKEN does not allow this".to_owned(),
        (404, _) => format!(": no such repository or revision, or it has no file {FILE}"),
        (429, _) => ": too many requests; wait a little".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn redirects_within_the_hub() {
        let url = "https://hub.example/a/b/resolve/main/model.safetensors";
        assert_eq!(within(url, "/c/d").as_deref(), Some("https://hub.example/c/d"));
        assert_eq!(within(url, "https://hub.example/c").as_deref(), Some("https://hub.example/c"));
        for other in ["https://hub.example.evil/c", "https://hub.example@evil/c", "//evil/c", "http://hub.example/c", "c", ""] {
            assert_eq!(within(url, other), None, "{other}");
        }
    }
}
