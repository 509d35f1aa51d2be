//! Files, folders, patterns and lists on the command line, as a list of images.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use camshaft::pipeline::Shard;
use clap::Args;
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

/// Which images a run is to see.
#[derive(Args)]
pub struct Inputs {
    /// Images, folders or patterns; without any, a bundled picture
    pub inputs: Vec<PathBuf>,
    /// File with further inputs, one a line (or each ended by a zero byte, as `find -print0` does); - for stdin
    #[arg(long, value_name = "FILE", help_heading = "Inputs")]
    pub from: Option<PathBuf>,
    /// See only part I of N of the inputs; a file's path decides, so that each of N machines takes another part
    #[arg(long, value_name = "I/N", help_heading = "Inputs")]
    pub shard: Option<Shard>,
}

impl Inputs {
    /// Whether nothing was given, and a bundled picture stands in.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.from.is_none()
    }

    /// Expands arguments in their order, then the list; what a folder or a pattern holds is sorted, so that runs are repeatable.
    /// The search of a folder passes over hidden files and over the folder `results`, whose pictures are not to be explained in
    /// turn.
    ///
    /// A file's part is decided by its path below the folder, or below that of the pattern's first wild name; of a file that was
    /// named, by the path as it was given.
    pub fn expand(&self, results: Option<&Path>) -> anyhow::Result<Vec<Found>> {
        let results = results.and_then(|folder| folder.canonicalize().ok());
        let mut all = Vec::new();
        let mut add = |below: &Path, found: Vec<Found>| {
            all.extend(found.into_iter().filter(|found| {
                let path = found.as_ref().map_or_else(|missing| Path::new(&missing.name), PathBuf::as_path);
                let key = path.strip_prefix(below).ok().filter(|key| !key.as_os_str().is_empty()).unwrap_or(path);
                self.shard.is_none_or(|shard| shard.holds(key))
            }));
        };
        for argument in &self.inputs {
            if argument.is_dir() {
                add(argument, folder(argument, results.as_deref()));
                continue;
            }
            match argument.to_str().filter(|text| !argument.exists() && text.contains(WILD)) {
                Some(pattern) => add(&tame(argument), matching(pattern, results.as_deref())),
                None => add(Path::new(""), vec![Ok(argument.clone())]),
            }
        }
        if let Some(list) = &self.from {
            let listed = read_list(list)?;
            if listed.is_empty() {
                add(Path::new(""), vec![Err(Missing::new(list, "this list names no file"))]);
            }
            for path in listed {
                if path.is_dir() {
                    add(&path, folder(&path, results.as_deref()));
                } else {
                    add(Path::new(""), vec![Ok(path)]);
                }
            }
        }
        Ok(all)
    }
}

/// Characters that make a name a pattern.
const WILD: [char; 3] = ['*', '?', '['];

/// The folder that a pattern searches: what comes before its first wild name.
fn tame(pattern: &Path) -> PathBuf {
    pattern.components().take_while(|name| !name.as_os_str().to_string_lossy().contains(WILD)).collect()
}

/// The paths in a list: lines, or what zero bytes end if there is one.
fn read_list(list: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut bytes = Vec::new();
    let read = match list.to_str() {
        Some("-") => std::io::stdin().lock().read_to_end(&mut bytes),
        _ => File::open(list).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("{}: cannot read this list", list.display())).map_err(flat)?;
    let end = if bytes.contains(&0) { 0 } else { b'\n' };
    let names =
        bytes.split(|&byte| byte == end).map(|name| if end == 0 { name } else { name.strip_suffix(b"\r").unwrap_or(name) });
    let (paths, bad): (Vec<_>, Vec<_>) = names.filter(|name| !name.is_empty()).map(path).partition(Option::is_some);
    anyhow::ensure!(bad.is_empty(), "{}: {} names in this list are not UTF-8", list.display(), bad.len());
    Ok(paths.into_iter().flatten().collect())
}

/// An error and its cause in one line.
fn flat(error: anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

#[cfg(unix)]
fn path(name: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Some(OsStr::from_bytes(name).into())
}

#[cfg(not(unix))]
fn path(name: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(name).ok().map(PathBuf::from)
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
