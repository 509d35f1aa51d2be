//! Launches `kernels/preprocess.cu`.

use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};

use super::preprocess_tables::Pass;
use super::variants::{PREPROCESS_ROWS, PREPROCESS_TILE};
use super::{CudaError, Element, Modules, PreprocessTables, Queue, Span, SpanMut, Unsupported, limits};

const KERNEL: &str = "preprocess";

/// Twin of the kernel's `ResizeParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Params {
    in_pitch: i32,
    in_w: i32,
    taps: i32,
    seen_w: i32,
    seen_h: i32,
    at_x: i32,
    at_y: i32,
    out_w: i32,
    out_h: i32,
}
const _: () = assert!(size_of::<Params>() == 36);

// SAFETY: `repr(C)`, plain integers without padding.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Params {}

/// From decoded pixels to the network's input of `T`, with the CPU's bytes: resize, crop, normalisation.
pub struct Preprocess<T> {
    channels: usize,
    horizontal: Passes,
    vertical: Passes,
    element: std::marker::PhantomData<T>,
}

/// The kernels that filter along one axis.
struct Passes {
    /// To bytes: those between the passes, or the crop.
    bytes: CudaFunction,
    /// To the crop and the tensor.
    both: CudaFunction,
}

/// What [`Preprocess::launch`] reads and writes.
pub struct PreprocessArgs<'a, T> {
    /// Rows of RGB pixels of the picture's window, `pitch` bytes for each of them.
    pub window: Span<'a, u8>,
    /// Bytes from one row of `window` to the next.
    pub pitch: usize,
    /// The way from the picture to the crop.
    pub tables: &'a PreprocessTables,
    /// [`PreprocessTables::words`] on the device, 16-byte aligned.
    pub words: Span<'a, i32>,
    /// The picture between the passes, [`PreprocessTables::between_bytes`].
    pub between: SpanMut<'a, u8>,
    /// The pixels that the network sees, `[H, W, 3]`.
    pub crop: SpanMut<'a, u8>,
    /// The same, normalised: `[H, W, channels]`, those past the third being 0; 16-byte aligned, but for 3 channels. `None` for the pixels alone.
    pub y: Option<SpanMut<'a, T>>,
}

impl<T: Element> Preprocess<T> {
    /// Loads the kernels that write `channels`: 3 or 4 for f32, 3, 4 or 8 for f16, 3 or 8 for bf16.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`] for another number, else as [`Modules::function`].
    pub fn new(modules: &Modules, channels: usize) -> Result<Self, CudaError> {
        let known: &[usize] = match T::NAME {
            "f32" => &[3, 4],
            "f16" => &[3, 4, 8],
            _ => &[3, 8],
        };
        if !known.contains(&channels) {
            let reason = format!("{channels} channels of {}, expected {known:?}", T::NAME);
            return Err(Unsupported { kernel: KERNEL, reason }.into());
        }
        let load = |axis: &str| -> Result<Passes, CudaError> {
            let entry = |what: &str| modules.function(KERNEL, &format!("resize_{axis}_{what}"), 0);
            let both = entry(&format!("normalise_{}_c{channels}", T::NAME))?;
            Ok(Passes { bytes: entry("u8")?, both })
        };
        Ok(Self { channels, horizontal: load("horizontal")?, vertical: load("vertical")?, element: std::marker::PhantomData })
    }

    /// How plans call the kernels that also write the tensor.
    pub fn name(&self) -> String {
        format!("resize_normalise_{}_c{}", T::NAME, self.channels)
    }

    /// Why these kernels cannot run `tables` on rows of `pitch` bytes, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// A pitch less than a row, or more than the kernels' indices hold.
    pub fn can_run(&self, tables: &PreprocessTables, pitch: usize) -> Result<(), Unsupported> {
        let ((columns, rows), (crop_w, crop_h)) = (tables.window(), tables.crop());
        let row = 3 * columns.len();
        if pitch < row || i32::try_from(pitch).is_err() {
            let reason = format!("rows of {} pixels are {pitch} bytes apart, expected {row} to 2^31 - 1", columns.len());
            return Err(Unsupported { kernel: KERNEL, reason });
        }
        limits::activation(KERNEL, [1, crop_h, crop_w, self.channels])?;
        let blocks = tables.between().1.max(crop_h).div_ceil(PREPROCESS_TILE.1 as usize);
        limits::grid(KERNEL, "blocks of rows", blocks)?;
        let bytes = pitch.checked_mul(rows.len());
        bytes.map(|_| ()).ok_or_else(|| Unsupported { kernel: KERNEL, reason: "the picture is too large".into() })
    }

