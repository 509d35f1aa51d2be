//! What can go wrong on a CUDA device.

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

use crate::cam::MethodError;
use crate::network::NetworkError;
use crate::tensor::Precision;

/// Why a kernel cannot run a problem; known before anything is enqueued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kernel}: {reason}")]
pub struct Unsupported {
    /// Its name.
    pub kernel: &'static str,
    /// What it needs and what it was given.
    pub reason: String,
}

/// Whatever can go wrong in the CUDA backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// This build has no kernels.
    #[error("this program was built without CUDA kernels: {why}")]
    NotBuilt {
        /// Where the build looked for the compiler, and the ways out.
        why: &'static str,
    },
    /// No embedded code runs on the device.
    #[error("kernel `{unit}` was not built for compute capability {}.{}; capabilities from 7.5 up are supported", .capability / 10, .capability % 10)]
    NoImage {
        /// The compilation unit.
        unit: String,
        /// The device's, as `10 * major + minor`.
        capability: u32,
    },
    /// The driver refused a module.
    #[error("the driver cannot load kernel `{unit}`: {source}{advice}")]
    Load {
        /// The compilation unit.
        unit: String,
        /// Its reason.
        source: DriverError,
        /// The way out, where there is one.
        advice: String,
    },
    /// A kernel that cannot run the problem.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A map that the processor cannot compute for the device either.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// A buffer that does not have the length that the shape says.
    #[error("{kernel}: `{buffer}` holds {found} elements, expected {expected}")]
    Length {
        /// Which kernel.
        kernel: &'static str,
        /// Which argument.
        buffer: &'static str,
        /// What the shape asks for.
        expected: usize,
        /// What it has.
        found: usize,
    },
    /// A buffer whose address the kernel cannot use.
    #[error("{kernel}: `{buffer}` is at address {address:#x}, which is not {alignment}-byte aligned")]
    Alignment {
        /// Which kernel.
        kernel: &'static str,
        /// Which argument.
        buffer: &'static str,
        /// Where it is.
        address: u64,
        /// What is needed.
        alignment: u64,
    },
    /// The driver refused a launch, or reports an earlier fault.
    #[error("{kernel}: {source}")]
    Launch {
        /// Which kernel.
        kernel: &'static str,
        /// Its reason.
        source: DriverError,
    },
    /// There is no driver library.
    #[error("no CUDA driver library (libcuda) was found; it comes with NVIDIA's driver")]
    NoDriver,
    /// A driver whose interface is too old.
    #[error("the CUDA driver serves CUDA {found}, at least {needed} is needed; update the driver")]
    OldDriver {
        /// CUDA version that it serves.
        found: String,
        /// The oldest that will do.
        needed: String,
    },
    /// No such device.
    #[error("there is no CUDA device {ordinal}: {}", match .count { 0 => "the driver finds none".to_owned(), 1 => "the driver finds one, number 0".to_owned(), n => format!("the driver finds {n}, numbers 0 to {}", n - 1) })]
    NoDevice {
        /// What was asked for.
        ordinal: usize,
        /// Devices that there are.
        count: usize,
    },
    /// No room on the device.
    #[error("out of device memory for {what}: {needed} bytes are needed, {free} are free")]
    OutOfMemory {
        /// What it was for.
        what: &'static str,
        /// Bytes asked for.
        needed: u64,
        /// Bytes that the device had.
        free: u64,
    },
    /// A precision that the device does not have.
    #[error(
        "this device has compute capability {}.{}, and {precision} needs 8.0; use precision f16",
        .capability / 10,
        .capability % 10
    )]
    Precision {
        /// What was asked for.
        precision: Precision,
        /// As `10 * major + minor`.
        capability: u32,
    },
    /// A parameter that f16 cannot hold.
    #[error("layer `{layer}` has the weight {value:e}, which is too large for f16; use precision f32")]
    WeightOverflow {
        /// The layer.
        layer: String,
        /// The weight, with its batch norm if that is folded.
        value: f32,
    },
    /// Activations that f16 cannot hold.
    #[error(
        "the class scores of image {image} of the batch are not finite: its activations are too large for f16; use precision f32"
    )]
    ActivationOverflow {
        /// Position in the batch.
        image: usize,
    },
    /// A kernel failed while it ran, which ends the use of the device by this process.
    #[error("kernel `{kernel}` failed in {place}: {source}; the engine has ended, build a new one in a new process")]
    Fault {
        /// The kernel.
        kernel: String,
        /// The layer and the batch.
        place: String,
        /// What the driver reports.
        source: DriverError,
    },
    /// A call after the one that failed.
    #[error("this engine has ended: {reason}")]
    Ended {
        /// The error that ended it.
        reason: String,
    },
    /// The network or the image does not fit.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The tensor is no batch of RGB images.
    #[error("the network reads [N, H, W, 3], found {found:?}")]
    Channels {
        /// Shape of the tensor.
        found: [usize; 4],
    },
    /// Images of different sizes in one pass.
    #[error("the images of a batch are of one size, found {}x{} and {}x{}", .first.0, .first.1, .found.0, .found.1)]
    Sizes {
        /// Height and width of the first.
        first: (usize, usize),
        /// Of another one.
        found: (usize, usize),
    },
    /// A class that the network does not have.
    #[error("class {class} was asked for, the network has {classes}")]
    Class {
        /// The index.
        class: usize,
        /// How many there are.
        classes: usize,
    },
    /// Any other call of the driver.
    #[error("CUDA driver: {0}")]
    Driver(#[from] DriverError),
}

impl CudaError {
    /// Whether a smaller batch could succeed.
    pub(super) fn is_about_size(&self) -> bool {
        let small = matches!(self, Self::Unsupported(_) | Self::Network(NetworkError::Geometry { .. }));
        small || self.is_lack_of_memory()
    }

    /// Whether the device may be in a state that no later call can be trusted in.
    pub(super) fn is_final(&self) -> bool {
        let by_driver = matches!(self, Self::Fault { .. } | Self::Launch { .. } | Self::Driver(_));
        by_driver && !self.is_lack_of_memory()
    }

    /// Whether there is no room: on the device, for what the driver needs itself, or for pinned host memory.
    pub(super) fn is_lack_of_memory(&self) -> bool {
        if matches!(self, Self::OutOfMemory { .. }) {
            return true;
        }
        let (Self::Fault { source, .. } | Self::Launch { source, .. } | Self::Driver(source)) = self else { return false };
        source.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY
    }
}
