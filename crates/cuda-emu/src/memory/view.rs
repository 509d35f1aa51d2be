//! What a launch sees of the device's memory.

use std::ops::Range;
use std::sync::Arc;

use super::arena::Table;
use super::block::{AllocKind, Block};
use super::cursor::Cursor;
use crate::check::GlobalRaces;

/// How a launch is checked.
#[derive(Debug, Clone, Default)]
pub struct ViewOptions {
    /// Blocks along x, y and z, to name the other block in a race.
    pub grid: [u32; 3],
    /// Whether to look for uninitialised reads and races between blocks, and to count unique bytes. Bounds are always checked.
    pub checks: bool,
    /// Device addresses that the launch may not write. Module constants are always among them.
    pub read_only: Vec<Range<u64>>,
}

/// The device's memory during one launch: the allocations at its start. Shared by all workers; each block takes a [`Cursor`].
#[derive(Debug)]
pub struct LaunchView {
    pub(super) table: Arc<Table>,
    pub(super) blocks: Arc<[Arc<Block>]>,
    pub(super) races: Option<GlobalRaces>,
    pub(super) grid: [u32; 3],
    read_only: Vec<Range<u64>>,
    constants: bool,
}

impl LaunchView {
    pub(super) fn new(table: Arc<Table>, blocks: Arc<[Arc<Block>]>, options: ViewOptions) -> Self {
        let races = options.checks.then(|| GlobalRaces::new(blocks.iter().map(|block| block.bytes)));
        let constants = blocks.iter().any(|block| matches!(block.label.kind, AllocKind::Constant(_)));
        LaunchView { table, blocks, races, grid: options.grid, read_only: options.read_only, constants }
    }

    /// Access for the block of linear index `block` (x fastest).
    pub fn cursor(&self, block: u64) -> Cursor<'_> {
        Cursor::new(self, block)
    }

    /// Different bytes read and written so far; zeros when the view does not check.
    pub fn unique_bytes(&self) -> (u64, u64) {
        self.races.as_ref().map_or((0, 0), GlobalRaces::unique_bytes)
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
