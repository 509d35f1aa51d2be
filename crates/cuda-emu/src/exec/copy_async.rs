//! Asynchronous copies of a warp, from issue to the wait that makes them land.

use crate::memory::{LaneBytes, WarpAccess};

use super::regs::LANES;

/// One `cp.async` of a warp: its data, read when it was issued, lands when its lanes wait for their group.
struct Copy {
    /// Lanes that have not waited yet.
    mask: u32,
    shared: [u32; LANES],
    bytes: u32,
    values: LaneBytes,
    /// Groups that each lane had committed before: the number of this copy's group.
    group: [u32; LANES],
}

/// Copies in flight, oldest first, and each lane's count of committed groups. Lanes count apart, since commits may diverge.
#[derive(Default)]
pub(crate) struct Copies {
    flying: Vec<Copy>,
    committed: [u32; LANES],
}

impl std::fmt::Debug for Copies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copies").field("flying", &self.flying.len()).finish_non_exhaustive()
    }
}

impl Copies {
    pub(crate) fn issue(&mut self, mask: u32, shared: [u32; LANES], bytes: u32, values: &LaneBytes) {
        self.flying.push(Copy { mask, shared, bytes, values: values.clone(), group: self.committed });
    }

    pub(crate) fn commit(&mut self, mask: u32) {
        for (lane, committed) in self.committed.iter_mut().enumerate() {
            *committed += mask >> lane & 1;
        }
    }

    /// The lanes in `mask` wait until at most `groups` groups are in flight, or (`None`) nothing: calls `land` with what lands.
    pub(crate) fn wait(&mut self, mask: u32, groups: Option<u32>, mut land: impl FnMut(&WarpAccess<'_, u32>, &LaneBytes)) {
        for copy in &mut self.flying {
            let mut done = 0;
            for lane in 0..LANES {
                // After group `g` came `committed - 1 - g` others.
                let committed = self.committed[lane];
                let lands = groups.is_none_or(|most| copy.group[lane] < committed && committed - copy.group[lane] > most);
                done |= u32::from(lands) << lane;
            }
            done &= copy.mask & mask;
            if done != 0 {
                land(&WarpAccess { addresses: &copy.shared, mask: done, bytes: copy.bytes }, &copy.values);
                copy.mask &= !done;
            }
        }
        self.flying.retain(|copy| copy.mask != 0);
    }
}