    fn config(pass: &Pass, (w, h): (usize, usize)) -> LaunchConfig {
        let (tile_w, tile_h) = PREPROCESS_TILE;
        let rows = if pass.is_horizontal { PREPROCESS_ROWS } else { tile_h };
        let grid_dim = ((w as u32).div_ceil(tile_w), (h as u32).div_ceil(rows), 1);
        LaunchConfig { grid_dim, block_dim: (tile_w, tile_h, 1), shared_mem_bytes: 0 }
    }

    /// Enqueues both passes; returns before they have run.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`], [`CudaError::Length`], [`CudaError::Alignment`] or [`CudaError::Launch`].
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: PreprocessArgs<'_, T>) -> Result<(), CudaError> {
        let tables = args.tables;
        self.can_run(tables, args.pitch)?;
        let (crop_w, crop_h) = tables.crop();
        args.window.check(KERNEL, "window", args.pitch * tables.window().1.len(), 1)?;
        args.words.check(KERNEL, "words", tables.words().len(), 16)?;
        args.between.check(KERNEL, "between", tables.between_bytes(), 1)?;
        args.crop.check(KERNEL, "crop", crop_w * crop_h * 3, 1)?;
        if let Some(y) = &args.y {
            // Three channels are written one by one.
            let alignment = if self.channels == 3 { size_of::<T>() as u64 } else { 16 };
            y.check(KERNEL, "y", crop_w * crop_h * self.channels, alignment)?;
        }

        let between @ (between_w, _) = tables.between();
        let [first, second] = tables.passes();
        let fault = |source| CudaError::Launch { kernel: KERNEL, source };
        let queue = queue.into();
        let word = |at: usize| args.words.address + 4 * at as u64;

        let params = params(first, args.pitch, between, (0, 0), between);
        let (starts, weights) = (word(first.starts), word(first.weights));
        let mut call = queue.call(&self.passes(first).bytes);
        call.arg(&args.window.address).arg(&starts).arg(&weights).arg(&args.between.address).arg(&params);
        // SAFETY: order and types match the entry in kernels/preprocess.cu; lengths were checked above, and the starts and
        // weights, made for this window, keep every read inside it; the kernel writes only `between`, borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(Self::config(first, between)) }.map_err(fault)?;

        let params = self::params(second, 3 * between_w, tables.seen(), tables.at(), tables.crop());
        let (starts, weights, normalisation) = (word(second.starts), word(second.weights), word(tables.normalisation()));
        let passes = self.passes(second);
        let mut call = queue.call(if args.y.is_some() { &passes.both } else { &passes.bytes });
        call.arg(&args.between.address).arg(&starts).arg(&weights);
        if let Some(y) = &args.y {
            call.arg(&normalisation).arg(&args.crop.address).arg(&y.address).arg(&params);
        } else {
            call.arg(&args.crop.address).arg(&params);
        }
        // SAFETY: as above; the kernel writes only `crop` and `y`, borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(Self::config(second, tables.crop())) }.map_err(fault)?;
        Ok(())
    }

    fn passes(&self, pass: &Pass) -> &Passes {
        if pass.is_horizontal { &self.horizontal } else { &self.vertical }
    }
}

fn params(pass: &Pass, pitch: usize, seen: (usize, usize), at: (usize, usize), out: (usize, usize)) -> Params {
    let [in_pitch, in_w, taps, seen_w, seen_h, at_x, at_y, out_w, out_h] =
        [pitch, pass.in_w, pass.taps, seen.0, seen.1, at.0, at.1, out.0, out.1].map(|v| v as i32);
    Params { in_pitch, in_w, taps, seen_w, seen_h, at_x, at_y, out_w, out_h }
}
