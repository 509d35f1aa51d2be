//! Launches `kernels/cam_upsample.cu`.

use cudarc::driver::sys::CUdevice_attribute_enum;
use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};
use half::f16;

use super::asked::{ROW_END, normalisation_number};
use super::variants::CAM_UPSAMPLE_WARPS;
use super::{CudaError, Element, Modules, Queue, Span, SpanMut, Unsupported, limits};
use crate::cam::Normalisation;

const KERNEL: &str = "cam_upsample";

/// Shared memory that the kernel declares itself: for each warp the range, counts and the last place, and for the overlay
/// twice a quad of each lane and a word more, and 256 colours for each lane.
const STATIC_SHARED: u32 = CAM_UPSAMPLE_WARPS * (8 + 2 * 4 + 8 + 2 * (32 * 3 + 1) * 4) + 256 * 32 * 4;

/// Logits whose order the kernel keeps in shared memory.
const HELD_KEYS: usize = 4096;

/// Fewest rows that are worth a block of their own: it computes the whole map again.
const ROWS_PER_SLICE: usize = 16;

/// Twin of the kernel's `CamUpsampleParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Params {
    h: i32,
    w: i32,
    c: i32,
    out_h: i32,
    out_w: i32,
    classes: i32,
    class_stride: i32,
    normalisation: i32,
    taps: i32,
    shift: i32,
    alpha: f32,
}
const _: () = assert!(size_of::<Params>() == 44);

// SAFETY: `repr(C)`, plain numbers without padding.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Params {}

/// Class activation maps, enlarged, normalised and, if asked for, laid over the crop, from features and weights of `T`.
pub struct CamUpsample<T> {
    to_f32: CudaFunction,
    to_f16: CudaFunction,
    to_u8: CudaFunction,
    overlay: CudaFunction,
    overlay_runs: CudaFunction,
    /// Dynamic shared memory that a block may have.
    shared_limit: u32,
    multiprocessors: u32,
    element: std::marker::PhantomData<T>,
}

/// Sizes of a set of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CamShape {
    /// Images.
    pub n: usize,
    /// Rows of the features.
    pub h: usize,
    /// Columns of the features.
    pub w: usize,
    /// Channels of the features.
    pub c: usize,
    /// Classes of the network: rows of the weights.
    pub classes: usize,
    /// Maps of each image.
    pub maps: usize,
    /// Rows of the enlarged map.
    pub out_h: usize,
    /// Columns of the enlarged map.
    pub out_w: usize,
}

impl CamShape {
    /// Cells of the raw maps.
    pub fn cells(&self) -> usize {
        self.n * self.maps * self.h * self.w
    }

    /// Cells of the enlarged maps.
    pub fn pixels(&self) -> usize {
        self.n * self.maps * self.out_h * self.out_w
    }
}

/// Whose maps are computed.
pub enum CamClasses<'a> {
    /// Classes on the device. The map of a class that the network does not have is NaN.
    Given {
        /// The first `maps` of each row.
        classes: Span<'a, i32>,
        /// From one image's classes to the next one's; 0 where all images share one row.
        stride: usize,
    },
    /// The likeliest of each image, which the kernel chooses: by falling logit, equal ones by index, a NaN first.
    Likeliest {
        /// `[N, classes]`.
        logits: Span<'a, f32>,
        /// `[N, maps]`: where it writes which they are.
        index: SpanMut<'a, i32>,
    },
    /// Weights that [`super::CamRows`] made, `[N, maps, C + 4]`, 16-byte aligned; each row says how its map is normalised.
    Rows(Span<'a, f32>),
}

