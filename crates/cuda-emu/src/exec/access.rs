//! Loads and stores of a warp.

use crate::memory::{LaneBytes, WarpAccess};
use crate::ptx::{Access, Address, NONE, Slot, Space};
use crate::report::{FindingKind, Issue};

use super::cta::{Cta, Stop};
use super::regs::{LANES, Regs};
use super::warp::Warp;

/// Where shared memory begins in the generic address space.
pub(crate) const SHARED_WINDOW: u64 = 1 << 56;
/// Where local memory begins in the generic address space.
pub(crate) const LOCAL_WINDOW: u64 = 2 << 56;
/// Size of each window.
const WINDOW: u64 = 1 << 32;

/// The lanes' addresses.
#[inline]
pub(crate) fn addresses(regs: &Regs, address: &Address) -> [u64; LANES] {
    let offset = address.offset as u64;
    let mut out = [offset; LANES];
    if address.plane == NONE {
        return out;
    }
    if address.long {
        let base = regs.long(address.plane);
        for lane in 0..LANES {
            out[lane] = base[lane].wrapping_add(offset);
        }
    } else {
        // A 32-bit address wraps in 32 bits.
        let base = regs.word(address.plane);
        for lane in 0..LANES {
            out[lane] = u64::from(base[lane].wrapping_add(offset as u32));
        }
    }
    out
}

/// Addresses in shared memory; those beyond 32 bits become the largest, which no block has.
#[inline]
pub(crate) fn narrow(addresses: &[u64; LANES]) -> [u32; LANES] {
    let mut out = [0; LANES];
    for lane in 0..LANES {
        out[lane] = addresses[lane].min(u64::from(u32::MAX)) as u32;
    }
    out
}

/// Executes a load for the lanes in `mask`.
pub(crate) fn load(warp: &mut Warp, cta: &mut Cta<'_>, pc: u32, op: &Access, mask: u32) -> Result<(), Stop> {
    let addresses = addresses(&warp.regs, &op.address);
    let bytes = u32::from(op.bytes) * u32::from(op.count);
    let mut values = LaneBytes::new();
    for (space, mask, addresses) in spaces(op.space, &addresses, mask).into_iter().flatten() {
        let access = WarpAccess { addresses: &addresses, mask, bytes };
        let done = match space {
            Space::Global | Space::Const | Space::Generic => {
                if op.order.strong {
                    poll(warp, cta, &access);
                }
                cta.global.load(&access, warp.by(mask, op.order), &mut values).map_err(Issue::from)
            }
            Space::Shared => {
                let narrow = narrow(&addresses);
                let access = WarpAccess { addresses: &narrow, mask, bytes };
                cta.shared.load(&access, warp.index, &mut values)
            }
            Space::Local => warp.local.load(&access, &mut values),
            Space::Param => load_param(cta.params, &access, &mut values).map(|()| None),
        };
        match done {
            Ok(None) => {}
            Ok(Some(issue)) => cta.report(warp.index, pc, issue),
            Err(issue) => return Err(cta.fail(warp.index, pc, issue)),
        }
    }
    unpack(&mut warp.regs, op, &values, mask);
    Ok(())
}

/// Notes a strong read of global memory.
pub(crate) fn poll(warp: &mut Warp, cta: &mut Cta<'_>, access: &WarpAccess<'_>) {
    let first = access.addresses[access.mask.trailing_zeros() as usize & 31];
    cta.polls += u32::from(warp.polling.read(first));
}

/// Executes a store for the lanes in `mask`.
pub(crate) fn store(warp: &mut Warp, cta: &mut Cta<'_>, pc: u32, op: &Access, mask: u32) -> Result<(), Stop> {
    let addresses = addresses(&warp.regs, &op.address);
    let bytes = u32::from(op.bytes) * u32::from(op.count);
    let mut values = LaneBytes::new();
    pack(&warp.regs, op, &mut values);
    for (space, mask, addresses) in spaces(op.space, &addresses, mask).into_iter().flatten() {
        let access = WarpAccess { addresses: &addresses, mask, bytes };
        let done = match space {
            Space::Shared => {
                let narrow = narrow(&addresses);
                let access = WarpAccess { addresses: &narrow, mask, bytes };
                cta.shared.store(&access, warp.index, &values)
            }
            Space::Local => warp.local.store(&access, &values).map(|()| None),
            _ => cta.global.store(&access, warp.by(mask, op.order), &values).map_err(Issue::from),
        };
        match done {
            Ok(None) => {}
            Ok(Some(issue)) => cta.report(warp.index, pc, issue),
            Err(issue) => return Err(cta.fail(warp.index, pc, issue)),
        }
    }
    Ok(())
}

