//! Asynchronous copies in flight: what each lane has issued, committed and not yet waited for.

use super::clocks::{WARPS, warps_of};
use crate::memory::{LaneBytes, WarpAccess};

/// One `cp.async` of a warp: what will arrive where.
#[derive(Debug)]
pub(super) struct Copy {
    pub addresses: [u32; 32],
    /// Lanes that have not waited yet.
    pub mask: u32,
    pub bytes: u32,
    pub data: LaneBytes,
    /// Number of the group that it belongs to, counted per lane; the same for all lanes in `mask`.
    group: u32,
}

#[derive(Debug, Default)]
#[allow(clippy::vec_box, reason = "copies are large and move between the lists")]
pub(super) struct Copies {
    warps: Vec<Warp>,
    /// Copies to be used again.
    spare: Vec<Box<Copy>>,
}

#[derive(Debug)]
#[allow(clippy::vec_box, reason = "copies are large and move between the lists")]
struct Warp {
    flight: Vec<Box<Copy>>,
    /// Groups committed by each lane.
    committed: [u32; 32],
}

impl Copies {
    pub fn start(&mut self, warps: usize) {
        for warp in &mut self.warps {
            self.spare.append(&mut warp.flight);
            warp.committed = [0; 32];
        }
        self.warps.resize_with(warps.min(WARPS).max(self.warps.len()), || Warp { flight: Vec::new(), committed: [0; 32] });
    }

    /// Takes down what lanes have issued.
    pub fn issue(&mut self, warp: u32, access: &WarpAccess<'_, u32>, data: &LaneBytes) {
        let warp = &mut self.warps[warp as usize];
        let mut rest = access.mask;
        while rest != 0 {
            // Lanes that have committed equally often share an entry: nearly always all of them.
            let group = warp.committed[rest.trailing_zeros() as usize];
            let mask = warps_of(rest).filter(|&lane| warp.committed[lane] == group).fold(0, |mask, lane| mask | 1 << lane);
            rest &= !mask;
            let mut copy = self
                .spare
                .pop()
                .unwrap_or_else(|| Box::new(Copy { addresses: [0; 32], mask: 0, bytes: 0, data: LaneBytes::new(), group: 0 }));
            copy.addresses = *access.addresses;
            (copy.mask, copy.bytes, copy.group) = (mask, access.bytes, group);
            let used = 32 * access.bytes as usize;
            copy.data.0[..used].copy_from_slice(&data.0[..used]);
            warp.flight.push(copy);
        }
    }

    /// Closes the group of each lane in `mask`.
    pub fn commit(&mut self, warp: u32, mask: u32) {
        for lane in warps_of(mask) {
            self.warps[warp as usize].committed[lane] += 1;
        }
    }

    /// Lanes wait until at most `groups` of their newest committed groups are in flight, or for everything; `arrived` gets the copies
    /// that this completes, with the lanes concerned, oldest first.
    pub fn wait(&mut self, warp: u32, mask: u32, groups: Option<u32>, mut arrived: impl FnMut(&Copy, u32)) {
        let Warp { flight, committed } = &mut self.warps[warp as usize];
        let mut kept = 0;
        for at in 0..flight.len() {
            let copy = &mut flight[at];
            let done = |lane: usize| groups.is_none_or(|groups| copy.group.saturating_add(groups) < committed[lane]);
            let lanes = warps_of(copy.mask & mask).filter(|&lane| done(lane)).fold(0, |lanes, lane| lanes | 1 << lane);
            if lanes != 0 {
                copy.mask &= !lanes;
                arrived(copy, lanes);
            }
            if copy.mask != 0 {
                flight.swap(kept, at);
                kept += 1;
            }
        }
        self.spare.extend(flight.drain(kept..));
    }

    /// A lane in `mask` with a copy that it has not waited for, and the copy's destination; its lanes' copies are dropped.
    pub fn exit(&mut self, warp: u32, mask: u32) -> Option<(u32, u32)> {
        let Warp { flight, .. } = &mut self.warps[warp as usize];
        let mut found = None;
        for copy in flight.iter_mut() {
            if copy.mask & mask != 0 {
                let lane = (copy.mask & mask).trailing_zeros();
                found = found.or(Some((lane, copy.addresses[lane as usize])));
                copy.mask &= !mask;
            }
        }
        if found.is_some() {
            let (done, left) = std::mem::take(flight).into_iter().partition(|copy| copy.mask == 0);
            *flight = left;
            self.spare.extend::<Vec<_>>(done);
        }
        found
    }
}
