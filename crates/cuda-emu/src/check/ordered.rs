//! Accesses to global memory in launches whose blocks may be ordered: by which thread and when, and what that thread knows.

use super::causality::{Flags, Threads};
use super::clocks::ALL_LANES;
use super::knowledge::ALL_WARPS;

/// A run of neighbouring lanes that make an access.
#[derive(Debug, Clone, Copy)]
pub struct Accessor<'a> {
    /// The block's threads.
    pub threads: &'a Threads,
    /// The launch's flags.
    pub flags: &'a Flags,
    /// Warp within the block.
    pub warp: u32,
    /// First lane.
    pub lane: u32,
    /// Number of lanes.
    pub lanes: u32,
    /// Bytes of each lane, a power of two.
    pub bytes: usize,
    /// Whether all lanes name one place.
    pub same: bool,
}

/// Who touched a cell last, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    tick: u32,
    /// [`ALL_WARPS`] for several.
    warp: u8,
    /// Lane of the cell's first byte, [`ALL_LANES`] for several at each byte.
    lane: u8,
    /// Bytes per lane are two to this power.
    shift: u8,
}

/// Writer and reader of a cell.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stamps {
    pub writer: Stamp,
    pub reader: Stamp,
}

impl Stamp {
    fn lane_at(self, byte: usize) -> u32 {
        let lane = u32::from(self.lane);
        if lane == ALL_LANES { lane } else { lane + (byte >> self.shift) as u32 }
    }

    /// The stamp of the part of a cell that begins at this byte.
    pub fn part(self, byte: usize) -> Stamp {
        Stamp { lane: self.lane_at(byte) as u8, ..self }
    }
}

impl Stamps {
    pub fn part(self, byte: usize) -> Stamps {
        Stamps { writer: self.writer.part(byte), reader: self.reader.part(byte) }
    }
}

impl Accessor<'_> {
    /// The stamp of a cell that begins `position` bytes behind the run's first.
    pub(super) fn stamp(&self, position: usize) -> Stamp {
        let lane = if self.same { ALL_LANES } else { self.lane + (position / self.bytes) as u32 };
        let (warp, shift) = (self.warp as u8, self.bytes.trailing_zeros() as u8);
        Stamp { tick: self.threads.tick(self.warp), warp, lane: lane as u8, shift }
    }

    /// The lanes that touch `size` bytes from `position` on.
    fn touching(&self, position: usize, size: usize) -> std::ops::Range<u32> {
        if self.same {
            return self.lane..self.lane + self.lanes;
        }
        self.lane + (position / self.bytes) as u32..self.lane + ((position + size - 1) / self.bytes) as u32 + 1
    }

    /// Whether all of this access to a cell comes after what another block did there.
    pub(super) fn follows(&self, block: u64, stamp: Stamp, position: usize, size: usize) -> bool {
        let holds = |lane: u32, byte: usize| {
            let known = self.threads.known(self.warp, lane, block);
            known.is_some_and(|known| known.holds(u32::from(stamp.warp), stamp.lane_at(byte), stamp.tick))
        };
        let mut lanes = self.touching(position, size);
        let first = lanes.start;
        if lanes.all(|lane| self.threads.alike(self.warp, first, lane)) {
            let Some(known) = self.threads.known(self.warp, first, block) else { return false };
            if known.holds(u32::from(stamp.warp), ALL_LANES, stamp.tick) {
                return true;
            }
        }
        // Lane by lane: each may know of its own counterpart only.
        let step = size.min(1 << stamp.shift).min(self.bytes);
        (0..size).step_by(step).all(|byte| {
            let mut lanes = if self.same { self.touching(position, size) } else { self.touching(position + byte, 1) };
            lanes.all(|lane| holds(lane, byte))
        })
    }

    /// Whether all of this access to a cell comes after every strong write of the cell's words.
    pub(super) fn has_seen(&self, allocation: usize, offset: usize, position: usize, size: usize) -> bool {
        let words = offset / 4..(offset + size).div_ceil(4);
        self.touching(position, size)
            .all(|lane| words.clone().all(|word| self.threads.has_seen(self.warp, lane, self.flags, (allocation, word))))
    }

    /// The stamp of a cell that this block touched before and touches again: the new one if that comes after the old.
    pub(super) fn renewed(&self, old: Stamp, new: Stamp, size: usize) -> Stamp {
        let (warp, old_warp) = (u32::from(new.warp), u32::from(old.warp));
        let step = size.min(1 << old.shift).min(1 << new.shift);
        let lanes = (0..size).step_by(step).map(|byte| (old.lane_at(byte), new.lane_at(byte)));
        let mut ordered = lanes.map(|(old_lane, lane)| self.threads.ordered((old_warp, old_lane), old.tick, (warp, lane)));
        if old == new || ordered.all(|ordered| ordered) {
            return new;
        }
        let warp = if warp == old_warp { warp } else { ALL_WARPS };
        Stamp { tick: old.tick.max(new.tick), warp: warp as u8, lane: ALL_LANES as u8, shift: 0 }
    }
}
