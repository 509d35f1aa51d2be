//! Asynchronous copies of a warp, from issue to the wait that makes them land.

use crate::memory::LaneBytes;

use super::regs::LANES;

/// One `cp.async` of a warp: its data, read when it was issued, lands when its lanes wait for their group.
pub(crate) struct Copy {
    /// Lanes that have not waited yet.
    pub mask: u32,
    pub shared: [u32; LANES],
    pub bytes: u32,
    pub values: LaneBytes,
    /// Groups that each lane had committed before: the number of this copy's group.
    group: [u32; LANES],
}

impl std::fmt::Debug for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copy").field("mask", &self.mask).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Copies in flight, oldest first, and each lane's count of committed groups. Lanes count apart, since commits may diverge.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    flying: Vec<Copy>,
    committed: [u32; LANES],
}

impl Copies {
    pub(crate) fn reset(&mut self) {
        self.flying.clear();
        self.committed = [0; LANES];
    }

    pub(crate) fn issue(&mut self, mask: u32, shared: [u32; LANES], bytes: u32, values: LaneBytes) {
        self.flying.push(Copy { mask, shared, bytes, values, group: self.committed });
    }

    pub(crate) fn commit(&mut self, mask: u32) {
        for (lane, committed) in self.committed.iter_mut().enumerate() {
            *committed += mask >> lane & 1;
        }
    }

    /// Lanes and copies that land when the lanes in `mask` wait until at most `groups` groups are in flight; `u32::MAX` waits
    /// for uncommitted copies as well. Calls `land` with each, its mask cut to the lanes concerned.
    pub(crate) fn wait<E>(&mut self, mask: u32, groups: u32, mut land: impl FnMut(&Copy) -> Result<(), E>) -> Result<(), E> {
        for copy in &mut self.flying {
            let mut done = 0;
            for lane in 0..LANES {
                // Group `g` is the newest but `committed - 1 - g`.
                let committed = self.committed[lane];
                let lands = groups == u32::MAX || (copy.group[lane] < committed && committed - copy.group[lane] > groups);
                done |= u32::from(lands) << lane;
            }
            done &= copy.mask & mask;
            if done != 0 {
                let rest = copy.mask & !done;
                copy.mask = done;
                land(copy)?;
                copy.mask = rest;
            }
        }
        self.flying.retain(|copy| copy.mask != 0);
        Ok(())
    }

    /// The first lane of `mask` with a copy in flight.
    pub(crate) fn unfinished(&self, mask: u32) -> Option<u32> {
        self.flying.iter().map(|copy| copy.mask & mask).find(|&lanes| lanes != 0).map(u32::trailing_zeros)
    }
}
