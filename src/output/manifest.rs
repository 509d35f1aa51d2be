//! The record of a run.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{OutputError, check_free, write_atomically};
use crate::cam::{Library, MapStats, Method, Normalisation, Score};
use crate::input::{CropTransform, Recipe};
use crate::render::{Style, View};

/// Everything needed to understand a folder of outputs, written as `manifest.json` after all other files: where there is a
/// manifest, the run was finished. Field names and nesting are those of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Manifest {
    /// Version of this layout: 1. It grows when a field changes its meaning or goes away.
    pub schema_version: u32,
    /// The program.
    pub tool: Tool,
    /// The network.
    pub model: Model,
    /// How maps were computed: `cam`, or several methods with commas between them.
    pub method: String,
    /// What of the classes was explained: `logit`, unless something else was asked for.
    pub score: Score,
    /// The library whose maps and pictures were reproduced, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<Library>,
    /// How photographs became the network's input.
    pub recipe: Recipe,
    /// How maps were drawn.
    pub display: Display,
    /// Where the network ran, such as `cpu`.
    pub device: String,
    /// The inputs, in the order given.
    pub images: Vec<ImageEntry>,
}

/// The program that wrote a manifest.
#[derive(Clone, Debug, Serialize)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// The network of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    /// The architecture, such as `resnet18`.
    pub name: String,
    /// Where the weights came from, as given by the user.
    pub source: String,
    /// Number of classes.
    pub classes: usize,
}

/// How maps were drawn.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Display {
    /// Which pixels they were drawn on.
    pub view: View,
    /// Colours, opacity, normalisation.
    #[serde(flatten)]
    pub style: Style,
}

/// One input.
#[derive(Clone, Debug, Serialize)]
pub struct ImageEntry {
    /// The file as the user named it.
    pub file: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of an input; `status` in the JSON says which.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Outcome {
    /// It was explained.
    Ok {
        /// Where the crop lies in the photograph.
        transform: CropTransform,
        /// One entry for each target and method.
        results: Vec<ClassEntry>,
        /// The contact sheet, where it was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        grid: Option<String>,
    },
    /// It failed; the others were finished all the same.
    Error {
        /// What went wrong.
        message: String,
    },
}

/// One map of one image.
#[derive(Clone, Debug, Serialize)]
pub struct ClassEntry {
    /// What is explained: the class's name, or several with signs.
    pub target: String,
    /// How.
    pub method: Method,
    /// The target's value.
    pub value: f64,
    /// How the map was drawn; absent where a library's way was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalisation: Option<Normalisation>,
    /// Index of the class; of several, the one named first, as for the rest.
    pub class: usize,
    /// Its name, where there are labels.
    pub name: Option<String>,
    /// The network's output.
    pub logit: f32,
    /// After softmax over all classes.
    pub probability: f32,
    /// Size of the raw map.
    pub map_size: MapSize,
    /// Statistics of the raw map.
    pub map: MapStats,
    /// The files written for it.
    pub artifacts: Artifacts,
}

/// Rows and columns of a map.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MapSize {
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

/// File names relative to the manifest's folder, with forward slashes; absent where the file was not asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Artifacts {
    /// The photograph under the heat map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<String>,
    /// The heat map alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heatmap: Option<String>,
    /// The raw map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cam: Option<String>,
    /// The raw map up-sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cam_full: Option<String>,
}

impl Manifest {
    /// The file's name.
    pub const FILE: &'static str = "manifest.json";

    /// A manifest of this program and method, without images yet.
    pub fn new(model: Model, recipe: Recipe, view: View, style: Style, device: String) -> Self {
        Self {
            schema_version: 1,
            tool: Tool { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") },
            model,
            method: Method::Cam.to_string(),
            score: Score::Logit,
            compat: None,
            recipe,
            // What was drawn, not what was asked for: the seed view has a style of its own.
            display: Display { view, style: style.in_view(view) },
            device,
            images: Vec::new(),
        }
    }

    /// Whether `folder` is free for a run. Ask before the work: the manifest is what marks a finished run.
    ///
    /// # Errors
    /// If `folder` holds a manifest and `force` is false.
    pub fn check_free(folder: &Path, force: bool) -> Result<(), OutputError> {
        check_free(&folder.join(Self::FILE), force)
    }

    /// Removes an earlier run's manifest from `folder`, if there is one. To be called before the first file of a run that replaces
    /// files: should it be ended half-way, the folder must not look finished.
    ///
    /// # Errors
    /// If there is one and it cannot be removed.
    pub fn remove(folder: &Path) -> Result<(), OutputError> {
        let path = folder.join(Self::FILE);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(OutputError::Write { path, source }),
            _ => Ok(()),
        }
    }

    /// Writes the manifest into `folder`, whole or not at all, and returns its path. To be called last.
    ///
    /// # Errors
    /// If it exists and `force` is false, cannot be written, or a logit or probability is not finite.
    pub fn write(&self, folder: &Path, force: bool) -> Result<PathBuf, OutputError> {
        self.images.iter().try_for_each(ImageEntry::check)?;
        let path = folder.join(Self::FILE);
        write_atomically(&path, force, |w| {
            serde_json::to_writer_pretty(&mut *w, self).map_err(io::Error::from)?;
            w.write_all(b"\n")
        })?;
        Ok(path)
    }
}

impl ImageEntry {
    fn check(&self) -> Result<(), OutputError> {
        let Outcome::Ok { results, .. } = &self.outcome else { return Ok(()) };
        for entry in results {
            for (what, value) in [("logit", entry.logit), ("probability", entry.probability), ("value", entry.value as f32)] {
                if !value.is_finite() {
                    let (file, class) = (self.file.clone(), entry.class);
                    return Err(OutputError::NotFinite { file, what, class, value });
                }
            }
        }
        Ok(())
    }
}
