//! Torchvision's ImageNet models.

use std::io;
use std::path::{Path, PathBuf};

use super::error::SourceError;
use super::options::{Options, Progress};
use super::verdict::sha256;

/// Torchvision's models with their `IMAGENET1K_V1` weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Torchvision {
    /// ResNet-18, 47 MB.
    Resnet18,
    /// ResNet-34, 87 MB.
    Resnet34,
    /// ResNet-50, 103 MB.
    Resnet50,
}

impl Torchvision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Resnet18, Self::Resnet34, Self::Resnet50];

    /// The name as the user writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resnet18 => "resnet18",
            Self::Resnet34 => "resnet34",
            Self::Resnet50 => "resnet50",
        }
    }

    /// First eight hexadecimal digits of the file's SHA-256.
    pub fn sha256_prefix(self) -> &'static str {
        match self {
            Self::Resnet18 => "f37072fd",
            Self::Resnet34 => "b627a593",
            Self::Resnet50 => "0676ba61",
        }
    }

    /// Name of the file, which holds the start of its hash.
    pub fn file_name(self) -> String {
        format!("{}-{}.pth", self.name(), self.sha256_prefix())
    }

    /// Address of the file.
    pub fn url(self, options: &Options) -> String {
        format!("{}/{}", options.torchvision_url.trim_end_matches('/'), self.file_name())
    }

    /// Where the file is looked for, in this order.
    pub fn places(self, options: &Options) -> Vec<PathBuf> {
        let folders = [&options.torch_hub, &options.cache_dir];
        folders.into_iter().flatten().map(|folder| folder.join(self.file_name())).collect()
    }
}

pub(super) fn fetch(model: Torchvision, options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, SourceError> {
    for place in model.places(options) {
        if check(model, &place, options)? {
            return Ok(place);
        }
    }
    if options.offline {
        return Err(unavailable(model, options, "offline mode is on"));
    }
    download(model, options, progress)
}

/// Whether the file is at `place`.
///
/// # Errors
/// It is there and cannot be read or has another hash.
fn check(model: Torchvision, place: &Path, options: &Options) -> Result<bool, SourceError> {
    let memory = options.cache_dir.as_ref().map(|folder| folder.join(format!("{}.checked", model.file_name())));
    let mut found = match sha256(place, memory.as_deref()) {
        Ok(hash) => hash,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(false),
        Err(e) => return Err(SourceError::io(place, "read it")(e)),
    };
    let expected = model.sha256_prefix().to_owned();
    found.truncate(expected.len());
    if found == expected { Ok(true) } else { Err(SourceError::WrongFile { path: place.to_owned(), expected, found }) }
}

fn unavailable(model: Torchvision, options: &Options, reason: impl Into<String>) -> SourceError {
    let mut places = model.places(options);
    places.reverse(); // our own folder first
    SourceError::Unavailable { name: model.name().to_owned(), reason: reason.into(), url: model.url(options), places }
}

#[cfg(not(feature = "download"))]
fn download(model: Torchvision, options: &Options, _: &mut dyn FnMut(Progress)) -> Result<PathBuf, SourceError> {
    Err(unavailable(model, options, "this build of camshaft cannot download (feature `download`)"))
}

#[cfg(feature = "download")]
fn download(model: Torchvision, options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, SourceError> {
    use super::download::{Download, Failure, beside};

    let name = model.name();
    let folder = options
        .cache_dir
        .as_ref()
        .ok_or_else(|| SourceError::NoCacheDir { name: name.to_owned(), variable: "CAMSHAFT_CACHE" })?;
    let target = folder.join(model.file_name());
    let _lock = super::lock::lock(&beside(&target, "lock"), progress)?;
    // Another process may have put it there while this one waited.
    if check(model, &target, options)? {
        return Ok(target);
    }
    let url = model.url(options);
    let part = beside(&target, "part");
    let job = Download {
        url: &url,
        token: None,
        part: &part,
        len: None,
        sha256: Some(model.sha256_prefix()),
        hint: &|_, _| String::new(),
    };
    match job.run(options, progress) {
        Ok(()) => {}
        Err(Failure::Unreachable(reason)) => return Err(unavailable(model, options, reason)),
        Err(Failure::Source(e)) => return Err(e),
    }
    std::fs::rename(&part, &target).map_err(SourceError::io(&target, "move the download into place"))?;
    Ok(target)
}
