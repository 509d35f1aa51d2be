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
    across: i32,
    pitch: i32,
    turns: i32,
}
const _: () = assert!(size_of::<Params>() == 32);

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
        let needed = self.matrices(shape).shared_bytes(cells, c);
        if needed > self.shared_limit as usize {
            let reason = format!(
                "an eigenvector of {cells} positions takes {needed} bytes of shared memory, this device has {}",
                self.shared_limit
            );
            return Err(Unsupported { kernel: KERNEL, reason });
        }
        Ok(())
    }

    fn matrices(&self, shape: &RowsShape) -> Matrices {
        Matrices::new(shape.cells, shape.c, self.shared_limit as usize)
    }

    fn config(&self, shape: &RowsShape) -> LaunchConfig {
        let grid_dim = ((shape.asked.targets * shape.asked.eigens) as u32, shape.n as u32, 1);
        let shared_mem_bytes = self.matrices(shape).shared_bytes(shape.cells, shape.c) as u32;
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
        let matrices = self.matrices(shape);
        let [cells, c, targets, methods, eigens, across, pitch, turns] =
            [cells, c, asked.targets, asked.methods, asked.eigens, matrices.across, matrices.pitch, matrices.turns()]
                .map(|v| v as i32);
        let params = Params { cells, c, targets, methods, eigens, across, pitch, turns };
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

/// Of shared memory, and threads of a warp.
const BANKS: usize = 32;

/// How matrices lie in shared memory, and are shared among threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Matrices {
    /// Threads whose entries go through a run of columns: odd, and up to 186 cells, more than fit any device, fewer than there are banks.
    across: usize,
    /// From one row to the next: odd, so that a warp may write a column.
    pitch: usize,
}

impl Matrices {
    /// So that going on in the next row is going on in the next bank where that fits `limit` bytes beside what else `c` channels take;
    /// else as small as they can be.
    fn new(cells: usize, c: usize, limit: usize) -> Self {
        // Columns of a thread: the kernel's `Small` and `Large`.
        let columns = if cells <= (BANKS - 1) * 3 { 3 } else { 6 };
        let across = cells.div_ceil(columns) | 1;
        let in_one_turn = Self { across, pitch: across + cells.saturating_sub(across).next_multiple_of(BANKS) };
        if in_one_turn.shared_bytes(cells, c) <= limit { in_one_turn } else { Self { across, pitch: cells | 1 } }
    }

    /// In how many turns a warp stores the rows that its threads have: all at once, or one at a time, and then as many as it may have
    /// rows, up to a power of two.
    fn turns(self) -> usize {
        if self.pitch % BANKS == self.across { 1 } else { ((BANKS - 2) / self.across + 2).next_power_of_two() }
    }

    /// Two matrices, their diagonals, and for each channel a mean and a weight.
    fn shared_bytes(self, cells: usize, c: usize) -> usize {
        4 * (2 * cells.max(DEPTH) * self.pitch + 2 * cells + 2 * c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_is_the_kernels() {
        let matrices = |cells, c, limit| {
            let matrices = Matrices::new(cells, c, limit);
            (matrices.across, matrices.pitch, matrices.turns(), matrices.shared_bytes(cells, c))
        };
        let a100 = 163 << 10;
        assert_eq!(matrices(1, 8, a100), (1, 1, 1, 4 * (2 * 64 + 2 + 16)));
        assert_eq!(matrices(49, 512, a100), (17, 49, 1, 4 * (2 * 64 * 49 + 98 + 1024)));
        assert_eq!(matrices(64, 512, a100), (23, 87, 1, 4 * (2 * 64 * 87 + 128 + 1024)));
        assert_eq!(matrices(100, 64, a100), (17, 113, 1, 4 * (2 * 100 * 113 + 200 + 128)));
        assert_eq!(matrices(133, 512, a100), (23, 151, 1, 4 * (2 * 133 * 151 + 266 + 1024)));
        assert_eq!(matrices(141, 512, a100), (25, 141, 4, 4 * (2 * 141 * 141 + 282 + 1024)), "too large for the other");
        // As tests/cuda_methods.rs counts on.
        assert_eq!(matrices(142, 24, a100), (25, 143, 4, 4 * (2 * 142 * 143 + 284 + 48)));
        assert_eq!(matrices(88, 24, 64 << 10), (31, 89, 2, 4 * (2 * 88 * 89 + 176 + 48)));
    }

    #[test]
    fn rows_are_free_of_bank_conflicts() {
        for cells in 1..=186 {
            let Matrices { across, pitch } = Matrices::new(cells, 512, usize::MAX);
            assert!(across % 2 == 1 && across < 32 && pitch >= cells && pitch % 32 == across, "{cells}: {across}, {pitch}");
            let columns = if 3 * across >= cells { 3 } else { 6 }; // as the kernel chooses
            assert!(columns * across >= cells, "{cells}: {across}");
        }
    }

    #[test]
    fn rows_that_lie_close_take_turns() {
        for cells in 1..=186 {
            let matrices = Matrices::new(cells, 512, 0);
            let (across, turns) = (matrices.across, matrices.turns());
            assert_eq!(matrices.pitch, cells | 1);
            if matrices.pitch % BANKS == across {
                assert_eq!(turns, 1, "{cells}");
                continue;
            }
            // Wherever a warp begins in a row, it ends in another one.
            let rows = (0..across).map(|first| (first + BANKS - 1) / across + 1).max();
            assert!(
                turns.is_power_of_two() && rows.is_some_and(|rows| turns >= rows && turns < 2 * rows),
                "{cells}: {turns}, {rows:?}"
            );
        }
    }
}
