//! Which variant of the tensor-core convolution a problem gets on a device: the one that a simple model says ends first.
//!
//! A block's step of the main loop lasts as long as its slowest part: the tensor cores, shared memory, or the way from L2. Blocks
//! run in waves, one for each multiprocessor (where two fit, they share its speed); a wave has a start and an end that no step
//! hides. Every number is from a data sheet or a published measurement (see docs/performance.md); nothing here was fitted.

use cudarc::driver::sys::CUdevice_attribute_enum::{
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
};

use super::conv2d_implicit_gemm::can_run;
use super::variants::{Arithmetic, IMPLICIT_GEMM, ImplicitGemm, Tile};
use super::{CudaError, Modules, Unsupported};
use crate::network::Conv2dShape;

/// What the choice depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceLimits {
    /// `10 * major + minor`.
    pub capability: u32,
    pub multiprocessors: u32,
    /// Shared memory that a block may have, in bytes.
    pub shared_bytes: u32,
}

impl DeviceLimits {
    /// Asks the driver.
    pub(super) fn of(modules: &Modules) -> Result<Self, CudaError> {
        let attribute = |which| Ok::<_, CudaError>(u32::try_from(modules.context().attribute(which)?).unwrap_or(0));
        Ok(Self {
            capability: modules.capability(),
            multiprocessors: attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(1),
            shared_bytes: attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        })
    }

    /// Whether a block of `variant` fits.
    pub(super) fn has_room(&self, variant: &ImplicitGemm) -> bool {
        variant.suits(self.capability) && variant.shared_bytes() <= self.shared_bytes
    }
}

/// How a problem is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub variant: &'static ImplicitGemm,
    /// Blocks that share the depth of one tile.
    pub splits: u32,
}

/// The variant that runs `shape` in `arithmetic` soonest.
///
/// # Errors
/// [`Unsupported`] with the reason of the variant for any channels if none runs it.
pub(super) fn choose(shape: &Conv2dShape, device: &DeviceLimits, arithmetic: Arithmetic) -> Result<Choice, Unsupported> {
    let mut best: Option<((bool, u64), Choice)> = None;
    let mut refusal = None;
    for variant in IMPLICIT_GEMM.iter().filter(|variant| device.has_room(variant) && variant.arithmetic == arithmetic) {
        if let Err(refused) = can_run(variant, shape) {
            refusal = Some(refused);
            continue;
        }
        let choice = Choice { variant, splits: 1 };
        // The form for any channels, whose instructions the model does not count, only where no other runs. Of equals the later
        // one: larger tiles read less.
        let cost = (!variant.whole_taps, cycles(shape, device, choice));
        if best.is_none_or(|(least, _)| cost <= least) {
            best = Some((cost, choice));
        }
    }
    let reason = "no variant for this device".to_owned();
    best.map(|(_, choice)| choice).ok_or_else(|| refusal.unwrap_or(Unsupported { kernel: "conv2d_implicit_gemm", reason }))
}

/// What a multiprocessor does in a clock.
struct Rates {
    /// Multiply-adds of the tensor cores, f16 with sums in f32.
    fma: u64,
    /// Bytes to or from shared memory.
    shared: u64,
    /// Bytes from L2.
    l2: u64,
}

impl Rates {
    const fn of(capability: u32) -> Self {
        match capability {
            ..80 => Self { fma: 512, shared: 64, l2: 20 },
            80 => Self { fma: 1024, shared: 128, l2: 47 },
            // GeForce has half the multiply-adds of the professional cards; nothing tells them apart here, and nothing is
            // slower than the tensor cores on either. Their L2 was measured by nobody whom we know; as on 7.5.
            81..90 | 100.. => Self { fma: 512, shared: 128, l2: 20 },
            90..100 => Self { fma: 1288, shared: 128, l2: 39 },
        }
    }
}

/// A block's start and end, in which its tensor cores do nothing: addresses and masks, the first tiles' way from memory, the
/// epilogue. An assumption, of the order of two memory latencies.
const START_AND_END: u64 = 1500;

/// Steps of a block's main loop.
fn steps(tile: &Tile, shape: &Conv2dShape) -> u64 {
    shape.gemm_k().div_ceil(tile.bk as usize) as u64
}

/// How long the convolution lasts, in clocks, as far as a choice needs to know.
fn cycles(shape: &Conv2dShape, device: &DeviceLimits, choice: Choice) -> u64 {
    let (waves, depth, step) = waves_of_steps(shape, device, choice, Rates::of(device.capability).fma);
    waves.saturating_mul(depth.saturating_mul(step).saturating_add(START_AND_END))
}

