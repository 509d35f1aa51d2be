//! An open weight file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::bytes::Bytes;
use super::entry::Entry;
use super::error::WeightsError;
use super::sniff::{Format, sniff};
use super::tensor::TensorView;
use super::{pth, safetensors};

/// How to open a weight file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Map the file into memory (the default) instead of reading it whole. See [`WeightFile::open`] for what that means.
    pub mmap: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { mmap: true }
    }
}

/// A weight file and its directory of tensors, all of it checked: every offset, shape and stride lies inside the file.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    format: Format,
    bytes: Bytes,
    tensors: Tensors,
    metadata: Metadata,
}

/// A file's tensors by name.
pub(super) type Tensors = BTreeMap<String, Entry>;
/// A file's notes on itself.
pub(super) type Metadata = BTreeMap<String, String>;

impl WeightFile {
    /// Maps the file at `path` and reads its directory.
    ///
    /// The values stay in the page cache until they are used, and several processes share them. The price: the file must not
    /// change while it is open. If another program overwrites it in place, values read later may be new or half new; if it is
    /// truncated, reading the lost part ends this process (SIGBUS on Unix). Replacing a file by renaming a new one over it, as
    /// most programs do, is harmless. Where that cannot be ruled out, [`open_with`](Self::open_with) `mmap: false` reads the
    /// file once and is then independent of it.
    ///
    /// # Errors
    /// Each defect of a file is a [`WeightsError`] of its own.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        Self::open_with(path, OpenOptions::default())
    }

    /// [`open`](Self::open), mapped or read as `options` say.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        Self::new(path.to_owned(), Bytes::open(path, options.mmap)?)
    }

    /// Weights that are part of the program. `name` stands in for a path in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self, WeightsError> {
        Self::new(name.into(), Bytes::Held(Cow::Borrowed(bytes)))
    }

    /// Weights that are in memory already. `name` stands in for a path in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, WeightsError> {
        Self::new(name.into(), Bytes::Held(Cow::Owned(bytes)))
    }

    fn new(path: PathBuf, bytes: Bytes) -> Result<Self, WeightsError> {
        let slice = bytes.as_slice();
        let format = sniff(&path, slice)?;
        let (tensors, metadata) = match format {
            Format::Safetensors => safetensors::read(&path, slice)?,
            Format::PthZip => (pth::read_zip(&path, slice)?, Metadata::new()),
            Format::PthLegacy => (pth::read_legacy(&path, slice)?, Metadata::new()),
        };
        Ok(Self { path, format, bytes, tensors: without_module_prefix(tensors), metadata })
    }

    /// The path it was opened by, or the name it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What kind of file it is, by content.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Names of all tensors, in alphabetical order, without a `module.` prefix that all of them share.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let (name, entry) = self.tensors.get_key_value(name)?;
        Some(TensorView::new(&self.path, name, entry, self.bytes.as_slice()))
    }

    /// Says that a tensor will not be read soon: where the file is mapped, its pages leave this process's memory and come back
    /// from the page cache when they are read.
    pub fn release(&self, name: &str) {
        if let (Some(entry), Bytes::Mapped(map)) = (self.tensors.get(name), &self.bytes) {
            super::map::release(map, entry.bytes.clone());
        }
    }

    /// A hash of the file's content, such as `xxh3-128:0123...`, by which a later run knows whether it has the same weights. Not
    /// cryptographic; reads the whole file, as fast as memory gives it, and keeps none of a mapped one in this process's memory.
    pub fn fingerprint(&self) -> String {
        const PART: usize = 4 << 20;
        let mut hash = Xxh3::new();
        for (index, part) in self.bytes.as_slice().chunks(PART).enumerate() {
            hash.update(part);
            if let Bytes::Mapped(map) = &self.bytes {
                super::map::release(map, index * PART..index * PART + part.len());
            }
        }
        format!("xxh3-128:{:032x}", hash.digest128())
    }

    /// The file's notes on itself (`__metadata__` of safetensors); a `.pth` file has none.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

/// `DataParallel` puts `module.` before every name. One tensor without it means that the name is the model's own.
fn without_module_prefix(tensors: Tensors) -> Tensors {
    const PREFIX: &str = "module.";
    if !tensors.keys().all(|name| name.starts_with(PREFIX)) {
        return tensors;
    }
    tensors.into_iter().map(|(name, entry)| (name[PREFIX.len()..].to_owned(), entry)).collect()
}
