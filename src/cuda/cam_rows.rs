//! Launches `kernels/cam_rows.cu`.

use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};

use super::asked::{ROW_END, library_number};
use super::variants::CAM_WARPS;
use super::{AskedShape, CudaError, Element, Modules, Queue, Span, SpanMut, Unsupported, limits};

const KERNEL: &str = "cam_rows";

/// Channels of a block: one for each lane.
const CHANNELS: usize = 32;

/// Logits whose order the kernel keeps in shared memory.
const HELD_KEYS: usize = 4096;

/// Twin of the kernel's `CamRowsParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Params {
    cells: i32,
    c: i32,
    classes: i32,
    targets: i32,
    methods: i32,
    wanted: i32,
    library: i32,
}
const _: () = assert!(size_of::<Params>() == 28);

// SAFETY: `repr(C)`, plain integers without padding.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Params {}

/// The row of weights that each target and method becomes, from features and weights of `T`.
pub struct CamRows<T> {
    function: CudaFunction,
    element: std::marker::PhantomData<T>,
}

/// Sizes of a set of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsShape {
    /// Images.
    pub n: usize,
    /// Positions of the features.
    pub cells: usize,
    /// Channels of the features.
    pub c: usize,
    /// Classes of the network: rows of the weights.
    pub classes: usize,
    /// What is asked.
    pub asked: AskedShape,
}

impl RowsShape {
    /// Words of all rows: for each the weights, and what belongs to the row as a whole.
    pub fn words(&self) -> usize {
        self.n * self.asked.maps() * (self.c + ROW_END)
    }
}

/// What [`CamRows::launch`] reads and writes.
pub struct CamRowsArgs<'a, T> {
    /// Sizes.
    pub shape: RowsShape,
    /// `[N, cells, C]`.
    pub features: Span<'a, T>,
    /// `fc.weight`, `[classes, C]`.
    pub weights: Span<'a, T>,
    /// `fc.bias`, `[classes]`.
    pub bias: Span<'a, f32>,
    /// Mean of each channel, `[N, C]`.
    pub means: Span<'a, f32>,
    /// `[N, classes]`.
    pub logits: Span<'a, f32>,
    /// [`super::encode_asked`]; 16-byte aligned.
    pub asked: Span<'a, u8>,
    /// `[N, targets]` where the device chooses the classes, for them; else empty.
    pub index: SpanMut<'a, i32>,
    /// `[N, targets, methods, C + 4]`, 16-byte aligned.
    pub rows: SpanMut<'a, f32>,
}

impl<T: Element> CamRows<T> {
    /// Loads the kernel.
    ///
    /// # Errors
    /// As [`Modules::function`].
    pub fn new(modules: &Modules) -> Result<Self, CudaError> {
        let entry = format!("{KERNEL}_{}", T::NAME);
        Ok(Self { function: modules.function(&entry, &entry, 0)?, element: std::marker::PhantomData })
    }

    /// Why this kernel cannot run `shape`, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// An empty extent, channels that do not leave rows aligned, or more than the kernel's indices hold.
    pub fn can_run(&self, shape: &RowsShape) -> Result<(), Unsupported> {
        let RowsShape { n, cells, c, classes, asked } = *shape;
        limits::activation(KERNEL, [n, cells, 1, c])?;
        limits::activation(KERNEL, [1, 1, classes, c])?;
        limits::activation(KERNEL, [1, 1, asked.maps(), c + ROW_END])?;
        limits::channels(KERNEL, c, 4)?;
        limits::grid(KERNEL, "images", n)?;
        limits::grid(KERNEL, "targets", asked.targets)
    }

    fn config(&self, shape: &RowsShape) -> LaunchConfig {
        let grid_dim = (shape.c.div_ceil(CHANNELS) as u32, shape.asked.targets as u32, shape.n as u32);
        let keys = if shape.asked.terms.is_none() { shape.classes.min(HELD_KEYS) } else { 0 };
        LaunchConfig { grid_dim, block_dim: (CAM_WARPS * 32, 1, 1), shared_mem_bytes: 4 * keys as u32 }
    }

    /// Enqueues the rows; returns before they are there. One launch, whatever the number of images, targets and methods.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`], [`CudaError::Length`], [`CudaError::Alignment`] or [`CudaError::Launch`].
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: CamRowsArgs<'_, T>) -> Result<(), CudaError> {
        let shape = &args.shape;
        self.can_run(shape)?;
        let RowsShape { n, cells, c, classes, asked } = *shape;
        args.features.check(KERNEL, "features", n * cells * c, 16)?;
        args.weights.check(KERNEL, "weights", classes * c, 16)?;
        args.bias.check(KERNEL, "bias", classes, 4)?;
        args.means.check(KERNEL, "means", n * c, 4)?;
        args.logits.check(KERNEL, "logits", n * classes, 4)?;
        args.asked.check(KERNEL, "asked", asked.bytes(), 16)?;
        args.rows.check(KERNEL, "rows", shape.words(), 16)?;
        let index = match asked.terms {
            None => {
                args.index.check(KERNEL, "index", n * asked.targets, 4)?;
                args.index.address
            }
            Some(_) => 0,
        };
        let params = Params {
            cells: cells as i32,
            c: c as i32,
            classes: classes as i32,
            targets: asked.targets as i32,
            methods: asked.methods as i32,
            wanted: asked.wanted as i32,
            library: library_number(asked.library),
        };
        let at = |offset: usize| args.asked.address + offset as u64;
        let terms = at(asked.terms_at().start);
        let (targets, methods) = (at(asked.targets_at().start), at(asked.methods_at().start));
        let mut call = queue.into().call(&self.function);
        call.arg(&args.features.address).arg(&args.weights.address).arg(&args.bias.address);
        call.arg(&args.means.address).arg(&args.logits.address);
        call.arg(&terms).arg(&targets).arg(&methods).arg(&index).arg(&args.rows.address).arg(&params);
        // SAFETY: order and types match the entries in kernels/cam_rows.cu, lengths and alignment were checked above, the kernel
        // reads no weights of a class that is not there, and it writes only `index`, where it is not null, and `rows`, both
        // borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(self.config(shape)) }.map_err(|source| CudaError::Launch { kernel: KERNEL, source })?;
        Ok(())
    }
}
