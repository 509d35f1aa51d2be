//! A run as it goes on: one line for each image that is done, so that a run that was ended can be resumed.
//!
//! The lines are in [`Record::FILE`], beside the results. At the end the manifest is made of them, one by one, and they are
//! removed: memory does not grow with the manifest. While it is open the file is locked, so that two runs do not write into one
//! folder; the lock ends with its process, however that ends.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{self, ImageEntry, Manifest, Outcome, Writer};
use super::{OutputError, atomic, settings, write_atomically};

/// What a run does with what is in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It wants the folder free of runs, finished or not.
    New,
    /// It replaces an earlier one.
    Replace,
    /// It goes on with one, where there is one.
    Resume,
}

/// The record of a run. Made by [`Record::open`].
pub struct Record {
    folder: PathBuf,
    head: Manifest,
    start: Start,
    file: File,
    /// Where the next line goes.
    end: u64,
    /// Images that the manifest will have: place among the run's inputs (`None` for one of an earlier run that is no input of this
    /// one), offset of the line.
    images: Vec<(Option<usize>, u64)>,
    /// Images of an earlier run that no input has claimed yet, by the file's name.
    done: HashMap<String, VecDeque<Done>>,
}

struct Done {
    stem: String,
    offset: u64,
}

/// A line of the file. The first has the settings; then come images that were taken over from a manifest and a line that says
/// that all of them are there; then the run's own.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Settings(Value),
    Image(ImageEntry),
    Begun,
}

impl Record {
    /// The file's name.
    pub const FILE: &'static str = "manifest.json.part";

    /// Whether `folder` is free for a run that starts so. Ask before the work; [`Record::open`] asks again.
    ///
    /// # Errors
    /// For [`Start::New`]: if `folder` holds a manifest or the record of a run that was ended.
    pub fn check(folder: &Path, start: Start) -> Result<(), OutputError> {
        if start == Start::New {
            Manifest::check_free(folder, false)?;
            let path = folder.join(Self::FILE);
            if path.symlink_metadata().is_ok() {
                lock(&path, File::options().read(true).write(true).open(&path))?;
                return Err(OutputError::Unfinished { folder: folder.to_owned() });
            }
        }
        Ok(())
    }

    /// Takes `folder`, which exists, for a run whose settings are in `head`; its images are not looked at.
    ///
    /// # Errors
    /// If another run has the folder, it is not free ([`Record::check`]), an earlier run that is to be resumed had other settings,
    /// or a file cannot be read or written.
    pub fn open(folder: &Path, head: Manifest, start: Start) -> Result<Self, OutputError> {
        Self::check(folder, start)?;
        let path = folder.join(Self::FILE);
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = lock(&path, open)?;
        let (images, done) = Default::default();
        let mut record = Self { folder: folder.to_owned(), head, start, file, end: 0, images, done };
        if start != Start::New {
            atomic::remove_temporaries(folder);
        }
        if start == Start::Resume && record.read_back()? {
            return Ok(record);
        }
        if let Err(error) = record.begin() {
            let _ = fs::remove_file(&path); // what an earlier run left is still in its manifest
            return Err(error);
        }
        Ok(record)
    }

    /// Writes the lines before the run's own.
    fn begin(&mut self) -> Result<(), OutputError> {
        if self.start == Start::Replace {
            Manifest::remove(&self.folder)?;
        }
        self.file.set_len(0).map_err(self.failed())?;
        self.line(&Line::Settings(self.head.fields()))?;
        let manifest = self.folder.join(Manifest::FILE);
        if self.start == Start::Resume && manifest.symlink_metadata().is_ok() {
            self.take_over(&manifest)?;
        }
        self.line(&Line::Begun).map(drop)
    }

