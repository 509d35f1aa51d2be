//! Putting an engine together.

use super::{DEFAULT_BATCH, Engine};
use crate::Error;
use crate::cpu::Cpu;
use crate::input::Recipe;
use crate::labels::Labels;
use crate::network::Model;
use crate::sources::{self, Progress, Source};
use crate::weights::{OpenOptions, WeightFile};

/// Where the network runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The fastest one that is there.
    #[default]
    Auto,
    /// The processor.
    Cpu,
}

/// The bundled model: f16 safetensors, half the usual width, with its class names in the metadata.
const DEMO: &[u8] = include_bytes!("../../assets/demo/demo.safetensors");
const DEMO_NAME: &str = "the bundled demo model";

/// Key of a safetensors file's metadata under which this crate looks for class names, one a line.
pub const LABELS_KEY: &str = "labels";

/// Choices for an [`Engine`], with good defaults for all of them.
pub struct EngineBuilder {
    weights: Source,
    labels: Option<Labels>,
    device: Device,
    threads: Option<usize>,
    batch: usize,
    recipe: Recipe,
    mmap: bool,
    fetch: sources::Options,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            weights: Source::Demo,
            labels: None,
            device: Device::Auto,
            threads: None,
            batch: DEFAULT_BATCH,
            recipe: Recipe::default(),
            mmap: true,
            fetch: sources::Options::from_env(),
        }
    }
}

impl EngineBuilder {
    /// Where the weights come from. Default: the bundled demo model.
    pub fn weights(mut self, source: Source) -> Self {
        self.weights = source;
        self
    }

    /// Class names. Default: those in the weight file's metadata, ImageNet's if there are 1000 classes, else numbers.
    pub fn labels(mut self, labels: Labels) -> Self {
        self.labels = Some(labels);
        self
    }

    /// Where to run. Default: [`Device::Auto`].
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Threads of the CPU backend. Default: one per core.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Images per forward pass, at least 1. Default: [`DEFAULT_BATCH`].
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch.max(1);
        self
    }

    /// How pictures are prepared. Default: torchvision's for ImageNet.
    pub fn recipe(mut self, recipe: Recipe) -> Self {
        self.recipe = recipe;
        self
    }

    /// Whether the weight file is mapped (default) or read into memory, for file systems where others may change it.
    pub fn mmap(mut self, mmap: bool) -> Self {
        self.mmap = mmap;
        self
    }

    /// Cache folder, mirrors and network use of weights that are fetched by name.
    pub fn fetch(mut self, options: sources::Options) -> Self {
        self.fetch = options;
        self
    }

    /// Loads and checks the weights and prepares the backend.
    ///
    /// # Errors
    /// Weights that cannot be had, are damaged or are no network this crate runs; labels of another number of classes.
    pub fn build(self) -> Result<Engine, Error> {
        self.build_with_progress(&mut |_| {})
    }

    /// As [`EngineBuilder::build`], told of the progress of a download.
    ///
    /// # Errors
    /// As [`EngineBuilder::build`].
    pub fn build_with_progress(self, progress: &mut dyn FnMut(Progress)) -> Result<Engine, Error> {
        let file = match &self.weights {
            Source::Demo => WeightFile::from_static(DEMO_NAME, DEMO)?,
            source => {
                let path = sources::fetch(source, &self.fetch, progress)?;
                WeightFile::open_with(path, OpenOptions { mmap: self.mmap })?
            }
        };
        let model = Model::load(file)?;
        let labels = match self.labels {
            Some(labels) => labels,
            None => default_labels(&model),
        };
        labels.check_len(model.network().architecture().classes())?;
        let cpu = match self.device {
            Device::Auto | Device::Cpu => Cpu::new(&model, self.threads)?,
        };
        let classifier = model.classifier()?;
        Ok(Engine { model, cpu, classifier, labels, recipe: self.recipe, batch: self.batch })
    }
}

/// Names for a model that came without a label file. Its own may be too few or too many, which the caller checks.
fn default_labels(model: &Model) -> Labels {
    let classes = model.network().architecture().classes();
    match model.file().metadata().get(LABELS_KEY) {
        Some(names) => {
            let origin = format!("the names in {}", model.file().path().display());
            Labels::new(names.lines().map(str::to_owned).collect(), origin)
        }
        None if classes == 1000 => Labels::imagenet(),
        None => Labels::numbered(classes),
    }
}
