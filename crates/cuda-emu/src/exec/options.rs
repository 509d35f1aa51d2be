//! How to run, and what came of it.

use crate::memory::Footprint;
use crate::profile::Profile;
use crate::ptx::Kernel;
use crate::report::{Counters, Finding, FindingKind};

/// An order in which warps of a block, or blocks of a grid, get their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Ascending.
    #[default]
    InOrder,
    /// Descending.
    Reverse,
    /// Shuffled by this seed; warps are also interrupted after a random number of instructions.
    Random(u64),
}

/// How a matrix product's sums are rounded. Hardware does not say; results should be acceptable in both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MmaRounding {
    /// One product after the other, each sum rounded to nearest.
    #[default]
    Sequential,
    /// Eight products and the running sum at once, aligned to the largest and truncated, as measured on some hardware.
    Block8Truncate,
}

/// How to run a kernel.
#[derive(Debug, Clone)]
pub struct Options {
    /// Turns of the warps in a block.
    pub warp_order: Order,
    /// Turns of the blocks in the grid.
    pub block_order: Order,
    /// Sums of `mma`.
    pub mma_rounding: MmaRounding,
    /// Whether reads of unwritten memory, races and pending copies are looked for, and memory traffic is counted.
    /// Bounds, alignment, barriers and masks are checked always.
    pub checks: bool,
    /// Threads to spread blocks over; 0 for one per processor.
    pub workers: usize,
    /// Instructions that one warp may execute before the launch counts as hung.
    pub max_iterations: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            warp_order: Order::InOrder,
            block_order: Order::InOrder,
            mma_rounding: MmaRounding::Sequential,
            checks: true,
            workers: 0,
            max_iterations: 1 << 30,
        }
    }
}

/// A kernel with everything it is launched with.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    /// What to run.
    pub kernel: &'a Kernel,
    /// Device address of a module variable.
    pub module_globals: &'a (dyn Fn(&str) -> Option<u64> + Sync),
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads per block along x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// The parameter block, laid out as [`Kernel::params`](crate::ptx::Kernel) says.
    pub params: &'a [u8],
    /// The device played.
    pub profile: &'a Profile,
    /// How to run.
    pub options: &'a Options,
}

/// What ended a launch early, as a driver would classify it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An access outside any allocation, or to one that is gone or read-only.
    IllegalAddress,
    /// An address that is no multiple of the access size.
    MisalignedAddress,
    /// `trap`, or a barrier that cannot work.
    LaunchFailed,
    /// The iteration budget ran out, or no warp could go on.
    Timeout,
    /// Grid, block, shared memory or parameters do not fit the kernel or the device.
    InvalidLaunch,
}

impl Fault {
    /// The fault that a finding of this kind is, if it ends a launch.
    pub(crate) fn of(kind: FindingKind) -> Fault {
        use FindingKind::*;
        match kind {
            Misaligned => Fault::MisalignedAddress,
            OutOfBounds | NullAddress | UseAfterFree | Unallocated | ReadOnlyWrite => Fault::IllegalAddress,
            TimeLimit | Deadlock => Fault::Timeout,
            InvalidLaunch => Fault::InvalidLaunch,
            _ => Fault::LaunchFailed,
        }
    }
}

/// What a launch was like for those that begin beside it.
#[derive(Debug, Default)]
pub(crate) struct Overlap {
    /// What it read and wrote; absent without checks.
    pub footprint: Option<Footprint>,
    /// Whether it waited for the launches before it, so that it has ended no earlier than they.
    pub waits: bool,
    /// Whether the next one may begin before this one has waited.
    pub begins_early: bool,
}

/// What a launch did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Instructions, traffic, barriers.
    pub counters: Counters,
    /// What was done wrong, faults first.
    pub findings: Vec<Finding>,
    /// Why the launch ended early, if it did.
    pub fault: Option<Fault>,
}
