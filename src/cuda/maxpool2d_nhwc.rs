//! Launches `kernels/maxpool2d_nhwc.cu`.

use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};

use super::variants::MAXPOOL2D_THREADS;
use super::{CudaError, Element, Modules, Queue, Span, SpanMut, Unsupported};
use crate::network::Window;

const KERNEL: &str = "maxpool2d_nhwc";

/// Twin of the kernel's `MaxPool2dParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Params {
    h: i32,
    w: i32,
    c: i32,
    p: i32,
    q: i32,
    r: i32,
    s: i32,
    stride: i32,
    pad: i32,
}
const _: () = assert!(size_of::<Params>() == 36);

// SAFETY: `repr(C)`, plain integers without padding.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Params {}

/// 2-D max pooling on NHWC activations of `T`, whose channels are whole packs of 16 bytes: a multiple of 4 of f32, of 8 of f16 and
/// bf16.
pub struct MaxPool2d<T> {
    function: CudaFunction,
    element: std::marker::PhantomData<T>,
}

/// What [`MaxPool2d::launch`] reads and writes.
pub struct MaxPool2dArgs<'a, T> {
    /// `[N, H, W, C]`, 16-byte aligned.
    pub x: Span<'a, T>,
    /// Shape of `x`.
    pub shape: [usize; 4],
    /// The window.
    pub window: Window,
    /// `[N, P, Q, C]`, 16-byte aligned.
    pub y: SpanMut<'a, T>,
}

impl<T: Element> MaxPool2d<T> {
    /// Channels in 16 bytes.
    const VECTOR: usize = 16 / size_of::<T>();

    /// Loads the kernel.
    ///
    /// # Errors
    /// As [`Modules::function`].
    pub fn new(modules: &Modules) -> Result<Self, CudaError> {
        let function = modules.function(KERNEL, &format!("maxpool2d_{}_nhwc", T::NAME), 0)?;
        Ok(Self { function, element: std::marker::PhantomData })
    }

    /// Why this kernel cannot pool `shape`, or the output's extents `(P, Q)`. Touches no device.
    ///
    /// # Errors
    /// An empty extent, channels that 16-byte accesses do not divide, a window that does not fit, or more than the kernel's indices
    /// hold.
    pub fn can_run(&self, shape: [usize; 4], window: Window) -> Result<(usize, usize), Unsupported> {
        super::limits::channels(KERNEL, shape[3], Self::VECTOR)?;
        geometry(shape, window)
    }

    fn config([n, _, _, c]: [usize; 4], (p, q): (usize, usize)) -> LaunchConfig {
        let blocks = (q * (c / Self::VECTOR)).div_ceil(MAXPOOL2D_THREADS as usize);
        let grid_dim = (blocks as u32, p as u32, n as u32);
        LaunchConfig { grid_dim, block_dim: (MAXPOOL2D_THREADS, 1, 1), shared_mem_bytes: 0 }
    }

    /// Enqueues `y = max_pool2d(x)`; returns before it has run. The border never wins, a NaN in a window does.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`], [`CudaError::Length`], [`CudaError::Alignment`] or [`CudaError::Launch`].
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: MaxPool2dArgs<'_, T>) -> Result<(), CudaError> {
        let outputs @ (p, q) = self.can_run(args.shape, args.window)?;
        let [n, h, w, c] = args.shape;
        args.x.check(KERNEL, "x", n * h * w * c, 16)?;
        args.y.check(KERNEL, "y", n * p * q * c, 16)?;
        let params = params(args.shape, args.window, outputs);
        let mut call = queue.into().call(&self.function);
        call.arg(&args.x.address).arg(&args.y.address).arg(&params);
        // SAFETY: order and types match the entries in kernels/maxpool2d_nhwc.cu, lengths and alignment were checked above, and
        // the kernel writes only `y`, borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(Self::config(args.shape, outputs)) }
            .map_err(|source| CudaError::Launch { kernel: KERNEL, source })?;
        Ok(())
    }
}

fn geometry(shape: [usize; 4], window: Window) -> Result<(usize, usize), Unsupported> {
    let fault = |reason: String| Unsupported { kernel: KERNEL, reason };
    super::limits::activation(KERNEL, shape)?;
    let (p, q) = window
        .outputs(shape[1], shape[2])
        .filter(|_| window.size.0.max(window.size.1).max(window.stride).max(window.pad) < 1 << 24)
        .ok_or_else(|| fault(format!("{window:?} does not fit {shape:?}")))?;
    super::limits::activation(KERNEL, [shape[0], p, q, shape[3]])?;
    super::limits::grid(KERNEL, "rows of the output", p)?;
    super::limits::grid(KERNEL, "images", shape[0])?;
    Ok((p, q))
}

fn params([_, h, w, c]: [usize; 4], window: Window, (p, q): (usize, usize)) -> Params {
    let (r, s) = window.size;
    let [h, w, c, p, q, r, s, stride, pad] = [h, w, c, p, q, r, s, window.stride, window.pad].map(|v| v as i32);
    Params { h, w, c, p, q, r, s, stride, pad }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { size: (3, 4), stride: 2, pad: 1 };

    #[test]
    fn the_twin_keeps_every_letter_apart() {
        let shape = [2, 11, 13, 5];
        let outputs = geometry(shape, WINDOW).unwrap();
        let want = Params { h: 11, w: 13, c: 5, p: 6, q: 6, r: 3, s: 4, stride: 2, pad: 1 };
        assert_eq!(params(shape, WINDOW, outputs), want);
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let reason = |shape, window| geometry(shape, window).unwrap_err().to_string();
        assert!(reason([1, 0, 8, 8], WINDOW).contains("empty"));
        assert!(reason([1, 1, 1, 8], Window { size: (9, 9), ..WINDOW }).contains("does not fit"));
        assert!(reason([1, 8, 8, 8], Window { stride: 0, ..WINDOW }).contains("does not fit"));
        assert!(reason([70_000, 4, 4, 8], WINDOW).contains("65535"));
        assert!(reason([1, 1 << 20, 1 << 20, 8], WINDOW).contains("2^31"));
    }
}
