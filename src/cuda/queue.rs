//! Where a launch goes, and the launch itself.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaFunction, CudaStream, DeviceRepr, DriverError, LaunchConfig, result, sys};

/// A stream, with what a launch on it is told of the pass that it belongs to. A plain stream becomes one by `into`, as a launch that
/// belongs to none.
#[derive(Clone, Copy, Debug)]
pub struct Queue<'a> {
    stream: &'a CudaStream,
    step: Step,
    /// Whether the kernel may begin before the one before it has ended.
    early: bool,
}

/// Twin of `Step` in kernels/common.cuh, the last parameter of every kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Step {
    mark: u64,
    number: u32,
    unused: u32,
}
const _: () = assert!(size_of::<Step>() == 16, "as kernels/common.cuh asserts");

// SAFETY: `repr(C)`, plain integers without gaps; valid for any bits.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Step {}

impl<'a> From<&'a CudaStream> for Queue<'a> {
    fn from(stream: &'a CudaStream) -> Self {
        Self { stream, step: Step::default(), early: false }
    }
}

impl<'a> From<&'a Arc<CudaStream>> for Queue<'a> {
    fn from(stream: &'a Arc<CudaStream>) -> Self {
        Self::from(&**stream)
    }
}

impl<'a> Queue<'a> {
    /// The same for step `number` of a pass, which its kernel writes to `mark`, the device's address of a [`Mark`](super::mark::Mark).
    pub(super) fn step(self, mark: u64, number: u32) -> Self {
        Self { step: Step { mark, number, unused: 0 }, ..self }
    }

    /// The same, where the kernel may begin before the one before it in the stream has ended (programmatic dependent launch): a
    /// kernel made for capability 9.0 or later, which waits for that one before it touches what kernels write.
    pub(super) fn early(self, early: bool) -> Self {
        Self { early, ..self }
    }

    /// Begins a launch of `function`, a kernel of ours.
    pub(super) fn call<'b>(self, function: &'b CudaFunction) -> Call<'b>
    where
        'a: 'b,
    {
        Call { queue: self, function, arguments: Vec::with_capacity(16) }
    }
}

/// A launch whose arguments are being collected.
pub(super) struct Call<'a> {
    queue: Queue<'a>,
    function: &'a CudaFunction,
    arguments: Vec<*mut c_void>,
}

impl<'a> Call<'a> {
    /// The next argument.
    pub(super) fn arg<T: DeviceRepr>(&mut self, value: &'a T) -> &mut Self {
        self.arguments.push((&raw const *value).cast_mut().cast());
        self
    }

    /// Enqueues the kernel, with the step as its last argument.
    ///
    /// # Safety
    /// The arguments are those of the kernel, all but the step, in their order and of their types, and what it does with memory that
    /// they name is allowed: until it has run, and where it is launched early, also while the kernel before it runs.
    #[allow(unsafe_code)]
    pub(super) unsafe fn launch(&mut self, config: LaunchConfig) -> Result<(), DriverError> {
        let Queue { stream, step, early } = self.queue;
        self.arguments.push((&raw const step).cast_mut().cast());
        stream.context().bind_to_thread()?;
        let (function, LaunchConfig { grid_dim, block_dim, shared_mem_bytes }) = (self.function.cu_function(), config);
        if !early {
            // SAFETY: the caller vouches for the arguments; function and stream are alive.
            return unsafe {
                result::launch_kernel(function, grid_dim, block_dim, shared_mem_bytes, stream.cu_stream(), &mut self.arguments)
            };
        }
        let mut attribute = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: grid_dim.0,
            gridDimY: grid_dim.1,
            gridDimZ: grid_dim.2,
            blockDimX: block_dim.0,
            blockDimY: block_dim.1,
            blockDimZ: block_dim.2,
            sharedMemBytes: shared_mem_bytes,
            hStream: stream.cu_stream(),
            attrs: &raw mut attribute,
            numAttrs: 1,
        };
        // SAFETY: as above; configuration, attribute and arguments live until the call returns, which copies them.
        unsafe { sys::cuLaunchKernelEx(&raw const config, function, self.arguments.as_mut_ptr(), std::ptr::null_mut()) }.result()
    }
}
