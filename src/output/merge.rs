//! One manifest for the parts of a run that was spread over machines.

use std::collections::{BTreeSet, HashSet};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::manifest::{self, Artifacts, ImageEntry, Manifest, Outcome, Writer};
use super::{OutputError, check_free, settings, write_atomically};
use crate::pipeline::Shard;

/// What was merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The new manifest.
    pub path: PathBuf,
    /// How many manifests it was made of.
    pub parts: usize,
    /// Images in it.
    pub images: usize,
    /// Images that failed.
    pub failed: usize,
}

/// A manifest that is to be merged.
struct Part {
    path: PathBuf,
    fields: Value,
    shard: Option<Shard>,
}

/// Writes `manifest.json` into the folder `out`: the images of all `parts`, one part after the other, with the files' names
/// relative to `out`. A part is a manifest, a folder with one, or a folder with the folders of shards ([`Shard::folder`]). The
/// results themselves stay where they are.
///
/// # Errors
/// If a part is missing, was interrupted, had other settings or other weights, or has an image that another part has; or if a
/// file cannot be read or written; or the manifest exists and `force` is false.
pub fn merge(parts: &[PathBuf], out: &Path, force: bool) -> Result<Merged, OutputError> {
    let path = out.join(Manifest::FILE);
    check_free(&path, force)?;
    let mut found = Vec::new();
    for part in parts {
        for path in manifests(part)? {
            found.push(Part::open(path)?);
        }
    }
    check(&found)?;
    let (mut images, mut failed, mut files) = (0, 0, HashSet::new());
    for part in &found {
        manifest::read(&part.path, |image| {
            images += 1;
            failed += usize::from(matches!(image.outcome, Outcome::Error { .. }));
            if files.contains(&image.file) {
                return Err(part.refuse(format!("`{}` is in another one, too", image.file)));
            }
            files.insert(image.file);
            Ok(())
        })?;
    }
    drop(files);
    let mut problem = None;
    let written = write_atomically(&path, force, |w| {
        let mut writer = Writer::new(head(&found), w)?;
        for part in &found {
            let from = folder_of(&part.path);
            let way = way(out, from);
            let moved = manifest::read(&part.path, |mut image| {
                rename(&mut image, &way);
                writer.image(&image).map_err(|source| OutputError::Write { path: path.clone(), source })
            });
            match moved {
                Ok(_) => {}
                Err(OutputError::Write { source, .. }) => return Err(source),
                Err(error) => {
                    problem = Some(error);
                    return Err(std::io::ErrorKind::Other.into());
                }
            }
        }
        writer.end()
    });
    match (written, problem) {
        (_, Some(error)) => Err(error),
        (written, None) => written.map(|()| Merged { path, parts: found.len(), images, failed }),
    }
}

impl Part {
    fn open(path: PathBuf) -> Result<Self, OutputError> {
        let mut fields = manifest::read(&path, |_| Ok(()))?;
        let damaged = |problem: &str| OutputError::Damaged { path: path.clone(), problem: problem.to_owned() };
        if fields["schema_version"] != Manifest::SCHEMA_VERSION {
            let (found, known) = (&fields["schema_version"], Manifest::SCHEMA_VERSION);
            return Err(damaged(&format!("its schema_version is {found}, expected {known}")));
        }
        let shard = fields.as_object_mut().and_then(|fields| fields.shift_remove("shard"));
        let shard = shard.map(serde_json::from_value).transpose().map_err(|error| damaged(&format!("`shard`: {error}")))?;
        let part = Self { path, fields, shard };
        if part.fields["complete"] != true {
            return Err(part.refuse("its run was interrupted; go on with that run by --resume first"));
        }
        Ok(part)
    }

    fn refuse(&self, problem: impl Into<String>) -> OutputError {
        OutputError::Merge { path: self.path.clone(), problem: problem.into() }
    }
}

