//! Files, folders and patterns on the command line, as a list of images.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Endings that a folder is searched for. A file named outright may end in anything: its content decides.
const ENDINGS: [&str; 10] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif"];

/// One input: an image to open, or why there is none.
pub type Found = Result<PathBuf, Missing>;

/// Something on the command line, or below it, that gives no image.
pub struct Missing {
    /// The file, folder or pattern.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Missing {
    fn new(name: &Path, reason: impl Into<String>) -> Self {
        Self { name: name.display().to_string(), reason: reason.into() }
    }
}

/// Expands arguments in their order; what a folder or a pattern holds is sorted, so that runs are repeatable. The search of a
/// folder passes over hidden files and over the folder `results`, whose pictures are not to be explained in turn.
pub fn expand(arguments: &[PathBuf], results: Option<&Path>) -> Vec<Found> {
    let results = results.and_then(|folder| folder.canonicalize().ok());
    arguments.iter().flat_map(|argument| expand_one(argument, results.as_deref())).collect()
}

fn expand_one(argument: &Path, results: Option<&Path>) -> Vec<Found> {
    if argument.is_dir() {
        return folder(argument, results);
    }
    match argument.to_str().filter(|text| !argument.exists() && text.contains(['*', '?', '['])) {
        Some(pattern) => matching(pattern, results),
        None => vec![Ok(argument.to_owned())],
    }
}

fn folder(folder: &Path, results: Option<&Path>) -> Vec<Found> {
    let hidden = |name: &OsStr| name.to_string_lossy().starts_with('.');
    let is_results = |path: &Path| results.is_some() && path.canonicalize().ok().as_deref() == results;
    let is_image = |path: &Path| {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
    };
    let mut found = Vec::new();
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
    let walk = walk.filter_entry(|entry| {
        let left_out = hidden(entry.file_name()) || entry.file_type().is_dir() && is_results(entry.path());
        entry.depth() == 0 || !left_out
    });
    for entry in walk {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_image(entry.path()) => found.push(Ok(entry.into_path())),
            Ok(_) => {}
            Err(error) => {
                let reason = error.io_error().map_or_else(|| error.to_string(), |error| format!("cannot read it: {error}"));
                found.push(Err(Missing::new(error.path().unwrap_or(folder), reason)));
            }
        }
    }
    if found.is_empty() {
        found.push(Err(Missing::new(folder, format!("no images in this folder (looked for {})", ENDINGS.join(", ")))));
    }
    found
}

fn matching(pattern: &str, results: Option<&Path>) -> Vec<Found> {
    let whole = Path::new(pattern);
    let paths = match glob::glob(pattern) {
        Ok(paths) => paths,
        Err(error) => return vec![Err(Missing::new(whole, error.to_string()))],
    };
    let mut found = Vec::new();
    for path in paths {
        match path {
            Ok(path) if path.is_dir() => found.extend(folder(&path, results)),
            Ok(path) => found.push(Ok(path)),
            Err(error) => found.push(Err(Missing::new(error.path(), format!("cannot read it: {}", error.error())))),
        }
    }
    if found.is_empty() {
        found.push(Err(Missing::new(whole, "no file matches this pattern")));
    }
    found
}
