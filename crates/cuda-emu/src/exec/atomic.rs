//! `atom` and `red`.

use crate::memory::WarpAccess;
use crate::ptx::{Atomic, AtomicKind, AtomicOp, NONE, Space};
use crate::report::Issue;

use super::access::{addresses, narrow, poll, spaces};
use super::alu::{bfloat_to_single, half_to_single, odd_single, single_to_bfloat, single_to_half};
use super::cta::{Cta, Stop};
use super::regs::LANES;
use super::warp::Warp;

/// Executes an atomic for the lanes in `mask`, in order of lanes.
pub(crate) fn atomic(warp: &mut Warp, cta: &mut Cta<'_>, pc: u32, op: &Atomic, mask: u32) -> Result<(), Stop> {
    let addresses = addresses(&warp.regs, &op.address);
    let long = matches!(op.kind, AtomicKind::U64 | AtomicKind::S64 | AtomicKind::F64);
    let bytes = match op.kind {
        AtomicKind::F16 | AtomicKind::Bf16 | AtomicKind::B16 => 2,
        _ if long => 8,
        _ => 4,
    };
    let operand = |plane: u16| match plane {
        NONE => [0; LANES],
        _ if long => *warp.regs.long(plane),
        _ => warp.regs.word(plane).map(u64::from),
    };
    let (a, b) = (operand(op.a), operand(op.b));
    let update = |lane: usize, old: u64| next(op, old, a[lane], b[lane]);
    let mut old = [0u64; LANES];
    for (space, mask, addresses) in spaces(op.space, &addresses, mask).into_iter().flatten() {
        let done = if space == Space::Shared {
            let narrow = narrow(&addresses);
            cta.shared.atomic(&WarpAccess { addresses: &narrow, mask, bytes }, warp.index, &mut old, update)
        } else {
            // Local memory has no atomics: an address in its window is no global address, and is reported as such.
            let (access, by) = (WarpAccess { addresses: &addresses, mask, bytes }, warp.by(mask, op.order));
            if op.d != NONE {
                poll(warp, cta, &access);
            }
            cta.global.atomic(&access, by, op.d != NONE, &mut old, update).map_err(Issue::from)
        };
        match done {
            Ok(None) => {}
            Ok(Some(issue)) => cta.report(warp.index, pc, issue),
            Err(issue) => return Err(cta.fail(warp.index, pc, issue)),
        }
    }
    if op.d != NONE {
        if long {
            warp.regs.set_long(op.d, &old, mask);
        } else {
            warp.regs.set_word(op.d, &old.map(|v| v as u32), mask);
        }
    }
    Ok(())
}

/// What memory holds after the operation.
fn next(op: &Atomic, old: u64, a: u64, b: u64) -> u64 {
    use AtomicKind::*;
    let (old32, a32) = (old as u32, a as u32);
    match op.op {
        AtomicOp::Add => add(op.kind, old, a),
        AtomicOp::Min => match op.kind {
            S32 => (old32 as i32).min(a32 as i32) as u32 as u64,
            S64 => (old as i64).min(a as i64) as u64,
            U32 => u64::from(old32.min(a32)),
            _ => old.min(a),
        },
        AtomicOp::Max => match op.kind {
            S32 => (old32 as i32).max(a32 as i32) as u32 as u64,
            S64 => (old as i64).max(a as i64) as u64,
            U32 => u64::from(old32.max(a32)),
            _ => old.max(a),
        },
        AtomicOp::And => old & a,
        AtomicOp::Or => old | a,
        AtomicOp::Xor => old ^ a,
        AtomicOp::Exch => a,
        AtomicOp::Cas => {
            let wanted = if op.kind == B16 { a & 0xffff } else { a };
            if old == wanted { b } else { old }
        }
        AtomicOp::Inc => u64::from(if old32 >= a32 { 0 } else { old32 + 1 }),
        AtomicOp::Dec => u64::from(if old32 == 0 || old32 > a32 { a32 } else { old32 - 1 }),
    }
}

fn add(kind: AtomicKind, old: u64, a: u64) -> u64 {
    use AtomicKind::*;
    let half = |x: u64, y: u64| u64::from(single_to_half(half_to_single(x as u16) + half_to_single(y as u16)));
    let bfloat = |x: u64, y: u64| {
        let sum = f64::from(bfloat_to_single(x as u16)) + f64::from(bfloat_to_single(y as u16));
        u64::from(single_to_bfloat(odd_single(sum)))
    };
    match kind {
        F32 => u64::from((f32::from_bits(old as u32) + f32::from_bits(a as u32)).to_bits()),
        F64 => (f64::from_bits(old) + f64::from_bits(a)).to_bits(),
        F16 => half(old, a),
        F16x2 => half(old, a) | half(old >> 16, a >> 16) << 16,
        Bf16 => bfloat(old, a),
        Bf16x2 => bfloat(old, a) | bfloat(old >> 16, a >> 16) << 16,
        U64 | S64 => old.wrapping_add(a),
        U32 | S32 | B16 => u64::from((old as u32).wrapping_add(a as u32)),
    }
}