/// Whether the parts are those of one run, all of them.
fn check(parts: &[Part]) -> Result<(), OutputError> {
    let Some((first, others)) = parts.split_first() else { return Ok(()) };
    let mut shards = BTreeSet::from_iter(first.shard);
    for part in others {
        if let Some((setting, there, here)) = settings::difference("", &first.fields, &part.fields) {
            let of_first = first.path.display();
            return Err(part.refuse(format!("its `{setting}` is {here}, but {there} in {of_first}")));
        }
        if part.shard.map(Shard::count) != first.shard.map(Shard::count) {
            let name = |shard: Option<Shard>| shard.map_or("no part of a run".to_owned(), |shard| format!("part {shard}"));
            let of_first = first.path.display();
            return Err(part.refuse(format!("it is {}, but {of_first} is {}", name(part.shard), name(first.shard))));
        }
        if part.shard.is_some_and(|shard| !shards.insert(shard)) {
            return Err(part.refuse("this part is there twice"));
        }
    }
    let missing = |count: u32| (1..=count).find(|index| shards.iter().all(|shard| shard.index() != *index));
    match first.shard.map(Shard::count) {
        Some(count) if shards.len() < count as usize => {
            let index = missing(count).unwrap_or_default();
            Err(first.refuse(format!("it is one of {count} parts, and part {index}/{count} is not there; run that first")))
        }
        _ => Ok(()),
    }
}

/// The fields that all parts share; the devices are listed.
fn head(parts: &[Part]) -> Value {
    let mut head = parts.first().map(|part| part.fields.clone()).unwrap_or_default();
    let devices: BTreeSet<&str> = parts.iter().filter_map(|part| part.fields["device"].as_str()).collect();
    head["device"] = Vec::from_iter(devices).join(", ").into();
    head
}

/// The manifests that an argument means.
fn manifests(part: &Path) -> Result<Vec<PathBuf>, OutputError> {
    let read = |source| OutputError::Read { path: part.to_owned(), source };
    if !part.metadata().map_err(read)?.is_dir() {
        return Ok(vec![part.to_owned()]);
    }
    let mut shards = Vec::new();
    for entry in part.read_dir().map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        shards.extend(name.to_str().and_then(Shard::of_folder).map(|shard| (shard, part.join(&name).join(Manifest::FILE))));
    }
    if shards.is_empty() {
        return Ok(vec![part.join(Manifest::FILE)]);
    }
    shards.sort();
    let unfinished = |(_, path): &&(Shard, PathBuf)| !path.exists();
    match shards.iter().find(unfinished) {
        Some((_, path)) => {
            let problem = "its run has not ended; wait for it, or go on with it by --resume".to_owned();
            Err(OutputError::Merge { path: folder_of(path).to_owned(), problem })
        }
        None => Ok(shards.into_iter().map(|(_, path)| path).collect()),
    }
}

fn folder_of(manifest: &Path) -> &Path {
    match manifest.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// How to get from folder `out` to folder `to`, with a slash behind it; the whole path where no relative one is known.
fn way(out: &Path, to: &Path) -> String {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (out, to) = (whole(out), whole(to));
    let shared = out.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = out.components().skip(shared).map(|_| "..".to_owned());
    let down = to.components().skip(shared);
    if shared == 0 || down.clone().any(|part| matches!(part, Component::Prefix(_) | Component::RootDir)) {
        return format!("{}/", to.display());
    }
    let down = down.map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).map(|part| part + "/").collect()
}

fn rename(image: &mut ImageEntry, way: &str) {
    let Outcome::Ok { results, grid, .. } = &mut image.outcome else { return };
    grid.iter_mut().for_each(|file| file.insert_str(0, way));
    for class in results {
        let Artifacts { overlay, heatmap, cam, cam_full } = &mut class.artifacts;
        for file in [overlay, heatmap, cam, cam_full].into_iter().flatten() {
            file.insert_str(0, way);
        }
    }
}
