//! Putting an engine together.

use std::sync::Arc;

use super::backend::Backend;
use super::{DEFAULT_BATCH, Device, DeviceError, Engine, MaskedPasses, Watch};
use crate::Error;
use crate::cam::Head;
use crate::cpu::Cpu;
use crate::input::Recipe;
use crate::labels::{LabelError, Labels};
use crate::network::Model;
use crate::sources::{self, Progress, Source};
use crate::tensor::Precision;
use crate::weights::{OpenOptions, WeightFile};

/// The bundled model: f16 safetensors, half the usual width, with its class names in the metadata.
static DEMO: &Aligned<[u8]> = &Aligned(*include_bytes!("../../assets/demo/demo.safetensors"));
const DEMO_NAME: &str = "the bundled demo model";

/// Bytes as a file's mapping would have them, on a boundary of every type: numbers that lie across one are read one by one.
#[repr(align(64))]
struct Aligned<T: ?Sized>(T);

/// Key of a safetensors file's metadata under which this crate looks for class names, one a line.
pub const LABELS_KEY: &str = "labels";

/// Choices for an [`Engine`], with good defaults for all of them.
pub struct EngineBuilder {
    weights: Source,
    labels: Option<Labels>,
    device: Device,
    precision: Option<Precision>,
    threads: Option<usize>,
    batch: usize,
    recipe: Recipe,
    mmap: bool,
    fetch: sources::Options,
    watch: Option<Box<Watch>>,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            weights: Source::Demo,
            labels: None,
            device: Device::Auto,
            precision: None,
            threads: None,
            batch: DEFAULT_BATCH,
            recipe: Recipe::default(),
            mmap: true,
            fetch: sources::Options::from_env(),
            watch: None,
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

    /// What activations and filters are stored in. Default: f16 on a CUDA device, f32 on the processor, which has no other.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
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

    /// Is told of masked images that were scored: one at a time, on the thread that waits for them. They may be thousands for one
    /// picture. It must not use the engine, which may be held for the rest of them.
    pub fn watch(mut self, watch: impl Fn(MaskedPasses) + Send + Sync + 'static) -> Self {
        self.watch = Some(Box::new(watch));
        self
    }

    /// Loads and checks the weights and prepares the backend.
    ///
    /// # Errors
    /// Weights that cannot be had, are damaged or are no network this crate runs; labels of another number of classes, or such in the
    /// weight file that no label file could have.
    pub fn build(self) -> Result<Engine, Error> {
        self.build_with_progress(&mut |_| {})
    }

    /// As [`EngineBuilder::build`], told of the progress of a download.
    ///
    /// # Errors
    /// As [`EngineBuilder::build`].
    pub fn build_with_progress(self, progress: &mut dyn FnMut(Progress)) -> Result<Engine, Error> {
        let file = match &self.weights {
            Source::Demo => WeightFile::from_static(DEMO_NAME, &DEMO.0)?,
            source => {
                let path = sources::fetch(source, &self.fetch, progress)?;
                WeightFile::open_with(path, OpenOptions { mmap: self.mmap })?
            }
        };
        let model = Model::load(file)?;
        let labels = match self.labels {
            Some(labels) => labels,
            None => default_labels(&model)?,
        };
        labels.check_len(model.network().architecture().classes())?;
        let (weights, bias) = model.classifier()?;
        let head = Arc::new(Head::new(weights, bias));
        let (backend, fallback) = backend(&model, &head, self.device, self.precision, self.threads)?;
        Ok(Engine { model, backend, fallback, head, labels, recipe: self.recipe, batch: self.batch, watch: self.watch })
    }
}

/// The backend for a device; with [`Device::Auto`] the processor, and why, where there is no other.
fn backend(
    model: &Model,
    head: &Arc<Head>,
    device: Device,
    precision: Option<Precision>,
    threads: Option<usize>,
) -> Result<(Backend, Option<String>), Error> {
    let fallback = match (device, precision) {
        (Device::Cuda(ordinal), _) => return Ok((cuda(model, ordinal, precision)?, None)),
        (Device::Cpu, Some(precision)) if precision != Precision::F32 => return Err(DeviceError::Precision { precision }.into()),
        // Something else than f32 is asked for, which the processor does not have: there is nothing to choose.
        (Device::Auto, Some(asked)) if asked != Precision::F32 => return Ok((cuda(model, 0, precision)?, None)),
        (Device::Auto, _) => match cuda(model, 0, precision) {
            Ok(backend) => return Ok((backend, None)),
            Err(why) => Some(why.to_string()),
        },
        (Device::Cpu, _) => None,
    };
    Ok((Backend::Cpu { cpu: Box::new(Cpu::new(model, threads)?), head: head.clone() }, fallback))
}

#[cfg(feature = "cuda")]
fn cuda(model: &Model, ordinal: usize, precision: Option<Precision>) -> Result<Backend, DeviceError> {
    let serial = std::env::var_os(SERIAL).is_some_and(|value| !value.is_empty() && value != "0");
    let options = crate::cuda::Options { precision, serial, ..Default::default() };
    Ok(Backend::Cuda(Box::new(crate::cuda::Cuda::new(model, ordinal, options)?)))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: &Model, _: usize, _: Option<Precision>) -> Result<Backend, DeviceError> {
    Err(DeviceError::NoCuda)
}

/// Set to 1, every CUDA kernel is waited for, so that a fault names the one that failed.
#[cfg(feature = "cuda")]
const SERIAL: &str = "CAMSHAFT_CUDA_SERIAL";

/// Names for a model that came without a label file. Its own may be too few or too many, which the caller checks.
///
/// # Errors
/// As [`Labels::parse`]: what a weight file calls its classes is no more to be trusted than what a label file does.
fn default_labels(model: &Model) -> Result<Labels, LabelError> {
    let classes = model.network().architecture().classes();
    let Some(names) = model.file().metadata().get(LABELS_KEY) else {
        return Ok(if classes == 1000 { Labels::imagenet() } else { Labels::numbered(classes) });
    };
    let path = model.file().path();
    let names = Labels::parse(names.as_bytes(), path)?;
    Ok(Labels::new(names.iter().map(str::to_owned).collect(), format!("the names in {}", path.display())))
}
