//! The record of a run.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Artifact, OutputError, OutputNames, check_free, write_atomically};
use crate::cam::{BoxRule, FoundBox, Library, MapStats, Masking, Method, Normalisation, Score, Target, Term};
use crate::input::{CropTransform, Recipe};
use crate::pipeline::Shard;
use crate::render::{Style, View};

/// Everything needed to understand a folder of outputs, written as `manifest.json` after all other files: whatever it names is
/// whole. Field names and nesting are those of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Manifest {
    /// Version of this layout: 1. It grows when a field changes its meaning or goes away.
    pub schema_version: u32,
    /// The program.
    pub tool: Tool,
    /// The network.
    pub model: Model,
    /// What was asked of each image.
    pub request: Asked,
    /// How maps were computed: `cam`, or several methods with commas between them.
    pub method: String,
    /// What of the classes was explained: `logit`, unless something else was asked for.
    pub score: Score,
    /// The library whose maps and pictures were reproduced, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<Library>,
    /// Whether maps are means over an image and its variants.
    pub aug_smooth: bool,
    /// Whether maps are principal components of what their methods add up.
    pub eigen_smooth: bool,
    /// How images were masked, where a method asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masking: Option<Masking>,
    /// Whether each image has a contact sheet.
    pub grid: bool,
    /// How maps became boxes, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boxes: Option<Boxes>,
    /// How photographs became the network's input.
    pub recipe: Recipe,
    /// How maps were drawn.
    pub display: Display,
    /// Where the network ran, such as `cpu`.
    pub device: String,
    /// The part of the inputs that this run was to see, if it was one of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// Whether the run saw all its inputs; one that was interrupted did not.
    pub complete: bool,
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
    /// Hash of the weight file's content, see [`crate::weights::WeightFile::fingerprint`].
    pub weights: String,
}

/// What was asked of each image.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// Which classes.
    #[serde(flatten)]
    pub classes: AskedClasses,
    /// Which files.
    pub save: Vec<Artifact>,
}

/// Which classes were asked for; `top` or `classes` in the JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AskedClasses {
    /// The most probable ones, so many.
    Top(usize),
    /// These, in this order.
    Classes(Vec<AskedClass>),
}

/// A class by its index, or several with their factors (`tabby - beagle`).
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum AskedClass {
    /// One.
    One(usize),
    /// Each with what its score is multiplied by.
    Several(Vec<(usize, f64)>),
}

impl From<&Target> for AskedClass {
    fn from(target: &Target) -> Self {
        match target.terms() {
            [Term { class, factor: 1.0 }] => Self::One(*class),
            terms => Self::Several(terms.iter().map(|term| (term.class, term.factor)).collect()),
        }
    }
}

/// How maps became boxes.
#[derive(Clone, Debug, Serialize)]
pub struct Boxes {
    /// Regions and thresholds.
    #[serde(flatten)]
    pub rule: BoxRule,
    /// Whether they were drawn on the overlays.
    pub drawn: bool,
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageEntry {
    /// The file as the user named it.
    pub file: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of an input; `status` in the JSON says which.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Outcome {
    /// It was explained.
    Ok {
        /// Where the crop lies in the photograph.
        transform: CropTransform,
        /// One entry for each target and method.
        results: Vec<ClassEntry>,
        /// Images that the network saw for it: 1, unless methods mask the image or maps are averaged.
        #[serde(default = "one")]
        forwards: usize,
        /// The contact sheet, where it was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grid: Option<String>,
    },
    /// It failed; the others were finished all the same.
    Error {
        /// What went wrong.
        message: String,
    },
}

fn one() -> usize {
    1
}

/// One map of one image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClassEntry {
    /// What is explained: the class's name, or several with signs.
    pub target: String,
    /// How.
    pub method: Method,
    /// The target's value.
    pub value: f64,
    /// How the map was drawn; absent where a library's way was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// Boxes round what the map marks, where they were asked for; perhaps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boxes: Option<Vec<FoundBox>>,
    /// The files written for it.
    pub artifacts: Artifacts,
}

/// Rows and columns of a map.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct MapSize {
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

/// File names relative to the manifest's folder, with forward slashes; absent where the file was not asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// The layout's version.
    pub const SCHEMA_VERSION: u32 = 1;

    /// A manifest of this program and method, without images yet.
    pub fn new(model: Model, request: Asked, recipe: Recipe, view: View, style: Style, device: String) -> Self {
        Self {
            schema_version: Self::SCHEMA_VERSION,
            tool: Tool { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") },
            model,
            request,
            method: Method::Cam.to_string(),
            score: Score::Logit,
            compat: None,
            aug_smooth: false,
            eigen_smooth: false,
            masking: None,
            grid: false,
            boxes: None,
            recipe,
            // What was drawn, not what was asked for: the seed view has a style of its own.
            display: Display { view, style: style.in_view(view) },
            device,
            shard: None,
            complete: true,
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
            let mut writer = Writer::new(self.fields(), w)?;
            self.images.iter().try_for_each(|image| writer.image(image))?;
            writer.end()
        })?;
        Ok(path)
    }

