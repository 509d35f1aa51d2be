//! Launches `kernels/cam_eigen.cu`.

use cudarc::driver::sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};

use super::asked::ROW_END;
use super::variants::CAM_WARPS;
use super::{CudaError, Element, Modules, Queue, RowsShape, Span, SpanMut, Unsupported, limits};

const KERNEL: &str = "cam_eigen";

/// Channels of a part of the Gram matrix.
const DEPTH: usize = 64;

/// Shared memory that the kernel declares itself: a float and a double for each warp.
const STATIC_SHARED: u32 = CAM_WARPS * 12;

/// Twin of the kernel's `CamEigenParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Params {
    cells: i32,
    c: i32,
    targets: i32,
    methods: i32,
    eigens: i32,
}
const _: () = assert!(size_of::<Params>() == 20);

// SAFETY: `repr(C)`, plain integers without padding.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Params {}

/// Eigen-CAM and Eigen-Grad-CAM as rows of weights, from features of `T`.
pub struct CamEigen<T> {
    function: CudaFunction,
    /// Dynamic shared memory that a block may have.
    shared_limit: u32,
    element: std::marker::PhantomData<T>,
}

/// What [`CamEigen::launch`] reads and writes.
pub struct CamEigenArgs<'a, T> {
    /// Sizes.
    pub shape: RowsShape,
    /// `[N, cells, C]`.
    pub features: Span<'a, T>,
    /// As [`super::CamRows`] has read it.
    pub asked: Span<'a, u8>,
    /// As [`super::CamRows`] has left them. Those of the two methods hold the target's derivative, which gives way to the row.
    pub rows: SpanMut<'a, f32>,
}

impl<T: Element> CamEigen<T> {
    /// Loads the kernel, and asks the device for its limit.
    ///
    /// # Errors
    /// As [`Modules::function`]; [`CudaError::Driver`] if the device does not answer.
    pub fn new(modules: &Modules) -> Result<Self, CudaError> {
        let limit = modules.context().attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let shared_limit = u32::try_from(limit).unwrap_or(0).saturating_sub(STATIC_SHARED);
        let entry = format!("{KERNEL}_{}", T::NAME);
        let function = modules.function(&entry, &entry, shared_limit)?;
        Ok(Self { function, shared_limit, element: std::marker::PhantomData })
    }

    /// Why this kernel cannot run `shape`, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// An empty extent, a Gram matrix that does not fit shared memory, or more than the kernel's indices hold.
    pub fn can_run(&self, shape: &RowsShape) -> Result<(), Unsupported> {
        let RowsShape { n, cells, c, asked, .. } = *shape;
        limits::activation(KERNEL, [n, cells, 1, c])?;
        limits::activation(KERNEL, [1, 1, asked.maps(), c + ROW_END])?;
        limits::grid(KERNEL, "images", n)?;
        let needed = shared_bytes(cells, c);
        if needed > self.shared_limit as usize {
            let reason = format!(
                "an eigenvector of {cells} positions takes {needed} bytes of shared memory, this device has {}",
                self.shared_limit
            );
            return Err(Unsupported { kernel: KERNEL, reason });
        }
        Ok(())
    }

    fn config(&self, shape: &RowsShape) -> LaunchConfig {
        let grid_dim = ((shape.asked.targets * shape.asked.eigens) as u32, shape.n as u32, 1);
        let shared_mem_bytes = shared_bytes(shape.cells, shape.c) as u32;
        LaunchConfig { grid_dim, block_dim: (CAM_WARPS * 32, 1, 1), shared_mem_bytes }
    }

    /// Enqueues the rows; returns before they are there. One launch, whatever their number, and none where there are none.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`], [`CudaError::Length`], [`CudaError::Alignment`] or [`CudaError::Launch`].
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: CamEigenArgs<'_, T>) -> Result<(), CudaError> {
        let shape = &args.shape;
        self.can_run(shape)?;
        let RowsShape { n, cells, c, asked, .. } = *shape;
        args.features.check(KERNEL, "features", n * cells * c, 16)?;
        args.asked.check(KERNEL, "asked", asked.bytes(), 16)?;
        args.rows.check(KERNEL, "rows", shape.words(), 16)?;
        if asked.targets * asked.eigens == 0 {
            return Ok(());
        }
        let [cells, c, targets, methods, eigens] = [cells, c, asked.targets, asked.methods, asked.eigens].map(|v| v as i32);
        let params = Params { cells, c, targets, methods, eigens };
        let of_methods = args.asked.address + asked.methods_at().start as u64;
        let mut call = queue.into().call(&self.function);
        call.arg(&args.features.address).arg(&of_methods).arg(&args.rows.address).arg(&params);
        // SAFETY: order and types match the entries in kernels/cam_eigen.cu, lengths and alignment were checked above, and the
        // kernel writes only `rows`, borrowed mutably, each row by one block.
        #[allow(unsafe_code)]
        unsafe { call.launch(self.config(shape)) }.map_err(|source| CudaError::Launch { kernel: KERNEL, source })?;
        Ok(())
    }
}

/// Two matrices of an odd pitch, their diagonals, and for each channel a mean and a weight.
fn shared_bytes(cells: usize, c: usize) -> usize {
    4 * (2 * cells.max(DEPTH) * (cells | 1) + 2 * cells + 2 * c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_is_the_kernels() {
        assert_eq!(shared_bytes(49, 512), 4 * (2 * 64 * 49 + 98 + 1024));
        assert_eq!(shared_bytes(100, 64), 4 * (2 * 100 * 101 + 200 + 128));
    }
}
