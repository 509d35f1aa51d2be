//! Launches that may still run when another begins, and what they do to memory.

use std::sync::Arc;

use super::block::Block;
use crate::check::GlobalRaces;

/// What a launch read and wrote.
#[derive(Debug, Clone)]
pub(crate) struct Footprint {
    pub(super) kernel: Arc<str>,
    pub(super) blocks: Arc<[Arc<Block>]>,
    pub(super) races: Arc<GlobalRaces>,
}

impl Footprint {
    /// Name of the launch's kernel.
    pub(super) fn kernel(&self) -> &str {
        &self.kernel
    }

    /// Whether it read, and whether it wrote, some byte of a range within one allocation.
    pub(super) fn touched(&self, address: u64, bytes: usize) -> (bool, bool) {
        let index = self.blocks.partition_point(|block| block.start <= address).wrapping_sub(1);
        let block = self.blocks.get(index).filter(|block| address - block.start < block.bytes);
        block.map_or((false, false), |block| {
            let offset = (address - block.start) as usize;
            self.races.touched(index, offset, bytes.min(block.bytes as usize - offset))
        })
    }
}

/// A launch that may still run when another one begins.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    /// What it does.
    pub footprint: Footprint,
    /// Whether it has ended when the other one has waited. Not so where those in between do not wait.
    pub ends_by_wait: bool,
}
