//! Launches `kernels/stem.cu`.

use std::marker::PhantomData;

use cudarc::driver::sys::CUdevice_attribute_enum as Attribute;
use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};
use half::{bf16, f16};

use super::variants::STEM_TILE_COLUMNS;
use super::{CudaError, Element, Modules, Queue, Span, SpanMut, Unsupported, limits};
use crate::network::Window;

const KERNEL: &str = "stem";
/// The convolution that the kernel computes.
pub(super) const STEM_CONV: Window = Window { size: (7, 7), stride: 2, pad: 3 };
/// The max pooling that follows it.
pub(super) const STEM_POOL: Window = Window { size: (3, 3), stride: 2, pad: 1 };

/// Columns of the image that a tile reads.
const PATCH_COLUMNS: usize = 2 * (2 * STEM_TILE_COLUMNS as usize + 2) + 5;
/// Pairs of elements that they fill.
const PATCH_WORDS: usize = (3 * PATCH_COLUMNS).div_ceil(2);
/// Bytes of an element.
const ELEMENT: usize = 2;
/// Channels of `y` that a warp computes.
pub(super) const GROUP: usize = 32;
/// Blocks that a multiprocessor has registers for.
const RESIDENT: usize = 2;

/// Twin of the kernel's `StemParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Params {
    h: i32,
    w: i32,
    k: i32,
    conv_p: i32,
    conv_q: i32,
    p: i32,
    q: i32,
    rows: i32,
    tiles_x: i32,
    tiles_y: i32,
    tiles: i32,
    bytes: i32,
}
const _: () = assert!(size_of::<Params>() == 48);

// SAFETY: `repr(C)`, plain numbers without padding.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Params {}

/// The first two layers in one kernel: 7x7 convolution of stride 2, bias, ReLU, 3x3 max pooling of stride 2; sums in f32, the
/// rest in `T`, f16 or bf16. The convolution's output is never stored.
#[derive(Debug)]
pub struct Stem<T> {
    function: CudaFunction,
    element: PhantomData<T>,
    multiprocessors: usize,
    /// Most shared memory for a block such that as many fit a multiprocessor as its registers allow.
    shared: usize,
}

/// Images `[N, H, W, 3]` and the number of channels that become of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StemShape {
    /// Images.
    pub n: usize,
    /// Rows of an image.
    pub h: usize,
    /// Columns of an image.
    pub w: usize,
    /// Output channels, a multiple of 8.
    pub k: usize,
}

/// What [`Stem::launch`] reads and writes.
#[derive(Debug)]
pub struct StemArgs<'a, T> {
    /// Extents.
    pub shape: &'a StemShape,
    /// The normalised images, `[N, H, W, 3]`, 16-byte aligned.
    pub x: Span<'a, T>,
    /// The filter, as [`stem_filter`](super::stem_filter) packs it; 16-byte aligned.
    pub w: Span<'a, T>,
    /// `[K]`, 16-byte aligned.
    pub bias: Span<'a, f32>,
    /// `[N, P, Q, K]`, 16-byte aligned.
    pub y: SpanMut<'a, T>,
}

impl StemShape {
    /// Extents of the convolution's output and of what is pooled from it.
    fn outputs(&self) -> Option<[(usize, usize); 2]> {
        let conv = STEM_CONV.outputs(self.h, self.w)?;
        Some([conv, STEM_POOL.outputs(conv.0, conv.1)?])
    }

    /// Elements of the packed filter.
    pub fn filter_len(&self) -> usize {
        super::stem_filter::len(self.k)
    }
}

/// How a launch divides its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Division {
    /// Of `y`, in a tile.
    rows: usize,
    /// `(across, down)` one image.
    tiles: (usize, usize),
}

impl<T: Element> Stem<T> {
    /// Loads the form of `T`.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`] for f32, else as [`Modules::function`].
    pub fn new(modules: &Modules) -> Result<Self, CudaError> {
        let attribute = |name| modules.context().attribute(name).map(|value| usize::try_from(value).unwrap_or(0));
        let multiprocessor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?;
        let block = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let shared = block_share(multiprocessor).min(block);
        if ![f16::NAME, bf16::NAME].contains(&T::NAME) {
            return Err(Unsupported { kernel: KERNEL, reason: format!("it has no form for {}", T::NAME) }.into());
        }
        Ok(Self {
            function: modules.function(KERNEL, &Self::name(), u32::try_from(shared).unwrap_or(0))?,
            element: PhantomData,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(1),
            shared,
        })
    }

    /// Name of the kernel.
    pub fn name() -> String {
        format!("stem_{}_nhwc", T::NAME)
    }

