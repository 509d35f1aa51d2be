//! `ldmatrix`, `cp.async` and bulk prefetches.

use crate::check::MemoryOrder;
use crate::memory::{LaneBytes, WarpAccess};
use crate::ptx::{CopyAsync, LoadMatrix, NONE, Prefetch};
use crate::report::{FindingKind, Issue};

use super::access::{addresses, narrow};
use super::cta::{Cta, Stop};
use super::regs::LANES;
use super::warp::Warp;

/// Notes an issue, or ends the launch on an error.
fn settle(cta: &mut Cta<'_>, warp: u32, pc: u32, done: Result<Option<Issue>, Issue>) -> Result<(), Stop> {
    match done {
        Ok(None) => Ok(()),
        Ok(Some(issue)) => {
            cta.report(warp, pc, issue);
            Ok(())
        }
        Err(issue) => Err(cta.fail(warp, pc, issue)),
    }
}

/// `ldmatrix`: lane `8i + r` names row `r` of matrix `i`. Lane `l` receives elements `2(l % 4)` and the next of row `l / 4`;
/// transposed, rows and columns change places.
pub(crate) fn load_matrix(warp: &mut Warp, cta: &mut Cta<'_>, pc: u32, op: &LoadMatrix) -> Result<(), Stop> {
    let count = usize::from(op.count);
    let addresses = narrow(&addresses(&warp.regs, &op.address));
    let mask = if count == 4 { u32::MAX } else { (1 << (8 * count)) - 1 };
    let access = WarpAccess { addresses: &addresses, mask, bytes: 16 };
    let mut rows = LaneBytes::new();
    let done = cta.shared.load_rows(&access, warp.index, &mut rows);
    settle(cta, warp.index, pc, done)?;
    for (matrix, &d) in op.d[..count].iter().enumerate() {
        let bytes = &rows.0[128 * matrix..128 * (matrix + 1)];
        let mut out = [0u32; LANES];
        if op.transposed {
            let half = |row: usize, column: usize| {
                u32::from(bytes[16 * row + 2 * column]) | u32::from(bytes[16 * row + 2 * column + 1]) << 8
            };
            for (lane, out) in out.iter_mut().enumerate() {
                let (row, column) = (lane % 4 * 2, lane / 4);
                *out = half(row, column) | half(row + 1, column) << 16;
            }
        } else {
            for (out, word) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *out = word.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
            }
        }
        warp.regs.set_word(d, &out, u32::MAX);
    }
    Ok(())
}

/// Issues `cp.async` for the lanes in `mask`: the source is read now, the destination written when the lanes wait.
pub(crate) fn copy_async(warp: &mut Warp, cta: &mut Cta<'_>, pc: u32, op: &CopyAsync, mask: u32) -> Result<(), Stop> {
    let bytes = u32::from(op.bytes);
    let shared = narrow(&addresses(&warp.regs, &op.shared));
    let global = addresses(&warp.regs, &op.global);
    let ignored = if op.ignore == NONE { 0 } else { warp.regs.preds[usize::from(op.ignore)] };
    let mut values = LaneBytes::new();
    let (mut whole, mut partial) = (mask & !ignored, 0);
    if op.source_bytes != NONE {
        let sizes = *warp.regs.word(op.source_bytes);
        for lane in 0..LANES {
            if sizes[lane] == 0 {
                whole &= !(1 << lane);
            } else if sizes[lane] < bytes {
                whole &= !(1 << lane);
                partial |= mask & 1 << lane;
            } else if sizes[lane] > bytes && mask >> lane & 1 != 0 {
                let message = format!("source size {} of a copy of {bytes} bytes", sizes[lane]);
                return Err(cta.fail_with(warp.index, pc, FindingKind::OutOfBounds, lane as u32, message));
            }
        }
        for lane in (0..LANES).filter(|lane| partial >> lane & 1 != 0) {
            // Rare: byte by byte, so that what is not asked for is not touched.
            for byte in 0..sizes[lane] as usize {
                let mut one = LaneBytes::new();
                let at = global.map(|address| address.wrapping_add(byte as u64));
                let access = WarpAccess { addresses: &at, mask: 1 << lane, bytes: 1 };
                let done = cta.global.load(&access, warp.by(1 << lane, MemoryOrder::default()), &mut one).map_err(Issue::from);
                settle(cta, warp.index, pc, done)?;
                values.lane_mut(lane, bytes as usize)[byte] = one.lane(lane, 1)[0];
            }
        }
    }
    if whole != 0 {
        let access = WarpAccess { addresses: &global, mask: whole, bytes };
        let done = cta.global.load(&access, warp.by(whole, MemoryOrder::default()), &mut values).map_err(Issue::from);
        settle(cta, warp.index, pc, done)?;
    }
    let access = WarpAccess { addresses: &shared, mask, bytes };
    let done = cta.shared.copy_issue(&access, warp.index, &values);
    settle(cta, warp.index, pc, done)
}

/// `cp.async.bulk.prefetch`: nothing comes of it but that the memory must be there. Read and written it may be by others meanwhile,
/// as all see the cache that it is brought to.
pub(crate) fn prefetch(warp: &mut Warp, cta: &mut Cta<'_>, pc: u32, op: &Prefetch, mask: u32) -> Result<(), Stop> {
    let (addresses, sizes) = (addresses(&warp.regs, &op.address), *warp.regs.word(op.bytes));
    for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
        let bytes = sizes[lane];
        if bytes == 0 || !bytes.is_multiple_of(16) || !addresses[lane].is_multiple_of(16) {
            let message = format!("prefetch of {bytes} bytes at {:#x}: both must be multiples of 16", addresses[lane]);
            return Err(cta.fail_with(warp.index, pc, FindingKind::Misaligned, lane as u32, message));
        }
        if let Err(fault) = cta.global.prefetch(lane as u32, addresses[lane], u64::from(bytes)) {
            return Err(cta.fail(warp.index, pc, fault.into()));
        }
    }
    Ok(())
}
