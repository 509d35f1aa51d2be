//! A warp's addresses, and their division into runs of adjacent lanes.

/// One memory instruction of a warp.
#[derive(Debug, Clone, Copy)]
pub struct WarpAccess<'a, A = u64> {
    /// Address of each lane; those of lanes outside `mask` mean nothing.
    pub addresses: &'a [A; 32],
    /// Lanes that take part.
    pub mask: u32,
    /// Bytes per lane: 1, 2, 4, 8 or 16. An address must be a multiple of it.
    pub bytes: u32,
}

/// The bytes that a warp loads or stores, lane after lane without gaps: those of lane `l` start at `l * bytes`.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub struct LaneBytes(pub [u8; 512]);

impl LaneBytes {
    /// All zero.
    pub const fn new() -> Self {
        LaneBytes([0; 512])
    }

    /// The bytes of one lane, for an access of `bytes` bytes per lane.
    #[inline]
    pub fn lane(&self, lane: usize, bytes: usize) -> &[u8] {
        &self.0[lane * bytes..(lane + 1) * bytes]
    }

    /// The bytes of one lane, to be written.
    #[inline]
    pub fn lane_mut(&mut self, lane: usize, bytes: usize) -> &mut [u8] {
        &mut self.0[lane * bytes..(lane + 1) * bytes]
    }
}

impl Default for LaneBytes {
    fn default() -> Self {
        Self::new()
    }
}

/// Neighbouring lanes whose bytes lie one after the other, or in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Address of the first lane's bytes.
    pub address: u64,
    /// First lane.
    pub lane: usize,
    /// Number of lanes.
    pub lanes: usize,
    /// Whether the lanes, two at least, name one place.
    pub same: bool,
}

impl Run {
    /// Bytes covered, for an access of `bytes` bytes per lane.
    #[inline]
    pub fn length(&self, bytes: usize) -> usize {
        if self.same { bytes } else { self.lanes * bytes }
    }
}

impl<A: Copy + Into<u64>> WarpAccess<'_, A> {
    /// Calls `each` with the runs, in order of lanes, until it fails. A fully contiguous access is one run. Lanes that name one place
    /// are a run only if `SAME`.
    #[inline]
    pub(crate) fn try_runs<const SAME: bool, E>(&self, mut each: impl FnMut(Run) -> Result<(), E>) -> Result<(), E> {
        let stride = u64::from(self.bytes);
        if self.mask == u32::MAX {
            let first: u64 = self.addresses[0].into();
            let differs = |stride: u64| {
                let expected = |lane: usize| first.wrapping_add(lane as u64 * stride);
                self.addresses.iter().enumerate().fold(0, |all, (lane, &address)| all | (address.into() ^ expected(lane))) != 0
            };
            if !differs(stride) {
                return each(Run { address: first, lane: 0, lanes: 32, same: false });
            }
        }
        let mut lane = self.mask.trailing_zeros() as usize;
        while lane < 32 {
            let address: u64 = self.addresses[lane].into();
            let follows = |end: usize, next: u64| end < 32 && self.mask & (1 << end) != 0 && self.addresses[end].into() == next;
            let same = SAME && follows(lane + 1, address);
            let step = if same { 0 } else { stride };
            let mut end = lane + 1;
            let mut next = address.wrapping_add(step);
            while follows(end, next) {
                end += 1;
                next = next.wrapping_add(step);
            }
            each(Run { address, lane, lanes: end - lane, same })?;
            lane = end;
            while lane < 32 && self.mask & (1 << lane) == 0 {
                lane += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn runs<const SAME: bool>(addresses: [u64; 32], mask: u32, bytes: u32) -> Vec<(u64, usize, usize)> {
        let mut runs = Vec::new();
        let _ = WarpAccess { addresses: &addresses, mask, bytes }.try_runs::<SAME, Infallible>(|run| {
            runs.push((run.address, run.lane, if run.same { 100 + run.lanes } else { run.lanes }));
            Ok(())
        });
        runs
    }

    #[test]
    fn known_runs() {
        let contiguous = std::array::from_fn(|l| 100 + 4 * l as u64);
        assert_eq!(runs::<true>(contiguous, u32::MAX, 4), [(100, 0, 32)]);
        assert_eq!(runs::<true>(contiguous, 0x0000_0FF0, 4), [(116, 4, 8)]);
        assert_eq!(runs::<true>(contiguous, 0x8000_0003, 4), [(100, 0, 2), (224, 31, 1)]);
        assert_eq!(runs::<true>(contiguous, u32::MAX, 8).len(), 32);
        assert_eq!(runs::<true>(contiguous, 0, 4), []);
        let rows = std::array::from_fn(|l| (l / 4 * 1000 + l % 4 * 16) as u64);
        assert_eq!(runs::<true>(rows, u32::MAX, 16).len(), 8);
        assert_eq!(runs::<true>([60; 32], u32::MAX, 4), [(60, 0, 132)]);
        assert_eq!(runs::<false>([60; 32], u32::MAX, 4).len(), 32);
        let halves = std::array::from_fn(|l| (l / 16 * 4) as u64);
        assert_eq!(runs::<true>(halves, u32::MAX, 4), [(0, 0, 116), (4, 16, 116)]);
    }

    proptest! {
        #[test]
        fn runs_cover_each_active_lane_once(addresses in prop::array::uniform32(0u64..8), mask: u32) {
            for found in [runs::<false>(addresses, mask, 1), runs::<true>(addresses, mask, 1)] {
                let mut covered = 0u32;
                for (address, lane, lanes) in found {
                    let (lanes, step) = if lanes > 100 { (lanes - 100, 0) } else { (lanes, 1) };
                    for i in 0..lanes {
                        prop_assert_eq!(addresses[lane + i], address + step * i as u64);
                        prop_assert_eq!(covered & (1 << (lane + i)), 0);
                        covered |= 1 << (lane + i);
                    }
                }
                prop_assert_eq!(covered, mask);
            }
        }
    }
}
