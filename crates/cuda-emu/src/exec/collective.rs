//! Instructions in which the lanes of a warp look at each other.

use crate::ptx::{Collective, NONE, Shuffle, ShuffleMode, WarpWide};
use crate::report::{FindingKind, Issue};

use super::cta::{Cta, Stop};
use super::regs::LANES;
use super::warp::Warp;

/// Checks that each executing lane is in its own member mask, that all name the same members, and that all of these that
/// have not exited are here. Returns the members.
fn members(warp: &Warp, cta: &mut Cta<'_>, pc: u32, plane: u16, mask: u32) -> Result<u32, Stop> {
    let masks = warp.regs.word(plane);
    let first = mask.trailing_zeros();
    let members = masks[first as usize];
    let mut problem = None;
    for lane in (0..LANES as u32).filter(|lane| mask >> lane & 1 != 0) {
        let own = masks[lane as usize];
        if own >> lane & 1 == 0 {
            problem = Some((lane, format!("lane {lane} is not in its member mask {own:#010x}")));
        } else if own != members {
            problem = Some((lane, format!("member masks differ: {members:#010x} and {own:#010x}")));
        }
    }
    if problem.is_none() && members & warp.live & !mask != 0 {
        problem = Some((first, format!("lanes {:#010x} are members but not here", members & warp.live & !mask)));
    }
    match problem {
        None => Ok(members),
        Some((lane, message)) => Err(cta.fail_with(warp.index, pc, FindingKind::InvalidMask, lane, message)),
    }
}

/// `bar.warp.sync`: nothing to do but to check the members, since the lanes of a part run in step.
pub(crate) fn warp_barrier(warp: &Warp, cta: &mut Cta<'_>, pc: u32, plane: u16, mask: u32) -> Result<(), Stop> {
    members(warp, cta, pc, plane, mask).map(|_| ())
}

/// `shfl.sync`.
pub(crate) fn shuffle(warp: &mut Warp, cta: &mut Cta<'_>, pc: u32, op: &Shuffle, mask: u32) -> Result<(), Stop> {
    members(warp, cta, pc, op.members, mask)?;
    let (values, counts, controls) = (*warp.regs.word(op.a), *warp.regs.word(op.b), *warp.regs.word(op.c));
    let (mut out, mut inside) = ([0; LANES], 0u32);
    for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
        let own = lane as u32;
        let (count, clamp, segment) = (counts[lane] & 31, controls[lane] & 31, controls[lane] >> 8 & 31);
        let last = own & segment | clamp & !segment;
        let first = own & segment;
        let (source, valid) = match op.mode {
            ShuffleMode::Up => (own.wrapping_sub(count), own as i32 - count as i32 >= last as i32),
            ShuffleMode::Down => (own + count, own + count <= last),
            ShuffleMode::Butterfly => (own ^ count, own ^ count <= last),
            ShuffleMode::Index => (first | count & !segment, first | count & !segment <= last),
        };
        let source = if valid { source } else { own };
        inside |= u32::from(valid) << lane;
        out[lane] = values[source as usize & 31];
        if mask >> (source & 31) & 1 == 0 {
            let message = format!("lane {lane} reads from lane {source}, which does not take part");
            cta.report(warp.index, pc, Issue { kind: FindingKind::InvalidMask, lane: own, address: None, message });
        }
    }
    warp.regs.set_word(op.d, &out, mask);
    if op.p != NONE {
        warp.regs.set_pred(op.p, inside, mask);
    }
    Ok(())
}

/// `vote`, `match` and `redux`.
pub(crate) fn warp_wide(warp: &mut Warp, cta: &mut Cta<'_>, pc: u32, op: &WarpWide, mask: u32) -> Result<(), Stop> {
    use Collective::*;
    members(warp, cta, pc, op.members, mask)?;
    let lanes = || (0..LANES).filter(|lane| mask >> lane & 1 != 0);
    match op.op {
        Ballot | Any | All | Uniform => {
            let bits = warp.regs.preds[usize::from(op.a)] ^ if op.negated { u32::MAX } else { 0 };
            let bits = bits & mask;
            let truth = match op.op {
                Any => bits != 0,
                All => bits == mask,
                _ => bits == 0 || bits == mask,
            };
            if op.op == Ballot {
                warp.regs.set_word(op.d, &[bits; LANES], mask);
            } else {
                warp.regs.set_pred(op.d, if truth { u32::MAX } else { 0 }, mask);
            }
        }
        MatchAny | MatchAll => {
            let values = if op.long { *warp.regs.long(op.a) } else { warp.regs.word(op.a).map(u64::from) };
            let equal = |lane: usize| lanes().filter(|&other| values[other] == values[lane]).fold(0u32, |m, l| m | 1 << l);
            let mut out = [0; LANES];
            lanes().for_each(|lane| out[lane] = equal(lane));
            if op.op == MatchAll {
                let all = lanes().all(|lane| out[lane] == mask);
                out = [if all { mask } else { 0 }; LANES];
                if op.p != NONE {
                    warp.regs.set_pred(op.p, if all { u32::MAX } else { 0 }, mask);
                }
            }
            warp.regs.set_word(op.d, &out, mask);
        }
        _ => {
            let plane = warp.regs.word(op.a);
            let result = lanes().map(|lane| plane[lane]).reduce(|a, b| match op.op {
                ReduceAdd => a.wrapping_add(b),
                ReduceMinU => a.min(b),
                ReduceMaxU => a.max(b),
                ReduceMinS => (a as i32).min(b as i32) as u32,
                ReduceMaxS => (a as i32).max(b as i32) as u32,
                ReduceAnd => a & b,
                ReduceOr => a | b,
                _ => a ^ b,
            });
            warp.regs.set_word(op.d, &[result.unwrap_or(0); LANES], mask);
        }
    }
    Ok(())
}
