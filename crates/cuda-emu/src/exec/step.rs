//! Runs one warp to its next blocking point.

use crate::ptx::{Instr, NONE, Op};
use crate::report::FindingKind;

use super::access::{load, store};
use super::atomic::atomic;
use super::collective::{shuffle, warp_barrier, warp_wide};
use super::cta::{Cta, Stop};
use super::matrix::{copy_async, load_matrix, prefetch};
use super::mma::mma;
use super::unwritten::follow;
use super::warp::{Polling, State, Warp};

/// Runs `warp` until it waits at a block barrier, has ended, has executed `quantum` instructions or has polled memory for long.
pub(crate) fn run(warp: &mut Warp, cta: &mut Cta<'_>, quantum: u64) -> Result<(), Stop> {
    let kernel = cta.kernel;
    let watch = if cta.options.checks { kernel.watch.as_ref() } else { None };
    let stop_at = warp.executed.saturating_add(quantum);
    while warp.state == State::Ready && warp.executed < stop_at && cta.polls < Polling::TURN {
        let Some(top) = warp.stack.last_mut() else {
            warp.state = State::Done;
            break;
        };
        if top.pc == top.reconverge {
            warp.stack.pop();
            continue;
        }
        let (pc, part) = (top.pc, top.mask);
        top.pc += 1;
        let Some(instr) = kernel.code.get(pc as usize) else {
            leave(warp, cta, pc, part);
            continue;
        };
        let mask = part & guard(warp, instr);
        warp.executed += 1;
        if warp.executed > cta.options.max_iterations {
            let message = format!("the warp executed {} instructions", cta.options.max_iterations);
            return Err(cta.fail_with(warp.index, pc, FindingKind::TimeLimit, part.trailing_zeros(), message));
        }
        let count = &mut cta.counts[pc as usize];
        count.warps += 1;
        count.lanes += u64::from(mask.count_ones());
        if let Some(watch) = watch
            && let Some(uses) = &watch.uses[pc as usize]
        {
            follow(warp, cta, pc, uses, part, mask);
        }
        if let Op::Alu(alu) = &instr.op {
            alu.run(&mut warp.regs, mask);
        } else if let Op::Branch { target, reconverge } = instr.op {
            if warp.branch(mask, target, reconverge) {
                cta.counters.divergent_branches += 1;
            }
        } else if mask != 0 {
            execute(warp, cta, pc, instr, part, mask)?;
        }
    }
    Ok(())
}

#[inline]
fn guard(warp: &Warp, instr: &Instr) -> u32 {
    if instr.guard == NONE {
        return u32::MAX;
    }
    let pred = warp.regs.preds[usize::from(instr.guard)];
    if instr.negated { !pred } else { pred }
}

/// Everything that is neither arithmetic nor a branch.
fn execute(warp: &mut Warp, cta: &mut Cta<'_>, pc: u32, instr: &Instr, part: u32, mask: u32) -> Result<(), Stop> {
    match &instr.op {
        Op::Alu(_) | Op::Branch { .. } | Op::Nop => Ok(()),
        Op::Fence { sequential } => {
            cta.fence(warp.index, mask, *sequential);
            Ok(())
        }
        Op::Load(op) => load(warp, cta, pc, op, mask),
        Op::Store(op) => store(warp, cta, pc, op, mask),
        Op::Atomic(op) => atomic(warp, cta, pc, op, mask),
        Op::CopyAsync(op) => copy_async(warp, cta, pc, op, mask),
        Op::CopyCommit => {
            cta.shared.copy_commit(warp.index, mask);
            Ok(())
        }
        Op::CopyWait(groups) => {
            cta.shared.copy_wait(warp.index, mask, *groups);
            Ok(())
        }
        Op::Prefetch(op) => prefetch(warp, cta, pc, op, mask),
        Op::GridWait => {
            warp.waited |= mask;
            cta.dependency.waited = true;
            Ok(())
        }
        Op::GridTrigger => {
            cta.dependency.triggered_early |= warp.waited & mask != mask;
            Ok(())
        }
        Op::LoadMatrix(op) => {
            whole_warp(warp, cta, pc, "ldmatrix", mask)?;
            load_matrix(warp, cta, pc, op)
        }
        Op::Mma(op) => {
            whole_warp(warp, cta, pc, "mma", mask)?;
            mma(&mut warp.regs, op, cta.options.mma_rounding);
            Ok(())
        }
        Op::Shuffle(op) => shuffle(warp, cta, pc, op, mask),
        Op::WarpWide(op) => warp_wide(warp, cta, pc, op, mask),
        Op::ActiveMask(d) => {
            warp.regs.set_word(*d, &[mask; 32], mask);
            Ok(())
        }
        Op::Clock { d, long, high } => {
            cta.clock += 1;
            if *long {
                warp.regs.set_long(*d, &[cta.clock; 32], mask);
            } else {
                warp.regs.set_word(*d, &[if *high { (cta.clock >> 32) as u32 } else { cta.clock as u32 }; 32], mask);
            }
            Ok(())
        }
        Op::Barrier(op) => {
            if mask != warp.live {
                let message = format!("lanes {mask:#010x} are at the barrier, {:#010x} have not ended", warp.live);
                return Err(cta.fail_with(warp.index, pc, FindingKind::DivergentBarrier, mask.trailing_zeros(), message));
            }
            let barrier = warp.regs.word(op.id)[mask.trailing_zeros() as usize];
            warp.state = State::Waiting { pc, barrier };
            Ok(())
        }
        Op::WarpBarrier(members) => {
            cta.counters.warp_barriers += 1;
            warp_barrier(warp, cta, pc, *members, mask)?;
            cta.warp_sync(warp.index, mask, warp.live);
            Ok(())
        }
        Op::Exit => {
            debug_assert_eq!(mask & !part, 0, "guards only remove lanes");
            leave(warp, cta, pc, mask);
            Ok(())
        }
        Op::Trap => {
            let message = "the kernel executed trap".to_owned();
            Err(cta.fail_with(warp.index, pc, FindingKind::Trap, mask.trailing_zeros(), message))
        }
    }
}

/// Lanes end; copies that they never waited for are reported.
fn leave(warp: &mut Warp, cta: &mut Cta<'_>, pc: u32, mask: u32) {
    if let Some(issue) = cta.shared.exit(warp.index, mask) {
        cta.report(warp.index, pc, issue);
    }
    warp.exit(mask);
}

/// Matrix instructions need all 32 lanes.
fn whole_warp(warp: &Warp, cta: &mut Cta<'_>, pc: u32, name: &str, mask: u32) -> Result<(), Stop> {
    if mask == u32::MAX {
        return Ok(());
    }
    let message = format!("{name} is executed by lanes {mask:#010x} only");
    Err(cta.fail_with(warp.index, pc, FindingKind::InvalidMask, mask.trailing_zeros(), message))
}