    /// The fields as JSON, without images.
    pub(super) fn fields(&self) -> Value {
        let head = Self { images: Vec::new(), ..self.clone() };
        // By way of text, where an f32 has its own digits and not those of the f64 nearest to it.
        let text = serde_json::to_vec(&head).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

/// Name of the one field that may be long.
const IMAGES: &str = "images";

/// Writes a manifest image by image, as serde_json lays it out.
pub(super) struct Writer<'w> {
    w: &'w mut dyn io::Write,
    images: usize,
}

impl<'w> Writer<'w> {
    /// Begins a manifest with these fields.
    pub(super) fn new(mut fields: Value, w: &'w mut dyn io::Write) -> io::Result<Self> {
        if let Value::Object(fields) = &mut fields {
            fields.shift_remove(IMAGES);
            fields.insert(IMAGES.to_owned(), Value::Array(Vec::new())); // the last one
        }
        let text = serde_json::to_string_pretty(&fields)?;
        w.write_all(text.strip_suffix("]\n}").unwrap_or(&text).as_bytes())?;
        Ok(Self { w, images: 0 })
    }

    pub(super) fn image(&mut self, image: &ImageEntry) -> io::Result<()> {
        // No text within JSON has a line end of its own.
        let text = serde_json::to_string_pretty(image)?.replace('\n', "\n    ");
        let comma = if self.images > 0 { "," } else { "" };
        self.images += 1;
        write!(self.w, "{comma}\n    {text}")
    }

    pub(super) fn end(self) -> io::Result<()> {
        self.w.write_all(if self.images > 0 { b"\n  ]\n}\n" } else { b"]\n}\n" })
    }
}

/// Reads a manifest image by image; returns the other fields.
pub(super) fn read(path: &Path, each: impl FnMut(ImageEntry) -> Result<(), OutputError>) -> Result<Value, OutputError> {
    let file = File::open(path).map_err(|source| OutputError::Read { path: path.to_owned(), source })?;
    let mut failed = None;
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(file));
    let fields = Fields { each, failed: &mut failed }.deserialize(&mut json).and_then(|fields| json.end().map(|()| fields));
    match (fields, failed) {
        (_, Some(error)) => Err(error),
        (Ok(fields), None) => Ok(fields),
        (Err(error), None) => Err(OutputError::Damaged { path: path.to_owned(), problem: error.to_string() }),
    }
}

/// See [`read`].
struct Fields<'a, F> {
    each: F,
    failed: &'a mut Option<OutputError>,
}

impl<'de, F: FnMut(ImageEntry) -> Result<(), OutputError>> DeserializeSeed<'de> for Fields<'_, F> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(ImageEntry) -> Result<(), OutputError>> Visitor<'de> for Fields<'_, F> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = serde_json::Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == IMAGES {
                map.next_value_seed(Images(&mut self))?;
            } else {
                fields.insert(name, map.next_value()?);
            }
        }
        Ok(fields.into())
    }
}

/// The images of a manifest, given away one by one.
struct Images<'b, 'a, F>(&'b mut Fields<'a, F>);

impl<'de, F: FnMut(ImageEntry) -> Result<(), OutputError>> DeserializeSeed<'de> for Images<'_, '_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(ImageEntry) -> Result<(), OutputError>> Visitor<'de> for Images<'_, '_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("images")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut images: A) -> Result<(), A::Error> {
        while let Some(image) = images.next_element()? {
            if let Err(error) = (self.0.each)(image) {
                *self.0.failed = Some(error);
                return Err(serde::de::Error::custom("given up"));
            }
        }
        Ok(())
    }
}

impl ImageEntry {
    /// The first part of its files' names; `None` if it has no files.
    pub(super) fn stem(&self) -> Option<String> {
        let Outcome::Ok { results, .. } = &self.outcome else { return None };
        let ClassEntry { method, artifacts, .. } = results.first()?;
        let Artifacts { overlay, heatmap, cam, cam_full } = artifacts;
        let kinds =
            [(overlay, Artifact::Overlay), (heatmap, Artifact::Heatmap), (cam, Artifact::Cam), (cam_full, Artifact::CamFull)];
        let (file, kind) = kinds.into_iter().find_map(|(file, kind)| Some((file.as_ref()?, kind)))?;
        OutputNames::stem_of(file, *method, kind).map(str::to_owned)
    }

    pub(super) fn check(&self) -> Result<(), OutputError> {
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
