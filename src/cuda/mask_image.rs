//! Launches `kernels/mask_image.cu`.

use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};

use super::variants::MASK_IMAGE_THREADS;
use super::{CudaError, Element, Modules, Queue, Span, SpanMut, Unsupported, limits};
use crate::cam::noise::SEGMENTS;
use crate::cam::upsample::Tap;
use crate::cam::{Enlargement, Mask};

const KERNEL: &str = "mask_image";

/// Shared memory for the cells, beside at most 64 bytes of each thread: together what a 7.5 gives a block.
const SHARED_BYTES: usize = 48 << 10;

/// Pixels that a thread computes one after the other, about.
const PIXELS: usize = 16;

/// Twin of the kernel's `Tap`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceTap {
    low: i32,
    high: i32,
    weight: f32,
}
const _: () = assert!(size_of::<DeviceTap>() == 12);

// SAFETY: `repr(C)`, plain numbers without padding, for which any bits are a value.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for DeviceTap {}
#[allow(unsafe_code)]
unsafe impl bytemuck::Zeroable for DeviceTap {}
#[allow(unsafe_code)]
unsafe impl bytemuck::Pod for DeviceTap {}

impl DeviceTap {
    /// Where an enlargement's columns lie, then its rows.
    pub fn all(enlargement: &Enlargement) -> Vec<Self> {
        let tap = |&Tap { low, high, weight }: &Tap| Self { low: low as i32, high: high as i32, weight };
        let [rows, columns] = enlargement.taps();
        columns.iter().chain(rows).map(tap).collect()
    }
}

/// Twin of the kernel's `Mask`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceMask {
    image: i32,
    channel: i32,
    low: f32,
    scale: f32,
    deviation: f32,
    unused: i32,
    stream: u64,
}
const _: () = assert!(size_of::<DeviceMask>() == 32);

// SAFETY: `repr(C)`, plain numbers without padding, for which any bits are a value.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for DeviceMask {}
#[allow(unsafe_code)]
unsafe impl bytemuck::Zeroable for DeviceMask {}
#[allow(unsafe_code)]
unsafe impl bytemuck::Pod for DeviceMask {}

impl DeviceMask {
    /// Whether it adds noise.
    pub(super) fn has_noise(&self) -> bool {
        self.deviation != 0.0
    }

    /// `mask` over an image of a batch.
    pub fn new(image: usize, mask: &Mask) -> Self {
        let Mask { channel, low, scale, deviation, stream } = *mask;
        Self { image: image as i32, channel: channel as i32, low, scale, deviation, unused: 0, stream }
    }
}

/// Twin of the kernel's `MaskImageParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Params {
    h: i32,
    w: i32,
    cells_h: i32,
    cells_w: i32,
    channels: i32,
}
const _: () = assert!(size_of::<Params>() == 20);

// SAFETY: `repr(C)`, plain integers without padding.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Params {}

/// Images times channels of their features, into a network's input of `T`.
pub struct MaskImage<T> {
    channels: usize,
    plain: CudaFunction,
    noisy: CudaFunction,
    element: std::marker::PhantomData<T>,
}

/// Sizes of a batch of masked images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskImageShape {
    /// Images that are masked.
    pub n: usize,
    /// Their rows.
    pub h: usize,
    /// Their columns.
    pub w: usize,
    /// Rows of the features.
    pub cells_h: usize,
    /// Columns of the features.
    pub cells_w: usize,
    /// Channels of the features.
    pub channels: usize,
    /// Masked images.
    pub masks: usize,
}

/// What [`MaskImage::launch`] reads and writes.
pub struct MaskImageArgs<'a, T> {
    /// Sizes.
    pub shape: MaskImageShape,
    /// `[N, H, W, 3]`, normalised.
    pub image: Span<'a, f32>,
    /// `[N, h, w, C]`.
    pub features: Span<'a, T>,
    /// `[W]`, then `[H]`.
    pub taps: Span<'a, DeviceTap>,
    /// `[M]`. Their images and channels are there, which the host has seen to.
    pub masks: Span<'a, DeviceMask>,
    /// Whether any of the masks adds noise: without, a number and a polynomial for each pixel are saved.
    pub noise: bool,
    /// [`crate::cam::noise_segments`], `[32, 4]`.
    pub segments: Span<'a, f32>,
    /// `[M, H, W, channels]`, those past the third being 0.
    pub y: SpanMut<'a, T>,
}

