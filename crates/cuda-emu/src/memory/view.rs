//! What a launch sees of the device's memory.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::arena::Table;
use super::beside::{Beside, Footprint};
use super::block::{AllocKind, Block};
use super::cursor::Cursor;
use crate::check::{Flags, GlobalRaces, Threads};

/// How a launch is checked.
#[derive(Debug, Clone, Default)]
pub struct ViewOptions {
    /// Blocks along x, y and z, to name the other block in a race.
    pub grid: [u32; 3],
    /// Whether to look for uninitialised reads and races between blocks, and to count unique bytes. Bounds are always checked.
    pub checks: bool,
    /// Device addresses that the launch may not write. Module constants are always among them.
    pub read_only: Vec<Range<u64>>,
    /// Threads per block, if blocks may wait for each other: then what they hand on through flags and fences is tracked. 0 if not.
    pub ordered_threads: u32,
}

/// The device's memory during one launch: the allocations at its start. Shared by all workers; each block takes a [`Cursor`].
#[derive(Debug)]
pub struct LaunchView {
    pub(super) table: Arc<Table>,
    pub(super) blocks: Arc<[Arc<Block>]>,
    pub(super) races: Option<Arc<GlobalRaces>>,
    pub(super) beside: Vec<Beside>,
    pub(super) flags: Option<Flags>,
    /// Stores and atomics that changed something, where blocks may wait for each other.
    pub(super) changes: AtomicU64,
    pub(super) ordered_threads: u32,
    pub(super) grid: [u32; 3],
    read_only: Vec<Range<u64>>,
    constants: bool,
}

impl LaunchView {
    pub(super) fn new(table: Arc<Table>, blocks: Arc<[Arc<Block>]>, options: ViewOptions) -> Self {
        let races = options.checks.then(|| Arc::new(GlobalRaces::new(blocks.iter().map(|block| block.bytes))));
        let constants = blocks.iter().any(|block| matches!(block.label.kind, AllocKind::Constant(_)));
        LaunchView {
            table,
            blocks,
            flags: (options.checks && options.ordered_threads != 0).then(Flags::default),
            races,
            changes: AtomicU64::new(0),
            ordered_threads: options.ordered_threads,
            grid: options.grid,
            beside: Vec::new(),
            read_only: options.read_only,
            constants,
        }
    }

    /// The same for a launch that begins while others may still run.
    pub(crate) fn with_beside(self, beside: Vec<Beside>) -> Self {
        LaunchView { beside, ..self }
    }

    /// Access for the block of linear index `block` (x fastest).
    pub fn cursor(&self, block: u64) -> Cursor<'_> {
        Cursor::new(self, block, self.flags.as_ref().map(|_| Box::new(Threads::new(block, self.ordered_threads))))
    }

    /// How often memory has changed; counted only where blocks may wait for each other.
    pub fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// Different bytes read and written so far; zeros when the view does not check.
    pub fn unique_bytes(&self) -> (u64, u64) {
        self.races.as_ref().map_or((0, 0), |races| races.unique_bytes())
    }

    /// What the launch, of this kernel, has done so far; `None` when the view does not check.
    pub(crate) fn footprint(&self, kernel: &str) -> Option<Footprint> {
        let races = self.races.clone()?;
        Some(Footprint { kernel: kernel.into(), blocks: self.blocks.clone(), races })
    }

    /// Whether some byte of the range may not be written.
    #[inline]
    pub(super) fn is_read_only(&self, block: &Block, address: u64, bytes: u64) -> bool {
        (self.constants && matches!(block.label.kind, AllocKind::Constant(_)))
            || self.read_only.iter().any(|range| address < range.end && range.start < address + bytes)
    }

    /// Index of a linear block number.
    pub(super) fn block_index(&self, linear: u64) -> [u64; 3] {
        let (x, y) = (u64::from(self.grid[0].max(1)), u64::from(self.grid[1].max(1)));
        [linear % x, linear / x % y, linear / x / y]
    }
}
