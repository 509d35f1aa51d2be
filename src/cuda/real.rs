//! What differs between the precisions.

use bytemuck::Pod;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::tile_choice::{self, DeviceLimits};
use super::variants::Arithmetic;
use super::{
    Conv2dArgs, Conv2dDirect, Conv2dImplicitGemm, Conv2dProblem, CudaError, Element, Modules, Queue, Unsupported, Workspace,
    WorkspaceSize,
};
use crate::tensor::Precision;

/// An element that a whole network runs in.
pub(super) trait Real: Element + Pod + Send + Sync {
    /// Channels in 16 bytes. Kernels move as many at a time, so that those of images are filled up with zeros to a multiple, and those
    /// of layers, see [`filled`](super::padding::filled).
    const CHANNELS: usize = 16 / size_of::<Self>();

    /// Whether the first two layers run as one kernel, [`Stem`](super::Stem).
    const HAS_STEM: bool;

    /// Whether a network that is fine in f32 may exceed it.
    const OVERFLOWS: bool;

    /// The convolutions of this precision.
    type Convolutions: Convolutions<Self>;

    /// Rounds to nearest even.
    fn from_f32s(values: &[f32]) -> Vec<Self>;

    /// Rounds one value.
    fn from_f32(value: f32) -> Self;

    /// Exact.
    fn to_f32s(values: &[Self]) -> Vec<f32>;
}

/// Chooses a kernel for each convolution, and runs it.
pub(super) trait Convolutions<T>: Sized + Send + Sync {
    /// Loads the kernels of a precision that stores `T`.
    fn new(modules: &Modules, precision: Precision) -> Result<Self, CudaError>;

    /// Name of the kernel that runs `problem`, and the workspace that it needs, or why none does.
    fn choose(&self, problem: &Conv2dProblem) -> Result<(String, WorkspaceSize), Unsupported>;

    /// Enqueues the convolution. The workspace has at least the size that `choose` told.
    fn launch(&self, queue: Queue<'_>, args: Conv2dArgs<'_, T>, workspace: Workspace<'_>) -> Result<(), CudaError>;
}

impl Real for f32 {
    const HAS_STEM: bool = false;
    const OVERFLOWS: bool = false;
    type Convolutions = Conv2dDirect;

    fn from_f32s(values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }

    fn from_f32(value: f32) -> f32 {
        value
    }

    fn to_f32s(values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }
}

impl Convolutions<f32> for Conv2dDirect {
    fn new(modules: &Modules, _: Precision) -> Result<Self, CudaError> {
        Self::new(modules)
    }

    fn choose(&self, problem: &Conv2dProblem) -> Result<(String, WorkspaceSize), Unsupported> {
        self.can_run(problem).map(|()| (Self::name(), WorkspaceSize::default()))
    }

    fn launch(&self, queue: Queue<'_>, args: Conv2dArgs<'_, f32>, _: Workspace<'_>) -> Result<(), CudaError> {
        self.launch(queue, args)
    }
}

impl Real for f16 {
    const HAS_STEM: bool = true;
    const OVERFLOWS: bool = true;
    type Convolutions = ImplicitGemms;

    fn from_f32s(values: &[f32]) -> Vec<f16> {
        let mut halves = vec![f16::ZERO; values.len()];
        halves.convert_from_f32_slice(values);
        halves
    }

    fn from_f32(value: f32) -> f16 {
        f16::from_f32(value)
    }

    fn to_f32s(values: &[f16]) -> Vec<f32> {
        values.to_f32_vec()
    }
}

impl Real for bf16 {
    const HAS_STEM: bool = true;
    const OVERFLOWS: bool = false;
    type Convolutions = ImplicitGemms;

    fn from_f32s(values: &[f32]) -> Vec<bf16> {
        let mut halves = vec![bf16::ZERO; values.len()];
        halves.convert_from_f32_slice(values);
        halves
    }

    fn from_f32(value: f32) -> bf16 {
        bf16::from_f32(value)
    }

    fn to_f32s(values: &[bf16]) -> Vec<f32> {
        values.to_f32_vec()
    }
}

/// The implicit GEMM in each of its variants.
pub(super) struct ImplicitGemms {
    kernels: Vec<Conv2dImplicitGemm>,
    device: DeviceLimits,
    arithmetic: Arithmetic,
}

impl ImplicitGemms {
    fn pick(&self, problem: &Conv2dProblem) -> Result<(&Conv2dImplicitGemm, u32), Unsupported> {
        let choice = tile_choice::choose(problem, &self.device, self.arithmetic)?;
        let kernel = self.kernels.iter().find(|kernel| kernel.variant() == choice.variant);
        let kernel =
            kernel.ok_or_else(|| Unsupported { kernel: choice.variant.form(), reason: "it was not loaded".to_owned() })?;
        Ok((kernel, choice.splits))
    }
}

impl<T: Element> Convolutions<T> for ImplicitGemms {
    fn new(modules: &Modules, precision: Precision) -> Result<Self, CudaError> {
        let device = DeviceLimits::of(modules)?;
        let arithmetic = match precision {
            Precision::F32 | Precision::F16 => Arithmetic::F16,
            Precision::F16Fast => Arithmetic::F16Sums,
            Precision::Bf16 => Arithmetic::Bf16,
        };
        let variants = Conv2dImplicitGemm::variants(device.capability, arithmetic).filter(|variant| device.has_room(variant));
        let kernels = variants.map(|variant| Conv2dImplicitGemm::new(modules, variant)).collect::<Result<_, _>>()?;
        Ok(Self { kernels, device, arithmetic })
    }

    fn choose(&self, problem: &Conv2dProblem) -> Result<(String, WorkspaceSize), Unsupported> {
        let (kernel, splits) = self.pick(problem)?;
        let name = if splits == 1 { kernel.name() } else { format!("{} in {splits} parts", kernel.name()) };
        Ok((name, kernel.workspace(&problem.shape, splits)))
    }

    fn launch(&self, queue: Queue<'_>, args: Conv2dArgs<'_, T>, mut workspace: Workspace<'_>) -> Result<(), CudaError> {
        let (kernel, splits) = self.pick(&args.problem())?;
        kernel.launch_split(queue, args, splits, &mut workspace)
    }
}
