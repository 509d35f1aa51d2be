//! Launches `kernels/softmax_topk.cu`.

use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};

use super::variants::SOFTMAX_TOPK_WARPS;
use super::{CudaError, Modules, Queue, Span, SpanMut, Unsupported, limits};

const KERNEL: &str = "softmax_topk";

/// Classes of one block: one for each lane of a warp.
const CLASSES: usize = 32;

/// Twin of the kernel's `SoftmaxTopkParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Params {
    classes: i32,
    k: i32,
}
const _: () = assert!(size_of::<Params>() == 8);

// SAFETY: `repr(C)`, plain integers without padding.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Params {}

/// Softmax over all classes, and the most likely of them.
pub struct SoftmaxTopk {
    function: CudaFunction,
}

/// Sizes of a ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopkShape {
    /// Images.
    pub n: usize,
    /// Classes.
    pub classes: usize,
    /// How many of them are wanted.
    pub k: usize,
}

/// What [`SoftmaxTopk::launch`] reads and writes.
pub struct SoftmaxTopkArgs<'a> {
    /// Sizes.
    pub shape: TopkShape,
    /// `[N, classes]`.
    pub logits: Span<'a, f32>,
    /// `[N, k]`: classes by falling logit, equal ones by index.
    pub index: SpanMut<'a, i32>,
    /// `[N, k]`: their probabilities.
    pub probability: SpanMut<'a, f32>,
}

impl SoftmaxTopk {
    /// Loads the kernel.
    ///
    /// # Errors
    /// As [`Modules::function`].
    pub fn new(modules: &Modules) -> Result<Self, CudaError> {
        Ok(Self { function: modules.function(KERNEL, "softmax_topk_f32", 0)? })
    }

    /// Why this kernel cannot run `shape`, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// An empty extent, more results than classes, or more than the kernel's indices hold.
    pub fn can_run(&self, shape: &TopkShape) -> Result<(), Unsupported> {
        let TopkShape { n, classes, k } = *shape;
        limits::activation(KERNEL, [n, 1, k, 1])?;
        limits::activation(KERNEL, [n, 1, classes, 1])?;
        if k > classes {
            return Err(Unsupported { kernel: KERNEL, reason: format!("{k} of {classes} classes") });
        }
        limits::grid(KERNEL, "images", n)
    }

    fn config(&self, shape: &TopkShape) -> LaunchConfig {
        let grid_dim = (shape.classes.div_ceil(CLASSES) as u32, shape.n as u32, 1);
        LaunchConfig { grid_dim, block_dim: (SOFTMAX_TOPK_WARPS * 32, 1, 1), shared_mem_bytes: 0 }
    }

    /// Enqueues the ranking; returns before it has run. A NaN or +inf among an image's logits makes its probabilities NaN.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`], [`CudaError::Length`] or [`CudaError::Launch`].
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: SoftmaxTopkArgs<'_>) -> Result<(), CudaError> {
        self.can_run(&args.shape)?;
        let TopkShape { n, classes, k } = args.shape;
        args.logits.check(KERNEL, "logits", n * classes, 4)?;
        args.index.check(KERNEL, "index", n * k, 4)?;
        args.probability.check(KERNEL, "probability", n * k, 4)?;
        let params = Params { classes: classes as i32, k: k as i32 };
        let mut call = queue.into().call(&self.function);
        call.arg(&args.logits.address).arg(&args.index.address).arg(&args.probability.address).arg(&params);
        // SAFETY: order and types match the entry in kernels/softmax_topk.cu, lengths were checked above, and the kernel writes
        // only `index` and `probability`, borrowed mutably, each rank below `k` once.
        #[allow(unsafe_code)]
        unsafe { call.launch(self.config(&args.shape)) }.map_err(|source| CudaError::Launch { kernel: KERNEL, source })?;
        Ok(())
    }
}