    /// Why this kernel cannot run `shape`, or the output's extents `(P, Q)`. Touches no device.
    ///
    /// # Errors
    /// An empty extent, channels that are no multiple of 8, or more than the kernel's indices hold.
    pub fn can_run(&self, shape: &StemShape) -> Result<(usize, usize), Unsupported> {
        can_run(shape)
    }

    /// Enqueues `y = max_pool2d(relu(conv2d(x, w) + bias))`; returns before it has run.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`], [`CudaError::Length`], [`CudaError::Alignment`] or [`CudaError::Launch`].
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: StemArgs<'_, T>) -> Result<(), CudaError> {
        let StemArgs { shape, x, w, bias, y } = args;
        let (p, q) = self.can_run(shape)?;
        x.check(KERNEL, "x", shape.n * shape.h * shape.w * 3, 16)?;
        w.check(KERNEL, "w", shape.filter_len(), 16)?;
        bias.check(KERNEL, "bias", shape.k, 16)?;
        y.check(KERNEL, "y", shape.n * p * q * shape.k, 16)?;
        let division = divide(shape, (p, q), self.shared, self.multiprocessors);
        let params = params(shape, division);
        let config = config(shape, division, self.multiprocessors);
        let mut call = queue.into().call(&self.function);
        call.arg(&x.address).arg(&w.address).arg(&bias.address).arg(&y.address).arg(&params);
        // SAFETY: order and types match the entries in kernels/stem.cu, lengths and alignment were checked above, and the kernel
        // writes only `y`, borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(config) }.map_err(|source| CudaError::Launch { kernel: KERNEL, source })?;
        Ok(())
    }
}

/// A block's part of a multiprocessor's shared memory, of which each block costs 1 KiB more than it asks for.
fn block_share(multiprocessor: usize) -> usize {
    (multiprocessor / RESIDENT).saturating_sub(1 << 10)
}

fn can_run(shape: &StemShape) -> Result<(usize, usize), Unsupported> {
    let fault = |reason: String| Unsupported { kernel: KERNEL, reason };
    limits::activation(KERNEL, [shape.n, shape.h, shape.w, 3 * ELEMENT])?; // bytes are counted in 31 bits, too
    limits::channels(KERNEL, shape.k, 8)?;
    let [_, (p, q)] = shape.outputs().ok_or_else(|| fault(format!("{shape:?} is too small for {STEM_CONV}")))?;
    limits::activation(KERNEL, [shape.n, p, q, shape.k])?;
    limits::grid(KERNEL, "groups of 64 channels", shape.k.div_ceil(2 * GROUP))?;
    Ok((p, q))
}

/// Bytes of shared memory that a row of the image takes: as it is in memory, with parts of two sectors more, and aligned.
fn row_bytes() -> usize {
    let pitch = PATCH_WORDS + usize::from(PATCH_WORDS.is_multiple_of(2));
    (PATCH_WORDS * 2 * ELEMENT + 31).next_multiple_of(32) + 4 * pitch
}

/// Rows of the image that a tile of `rows` rows of `y` reads.
fn patch_rows(rows: usize) -> usize {
    4 * rows + 7
}

/// Tiles that finish soonest, by the work of the busiest multiprocessor: high tiles compute fewer rows twice, low ones spread more
/// evenly. In quarters of a row of the convolution, of which a tile costs one besides its `2 * rows + 1` rows; one block by itself
/// fills the tensor cores to four fifths, by the stalls that the compiler encodes. Within 10 %, which this cannot tell apart, tiles that
/// fill their rounds to nine tenths go first.
fn divide(shape: &StemShape, (p, q): (usize, usize), shared: usize, multiprocessors: usize) -> Division {
    let most = (shared / row_bytes()).saturating_sub(7) / 4;
    let across = q.div_ceil(STEM_TILE_COLUMNS as usize);
    let division = |rows: usize| Division { rows, tiles: (across, p.div_ceil(rows)) };
    let rounds = |rows: usize| {
        let tiles = shape.n * across * p.div_ceil(rows) * shape.k.div_ceil(2 * GROUP);
        (tiles, tiles.div_ceil(multiprocessors))
    };
    let cost = |rows: usize| {
        let (each, (_, busiest)) = (4 * (2 * rows + 1) + 1, rounds(rows));
        busiest * each * if busiest == 1 { 5 } else { 4 }
    };
    let is_full = |rows: usize| {
        let (tiles, busiest) = rounds(rows);
        10 * tiles >= 9 * busiest * multiprocessors
    };
    let choices = 1..=most.clamp(1, p);
    let least = choices.clone().map(cost).min().unwrap_or(0);
    let close = choices.rev().filter(|&rows| 10 * cost(rows) <= 11 * least);
    division(close.min_by_key(|&rows| (!is_full(rows), cost(rows))).unwrap_or(1))
}

