//! Launches `kernels/linear.cu`.

use cudarc::driver::sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};

use super::variants::{LINEAR, LinearTile};
use super::{CudaError, Element, Modules, Queue, Span, SpanMut, Unsupported, limits};

const KERNEL: &str = "linear";

/// Most positions that each block averages by itself. With more, [`super::GlobalAvgPool`] reads them with the whole device.
const MOST_POSITIONS: usize = 128;

/// Classes of a block: whole sectors of results.
const CLASS_STEP: usize = 8;
/// Most classes of a block, for the room that their results take.
const MOST_CLASSES: usize = 256;

/// Shared memory that every device has for a block.
const SHARED_LIMIT: u32 = 64 << 10;

/// Twin of the kernel's `LinearParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Params {
    n: i32,
    positions: i32,
    c: i32,
    k: i32,
    per_block: i32,
}
const _: () = assert!(size_of::<Params>() == 20);

// SAFETY: `repr(C)`, plain integers without padding.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Params {}

/// Linear layer with weights of `T` on the mean of features of `T`, or on means that are there; results are f32.
pub struct Linear<T> {
    /// Of features, and of means.
    functions: Vec<(&'static LinearTile, [CudaFunction; 2])>,
    multiprocessors: usize,
    element: std::marker::PhantomData<T>,
}

/// Sizes of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearShape {
    /// Images.
    pub n: usize,
    /// Positions that the mean is taken over; 1 if it is there already.
    pub positions: usize,
    /// Features.
    pub c: usize,
    /// Outputs.
    pub k: usize,
}

/// What the layer reads.
pub enum LinearInput<'a, T> {
    /// Features of which it takes the mean.
    Features {
        /// `[N, positions, C]`, 16-byte aligned.
        x: Span<'a, T>,
        /// Where the means go, `[N, C]`, 16-byte aligned.
        mean: SpanMut<'a, f32>,
    },
    /// Means, `[N, C]`, 16-byte aligned.
    Means(Span<'a, f32>),
}

/// What [`Linear::launch`] reads and writes.
pub struct LinearArgs<'a, T> {
    /// Sizes.
    pub shape: LinearShape,
    /// Features or means.
    pub input: LinearInput<'a, T>,
    /// `[K, C]`, 16-byte aligned.
    pub w: Span<'a, T>,
    /// `[K]`, 16-byte aligned.
    pub bias: Span<'a, f32>,
    /// `[N, K]`.
    pub y: SpanMut<'a, f32>,
}

impl<T: Element> Linear<T> {
    /// Channels in 16 bytes of weights.
    const VECTOR: usize = 16 / size_of::<T>();

