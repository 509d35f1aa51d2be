//! Launches `kernels/linear.cu`.

use cudarc::driver::{CudaFunction, CudaStream, DeviceRepr, LaunchConfig, PushKernelArg};

use super::variants::{LINEAR, LinearTile};
use super::{CudaError, Element, Modules, Span, SpanMut, Unsupported, limits};

const KERNEL: &str = "linear";

/// Twin of the kernel's `LinearParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Params {
    n: i32,
    c: i32,
    k: i32,
}
const _: () = assert!(size_of::<Params>() == 12);

// SAFETY: `repr(C)`, plain integers without padding.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Params {}

/// Linear layer with weights of `T`; features and results are f32.
pub struct Linear<T> {
    functions: Vec<(&'static LinearTile, CudaFunction)>,
    element: std::marker::PhantomData<T>,
}

/// Sizes of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearShape {
    /// Images.
    pub n: usize,
    /// Features.
    pub c: usize,
    /// Outputs.
    pub k: usize,
}

/// What [`Linear::launch`] reads and writes.
pub struct LinearArgs<'a, T> {
    /// Sizes.
    pub shape: LinearShape,
    /// `[N, C]`, 16-byte aligned.
    pub x: Span<'a, f32>,
    /// `[K, C]`, 16-byte aligned.
    pub w: Span<'a, T>,
    /// `[K]`.
    pub bias: Span<'a, f32>,
    /// `[N, K]`.
    pub y: SpanMut<'a, f32>,
}

impl<T: Element> Linear<T> {
    /// Loads every tile.
    ///
    /// # Errors
    /// As [`Modules::function`].
    pub fn new(modules: &Modules) -> Result<Self, CudaError> {
        let entry = format!("linear_{}", T::NAME);
        let load = |tile: &'static LinearTile| Ok((tile, modules.function(&tile.unit(), &entry, 0)?));
        let functions = LINEAR.iter().map(load).collect::<Result<_, CudaError>>()?;
        Ok(Self { functions, element: std::marker::PhantomData })
    }

    /// Why this kernel cannot run `shape`, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// An empty extent, channels that 16-byte reads do not divide, or more than the kernel's indices hold.
    pub fn can_run(&self, shape: &LinearShape) -> Result<(), Unsupported> {
        let LinearShape { n, c, k } = *shape;
        for extents in [[n, 1, 1, c], [k, 1, 1, c], [n, 1, 1, k]] {
            limits::activation(KERNEL, extents)?;
        }
        limits::channels(KERNEL, c, 16 / size_of::<T>())?;
        limits::grid(KERNEL, "images", n)
    }

    /// The tile for a batch of `n`: the one with the most images among those that the batch fills at least halfway.
    pub fn tile(n: usize) -> &'static LinearTile {
        LINEAR.iter().rev().find(|tile| n * 2 >= tile.images as usize).unwrap_or(&LINEAR[0])
    }

    fn config(&self, shape: &LinearShape) -> (&CudaFunction, LaunchConfig) {
        let tile = Self::tile(shape.n);
        let function = self.functions.iter().find(|(of, _)| of == &tile).map_or(&self.functions[0].1, |(_, function)| function);
        let blocks = (shape.k.div_ceil((tile.warps * tile.outputs) as usize), shape.n.div_ceil(tile.images as usize));
        let grid_dim = (blocks.0 as u32, blocks.1 as u32, 1);
        (function, LaunchConfig { grid_dim, block_dim: (tile.warps * 32, 1, 1), shared_mem_bytes: 0 })
    }

    /// Enqueues `y = x * w^T + bias`; returns before it has run.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`], [`CudaError::Length`], [`CudaError::Alignment`] or [`CudaError::Launch`].
    pub fn launch(&self, stream: &CudaStream, args: LinearArgs<'_, T>) -> Result<(), CudaError> {
        self.can_run(&args.shape)?;
        let LinearShape { n, c, k } = args.shape;
        args.x.check(KERNEL, "x", n * c, 16)?;
        args.w.check(KERNEL, "w", k * c, 16)?;
        args.bias.check(KERNEL, "bias", k, 4)?;
        args.y.check(KERNEL, "y", n * k, 4)?;
        let params = Params { n: n as i32, c: c as i32, k: k as i32 };
        let (function, config) = self.config(&args.shape);
        let mut call = stream.launch_builder(function);
        call.arg(&args.x.address).arg(&args.w.address).arg(&args.bias.address).arg(&args.y.address).arg(&params);
        // SAFETY: order and types match the entries in kernels/linear.cu, lengths and alignment were checked above, and the
        // kernel writes only `y`, borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(config) }.map_err(|source| CudaError::Launch { kernel: KERNEL, source })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_batches_get_the_most_blocks() {
        let images = |n| Linear::<f32>::tile(n).images;
        assert_eq!([1, 2, 3, 4, 7, 8, 500].map(images), [1, 1, 1, 8, 8, 8, 8]);
    }
}
