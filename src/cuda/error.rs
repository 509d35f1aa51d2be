//! What can go wrong on a CUDA device.

use cudarc::driver::DriverError;

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
    /// Any other call of the driver.
    #[error("CUDA driver: {0}")]
    Driver(#[from] DriverError),
}
