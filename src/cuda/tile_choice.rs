//! Which variant of the tensor-core convolution a problem gets on a device: the one that a simple model says ends first.
//!
//! A block's step of the main loop lasts as long as its slowest part: the tensor cores, shared memory, or the way from L2. Blocks
//! run in waves, one for each multiprocessor (where two fit, they share its speed); a wave has a start and an end that no step
//! hides. Blocks may share the depth of a tile; then the last of them adds up, which no other work hides either. Among what the
//! model cannot tell apart, fuller waves come first, then fewer bytes. Every number is from a data sheet or a published measurement
//! (see docs/performance.md); nothing here was fitted.

use cudarc::driver::sys::CUdevice_attribute_enum::{
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
};

use super::conv2d_implicit_gemm::can_run;
use super::variants::{Arithmetic, IMPLICIT_GEMM, ImplicitGemm, Tile};
use super::{Conv2dProblem, CudaError, Modules, Unsupported};

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

/// The variant that runs `problem` in `arithmetic` soonest.
///
/// # Errors
/// [`Unsupported`] with the reason of the variant for any channels if none runs it.
pub(super) fn choose(
    problem: impl Into<Conv2dProblem>,
    device: &DeviceLimits,
    arithmetic: Arithmetic,
) -> Result<Choice, Unsupported> {
    let problem = &problem.into();
    let mut refusal = Unsupported { kernel: "conv2d_implicit_gemm", reason: "no variant for this device".to_owned() };
    let mut candidates = Vec::new();
    let suits = |variant: &&ImplicitGemm| {
        device.has_room(variant) && variant.arithmetic == arithmetic && variant.projects == problem.projection.is_some()
    };
    for variant in IMPLICIT_GEMM.iter().filter(suits) {
        match can_run(variant, problem) {
            Ok(()) => candidates.extend((1..=most_splits(variant, problem)).map(|splits| Choice { variant, splits })),
            Err(refused) => refusal = refused,
        }
    }
    // The form for any channels, whose instructions the model does not count, only where no other runs.
    if candidates.iter().any(|choice| choice.variant.whole_taps) {
        candidates.retain(|choice| choice.variant.whole_taps);
    }
    keep_soonest(
        &mut candidates,
        |choice| if choice.splits == 1 { TOLERANCE } else { TOLERANCE_OF_PARTS },
        |choice| cycles(problem, device, choice),
    );
    if !prefer(&mut candidates, |choice| wave_efficiency(problem, device, choice) >= FULL_WAVES) {
        prefer(&mut candidates, |choice| tiles(&choice.variant.tile, problem) * u64::from(choice.splits) >= ENOUGH_BLOCKS);
    }
    keep_soonest(&mut candidates, |_| CLOSE, |choice| cycles(problem, device, choice));
    candidates.into_iter().min_by_key(|&choice| (bytes(problem, choice), cycles(problem, device, choice))).ok_or(refusal)
}

/// Keeps what takes at most `percent` longer than the soonest.
fn keep_soonest(candidates: &mut Vec<Choice>, percent: impl Fn(Choice) -> u64, cycles: impl Fn(Choice) -> u64) {
    let least = candidates.iter().map(|&choice| cycles(choice)).min().unwrap_or(0);
    candidates.retain(|&choice| u128::from(cycles(choice)) * 100 <= u128::from(least) * u128::from(100 + percent(choice)));
}

