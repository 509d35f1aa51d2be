//! The list itself.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::LabelError;
use super::{find, parse};

/// Largest label file read, in bytes. ImageNet-21k's names with their synonyms take less than 2 MB.
const MAX_BYTES: u64 = 16 << 20;

const IMAGENET: &str = include_str!("../../assets/labels/imagenet1k.txt");

/// Names by which two ImageNet classes are also known, though the bundled list tells them apart: ImageNet itself, and so
/// `imagenet_class_index.json`, calls 134 and 517 both `crane` and 638 and 639 both `maillot`. Someone who asks for one of
/// these must be told that there are two.
const IMAGENET_ALIASES: [(usize, &str); 2] = [(134, "crane"), (639, "maillot")];

/// The names of a model's classes, in class order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    names: Vec<String>,
    aliases: Vec<(usize, String)>,
    origin: String,
}

impl Labels {
    /// The 1000 names of ImageNet-1k, in the order of torchvision's models.
    pub fn imagenet() -> Self {
        Self {
            names: IMAGENET.lines().map(str::to_owned).collect(),
            aliases: IMAGENET_ALIASES.iter().map(|&(index, name)| (index, name.to_owned())).collect(),
            origin: "the bundled ImageNet names".to_owned(),
        }
    }

    /// `class 0`, `class 1`, ... for a model whose names are not known.
    pub fn numbered(classes: usize) -> Self {
        Self::new((0..classes).map(|i| format!("class {i}")).collect(), "the numbered names")
    }

    /// Names that come with a model. `origin` says where from, for messages.
    pub fn new(names: Vec<String>, origin: impl Into<String>) -> Self {
        Self { names, aliases: Vec::new(), origin: origin.into() }
    }

    /// Reads a label file. Its form is seen from its content:
    ///
    /// - one name a line (blank lines at the end are ignored);
    /// - a JSON list of names, `["tench", "goldfish"]`;
    /// - a JSON object from index to name, `{"0": "tench"}`, or to WordNet id and name as in `imagenet_class_index.json`,
    ///   `{"0": ["n01440764", "tench"]}`.
    ///
    /// A byte order mark and CRLF line ends are accepted.
    ///
    /// # Errors
    /// The file cannot be read, is larger than 16 MiB, is not UTF-8, holds no names, has a blank line between names, a control
    /// character in a name, JSON of another form, or an index that is missing or there twice.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LabelError> {
        let path = path.as_ref();
        let io = |source| LabelError::Io { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        // The limit also holds for a pipe or a device, whose length is not known beforehand.
        File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(LabelError::TooLarge { path: path.to_owned(), bytes: bytes.len() as u64, limit: MAX_BYTES });
        }
        Self::parse(&bytes, path)
    }

    /// As [`open`](Self::open), for content that is already in memory; `path` is only named in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, LabelError> {
        Ok(Self::new(parse::parse(bytes, path)?, path.display().to_string()))
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name of class `index`, if there is such a class.
    pub fn get(&self, index: usize) -> Option<&str> {
        self.names.get(index).map(String::as_str)
    }

    /// All names in class order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Where the names come from, for messages: the path of a label file, or words.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Checks that there is a name for each of a model's `classes`.
    ///
    /// # Errors
    /// [`LabelError::Count`] if the numbers differ.
    pub fn check_len(&self, classes: usize) -> Result<(), LabelError> {
        if self.len() == classes {
            return Ok(());
        }
        Err(LabelError::Count { labels: self.origin.clone(), found: self.len(), expected: classes })
    }

    /// The class that `query` means: an index (`281`) or a whole name (`tabby`). Case does not matter and `_` stands for a
    /// space. Digits always mean an index. If one name is spelt exactly so it is taken, even if others differ from it only in
    /// case: in ImageNet, `Cardigan` is the dog and `cardigan` the garment.
    ///
    /// # Errors
    /// [`LabelError::Ambiguous`] with the candidates (`crane` is a bird and a machine), [`LabelError::Unknown`] with the nearest
    /// names, [`LabelError::OutOfRange`] for an index beyond the last class.
    pub fn find(&self, query: &str) -> Result<usize, LabelError> {
        find::find(&self.names, &self.aliases, query)
    }

    /// The classes whose name contains `part`, in class order; case does not matter and `_` stands for a space. An empty
    /// `part` gives all classes.
    pub fn search(&self, part: &str) -> Vec<(usize, &str)> {
        let part = find::fold(part);
        self.iter().enumerate().filter(|(_, name)| find::fold(name).contains(&part)).collect()
    }
}