/// The clocks of all main loops, one after the other where a multiprocessor has several; `fma` multiply-adds of the tensor cores
/// a clock.
pub(super) fn main_loop_cycles(shape: &Conv2dShape, device: &DeviceLimits, choice: Choice, fma: u64) -> u64 {
    let (waves, depth, step) = waves_of_steps(shape, device, choice, fma);
    waves.saturating_mul(depth).saturating_mul(step)
}

/// Waves of blocks, the steps of a block's main loop, and clocks of a step.
fn waves_of_steps(shape: &Conv2dShape, device: &DeviceLimits, choice: Choice, fma: u64) -> (u64, u64, u64) {
    let Tile { bm, bn, bk, wm, wn, .. } = choice.variant.tile;
    let rates = Rates::of(device.capability);
    let [bm, bn, bk, wm, wn] = [bm, bn, bk, wm, wn].map(u64::from);
    let loaded = (bm + bn) * bk * 2;
    let read = (bm / wm) * (bn / wn) * (wm + wn) * bk * 2;
    let tensor = (bm * bn * bk).div_ceil(fma);
    let step = tensor.max((read + loaded).div_ceil(rates.shared)).max(loaded.div_ceil(rates.l2));
    let blocks = (shape.gemm_m() as u64).div_ceil(bm) * (shape.gemm_n() as u64).div_ceil(bn) * u64::from(choice.splits);
    let waves = blocks.div_ceil(device.multiprocessors.into());
    let depth = steps(&choice.variant.tile, shape).div_ceil(choice.splits.into());
    (waves, depth, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Window;

    const T4: DeviceLimits = DeviceLimits { capability: 75, multiprocessors: 40, shared_bytes: 64 << 10 };
    const A100: DeviceLimits = DeviceLimits { capability: 80, multiprocessors: 108, shared_bytes: 163 << 10 };
    const L4: DeviceLimits = DeviceLimits { capability: 89, multiprocessors: 58, shared_bytes: 99 << 10 };
    const H100: DeviceLimits = DeviceLimits { capability: 90, multiprocessors: 132, shared_bytes: 227 << 10 };

    fn picked(device: &DeviceLimits, image: [usize; 4], k: usize, size: usize) -> (u32, u32, bool) {
        let shape = Conv2dShape::new(image, k, Window { size: (size, size), stride: 1, pad: size / 2 }).unwrap();
        let Choice { variant, splits } = choose(&shape, device, Arithmetic::F16).unwrap();
        assert_eq!(splits, 1);
        (variant.tile.bm, variant.tile.bn, variant.whole_taps)
    }

    #[test]
    fn large_problems_get_tiles_that_only_the_tensor_cores_bound() {
        for device in [&A100, &H100] {
            assert_eq!(picked(device, [128, 56, 56, 64], 64, 3), (256, 64, true), "no columns beyond K");
            assert_eq!(picked(device, [128, 28, 28, 128], 128, 3), (128, 128, true));
            assert_eq!(picked(device, [128, 14, 14, 256], 256, 3), (128, 128, true));
            assert_eq!(picked(device, [128, 7, 7, 512], 512, 3), (128, 128, true));
        }
        assert_eq!(picked(&T4, [128, 28, 28, 128], 128, 3), (128, 128, true));
        assert_eq!(picked(&L4, [128, 28, 28, 128], 128, 3), (128, 128, true));
    }

    #[test]
    fn small_problems_get_small_tiles() {
        for device in [&T4, &A100, &L4, &H100] {
            let (bm, bn, _) = picked(device, [1, 7, 7, 512], 512, 3);
            assert_eq!((bm, bn), (64, 64), "8 tiles at most, whatever their size");
        }
    }

    #[test]
    fn odd_channels_and_large_filters_get_the_general_form() {
        for device in [&T4, &A100, &L4, &H100] {
            assert!(!picked(device, [1, 9, 9, 40], 8, 3).2);
            assert!(!picked(device, [1, 9, 9, 64], 8, 7).2);
            assert!(picked(device, [1, 9, 9, 32], 8, 3).2);
        }
    }

    #[test]
    fn a_refusal_names_what_the_most_general_form_misses() {
        let shape = Conv2dShape::new([1, 9, 9, 12], 8, Window { size: (3, 3), stride: 1, pad: 1 }).unwrap();
        let refused = choose(&shape, &A100, Arithmetic::F16).unwrap_err().to_string();
        assert_eq!(refused, "conv2d_implicit_gemm_c8_f16_nhwc: C = 12 is no multiple of 8");
    }

    #[test]
    fn a_device_with_little_shared_memory_gets_what_fits() {
        let device = DeviceLimits { shared_bytes: 48 << 10, ..A100 };
        let shape = Conv2dShape::new([128, 28, 28, 128], 128, Window { size: (3, 3), stride: 1, pad: 1 }).unwrap();
        assert!(choose(&shape, &device, Arithmetic::F16).unwrap().variant.shared_bytes() <= device.shared_bytes);
    }
}
