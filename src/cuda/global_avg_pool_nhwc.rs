//! Launches `kernels/global_avg_pool_nhwc.cu`.

use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};

use super::variants::{GLOBAL_AVG_POOL_CHUNKS, GLOBAL_AVG_POOL_ROWS};
use super::{CudaError, Element, Modules, Queue, Span, SpanMut, Unsupported, limits};

const KERNEL: &str = "global_avg_pool_nhwc";

/// Twin of the kernel's `GlobalAvgPoolParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Params {
    positions: i32,
    c: i32,
}
const _: () = assert!(size_of::<Params>() == 8);

// SAFETY: `repr(C)`, plain integers without padding.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Params {}

/// Mean over all positions of NHWC activations of `T`.
pub struct GlobalAvgPool<T> {
    function: CudaFunction,
    element: std::marker::PhantomData<T>,
}

/// What [`GlobalAvgPool::launch`] reads and writes.
pub struct GlobalAvgPoolArgs<'a, T> {
    /// `[N, H, W, C]`, 16-byte aligned.
    pub x: Span<'a, T>,
    /// Shape of `x`.
    pub shape: [usize; 4],
    /// `[N, C]`.
    pub y: SpanMut<'a, f32>,
}

impl<T: Element> GlobalAvgPool<T> {
    /// Channels in 16 bytes.
    const VECTOR: usize = 16 / size_of::<T>();

    /// Loads the kernel.
    ///
    /// # Errors
    /// As [`Modules::function`].
    pub fn new(modules: &Modules) -> Result<Self, CudaError> {
        let function = modules.function(KERNEL, &format!("global_avg_pool_{}_nhwc", T::NAME), 0)?;
        Ok(Self { function, element: std::marker::PhantomData })
    }

    /// Why this kernel cannot pool `shape`, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// An empty extent, channels that 16-byte reads do not divide, or more than the kernel's indices hold.
    pub fn can_run(&self, shape: [usize; 4]) -> Result<(), Unsupported> {
        limits::activation(KERNEL, shape)?;
        limits::channels(KERNEL, shape[3], Self::VECTOR)?;
        limits::grid(KERNEL, "images", shape[0])
    }

    fn config(&self, [n, _, _, c]: [usize; 4]) -> LaunchConfig {
        let blocks = c.div_ceil(Self::VECTOR * GLOBAL_AVG_POOL_CHUNKS as usize);
        let block_dim = (GLOBAL_AVG_POOL_CHUNKS, GLOBAL_AVG_POOL_ROWS, 1);
        LaunchConfig { grid_dim: (blocks as u32, n as u32, 1), block_dim, shared_mem_bytes: 0 }
    }

    /// Enqueues `y = mean(x)` over the positions; returns before it has run.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`], [`CudaError::Length`], [`CudaError::Alignment`] or [`CudaError::Launch`].
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: GlobalAvgPoolArgs<'_, T>) -> Result<(), CudaError> {
        self.can_run(args.shape)?;
        let [n, h, w, c] = args.shape;
        args.x.check(KERNEL, "x", n * h * w * c, 16)?;
        args.y.check(KERNEL, "y", n * c, 4)?;
        let params = Params { positions: (h * w) as i32, c: c as i32 };
        let mut call = queue.into().call(&self.function);
        call.arg(&args.x.address).arg(&args.y.address).arg(&params);
        // SAFETY: order and types match the entries in kernels/global_avg_pool_nhwc.cu, lengths and alignment were checked
        // above, and the kernel writes only `y`, borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(self.config(args.shape)) }.map_err(|source| CudaError::Launch { kernel: KERNEL, source })?;
        Ok(())
    }
}
