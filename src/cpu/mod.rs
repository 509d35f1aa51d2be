//! The CPU backend: the table of layers on a rayon pool, f32 NHWC, batch norm folded.
//!
//! [`mod@reference`] holds the same operations by definition, for tests.

mod conv2d_im2col_gemm;
mod pool;
pub mod reference;

use std::sync::Mutex;

use conv2d_im2col_gemm::{Epilogue, conv2d_im2col_gemm};

use crate::network::{Folded, Layer, Model, Network, NetworkError, Op, PlanReport, PlannedStep, Slots, Value};
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

/// A network, ready to run on this machine's processor.
pub struct Cpu {
    network: Network,
    slots: Slots,
    convs: Vec<Option<Folded>>, // by layer
    classifier: (Vec<f32>, Vec<f32>),
    pool: rayon::ThreadPool,
    /// Activation buffers between runs. Two runs at a time each need their own; the second allocates.
    idle: Mutex<Vec<Vec<f32>>>,
}

impl Cpu {
    /// Folds and lays out the parameters of `model`. `threads`: `None` for one per core.
    ///
    /// # Errors
    /// If a tensor cannot be read, or the threads cannot be started.
    pub fn new(model: &Model, threads: Option<usize>) -> Result<Self, CpuError> {
        let threads = threads.unwrap_or(0);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("camshaft-{index}"))
            .build()
            .map_err(|source| CpuError::Threads { threads, source })?;
        let network = model.network().clone();
        let fold = |layer: &Layer| matches!(layer.op, Op::Conv2d { .. }).then(|| model.folded(layer)).transpose();
        let convs = network.layers().iter().map(fold).collect::<Result<_, _>>()?;
        let slots = Slots::plan(&network);
        Ok(Self { network, slots, convs, classifier: model.classifier()?, pool, idle: Mutex::default() })
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
        let kernel = |op: &Op| match op {
            Op::Conv2d { .. } => "conv2d_im2col_gemm",
            Op::MaxPool2d(_) => "max_pool2d",
            Op::GlobalAvgPool => "global_avg_pool",
            Op::Linear { .. } => "linear",
        };
        let step = |layer: &Layer| PlannedStep { layer: layer.name.clone(), kernel: kernel(&layer.op).to_owned() };
        let mut largest = vec![0; self.slots.count()];
        for (index, shape) in shapes.iter().enumerate() {
            let slot = &mut largest[self.slots.of(index)];
            *slot = shape.output.iter().product::<usize>().max(*slot);
        }
        let folded = self.convs.iter().flatten().map(|folded| folded.filter.len() + folded.bias.len()).sum::<usize>();
        let bytes = |numbers: usize| (numbers * size_of::<f32>()) as u64;
        Ok(PlanReport {
            steps: self.network.layers().iter().map(step).collect(),
            parameters: bytes(folded + self.classifier.0.len() + self.classifier.1.len()),
            activations: bytes(n * h * w * 3 + largest.into_iter().sum::<usize>()),
        })
    }

    /// Runs the network on normalised images `[N, H, W, 3]`.
    ///
    /// # Errors
    /// [`CpuError::Channels`] or [`CpuError::Network`] when the images do not fit the network.
    pub fn forward(&self, image: &Nhwc) -> Result<Forward, CpuError> {
        self.forward_with(image, |_, _, _| {})
    }

    /// Like [`Cpu::forward`], showing `visit` each layer with its output and the output's shape `[N, H, W, C]`.
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
        let mut buffers = std::mem::take(&mut *self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        buffers.resize_with(self.slots.count(), Vec::new);
        self.pool.install(|| {
            for (index, (layer, shape)) in self.network.layers().iter().zip(&shapes).enumerate() {
                let size = |shape: [usize; 4]| shape.iter().product::<usize>();
                let mut buffer = std::mem::take(&mut buffers[self.slots.of(index)]);
                if buffer.len() < size(shape.output) {
                    buffer.resize(size(shape.output), 0.0);
                }
                let y = &mut buffer[..size(shape.output)];
                let value = |value: Value| match value {
                    Value::Image => (image.data(), image.shape()),
                    Value::Layer(from) => {
                        let shape = shapes[from].output;
                        (&buffers[self.slots.of(from)][..size(shape)], shape)
                    }
                };
                let (x, x_shape) = value(layer.input);
                match (&layer.op, &self.convs[index], &shape.conv2d) {
                    (Op::Conv2d { residual, relu, .. }, Some(folded), Some(conv2d)) => {
                        let residual = residual.map(|residual| value(residual).0);
                        let epilogue = Epilogue { bias: &folded.bias, residual, relu: *relu };
                        conv2d_im2col_gemm(conv2d, x, &folded.filter, epilogue, y);
                    }
                    (Op::Conv2d { .. }, ..) => unreachable!("every convolution has parameters and a shape"),
                    (Op::MaxPool2d(window), ..) => pool::max_pool2d(x, x_shape, *window, shape.output, y),
                    (Op::GlobalAvgPool, ..) => pool::global_avg_pool(x, x_shape, y),
                    (Op::Linear { .. }, ..) => pool::linear(x, &self.classifier.0, &self.classifier.1, y),
                }
                visit(layer, shape.output, y);
                buffers[self.slots.of(index)] = buffer;
            }
        });
        // The two results keep their buffers; the rest serve the next run.
        let last = shapes.len() - 1;
        let mut take = |layer: usize| {
            let mut data = std::mem::take(&mut buffers[self.slots.of(layer)]);
            data.truncate(shapes[layer].output.iter().product());
            Nhwc::new(shapes[layer].output, data)
        };
        let forward = Forward { features: take(self.network.features()), logits: take(last) };
        *self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = buffers;
        Ok(forward)
    }
}
