//! Launches `batch_norm_nhwc`.

use std::marker::PhantomData;

use cudarc::driver::{CudaFunction, LaunchConfig};

use super::span::{Element, Span, SpanMut};
use super::variants::VECTOR;
use super::{CudaError, Modules, Queue, Unsupported, limits};

const NAME: &str = "batch_norm_nhwc";
const THREADS: u32 = 256;
/// Blocks beyond this only queue: the kernel's loop takes the rest.
const MOST_BLOCKS: usize = 1 << 14;

/// Batch norm at inference as a step of its own, for networks that are not folded. Channels are a multiple of 4.
#[derive(Debug)]
pub struct BatchNorm<T> {
    entries: [CudaFunction; 3],
    element: PhantomData<T>,
}

/// `y = x * scale[c] + shift[c]`, then residual and ReLU as asked.
#[derive(Debug)]
pub struct BatchNormArgs<'a, T> {
    /// Channels, C, a multiple of 4.
    pub channels: usize,
    /// `[.., C]`.
    pub x: Span<'a, T>,
    /// `[C]`.
    pub scale: Span<'a, f32>,
    /// `[C]`.
    pub shift: Span<'a, f32>,
    /// Added before the ReLU, `[.., C]`; comes with `relu`.
    pub residual: Option<Span<'a, T>>,
    /// Whether negative results become 0.
    pub relu: bool,
    /// `[.., C]`.
    pub y: SpanMut<'a, T>,
}

impl<T: Element> BatchNorm<T> {
    /// Loads the kernel.
    ///
    /// # Errors
    /// [`CudaError`] if it cannot be loaded.
    pub fn new(modules: &Modules) -> Result<Self, CudaError> {
        let function = |epilogue| {
            let entry = format!("batch_norm_{}_nhwc_v{VECTOR}_{epilogue}", T::NAME);
            modules.function(&format!("{NAME}_v{VECTOR}"), &entry, 0)
        };
        let entries = [function("none")?, function("relu")?, function("residual_relu")?];
        Ok(Self { entries, element: PhantomData })
    }

    /// Why this kernel cannot run `count` elements of `channels` channels, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// [`Unsupported`] with the reason.
    pub fn can_run(&self, count: usize, channels: usize) -> Result<(), Unsupported> {
        let refuse = |reason| Err(Unsupported { kernel: NAME, reason });
        if count == 0 || channels == 0 || !count.is_multiple_of(channels) {
            return refuse(format!("{count} elements are no whole number of pixels of {channels} channels"));
        }
        if count > 1 << 31 {
            return refuse(format!("{count} elements are more than 2^31"));
        }
        limits::channels(NAME, channels, VECTOR as usize)
    }

    /// Grid and block: the only place they are computed.
    fn config(&self, count: usize) -> LaunchConfig {
        let blocks = count.div_ceil((THREADS * VECTOR) as usize).min(MOST_BLOCKS);
        LaunchConfig { grid_dim: (blocks as u32, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 }
    }

    /// Enqueues the normalisation; returns before it has run.
    ///
    /// # Errors
    /// [`CudaError`] if a length or an address does not fit, a residual comes without ReLU, or the driver refuses the launch.
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: BatchNormArgs<'_, T>) -> Result<(), CudaError> {
        let BatchNormArgs { channels, x, scale, shift, residual, relu, y } = args;
        self.can_run(y.len(), channels)?;
        let entry = match (&residual, relu) {
            (None, false) => 0,
            (None, true) => 1,
            (Some(_), true) => 2,
            (Some(_), false) => {
                return Err(Unsupported { kernel: NAME, reason: "a residual comes with ReLU".into() }.into());
            }
        };
        let (wide, bytes) = (u64::from(VECTOR), size_of::<T>() as u64);
        x.check(NAME, "x", y.len(), wide * bytes)?;
        y.check(NAME, "y", y.len(), wide * bytes)?;
        scale.check(NAME, "scale", channels, 4 * wide)?;
        shift.check(NAME, "shift", channels, 4 * wide)?;
        if let Some(residual) = &residual {
            residual.check(NAME, "residual", y.len(), wide * bytes)?;
        }
        let (count, c) = (y.len() as u32, channels as u32); // at most 2^31, by `can_run`
        let mut call = queue.into().call(&self.entries[entry]);
        call.arg(&x.address).arg(&scale.address).arg(&shift.address);
        if let Some(residual) = &residual {
            call.arg(&residual.address);
        }
        call.arg(&y.address).arg(&count).arg(&c);
        // SAFETY: order and types are those of the entries in kernels/batch_norm_nhwc.cu; lengths and alignment were checked
        // above, and the kernel writes only `y`, which is borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(self.config(y.len())) }.map_err(|source| CudaError::Launch { kernel: NAME, source })?;
        Ok(())
    }
}