/// Keeps what is `good`, if anything is, and says whether it was.
fn prefer(candidates: &mut Vec<Choice>, good: impl Fn(Choice) -> bool) -> bool {
    let any = candidates.iter().any(|&choice| good(choice));
    if any {
        candidates.retain(|&choice| good(choice));
    }
    any
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

/// Differences that the model cannot tell, in percent: applied to published figures, such models are off by a quarter. Less is granted
/// to parts: with a quarter, they would take 7 % longer at batch 1 on 58 multiprocessors, and fill no more batches of whole eights.
const TOLERANCE: u64 = 25;
const TOLERANCE_OF_PARTS: u64 = 20;
/// Differences, in percent, for which nothing is worth more bytes.
const CLOSE: u64 = 6;
/// Part of a device's slots for tiles, in percent, that useful outputs fill where waves are full.
const FULL_WAVES: u64 = 90;
/// Blocks that keep a device from idling, at the least.
const ENOUGH_BLOCKS: u64 = 64;
/// Fewest steps of a part: less would be all start and end.
const FEWEST_STEPS: u64 = 2;
const MOST_SPLITS: u64 = 32;
/// What the last block of a tile waits for: its stores, the count, the first loads.
const HANDING_OVER: u64 = 800;

/// Parts that the depth of a tile may be divided into.
fn most_splits(variant: &ImplicitGemm, problem: &Conv2dProblem) -> u32 {
    (steps(&variant.tile, problem) / FEWEST_STEPS).clamp(1, MOST_SPLITS) as u32
}

/// Tiles of outputs.
fn tiles(tile: &Tile, problem: &Conv2dProblem) -> u64 {
    (problem.gemm_m().div_ceil(tile.bm as usize) * problem.gemm_n().div_ceil(tile.bn as usize)) as u64
}

/// Percent of the slots for tiles, in as many waves as it takes with one block for each multiprocessor, that useful outputs fill.
fn wave_efficiency(problem: &Conv2dProblem, device: &DeviceLimits, choice: Choice) -> u64 {
    let (tile, splits) = (&choice.variant.tile, u64::from(choice.splits));
    let multiprocessors = u64::from(device.multiprocessors);
    let waves = (tiles(tile, problem) * splits).div_ceil(multiprocessors);
    let outputs = (problem.gemm_m() * problem.gemm_n()) as u64;
    outputs * splits * 100 / (waves * multiprocessors * u64::from(tile.bm * tile.bn))
}

/// Steps of a block's main loop.
fn steps(tile: &Tile, problem: &Conv2dProblem) -> u64 {
    problem.gemm_k().div_ceil(tile.bk as usize) as u64
}

/// How long the convolution lasts, in clocks, as far as a choice needs to know.
fn cycles(problem: &Conv2dProblem, device: &DeviceLimits, choice: Choice) -> u64 {
    let rates = Rates::of(device.capability);
    let (waves, depth, step) = waves_of_steps(problem, device, choice, rates.fma);
    waves.saturating_mul(depth.saturating_mul(step).saturating_add(START_AND_END)).saturating_add(adding_cycles(device, choice))
}

/// Clocks after the main loops in which the parts of a tile become its sums: each is written once, and all are read by the last block.
pub(super) fn adding_cycles(device: &DeviceLimits, choice: Choice) -> u64 {
    let (splits, Tile { bm, bn, .. }) = (u64::from(choice.splits), choice.variant.tile);
    let bytes = (splits + 1) * u64::from(bm * bn) * 4;
    if splits == 1 { 0 } else { HANDING_OVER + bytes.div_ceil(Rates::of(device.capability).l2) }
}

/// Bytes that the tiles' main loops ask of L2, and those of parts, which are written and read once more.
fn bytes(problem: &Conv2dProblem, choice: Choice) -> u64 {
    let (Tile { bm, bn, bk, .. }, splits) = (choice.variant.tile, u64::from(choice.splits));
    let parts = if splits == 1 { 0 } else { splits * 2 * u64::from(bm * bn) * 4 };
    tiles(&choice.variant.tile, problem) * (steps(&choice.variant.tile, problem) * u64::from((bm + bn) * bk) * 2 + parts)
}

/// The clocks of all main loops, one after the other where a multiprocessor has several; `fma` multiply-adds of the tensor cores
/// a clock.
pub(super) fn main_loop_cycles(problem: impl Into<Conv2dProblem>, device: &DeviceLimits, choice: Choice, fma: u64) -> u64 {
    let (waves, depth, step) = waves_of_steps(&problem.into(), device, choice, fma);
    waves.saturating_mul(depth).saturating_mul(step)
}

/// Waves of blocks, the steps of a block's main loop, and clocks of a step.
fn waves_of_steps(problem: &Conv2dProblem, device: &DeviceLimits, choice: Choice, fma: u64) -> (u64, u64, u64) {
    let tile = choice.variant.tile;
    let rates = Rates::of(device.capability);
    let [bm, bn, bk, wm, wn, warps, sums] =
        [tile.bm, tile.bn, tile.bk, tile.wm, tile.wn, tile.warps(), tile.sums()].map(u64::from);
    let loaded = (bm + bn) * bk * 2;
    let read = warps * (wm + wn) * bk * 2;
    let tensor = (sums * bk).div_ceil(fma);
    let step = tensor.max((read + loaded).div_ceil(rates.shared)).max(loaded.div_ceil(rates.l2));
    let splits = u64::from(choice.splits);
    let waves = (tiles(&choice.variant.tile, problem) * splits).div_ceil(device.multiprocessors.into());
    (waves, steps(&choice.variant.tile, problem).div_ceil(splits), step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Conv2dShape, Window};

    const T4: DeviceLimits = DeviceLimits { capability: 75, multiprocessors: 40, shared_bytes: 64 << 10 };
    const A100: DeviceLimits = DeviceLimits { capability: 80, multiprocessors: 108, shared_bytes: 163 << 10 };
    const L4: DeviceLimits = DeviceLimits { capability: 89, multiprocessors: 58, shared_bytes: 99 << 10 };
    const H100: DeviceLimits = DeviceLimits { capability: 90, multiprocessors: 132, shared_bytes: 227 << 10 };

    fn picked(device: &DeviceLimits, image: [usize; 4], k: usize, size: usize) -> (u32, u32, bool) {
        let shape = Conv2dShape::new(image, k, Window { size: (size, size), stride: 1, pad: size / 2 }).unwrap();
        let Choice { variant, .. } = choose(shape, device, Arithmetic::F16).unwrap();
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
        for (device, tile) in [(&T4, (64, 64)), (&A100, (80, 40)), (&L4, (64, 64)), (&H100, (80, 40))] {
            let (bm, bn, _) = picked(device, [1, 7, 7, 512], 512, 3);
            assert_eq!((bm, bn), tile, "one row of tiles, whatever their height");
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
        let refused = choose(shape, &A100, Arithmetic::F16).unwrap_err().to_string();
        assert_eq!(refused, "conv2d_implicit_gemm_c8_f16_nhwc: C = 12 is no multiple of 8");
    }

    #[test]
    fn a_device_with_little_shared_memory_gets_what_fits() {
        let device = DeviceLimits { shared_bytes: 48 << 10, ..A100 };
        let shape = Conv2dShape::new([128, 28, 28, 128], 128, Window { size: (3, 3), stride: 1, pad: 1 }).unwrap();
        assert!(choose(shape, &device, Arithmetic::F16).unwrap().variant.shared_bytes() <= device.shared_bytes);
    }

    /// A layer's name, `h`, `c`, `k`, the filter's size, its stride, and channels of the shortcut that is added in the same launch.
    type Layer = (&'static str, usize, usize, usize, usize, usize, Option<usize>);

    /// Convolutions of ResNet-18 at 224x224; images are squares.
    const RESNET18: &[Layer] = &[
        ("layer1", 56, 64, 64, 3, 1, None),
        ("layer2.0.conv1", 56, 64, 128, 3, 2, None),
        ("layer2.0.conv2", 28, 128, 128, 3, 1, Some(64)),
        ("layer2", 28, 128, 128, 3, 1, None),
        ("layer3.0.conv1", 28, 128, 256, 3, 2, None),
        ("layer3.0.conv2", 14, 256, 256, 3, 1, Some(128)),
        ("layer3", 14, 256, 256, 3, 1, None),
        ("layer4.0.conv1", 14, 256, 512, 3, 2, None),
        ("layer4.0.conv2", 7, 512, 512, 3, 1, Some(256)),
        ("layer4", 7, 512, 512, 3, 1, None),
    ];

    fn problem(n: usize, (h, c, k, size, stride, shortcut): (usize, usize, usize, usize, usize, Option<usize>)) -> Conv2dProblem {
        let shape =
            |h, c, size, stride| Conv2dShape::new([n, h, h, c], k, Window { size: (size, size), stride, pad: size / 2 }).unwrap();
        Conv2dProblem { shape: shape(h, c, size, stride), projection: shortcut.map(|c0| shape(2 * h, c0, 1, 2)) }
    }

    /// Blocks of the choice for a layer at batch `n`, percent of the slots for tiles that they fill, and all of it in words.
    fn filled(device: &DeviceLimits, arithmetic: Arithmetic, n: usize, layer: Layer) -> (u64, u64, String) {
        let (name, h, c, k, size, stride, shortcut) = layer;
        let problem = problem(n, (h, c, k, size, stride, shortcut));
        let choice = choose(problem, device, arithmetic).unwrap();
        let blocks = tiles(&choice.variant.tile, &problem) * u64::from(choice.splits);
        let full = wave_efficiency(&problem, device, choice);
        let (variant, splits) = (choice.variant.name(), choice.splits);
        let what = format!(
            "{} multiprocessors, batch {n}, {name}: {variant} in {splits} parts, {blocks} blocks, {full} %",
            device.multiprocessors
        );
        (blocks, full, what)
    }

    /// Blocks enough at batch 1; every batch of whole eights fills the devices.
    #[test]
    fn devices_are_filled() {
        let mut wrong = Vec::new();
        for device in [&A100, &H100] {
            for arithmetic in [Arithmetic::F16, Arithmetic::Bf16] {
                for n in [1].into_iter().chain((8..=256).step_by(8)).chain([512, 1024]) {
                    for &layer in RESNET18 {
                        let (blocks, full, what) = filled(device, arithmetic, n, layer);
                        println!("{what}");
                        let good = if n == 1 { blocks >= 64 } else { full >= 90 };
                        if !good {
                            wrong.push(what);
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Most other batches fill them, too; the rest ends sooner without.
    #[test]
    fn most_other_batches_fill_devices() {
        for device in [&A100, &H100] {
            let layers = (9..256).filter(|n| n % 8 != 0).flat_map(|n| RESNET18.iter().map(move |&layer| (n, layer)));
            let of_layers: Vec<u64> = layers.map(|(n, layer)| filled(device, Arithmetic::F16, n, layer).1).collect();
            let (all, full) = (of_layers.len(), of_layers.iter().filter(|&&full| full >= 90).count());
            println!("{} multiprocessors: {full} of {all} are full", device.multiprocessors);
            assert!(100 * full >= 95 * all, "{full} of {all}");
        }
    }

    /// A unit that no layer of a ResNet ever gets would be compiled for nothing.
    #[test]
    fn every_tile_is_chosen_somewhere() {
        let mut unused: Vec<&ImplicitGemm> = IMPLICIT_GEMM.iter().collect();
        for (capability, multiprocessors, shared_bytes) in
            [(75, 40, 64), (80, 108, 163), (86, 84, 99), (89, 128, 99), (90, 132, 227), (120, 170, 99)]
        {
            let device = DeviceLimits { capability, multiprocessors, shared_bytes: shared_bytes << 10 };
            for arithmetic in [Arithmetic::F16, Arithmetic::F16Sums, Arithmetic::Bf16] {
                for n in [1, 2, 4, 8, 16, 32, 64, 128] {
                    for &(_, h, c, k, size, stride, shortcut) in RESNET18 {
                        if let Ok(choice) = choose(problem(n, (h, c, k, size, stride, shortcut)), &device, arithmetic) {
                            unused.retain(|&variant| variant != choice.variant);
                        }
                    }
                }
            }
        }
        unused.retain(|variant| variant.whole_taps); // the others are for other networks
        let names: Vec<String> = unused.iter().map(|variant| variant.name()).collect();
        assert!(names.is_empty(), "{names:?}");
    }
}
