//! Files, folders and patterns on the command line, as a list of images.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Endings that a folder is searched for. A file named outright may end in anything: its content decides.
const ENDINGS: [&str; 10] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif"];

/// One input: an image to open, or why there is none.
pub type Found = Result<PathBuf, String>;

/// Expands arguments in their order; what a folder or a pattern holds is sorted, so that runs are repeatable.
pub fn expand(arguments: &[PathBuf]) -> Vec<Found> {
    arguments.iter().flat_map(|argument| expand_one(argument)).collect()
}

fn expand_one(argument: &Path) -> Vec<Found> {
    if argument.is_dir() {
        return folder(argument);
    }
    match argument.to_str().filter(|text| !argument.exists() && text.contains(['*', '?', '['])) {
        Some(pattern) => matching(pattern),
        None => vec![Ok(argument.to_owned())],
    }
}

fn folder(folder: &Path) -> Vec<Found> {
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    let is_image = |path: &Path| {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
    };
    let mut found = Vec::new();
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name())) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_image(entry.path()) => found.push(Ok(entry.into_path())),
            Ok(_) => {}
            Err(error) => found.push(Err(format!("{}: {error}", folder.display()))),
        }
    }
    if found.is_empty() {
        found.push(Err(format!("{}: no images in this folder (looked for {})", folder.display(), ENDINGS.join(", "))));
    }
    found
}

fn matching(pattern: &str) -> Vec<Found> {
    let paths = match glob::glob(pattern) {
        Ok(paths) => paths,
        Err(error) => return vec![Err(format!("{pattern}: {error}"))],
    };
    let mut found = Vec::new();
    for path in paths {
        match path {
            Ok(path) if path.is_dir() => found.extend(folder(&path)),
            Ok(path) => found.push(Ok(path)),
            Err(error) => found.push(Err(error.to_string())),
        }
    }
    if found.is_empty() {
        found.push(Err(format!("{pattern}: no file matches this pattern")));
    }
    found
}
