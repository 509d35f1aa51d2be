//! Local memory: each thread's own.

use crate::memory::{LaneBytes, WarpAccess};
use crate::report::{FindingKind, Issue};

/// Local memory of a warp, thread after thread.
#[derive(Debug, Default)]
pub(crate) struct Local {
    size: usize,
    bytes: Vec<u8>,
    /// Which bytes have been written; empty when that is not checked.
    written: Vec<bool>,
}

impl Local {
    pub(crate) fn reset(&mut self, size: u32, checks: bool) {
        self.size = size as usize;
        self.bytes.clear();
        self.bytes.resize(self.size * 32, 0xff);
        self.written.clear();
        self.written.resize(if checks { self.size * 32 } else { 0 }, false);
    }

    fn range(&self, access: &WarpAccess<'_>, lane: usize) -> Result<std::ops::Range<usize>, Issue> {
        let (address, bytes) = (access.addresses[lane], u64::from(access.bytes));
        let issue = |kind, message| Issue { kind, lane: lane as u32, address: Some(address), message };
        if address % bytes != 0 {
            return Err(issue(FindingKind::Misaligned, format!("local access of {bytes} bytes")));
        }
        if address.checked_add(bytes).is_none_or(|end| end > self.size as u64) {
            return Err(issue(
                FindingKind::OutOfBounds,
                format!("access of {bytes} bytes to {} bytes of local memory", self.size),
            ));
        }
        let start = lane * self.size + address as usize;
        Ok(start..start + bytes as usize)
    }

    /// Loads; the second result is the first read of something never written.
    pub(crate) fn load(&self, access: &WarpAccess<'_>, out: &mut LaneBytes) -> Result<Option<Issue>, Issue> {
        let mut unwritten = None;
        for lane in (0..32).filter(|lane| access.mask >> lane & 1 != 0) {
            let range = self.range(access, lane)?;
            out.lane_mut(lane, access.bytes as usize).copy_from_slice(&self.bytes[range.clone()]);
            if unwritten.is_none() && self.written.get(range).is_some_and(|written| !written.contains(&true)) {
                unwritten = Some(Issue {
                    kind: FindingKind::UninitialisedLocal,
                    lane: lane as u32,
                    address: Some(access.addresses[lane]),
                    message: format!("{} bytes of local memory that were never written", access.bytes),
                });
            }
        }
        Ok(unwritten)
    }

    pub(crate) fn store(&mut self, access: &WarpAccess<'_>, values: &LaneBytes) -> Result<(), Issue> {
        for lane in (0..32).filter(|lane| access.mask >> lane & 1 != 0) {
            let range = self.range(access, lane)?;
            self.bytes[range.clone()].copy_from_slice(values.lane(lane, access.bytes as usize));
            if let Some(written) = self.written.get_mut(range) {
                written.fill(true);
            }
        }
        Ok(())
    }
}
