//! Options that several commands share.

use std::path::PathBuf;

use camshaft::Error;
use camshaft::engine::{DEFAULT_BATCH, Device, DeviceError, Engine, EngineBuilder};
use camshaft::input::{Interpolation, Recipe};
use camshaft::labels::Labels;
use camshaft::sources::Source;
use camshaft::tensor::Precision;
use clap::Args;

use super::args::choice;
use super::{Usage, fetch, progress, stderr};

/// Names the device where the command line does not.
const DEVICE: &str = "CAMSHAFT_DEVICE";

/// Which model, and how it runs.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub struct ModelOptions {
    /// A .safetensors or .pth file, or demo, resnet18, resnet34, resnet50, hf:owner/name[@revision]
    #[arg(short, long, value_name = "WEIGHTS", default_value = "demo")]
    pub weights: Source,
    /// Class names: one a line, a JSON list, or imagenet_class_index.json
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Where to run: auto (a CUDA device, else the cpu), cpu, cuda or cuda:N. Default: $CAMSHAFT_DEVICE, else auto
    #[arg(short, long, value_name = "DEVICE")]
    pub device: Option<Device>,
    /// What activations and filters are stored in. Default: f16 on a CUDA device, f32 on the cpu, which has no other
    #[arg(long, value_parser = choice(Precision::ALL, Precision::name))]
    pub precision: Option<Precision>,
    /// Threads. Default: one per core
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Read the weights into memory instead of mapping the file
    #[arg(long)]
    pub no_mmap: bool,
}

impl ModelOptions {
    /// Threads that decode and draw, where the user limits them.
    pub fn workers(&self) -> Option<usize> {
        self.threads.map(|threads| threads as usize)
    }

    /// A builder with these options, downloading what has to be.
    fn builder(&self) -> Result<EngineBuilder, Error> {
        let mut builder = Engine::builder().weights(self.weights.clone()).mmap(!self.no_mmap);
        if let Some(threads) = self.threads {
            builder = builder.threads(threads as usize);
            // Decoding and drawing run on rayon's global threads. They can be set once, and are, unless something used them before.
            rayon::ThreadPoolBuilder::new().num_threads(threads as usize).build_global().ok();
        }
        if let Some(labels) = &self.labels {
            builder = builder.labels(Labels::open(labels)?);
        }
        Ok(builder)
    }

    /// As [`Self::builder`], on the device that was asked for.
    fn placed(&self) -> anyhow::Result<EngineBuilder> {
        let device = match (self.device, std::env::var_os(DEVICE)) {
            (Some(device), _) => device,
            (None, Some(name)) if !name.is_empty() => {
                name.to_string_lossy().parse().map_err(|error: DeviceError| Usage(format!("{DEVICE}: {error}")))?
            }
            (None, _) => Device::Auto,
        };
        let builder = self.builder()?.device(device);
        Ok(match self.precision {
            Some(precision) => builder.precision(precision),
            None => builder,
        })
    }

    /// The engine on the processor, for what runs no network; no device is asked for.
    pub fn on_cpu(&self) -> Result<Engine, Error> {
        fetch::with_bar(|progress| self.builder()?.device(Device::Cpu).build_with_progress(progress))
    }

    /// The engine, for commands that look at no picture.
    pub fn engine(&self) -> anyhow::Result<Engine> {
        fetch::with_bar(|progress| Ok(self.placed()?.build_with_progress(progress)?)).inspect(tell_fallback)
    }
}

/// Says on stderr when the choice of a device was not the fastest one's.
fn tell_fallback(engine: &Engine) {
    if let Some(why) = engine.fallback() {
        stderr::line(format_args!("note: running on the cpu: {why}"));
    }
}

/// How pictures are prepared.
#[derive(Args)]
#[command(next_help_heading = "Preprocessing")]
pub struct InputOptions {
    /// Side of the network's square input: resize the short side to SIZE / 0.875, crop SIZE
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["resize", "crop"])]
    size: Option<u32>,
    /// Short side after the resize, or none. Default: 256
    #[arg(long, value_name = "PIXELS|none", value_parser = pixels)]
    resize: Option<Pixels>,
    /// Side of the square cut from the middle, or none. Default: 224
    #[arg(long, value_name = "PIXELS|none", value_parser = pixels)]
    crop: Option<Pixels>,
    /// Filter of the resize
    #[arg(long, default_value_t, value_parser = choice(Interpolation::ALL, Interpolation::name))]
    interpolation: Interpolation,
    /// Images per forward pass
    #[arg(short, long, default_value_t = DEFAULT_BATCH as u32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
}

impl InputOptions {
    /// The recipe; a mistake in it is one in the command line.
    pub fn recipe(&self) -> Result<Recipe, Usage> {
        let usage = |error| Usage(format!("--{error}"));
        let mut recipe = match self.size {
            Some(size) => Recipe::for_size(size).map_err(usage)?,
            None => Recipe::default(),
        };
        if let Some(Pixels(resize)) = self.resize {
            recipe.resize = resize;
        }
        if let Some(Pixels(crop)) = self.crop {
            recipe.crop = crop;
        }
        recipe.interpolation = self.interpolation;
        recipe.check().map_err(usage)?;
        Ok(recipe)
    }

    /// The engine for pictures that are prepared so.
    pub fn engine(&self, recipe: Recipe, model: &ModelOptions) -> anyhow::Result<Engine> {
        fetch::with_bar(|progress| {
            let builder = model.placed()?.recipe(recipe).batch(self.batch as usize);
            Ok(builder.watch(progress::masks()).build_with_progress(progress)?)
        })
        .inspect(tell_fallback)
    }
}

/// A number of pixels, or none.
#[derive(Clone, Copy)]
struct Pixels(Option<u32>);

fn pixels(text: &str) -> Result<Pixels, String> {
    match text {
        "none" => Ok(Pixels(None)),
        number => {
            number.parse().map(|pixels| Pixels(Some(pixels))).map_err(|_| "expected a number of pixels, or none".to_owned())
        }
    }
}

/// `224` or `HxW`.
pub fn extent(text: &str) -> Result<(usize, usize), String> {
    let side = |text: &str| text.parse::<usize>().map_err(|_| "expected one side, or HxW".to_owned());
    match text.split_once('x') {
        Some((h, w)) => Ok((side(h)?, side(w)?)),
        None => side(text).map(|side| (side, side)),
    }
}