fn config(shape: &StemShape, division: Division, multiprocessors: usize) -> LaunchConfig {
    let groups = shape.k.div_ceil(GROUP);
    let (blocks_y, warps) = (groups.div_ceil(2), 2 * groups.min(2));
    let tiles = shape.n * division.tiles.0 * division.tiles.1;
    let blocks = tiles.min((RESIDENT * multiprocessors).div_ceil(blocks_y));
    LaunchConfig {
        grid_dim: (blocks as u32, blocks_y as u32, 1),
        block_dim: (32 * warps as u32, 1, 1),
        shared_mem_bytes: (patch_rows(division.rows) * row_bytes()) as u32,
    }
}

fn params(shape: &StemShape, division: Division) -> Params {
    let [(conv_p, conv_q), (p, q)] = shape.outputs().unwrap_or_default();
    let tiles = shape.n * division.tiles.0 * division.tiles.1;
    let bytes = shape.n * shape.h * shape.w * 3 * ELEMENT;
    let [h, w, k, conv_p, conv_q, p, q, rows, tiles_x, tiles_y, tiles, bytes] =
        [shape.h, shape.w, shape.k, conv_p, conv_q, p, q, division.rows, division.tiles.0, division.tiles.1, tiles, bytes]
            .map(|v| v as i32);
    Params { h, w, k, conv_p, conv_q, p, q, rows, tiles_x, tiles_y, tiles, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: StemShape = StemShape { n: 2, h: 97, w: 161, k: 64 };

    #[test]
    fn the_twin_keeps_every_letter_apart() {
        let division = Division { rows: 7, tiles: (2, 4) };
        let got = params(&SHAPE, division);
        let (h, w, k, conv_p, conv_q, p, q) = (97, 161, 64, 49, 81, 25, 41);
        let want = Params { h, w, k, conv_p, conv_q, p, q, rows: 7, tiles_x: 2, tiles_y: 4, tiles: 16, bytes: 187_404 };
        assert_eq!(got, want);
    }

    #[test]
    fn tiles_cover_and_fit() {
        for multiprocessor in [64 << 10, 100 << 10, 164 << 10] {
            let shared = block_share(multiprocessor);
            for n in [1, 8, 32, 128] {
                for (h, w) in [(224, 224), (1, 1), (97, 161), (640, 480)] {
                    let shape = StemShape { n, h, w, k: 64 };
                    let [_, (p, q)] = shape.outputs().unwrap();
                    let division = divide(&shape, (p, q), shared, 108);
                    assert!(division.tiles.0 * 30 >= q && division.tiles.1 * division.rows >= p);
                    assert!((division.tiles.1 - 1) * division.rows < p, "no tile without rows");
                    let config = config(&shape, division, 108);
                    assert!(config.shared_mem_bytes as usize <= shared, "{config:?}");
                    assert!(RESIDENT * (config.shared_mem_bytes as usize + 1024) <= multiprocessor);
                }
            }
        }
    }

    #[test]
    fn multiprocessors_are_busy() {
        let shared = block_share(164 << 10); // of an A100; an H100 has more
        for n in (8..=256).step_by(8).chain([512, 1024]) {
            for multiprocessors in [108, 132] {
                let shape = StemShape { n, h: 224, w: 224, k: 64 };
                let Division { tiles: (across, down), rows } = divide(&shape, (56, 56), shared, multiprocessors);
                let tiles = n * across * down;
                let busy = tiles as f64 / (tiles.div_ceil(multiprocessors) * multiprocessors) as f64;
                println!("{n} images on {multiprocessors}: {tiles} tiles of {rows} rows, {busy:.2}");
                assert!(busy >= 0.9, "{n} images on {multiprocessors}: {tiles} tiles of {rows} rows, {busy:.2}");
            }
        }
        let tall = StemShape { n: 1, h: 3021, w: 4, k: 8 };
        assert_eq!(divide(&tall, (756, 1), shared, 108).rows, 7, "tests/cuda_stem.rs counts on it");
        let one = StemShape { n: 1, h: 224, w: 224, k: 64 };
        let Division { tiles: (across, down), .. } = divide(&one, (56, 56), shared, 108);
        assert!(across * down >= 64, "one image has {} tiles", across * down);
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let reason = |shape| can_run(&shape).unwrap_err().to_string();
        assert_eq!(can_run(&SHAPE), Ok((25, 41)));
        assert_eq!(can_run(&StemShape { n: 1, h: 1, w: 1, k: 8 }), Ok((1, 1)));
        assert!(reason(StemShape { h: 0, ..SHAPE }).contains("empty"));
        assert!(reason(StemShape { k: 20, ..SHAPE }).contains("multiple of 8"));
        assert!(reason(StemShape { n: 1 << 20, ..SHAPE }).contains("2^31"));
    }
}
