//! The CPU backend: the table of layers on a rayon pool, f32 NHWC, batch norm folded.
//!
//! [`mod@reference`] holds the same operations by definition, for tests.

mod awake;
mod conv2d;
mod conv2d_direct;
mod conv2d_im2col_gemm;
mod conv2d_winograd;
mod enter;
mod epilogue;
mod filter;
mod isa;
mod layers;
mod maps;
mod microkernel;
mod numbers;
mod pool;
pub mod reference;
mod share;
mod winograd_transforms;

use std::sync::Mutex;

use awake::awake;
use conv2d::{Algorithm, Problem};
use conv2d_direct::conv2d_direct_max_pool;
use enter::enter;
use epilogue::Epilogue;
use filter::Kcrs;
pub use isa::Isa;
use isa::Vectors;
use layers::Convolutions;
use numbers::{LINE, Numbers};
use rayon::prelude::*;

use crate::network::{Conv2dShape, Layer, LayerShape, Model, Network, NetworkError, Op, PlanReport, PlannedStep, Slots, Value};
use crate::tensor::Nhwc;

/// Why the CPU backend could not be made or could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// The network or the image does not fit.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The operating system refused threads.
    #[error("cannot start {threads} threads: {source}; ask for fewer")]
    Threads {
        /// How many.
        threads: usize,
        /// Its reason.
        source: rayon::ThreadPoolBuildError,
    },
    /// An instruction set that this machine does not have.
    #[error("this machine does not have the instruction set {isa}; its best is {best}")]
    Isa {
        /// What was asked for.
        isa: &'static str,
        /// What there is.
        best: &'static str,
    },
    /// The tensor is no batch of RGB images.
    #[error("the network reads [N, H, W, 3], found {found:?}")]
    Channels {
        /// Shape of the tensor.
        found: [usize; 4],
    },
}

/// What one forward pass leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// `layer4`, `[N, h, w, C]`.
    pub features: Nhwc,
    /// Class scores before the softmax, `[N, 1, 1, K]`.
    pub logits: Nhwc,
}

/// A convolution with its parameters in the form that one kernel reads, by itself for measurements.
pub struct Conv2d {
    algorithm: Algorithm,
    filter: Numbers,
    bias: Vec<f32>,
}

impl Conv2d {
    /// One for every kernel of `isa` that can run `shape`, the one that a network would use first; none where the machine does
    /// not have `isa`. `filter` `[K, C, R, S]`, `bias` `[K]`.
    ///
    /// # Panics
    /// If a slice is shorter than `shape` says.
    pub fn all(isa: Isa, shape: &Conv2dShape, filter: &[f32], bias: &[f32]) -> Vec<Self> {
        let scale = vec![1.0; shape.k()];
        let kcrs = Kcrs { filter, scale: &scale, c: shape.c(), taps: shape.r() * shape.s() };
        let algorithms = if isa.is_available() { Algorithm::all(isa, shape) } else { Vec::new() };
        let one = |algorithm: Algorithm| {
            let mut packed = Numbers::zeros(algorithm.filter_len(shape));
            algorithm.pack(&kcrs, packed.as_mut_slice());
            Self { algorithm, filter: packed, bias: bias.to_vec() }
        };
        algorithms.into_iter().map(one).collect()
    }

    /// The kernel's name.
    pub fn kernel(&self) -> String {
        self.algorithm.name()
    }

    /// `y = relu(conv2d(x) + bias)` on the current rayon pool; `x` NHWC, `y` NPQK.
    ///
    /// # Panics
    /// If a slice is shorter than `shape` says, or `shape` is not of the layer that this was made for.
    pub fn run(&self, shape: &Conv2dShape, x: &[f32], y: &mut [f32]) {
        let epilogue = Epilogue { bias: &self.bias, residual: None, relu: true };
        self.algorithm.conv2d(Problem { shape, x, filter: self.filter.as_slice(), epilogue }, y);
    }
}