fn entry<T: Element>(channels: usize, noise: bool) -> String {
    format!("{KERNEL}{}_{}_c{channels}", if noise { "_noise" } else { "" }, T::NAME)
}

impl<T: Element> MaskImage<T> {
    /// Loads the kernel that writes `channels`: 4 for f32, 3 or 8 for f16 and bf16.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`] for another number, else as [`Modules::function`].
    pub fn new(modules: &Modules, channels: usize) -> Result<Self, CudaError> {
        let known: &[usize] = match T::NAME {
            "f32" => &[4],
            _ => &[3, 8],
        };
        if !known.contains(&channels) {
            let reason = format!("{channels} channels of {}, expected {known:?}", T::NAME);
            return Err(Unsupported { kernel: KERNEL, reason }.into());
        }
        let load = |noise| modules.function(KERNEL, &entry::<T>(channels, noise), SHARED_BYTES as u32);
        let (plain, noisy) = (load(false)?, load(true)?);
        Ok(Self { channels, plain, noisy, element: std::marker::PhantomData })
    }

    /// How faults name it, with or without `noise`.
    pub fn name(&self, noise: bool) -> String {
        entry::<T>(self.channels, noise)
    }

    /// Why this kernel cannot run `shape`, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// Sizes of 0 or beyond the kernel's indices, and features of more positions than shared memory has room for.
    pub fn can_run(&self, shape: &MaskImageShape) -> Result<(), Unsupported> {
        let &MaskImageShape { n, h, w, cells_h, cells_w, channels, masks } = shape;
        limits::activation(KERNEL, [n, h, w, 3])?;
        limits::activation(KERNEL, [n, cells_h, cells_w, channels])?;
        limits::activation(KERNEL, [masks, h, w, self.channels])?;
        limits::grid(KERNEL, "masks", masks)?;
        if cells_h * cells_w * 4 > SHARED_BYTES {
            let reason = format!("features of {cells_h}x{cells_w}, at most {} positions fit shared memory", SHARED_BYTES / 4);
            return Err(Unsupported { kernel: KERNEL, reason });
        }
        Ok(())
    }

    fn config(shape: &MaskImageShape) -> LaunchConfig {
        let blocks = (shape.h * shape.w).div_ceil(PIXELS * MASK_IMAGE_THREADS as usize);
        LaunchConfig {
            grid_dim: (blocks as u32, shape.masks as u32, 1),
            block_dim: (MASK_IMAGE_THREADS, 1, 1),
            shared_mem_bytes: (shape.cells_h * shape.cells_w * 4) as u32,
        }
    }

    /// Enqueues the kernel; returns before it has run.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`], [`CudaError::Length`], [`CudaError::Alignment`] or [`CudaError::Launch`].
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: MaskImageArgs<'_, T>) -> Result<(), CudaError> {
        let shape = &args.shape;
        self.can_run(shape)?;
        let &MaskImageShape { n, h, w, cells_h, cells_w, channels, masks } = shape;
        args.image.check(KERNEL, "image", n * h * w * 3, 16)?;
        args.features.check(KERNEL, "features", n * cells_h * cells_w * channels, size_of::<T>() as u64)?;
        args.taps.check(KERNEL, "taps", w + h, 16)?;
        args.masks.check(KERNEL, "masks", masks, 8)?;
        args.segments.check(KERNEL, "segments", SEGMENTS.iter().product(), 16)?;
        args.y.check(KERNEL, "y", masks * h * w * self.channels, 16)?;

        let [h32, w32, cells_h, cells_w, channels] = [h, w, cells_h, cells_w, channels].map(|extent| extent as i32);
        let params = Params { h: h32, w: w32, cells_h, cells_w, channels };
        let rows = args.taps.address + (w * size_of::<DeviceTap>()) as u64;
        let mut call = queue.into().call(if args.noise { &self.noisy } else { &self.plain });
        call.arg(&args.image.address).arg(&args.features.address).arg(&rows).arg(&args.taps.address);
        call.arg(&args.masks.address).arg(&args.segments.address).arg(&args.y.address).arg(&params);
        // SAFETY: order and types match the entry in kernels/mask_image.cu, lengths were checked above; masks and taps hold
        // indices inside images, features and cells, which their makers answer for; the kernel writes only `y`, borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(Self::config(shape)) }.map_err(|source| CudaError::Launch { kernel: KERNEL, source })?;
        Ok(())
    }
}
