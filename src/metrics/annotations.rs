//! Files that say where objects are: JSON, CSV, and COCO's boxes.

use std::path::{Path, PathBuf};

use super::Mask;
use super::annotation_forms::Collected;
use crate::cam::PixelBox;

/// What a file says about many pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotations {
    /// The file.
    pub path: PathBuf,
    /// The pictures, in the file's order, each once.
    pub images: Vec<Annotated>,
}

/// One picture's objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotated {
    /// The picture as the file names it.
    pub image: PathBuf,
    /// At least one.
    pub objects: Vec<Object>,
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its class, by name or index.
    pub class: String,
    /// Where in the file it is, for messages.
    pub entry: String,
    /// The box round it, in pixels of the original picture, upright.
    pub bounds: Option<PixelBox>,
    /// Its pixels. One of the two is there.
    pub mask: Option<MaskFile>,
}

/// A picture of which some pixels are an object's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskFile {
    /// The file, in the folder of the annotations unless it has a path of its own.
    pub path: PathBuf,
    /// The value of the object's pixels; without one, all that are not 0.
    pub value: Option<u8>,
}

/// Why annotations cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotationError {
    /// The file, or a mask, cannot be read.
    #[error("{}: cannot read this file: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither of the forms.
    #[error(
        "{}: {problem}, expected a JSON list of images, CSV with a header that begins with `image,class`, or COCO's JSON object \
         (docs/methods.md shows each)", .path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A part of the file.
    #[error("{}: {entry}: {problem}", .path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Which part.
        entry: String,
        /// What is wrong, what was expected.
        problem: String,
    },
    /// A mask that is no picture.
    #[error("{}: cannot read this mask: {problem}; expected a PNG of one channel or a palette, whose values tell objects apart", .path.display())]
    Mask {
        /// The mask.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Annotations {
    /// Reads a file; its content tells the form. Masks are not read yet.
    ///
    /// # Errors
    /// [`AnnotationError`], which names the file and the entry.
    pub fn open(path: &Path) -> Result<Self, AnnotationError> {
        let bytes = std::fs::read(path).map_err(|source| AnnotationError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &bytes)
    }

    /// As [`Annotations::open`], for the content of a file.
    ///
    /// # Errors
    /// As [`Annotations::open`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, AnnotationError> {
        let mut found = Collected::new(path);
        let form = |problem: String| AnnotationError::Form { path: path.to_owned(), problem };
        match bytes.trim_ascii_start().first() {
            Some(b'[') => found.json(serde_json::from_slice(bytes).map_err(|error| form(error.to_string()))?)?,
            Some(b'{') => found.coco(serde_json::from_slice(bytes).map_err(|error| form(error.to_string()))?)?,
            Some(_) => found.csv(bytes)?,
            None => {}
        }
        if found.images.is_empty() {
            return Err(form("it annotates no image".to_owned()));
        }
        Ok(Self { path: path.to_owned(), images: found.images })
    }

    /// The pixels of an object's mask.
    ///
    /// # Errors
    /// If it cannot be read or decoded, has several channels, or no pixel of the object.
    pub fn mask(&self, file: &MaskFile) -> Result<Mask, AnnotationError> {
        let path = self.path.parent().unwrap_or(Path::new("")).join(&file.path);
        let bytes = std::fs::read(&path).map_err(|source| AnnotationError::Read { path: path.clone(), source })?;
        let (w, h, values) =
            super::mask_file::values(&bytes).map_err(|problem| AnnotationError::Mask { path: path.clone(), problem })?;
        let inside: Vec<bool> = values.iter().map(|&value| file.value.map_or(value != 0, |wanted| value == wanted)).collect();
        if inside.contains(&true) {
            return Ok(Mask::new(w, h, inside));
        }
        let mut there = values;
        there.sort_unstable();
        there.dedup();
        let what = file.value.map_or("other than 0".to_owned(), |value| value.to_string());
        Err(AnnotationError::Mask { path, problem: format!("no pixel has the value {what}; there are {there:?}") })
    }
}