    /// Loads every tile, and asks the device for its size.
    ///
    /// # Errors
    /// As [`Modules::function`]; [`CudaError::Driver`] if the device does not answer.
    pub fn new(modules: &Modules) -> Result<Self, CudaError> {
        let of_features = format!("linear_{}", T::NAME);
        let of_means = if T::NAME == f32::NAME { of_features.clone() } else { format!("linear_f32_{}", T::NAME) };
        let load = |tile: &'static LinearTile| {
            let load = |entry: &str| modules.function(&tile.unit(), entry, SHARED_LIMIT);
            Ok((tile, [load(&of_features)?, load(&of_means)?]))
        };
        let multiprocessors = modules.context().attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        Ok(Self {
            functions: LINEAR.iter().map(load).collect::<Result<_, CudaError>>()?,
            multiprocessors: usize::try_from(multiprocessors).unwrap_or(1).max(1),
            element: std::marker::PhantomData,
        })
    }

    /// Whether the mean over so many positions is better taken here than by [`super::GlobalAvgPool`] before.
    pub fn pools(positions: usize) -> bool {
        positions <= MOST_POSITIONS
    }

    /// Why this kernel cannot run `shape`, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// An empty extent, channels that 16-byte reads do not divide or shared memory has no room for, or more than the kernel's
    /// indices hold.
    pub fn can_run(&self, shape: &LinearShape) -> Result<(), Unsupported> {
        let LinearShape { n, positions, c, k } = *shape;
        for extents in [[n, positions, 1, c], [k, 1, 1, c], [n, 1, 1, k]] {
            limits::activation(KERNEL, extents)?;
        }
        limits::channels(KERNEL, c, Self::VECTOR)?;
        let needed = shared_bytes(Self::tile(n), c, Self::VECTOR, MOST_CLASSES);
        if needed > SHARED_LIMIT as usize {
            let reason = format!("{c} channels take {needed} bytes of shared memory, at most {SHARED_LIMIT} are there");
            return Err(Unsupported { kernel: KERNEL, reason });
        }
        limits::grid(KERNEL, "images", n)
    }

    /// The tile for a batch of `n`. One image a block reads less until the weights outweigh the features: with 7x7x512 of
    /// those and 1000 classes on about a hundred multiprocessors, from 17 images on.
    fn tile(n: usize) -> &'static LinearTile {
        LINEAR.iter().rev().find(|tile| n > 4 * tile.images as usize).unwrap_or(&LINEAR[0])
    }

    fn config(&self, shape: &LinearShape) -> (&[CudaFunction; 2], LaunchConfig, usize) {
        let tile = Self::tile(shape.n);
        let functions = self.functions.iter().find(|(of, _)| of == &tile).map_or(&self.functions[0].1, |(_, both)| both);
        let groups = shape.n.div_ceil(tile.images as usize);
        let per_block = per_block(shape.k, groups, self.multiprocessors);
        let grid_dim = (shape.k.div_ceil(per_block) as u32, groups as u32, 1);
        let shared_mem_bytes = shared_bytes(tile, shape.c, Self::VECTOR, per_block) as u32;
        (functions, LaunchConfig { grid_dim, block_dim: (tile.warps * 32, 1, 1), shared_mem_bytes }, per_block)
    }

    /// Enqueues `y = mean(x) * w^T + bias`; returns before it has run.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`], [`CudaError::Length`], [`CudaError::Alignment`] or [`CudaError::Launch`].
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: LinearArgs<'_, T>) -> Result<(), CudaError> {
        self.can_run(&args.shape)?;
        let LinearShape { n, positions, c, k } = args.shape;
        let ([of_features, of_means], config, per_block) = self.config(&args.shape);
        let (function, x, mean) = match &args.input {
            LinearInput::Features { x, mean } => {
                x.check(KERNEL, "x", n * positions * c, 16)?;
                mean.check(KERNEL, "mean", n * c, 16)?;
                (of_features, x.address, mean.address)
            }
            LinearInput::Means(x) => {
                x.check(KERNEL, "x", n * positions * c, 16)?;
                (of_means, x.address, 0)
            }
        };
        args.w.check(KERNEL, "w", k * c, 16)?;
        args.bias.check(KERNEL, "bias", k, 16)?;
        args.y.check(KERNEL, "y", n * k, 4)?;
        let [n, positions, c, k, per_block] = [n, positions, c, k, per_block].map(|value| value as i32);
        let params = Params { n, positions, c, k, per_block };
        let mut call = queue.into().call(function);
        call.arg(&x).arg(&args.w.address).arg(&args.bias.address).arg(&mean).arg(&args.y.address).arg(&params);
        // SAFETY: order and types match the entries in kernels/linear.cu, lengths and alignment were checked above, and the
        // kernel writes only `mean`, where it is not null, and `y`, both borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(config) }.map_err(|source| CudaError::Launch { kernel: KERNEL, source })?;
        Ok(())
    }
}

/// Classes of a block, so that `groups` of images times blocks of classes fill the multiprocessors once.
fn per_block(k: usize, groups: usize, multiprocessors: usize) -> usize {
    let blocks = (multiprocessors / groups).max(1);
    k.div_ceil(blocks).next_multiple_of(CLASS_STEP).min(MOST_CLASSES)
}

/// The kernel's `Layout` and its scores.
fn shared_bytes(tile: &LinearTile, c: usize, vector: usize, per_block: usize) -> usize {
    let images = tile.images as usize;
    let rows = (tile.warps as usize * 32 / (c / vector) / images).max(1);
    4 * images * (c * rows + per_block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_batches_get_the_most_blocks() {
        let images = |n| Linear::<f32>::tile(n).images;
        assert_eq!([1, 2, 4, 16, 17, 500].map(images), [1, 1, 1, 1, 4, 4]);
    }

    #[test]
    fn blocks_fill_the_device_once() {
        assert_eq!(per_block(1000, 1, 108), 16, "63 blocks");
        assert_eq!(per_block(1000, 8, 108), 80, "104 blocks");
        assert_eq!(per_block(1000, 32, 108), 256, "bounded");
        assert_eq!(per_block(10, 1, 108), 8);
    }

    #[test]
    fn shared_memory_is_the_kernels() {
        // 64 threads for each of the four rows of one image; then one row of four images; then more threads than there are.
        assert_eq!(shared_bytes(&LINEAR[0], 512, 8, 16), 4 * (512 * 4 + 16));
        assert_eq!(shared_bytes(&LINEAR[1], 512, 8, 256), 16 * (512 + 256));
        assert_eq!(shared_bytes(&LINEAR[1], 2048, 8, 256), 16 * (2048 + 256));
        assert_eq!(shared_bytes(&LINEAR[0], 72, 8, 8), 4 * (72 * 28 + 8));
    }
}