/// A network, ready to run on this machine's processor.
pub struct Cpu {
    network: Network,
    slots: Slots,
    vectors: Option<Vectors>,
    convolutions: Convolutions,
    classifier: (Vec<f32>, Vec<f32>),
    pool: rayon::ThreadPool,
    /// Memory of the activations between runs. Two runs at a time each need their own; the second allocates.
    idle: Mutex<Numbers>,
}

impl Cpu {
    /// Folds and lays out the parameters of `model`. `threads`: `None` for one per core.
    ///
    /// # Errors
    /// If a tensor cannot be read, or the threads cannot be started.
    pub fn new(model: &Model, threads: Option<usize>) -> Result<Self, CpuError> {
        Self::with_isa(model, threads, Isa::detect())
    }

    /// As [`Cpu::new`], with the kernels of an instruction set.
    ///
    /// # Errors
    /// As [`Cpu::new`], and [`CpuError::Isa`] if this machine does not have it.
    pub fn with_isa(model: &Model, threads: Option<usize>, isa: Isa) -> Result<Self, CpuError> {
        if !isa.is_available() {
            return Err(CpuError::Isa { isa: isa.name(), best: Isa::detect().name() });
        }
        let threads = threads.unwrap_or(0);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("camshaft-{index}"))
            .build()
            .map_err(|source| CpuError::Threads { threads, source })?;
        let network = model.network().clone();
        // Which algorithm is quickest hardly depends on the size of the images, of which none is known yet.
        let shapes = network.shapes(1, 224, 224)?;
        let convolutions = enter(&pool, || Convolutions::new(model, &shapes, isa))?;
        let slots = Slots::plan(&network);
        Ok(Self {
            network,
            slots,
            vectors: Vectors::new(isa),
            convolutions,
            classifier: model.classifier()?,
            pool,
            idle: Mutex::default(),
        })
    }

    /// Threads that a forward pass runs on.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// How a pass over `[N, H, W]` images runs.
    ///
    /// # Errors
    /// [`CpuError::Network`] when the images do not fit the network.
    pub fn plan(&self, [n, h, w]: [usize; 3]) -> Result<PlanReport, CpuError> {
        let shapes = self.network.shapes(n, h, w)?;
        let kernel = |(index, layer): (usize, &Layer)| match &layer.op {
            Op::Conv2d { .. } => self.convolutions.kernel(index).unwrap_or_default(),
            Op::MaxPool2d(_) => "max_pool2d".to_owned(),
            Op::GlobalAvgPool => "global_avg_pool".to_owned(),
            Op::Linear { .. } => "linear".to_owned(),
        };
        let mut steps = Vec::with_capacity(shapes.len());
        let mut before: Option<PlannedStep> = None;
        for (index, layer) in self.network.layers().iter().enumerate() {
            let (layer, kernel) = (layer.name.clone(), kernel((index, layer)));
            let step = match before.take() {
                Some(conv) => PlannedStep { layer: conv.layer + ", " + &layer, kernel: conv.kernel + ", " + &kernel },
                None => PlannedStep { layer, kernel },
            };
            if self.convolutions.pooled(index).is_some() {
                before = Some(step);
            } else {
                steps.push(step);
            }
        }
        let bytes = |numbers: usize| (numbers * size_of::<f32>()) as u64;
        Ok(PlanReport {
            steps,
            parameters: bytes(self.convolutions.len() + self.classifier.0.len() + self.classifier.1.len()),
            activations: bytes(n * h * w * 3 + self.sizes(&shapes).into_iter().sum::<usize>()),
        })
    }

    /// Has every image of a batch written by `make`, which is given its number, on the threads of the forward pass. It must not wait for
    /// a pool whose threads wait for this.
    pub fn make(&self, images: &mut Nhwc, make: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        let size = images.shape()[1..].iter().product::<usize>().max(1);
        enter(&self.pool, || images.data_mut().par_chunks_exact_mut(size).enumerate().for_each(|(at, image)| make(at, image)));
    }

    /// Numbers of each buffer, in whole cache lines.
    fn sizes(&self, shapes: &[LayerShape]) -> Vec<usize> {
        let mut sizes = vec![0; self.slots.count()];
        for (layer, shape) in shapes.iter().enumerate().filter(|(layer, _)| self.convolutions.pooled(*layer).is_none()) {
            let size = &mut sizes[self.slots.of(layer)];
            *size = shape.output.iter().product::<usize>().next_multiple_of(LINE).max(*size);
        }
        sizes
    }

    /// Runs the network on normalised images `[N, H, W, 3]`.
    ///
    /// # Errors
    /// [`CpuError::Channels`] or [`CpuError::Network`] when the images do not fit the network.
    pub fn forward(&self, image: &Nhwc) -> Result<Forward, CpuError> {
        self.forward_with(image, |_, _, _| {})
    }

    /// Like [`Cpu::forward`], showing `visit` each step of the plan: its last layer, with the output and its shape `[N, H, W, C]`.
    ///
    /// # Errors
    /// As [`Cpu::forward`].
    pub fn forward_with(
        &self,
        image: &Nhwc,
        mut visit: impl FnMut(&Layer, [usize; 4], &[f32]) + Send,
    ) -> Result<Forward, CpuError> {
        let [n, h, w, c] = image.shape();
        if c != 3 {
            return Err(CpuError::Channels { found: image.shape() });
        }
        let shapes = self.network.shapes(n, h, w)?;
        let size = |shape: [usize; 4]| shape.iter().product::<usize>();
        let mut memory = std::mem::take(&mut *self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        let sizes = self.sizes(&shapes);
        let mut rest = memory.at_least(sizes.iter().sum());
        let mut buffers: Vec<&mut [f32]> = Vec::with_capacity(sizes.len());
        for size in sizes {
            let (buffer, others) = rest.split_at_mut(size);
            buffers.push(buffer);
            rest = others;
        }
        awake(&self.pool, || {
            for (index, (layer, shape)) in self.network.layers().iter().zip(&shapes).enumerate() {
                if self.convolutions.pooled(index).is_some() {
                    continue;
                }
                let buffer = std::mem::take(&mut buffers[self.slots.of(index)]);
                let y = &mut buffer[..size(shape.output)];
                let value = |value: Value| match value {
                    Value::Image => (image.data(), image.shape()),
                    Value::Layer(from) => {
                        let shape = shapes[from].output;
                        (&buffers[self.slots.of(from)][..size(shape)], shape)
                    }
                };
                let problem = |conv: usize| {
                    let layer = &self.network.layers()[conv];
                    self.convolutions.problem(conv, layer, &shapes[conv], |x| value(x).0)
                };
                let pooled = match layer.input {
                    Value::Layer(conv) => self.convolutions.pooled(conv).map(|vectors| (vectors, conv)),
                    Value::Image => None,
                };
                match (&layer.op, pooled) {
                    (Op::Conv2d { .. }, _) => {
                        let (algorithm, problem) = problem(index);
                        algorithm.conv2d(problem, y);
                    }
                    (Op::MaxPool2d(window), Some((vectors, conv))) => {
                        conv2d_direct_max_pool(vectors, problem(conv).1, *window, shape.output, y);
                    }
                    (Op::MaxPool2d(window), None) => {
                        let (x, x_shape) = value(layer.input);
                        pool::max_pool2d(self.vectors, x, x_shape, *window, shape.output, y);
                    }
                    (Op::GlobalAvgPool, _) => {
                        let (x, x_shape) = value(layer.input);
                        pool::global_avg_pool(x, x_shape, y);
                    }
                    (Op::Linear { .. }, _) => {
                        let (weights, bias) = &self.classifier;
                        pool::linear(self.vectors, value(layer.input).0, weights, bias, y);
                    }
                }
                visit(layer, shape.output, y);
                buffers[self.slots.of(index)] = buffer;
            }
        });
        // The results are copies: they are small, and their buffers, which larger outputs share, serve the next run.
        let last = shapes.len() - 1;
        let take = |layer: usize| {
            let shape = shapes[layer].output;
            Nhwc::new(shape, buffers[self.slots.of(layer)][..size(shape)].to_vec())
        };
        let forward = Forward { features: take(self.network.features()), logits: take(last) };
        *self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = memory;
        Ok(forward)
    }
}