/// What becomes of the enlarged maps, `[N, maps, out_h, out_w]`; every span is 16-byte aligned.
pub enum CamOutput<'a> {
    /// Values.
    F32(SpanMut<'a, f32>),
    /// Values, rounded.
    F16(SpanMut<'a, f16>),
    /// Entries of a colormap: `trunc(256 v)`, the ends for values beyond them.
    U8(SpanMut<'a, u8>),
    /// A picture `[N, maps, out_h, out_w, 3]`: the colours over the crop.
    Overlay {
        /// `[N, out_h, out_w, 3]`.
        crop: Span<'a, u8>,
        /// `[256, 3]`.
        colormap: Span<'a, u8>,
        /// Opacity of the colours, `0..=1`.
        alpha: f32,
        /// `[N, maps, out_h, out_w, 3]`.
        picture: SpanMut<'a, u8>,
    },
}

/// What [`CamUpsample::launch`] reads and writes.
pub struct CamUpsampleArgs<'a, T> {
    /// Sizes.
    pub shape: CamShape,
    /// `[N, h, w, C]`, 16-byte aligned.
    pub features: Span<'a, T>,
    /// `fc.weight`, `[classes, C]`, 16-byte aligned.
    pub weights: Span<'a, T>,
    /// Which maps.
    pub classes: CamClasses<'a>,
    /// From values to `0..=1`.
    pub normalisation: Normalisation,
    /// The maps themselves, `[N, maps, h, w]`.
    pub raw: SpanMut<'a, f32>,
    /// `[N, maps, 2]`: least and greatest enlarged value; both NaN where a value is not finite, and nothing should be shown.
    pub range: SpanMut<'a, f32>,
    /// The enlarged maps.
    pub output: CamOutput<'a>,
}

impl<T: Element> CamUpsample<T> {
    /// Channels in 16 bytes.
    const VECTOR: usize = 16 / size_of::<T>();

    /// Loads every form, and asks the device for its limits.
    ///
    /// # Errors
    /// As [`Modules::function`]; [`CudaError::Driver`] if the device does not answer.
    pub fn new(modules: &Modules) -> Result<Self, CudaError> {
        use CUdevice_attribute_enum::{
            CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
        };
        let ask = |attribute| modules.context().attribute(attribute).map(|answer| u32::try_from(answer).unwrap_or(0));
        let shared_limit = ask(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?.saturating_sub(STATIC_SHARED);
        let unit = format!("{KERNEL}_{}", T::NAME);
        let load = |entry: String| modules.function(&unit, &entry, shared_limit);
        Ok(Self {
            to_f32: load(format!("cam_upsample_{}_f32", T::NAME))?,
            to_f16: load(format!("cam_upsample_{}_f16", T::NAME))?,
            to_u8: load(format!("cam_upsample_{}_u8", T::NAME))?,
            overlay: load(overlay_name::<T>(true))?,
            overlay_runs: load(overlay_name::<T>(false))?,
            shared_limit,
            multiprocessors: ask(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(1),
            element: std::marker::PhantomData,
        })
    }

    /// Why this kernel cannot run `shape`, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// An empty extent, channels that 16-byte reads do not divide, maps that do not fit shared memory, or more than the
    /// kernel's indices hold.
    pub fn can_run(&self, shape: &CamShape) -> Result<(), Unsupported> {
        let CamShape { n, h, w, c, classes, maps, out_h, out_w } = *shape;
        limits::activation(KERNEL, [n, h, w, c])?;
        limits::activation(KERNEL, [1, 1, classes, c])?;
        limits::activation(KERNEL, [1, out_h, out_w, 3])?;
        limits::activation(KERNEL, [1, 1, out_h, h])?; // where a row lies between cells is counted in twice as many parts, in 32 bits
        limits::activation(KERNEL, [1, 1, out_w, w])?;
        limits::channels(KERNEL, c, Self::VECTOR)?;
        limits::grid(KERNEL, "images", n)?;
        limits::grid(KERNEL, "maps of an image", maps)?;
        if maps == 0 {
            return Err(Unsupported { kernel: KERNEL, reason: "no maps are asked for".into() });
        }
        let needed = shared_bytes(shape);
        if needed > self.shared_limit as usize {
            let reason = format!("a {h}x{w} map takes {needed} bytes of shared memory, this device has {}", self.shared_limit);
            return Err(Unsupported { kernel: KERNEL, reason });
        }
        Ok(())
    }

    /// Name of the kernel that draws overlays of `shape`.
    pub(super) fn overlay_name(shape: &CamShape) -> String {
        overlay_name::<T>(quad_shift(shape) == 0)
    }

    fn config(&self, shape: &CamShape) -> LaunchConfig {
        let grid_dim = (slices(shape, self.multiprocessors as usize) as u32, shape.maps as u32, shape.n as u32);
        LaunchConfig { grid_dim, block_dim: (CAM_UPSAMPLE_WARPS * 32, 1, 1), shared_mem_bytes: shared_bytes(shape) as u32 }
    }

    /// Enqueues the maps; returns before they are there. One launch, whatever the number of images and classes.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`], [`CudaError::Length`], [`CudaError::Alignment`] or [`CudaError::Launch`].
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: CamUpsampleArgs<'_, T>) -> Result<(), CudaError> {
        let shape = &args.shape;
        self.can_run(shape)?;
        let CamShape { n, h, w, c, classes, maps, out_h, out_w } = *shape;
        let (rows, given, class_stride, logits, index) = match &args.classes {
            CamClasses::Given { classes: given, stride } => {
                if (1..maps).contains(stride) {
                    let reason = format!("{maps} maps of each image, but {stride} classes");
                    return Err(Unsupported { kernel: KERNEL, reason }.into());
                }
                given.check(KERNEL, "classes", if *stride == 0 { maps } else { n * stride }, 4)?;
                (0, given.address, *stride, 0, 0)
            }
            CamClasses::Likeliest { logits, index } => {
                if maps > classes {
                    let reason = format!("{maps} maps of each image, but {classes} classes");
                    return Err(Unsupported { kernel: KERNEL, reason }.into());
                }
                logits.check(KERNEL, "logits", n * classes, 4)?;
                index.check(KERNEL, "index", n * maps, 4)?;
                (0, 0, 0, logits.address, index.address)
            }
            CamClasses::Rows(rows) => {
                rows.check(KERNEL, "rows", n * maps * (c + ROW_END), 16)?;
                (rows.address, 0, 0, 0, 0)
            }
        };
        args.features.check(KERNEL, "features", n * h * w * c, 16)?;
        args.weights.check(KERNEL, "weights", classes * c, 16)?;
        args.raw.check(KERNEL, "raw", shape.cells(), 4)?;
        args.range.check(KERNEL, "range", n * maps * 2, 8)?;
        let mut params = Params {
            h: h as i32,
            w: w as i32,
            c: c as i32,
            out_h: out_h as i32,
            out_w: out_w as i32,
            classes: classes as i32,
            class_stride: class_stride as i32,
            normalisation: normalisation_number(args.normalisation),
            taps: row_taps(shape) as i32,
            shift: quad_shift(shape) as i32,
            alpha: 0.0,
        };
        let (function, crop, shown) = match &args.output {
            CamOutput::F32(shown) => {
                shown.check(KERNEL, "output", shape.pixels(), 16)?;
                (&self.to_f32, None, shown.address)
            }
            CamOutput::F16(shown) => {
                shown.check(KERNEL, "output", shape.pixels(), 16)?;
                (&self.to_f16, None, shown.address)
            }
            CamOutput::U8(shown) => {
                shown.check(KERNEL, "output", shape.pixels(), 16)?;
                (&self.to_u8, None, shown.address)
            }
            CamOutput::Overlay { crop, colormap, alpha, picture } => {
                crop.check(KERNEL, "crop", n * out_h * out_w * 3, 16)?;
                colormap.check(KERNEL, "colormap", 256 * 3, 4)?;
                picture.check(KERNEL, "picture", shape.pixels() * 3, 16)?;
                params.alpha = *alpha;
                let overlay = if quad_shift(shape) == 0 { &self.overlay } else { &self.overlay_runs };
                (overlay, Some((crop.address, colormap.address)), picture.address)
            }
        };
        let mut call = queue.into().call(function);
        call.arg(&args.features.address).arg(&args.weights.address);
        call.arg(&rows).arg(&given).arg(&logits).arg(&index);
        call.arg(&args.raw.address).arg(&args.range.address);
        if let Some((crop, colormap)) = &crop {
            call.arg(crop).arg(colormap);
        }
        call.arg(&shown).arg(&params);
        // SAFETY: order and types match the entries in kernels/cam_upsample.cu, lengths and alignment were checked above, the
        // kernel reads no weights of a class that is not there, and it writes only `index`, `raw`, `range` and the output,
        // borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(self.config(shape)) }.map_err(|source| CudaError::Launch { kernel: KERNEL, source })?;
        Ok(())
    }
}

/// Pixels that a thread computes at a time.
const QUAD: usize = 4;

/// How far the four pixels that a thread computes lie apart, as a shift: side by side where rows are made of such quads, which are
/// aligned then, and threads that are neighbours skip no cell; else so far that neighbours have neighbouring pixels, at most those of
/// a warp.
fn quad_shift(shape: &CamShape) -> u32 {
    if shape.out_w.is_multiple_of(QUAD) && shape.out_w >= QUAD * shape.w {
        return 0;
    }
    shape.out_w.div_ceil(QUAD).next_power_of_two().ilog2().clamp(1, 5)
}

fn overlay_name<T: Element>(by_quads: bool) -> String {
    format!("cam_overlay_{}{}", if by_quads { "" } else { "runs_" }, T::NAME)
}

/// Places of rows between those of the map: of all rows, and past the last one as many again as there are bands of rows under way at once,
/// and once more, as all bands have the same number of rows and maybe one more than they need.
fn row_taps(shape: &CamShape) -> usize {
    let bands = (CAM_UPSAMPLE_WARPS as usize * 32 / shape.out_w.div_ceil(QUAD)).max(1);
    shape.out_h + 2 * bands
}

/// The map, and in one place the order of the logits, then the class's weights, then the taps of all rows.
fn shared_bytes(shape: &CamShape) -> usize {
    let keys = shape.classes.min(HELD_KEYS);
    16 * (shape.h * shape.w).div_ceil(4) + (4 * shape.c).max(8 * row_taps(shape)).max(4 * keys)
}

/// Blocks that share the rows of a map: one where there are maps enough for every multiprocessor.
fn slices(shape: &CamShape, multiprocessors: usize) -> usize {
    let most = shape.out_h.div_ceil(ROWS_PER_SLICE);
    (multiprocessors / (shape.n * shape.maps)).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESNET18: CamShape = CamShape { n: 1, h: 7, w: 7, c: 512, classes: 1000, maps: 1, out_h: 224, out_w: 224 };

    #[test]
    fn few_maps_are_cut_into_slices() {
        assert_eq!(slices(&RESNET18, 108), 14);
        assert_eq!(slices(&CamShape { n: 8, maps: 5, ..RESNET18 }, 108), 2);
        assert_eq!(slices(&CamShape { n: 128, ..RESNET18 }, 108), 1);
        assert_eq!(slices(&CamShape { out_h: 5, ..RESNET18 }, 108), 1);
    }

    #[test]
    fn quads_lie_side_by_side_where_they_may() {
        let shift = |w, out_w| quad_shift(&CamShape { w, out_w, ..RESNET18 });
        assert_eq!([(7, 224), (7, 28), (1, 4), (56, 224)].map(|(w, out_w)| shift(w, out_w)), [0; 4]);
        assert_eq!([(7, 24), (57, 224), (7, 225), (7, 127), (7, 1101)].map(|(w, out_w)| shift(w, out_w)), [3, 5, 5, 5, 5]);
        assert_eq!([1, 3, 5, 9, 17, 33, 65].map(|out_w| shift(1, out_w)), [1, 1, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn shared_memory_holds_the_map_and_the_larger_of_the_rest() {
        assert_eq!(shared_bytes(&CamShape { classes: 10, ..RESNET18 }), 208 + 2048);
        assert_eq!(shared_bytes(&RESNET18), 208 + 4000);
        assert_eq!(shared_bytes(&CamShape { classes: 5000, ..RESNET18 }), 208 + 16_384);
        assert_eq!(shared_bytes(&CamShape { out_h: 4096, ..RESNET18 }), 208 + 8 * (4096 + 2 * 4));
        assert_eq!(shared_bytes(&CamShape { out_h: 4096, out_w: 2, ..RESNET18 }), 208 + 8 * (4096 + 2 * 256));
    }
}