    /// Whether the file is an earlier run's record, which it then goes on with. The first line that is not whole, and what may
    /// follow it, is dropped: its image is explained again.
    fn read_back(&mut self) -> Result<bool, OutputError> {
        let mut lines = BufReader::new(&self.file);
        let (mut offset, mut settings, mut begun) = (0, Value::Null, false);
        let mut done: HashMap<String, VecDeque<Done>> = HashMap::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = lines.read_until(b'\n', &mut line).map_err(self.failed())? as u64;
            if line.last() != Some(&b'\n') {
                break;
            }
            match serde_json::from_slice(&line) {
                Ok(Line::Settings(before)) if offset == 0 => settings = before,
                Ok(Line::Begun) if offset > 0 => begun = true,
                Ok(Line::Image(image)) if offset > 0 => remember(&mut done, image, offset),
                _ => break,
            }
            offset += length;
        }
        if !begun {
            return Ok(false); // ended before it had begun: what it took over is still in the manifest
        }
        settings::check(&self.folder, &settings, &self.head.fields())?;
        (self.done, self.end) = (done, offset);
        self.file.set_len(offset).map_err(self.failed())?;
        Ok(true)
    }

    /// Takes what is done from an earlier run's manifest.
    fn take_over(&mut self, path: &Path) -> Result<(), OutputError> {
        let head = manifest::read(path, |_| Ok(()))?;
        settings::check(&self.folder, &head, &self.head.fields())?;
        manifest::read(path, |image| {
            if matches!(image.outcome, Outcome::Ok { .. }) {
                let offset = self.line(&Line::Image(image.clone()))?;
                remember(&mut self.done, image, offset);
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Whether input `place`, of that name, was done by an earlier run, which it then counts as; the first part of its files' names.
    pub fn claim(&mut self, place: usize, file: &str) -> Option<String> {
        let Done { stem, offset } = self.done.get_mut(file)?.pop_front()?;
        self.images.push((Some(place), offset));
        Some(stem)
    }

    /// First parts of names that belong to images of an earlier run that no input has claimed.
    pub fn unclaimed(&self) -> impl Iterator<Item = &str> {
        self.done.values().flatten().map(|done| done.stem.as_str())
    }

    /// Adds an image, which was input `place`.
    ///
    /// # Errors
    /// If a number is not finite, or the line cannot be written.
    pub fn add(&mut self, place: usize, image: &ImageEntry) -> Result<(), OutputError> {
        image.check()?;
        let offset = self.line(&Line::Image(image.clone()))?;
        self.images.push((Some(place), offset));
        Ok(())
    }

    /// Writes the manifest, in the order of the inputs, and removes the record. `complete`: whether no input is missing. Returns
    /// the manifest's path.
    ///
    /// # Errors
    /// If it cannot be written; the record is then kept. For [`Start::New`] also if there is a manifest by now.
    pub fn finish(mut self, complete: bool) -> Result<PathBuf, OutputError> {
        self.head.complete = complete;
        let unclaimed = self.done.values().flatten().map(|done| (None, done.offset));
        self.images.extend(unclaimed);
        self.images.sort_unstable();
        let path = self.folder.join(Manifest::FILE);
        let mut lines = Lines { file: BufReader::new(&self.file), line: Vec::new() };
        write_atomically(&path, self.start != Start::New, |w| {
            let mut writer = Writer::new(self.head.fields(), w)?;
            self.images.iter().try_for_each(|&(_, offset)| writer.image(&lines.image(offset)?))?;
            writer.end()
        })?;
        fs::remove_file(self.folder.join(Self::FILE)).map_err(self.failed())?;
        Ok(path)
    }

    /// Writes a line and returns where.
    fn line(&mut self, line: &Line) -> Result<u64, OutputError> {
        let mut text = serde_json::to_vec(line).map_err(|error| self.failed()(error.into()))?;
        text.push(b'\n');
        let offset = self.end;
        let written = self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.write_all(&text));
        written.map_err(self.failed())?;
        self.end += text.len() as u64;
        Ok(offset)
    }

    fn failed(&self) -> impl FnOnce(io::Error) -> OutputError + use<> {
        let path = self.folder.join(Self::FILE);
        |source| OutputError::Write { path, source }
    }
}

/// Keeps of an image what is needed to find it again.
fn remember(done: &mut HashMap<String, VecDeque<Done>>, image: ImageEntry, offset: u64) {
    // What failed is tried again.
    if let Some(stem) = image.stem() {
        done.entry(image.file).or_default().push_back(Done { stem, offset });
    }
}

/// Images of the record, read where they are wanted.
struct Lines<'a> {
    file: BufReader<&'a File>,
    line: Vec<u8>,
}

impl Lines<'_> {
    fn image(&mut self, offset: u64) -> io::Result<ImageEntry> {
        let here = self.file.stream_position()?;
        self.file.seek_relative(offset as i64 - here as i64)?; // keeps the buffer where it can
        self.line.clear();
        self.file.by_ref().read_until(b'\n', &mut self.line)?;
        match serde_json::from_slice(&self.line)? {
            Line::Image(image) => Ok(image),
            Line::Settings(_) | Line::Begun => Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// Locks the record that was opened at `path`.
fn lock(path: &Path, opened: io::Result<File>) -> Result<File, OutputError> {
    let failed = |source| OutputError::Write { path: path.to_owned(), source };
    let busy = || OutputError::Busy { folder: path.parent().unwrap_or(path).to_owned() };
    let file = opened.map_err(failed)?;
    match file.try_lock() {
        // Some network file systems have no locks; files are still not written over each other.
        Err(TryLockError::Error(source)) if source.kind() == ErrorKind::Unsupported => {}
        Err(TryLockError::Error(source)) => return Err(failed(source)),
        Err(TryLockError::WouldBlock) => return Err(busy()),
        Ok(()) => {}
    }
    // Between opening and locking, the run that had the lock may have ended and removed the file.
    if is_at(&file, path).map_err(failed)? { Ok(file) } else { Err(busy()) }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match path.metadata() {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}