/// An access split by the space that each lane's address lies in.
type Parts = [Option<(Space, u32, [u64; LANES])>; 3];

/// Sends the lanes of a generic access to the spaces behind their windows.
pub(crate) fn spaces(space: Space, addresses: &[u64; LANES], mask: u32) -> Parts {
    if space != Space::Generic {
        return [Some((space, mask, *addresses)), None, None];
    }
    let inside = |window: u64| {
        let lanes = (0..LANES).filter(|&lane| addresses[lane].wrapping_sub(window) < WINDOW);
        lanes.fold(0u32, |lanes, lane| lanes | 1 << lane) & mask
    };
    let (shared, local) = (inside(SHARED_WINDOW), inside(LOCAL_WINDOW));
    let part = |space, mask, window: u64| (mask != 0).then(|| (space, mask, addresses.map(|a| a.wrapping_sub(window))));
    [
        part(Space::Global, mask & !shared & !local, 0),
        part(Space::Shared, shared, SHARED_WINDOW),
        part(Space::Local, local, LOCAL_WINDOW),
    ]
}

fn load_param(params: &[u8], access: &WarpAccess<'_>, out: &mut LaneBytes) -> Result<(), Issue> {
    let bytes = access.bytes as usize;
    for lane in (0..LANES).filter(|lane| access.mask >> lane & 1 != 0) {
        let address = access.addresses[lane];
        let from = usize::try_from(address).ok().and_then(|at| params.get(at..)?.get(..bytes));
        let Some(from) = from else {
            let message = format!("read of {bytes} bytes from {} bytes of parameters", params.len());
            return Err(Issue { kind: FindingKind::OutOfBounds, lane: lane as u32, address: Some(address), message });
        };
        out.lane_mut(lane, bytes).copy_from_slice(from);
    }
    Ok(())
}

/// Loaded bytes to registers.
#[inline]
fn unpack(regs: &mut Regs, op: &Access, values: &LaneBytes, mask: u32) {
    let (bytes, count) = (usize::from(op.bytes), usize::from(op.count));
    for (element, &reg) in op.regs[..count].iter().enumerate().filter(|&(_, &reg)| reg != NONE) {
        let at = |lane: usize| (lane * count + element) * bytes;
        if bytes == 4 && op.slot == Slot::Word {
            let mut out = [0u32; LANES];
            for (lane, out) in out.iter_mut().enumerate() {
                *out = values.0[at(lane)..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
            }
            regs.set_word(reg, &out, mask);
            continue;
        }
        let mut out = [0u64; LANES];
        for (lane, out) in out.iter_mut().enumerate() {
            let mut raw = [0; 8];
            raw[..bytes].copy_from_slice(&values.0[at(lane)..at(lane) + bytes]);
            let value = u64::from_le_bytes(raw);
            let unused = 64 - 8 * bytes as u32;
            *out = if op.signed { ((value << unused) as i64 >> unused) as u64 } else { value };
        }
        match op.slot {
            Slot::Word => regs.set_word(reg, &out.map(|v| v as u32), mask),
            _ => regs.set_long(reg, &out, mask),
        }
    }
}

/// Registers to bytes to store.
#[inline]
fn pack(regs: &Regs, op: &Access, values: &mut LaneBytes) {
    let (bytes, count) = (usize::from(op.bytes), usize::from(op.count));
    for (element, &reg) in op.regs[..count].iter().enumerate() {
        let at = |lane: usize| (lane * count + element) * bytes;
        if op.slot == Slot::Word {
            for (lane, value) in regs.word(reg).iter().enumerate() {
                values.0[at(lane)..at(lane) + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
            }
        } else {
            for (lane, value) in regs.long(reg).iter().enumerate() {
                values.0[at(lane)..at(lane) + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
            }
        }
    }
}
