//! Registers that nothing wrote, in kernels that may read some.

use crate::ptx::{Merge, Reg, Slot, Uses, Watch};
use crate::report::{FindingKind, Issue};

use super::cta::Cta;
use super::warp::Warp;

/// Lanes in which each register of a warp is unwritten, or depends on one that is.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    words: Vec<u32>,
    longs: Vec<u32>,
    preds: Vec<u32>,
}

impl Unwritten {
    /// All registers, for a warp at its first instruction.
    pub(crate) fn start(&mut self, watch: &Watch) {
        for (masks, count) in [(&mut self.words, watch.words), (&mut self.longs, watch.longs), (&mut self.preds, watch.preds)] {
            masks.clear();
            masks.resize(count, u32::MAX);
        }
    }

    fn lanes(&mut self, reg: Reg) -> &mut u32 {
        let masks = match reg.slot {
            Slot::Word => &mut self.words,
            Slot::Long => &mut self.longs,
            Slot::Pred => &mut self.preds,
        };
        &mut masks[usize::from(reg.index)]
    }

    fn source(&mut self, reg: Option<&Option<Reg>>) -> u32 {
        reg.copied().flatten().map_or(0, |reg| *self.lanes(reg))
    }
}

/// Follows an instruction that the lanes in `part` come to, and those in `mask` execute.
pub(crate) fn follow(warp: &mut Warp, cta: &mut Cta<'_>, pc: u32, uses: &Uses, part: u32, mask: u32) {
    let guard = cta.kernel.code[pc as usize].guard;
    for &reg in &uses.sinks {
        let executing = if reg.slot == Slot::Pred && reg.index == guard { part } else { mask };
        let lanes = warp.unwritten.lanes(reg);
        let wrong = *lanes & executing;
        if wrong != 0 {
            *lanes &= !wrong; // once is enough
            let name = cta.kernel.watch.as_ref().map_or("", |watch| watch.name(reg));
            let message = format!("{name} is read, but neither written before nor made of registers that were");
            let issue = Issue { kind: FindingKind::UninitialisedRegister, lane: wrong.trailing_zeros(), address: None, message };
            cta.report(warp.index, pc, issue);
        }
    }
    if uses.results.is_empty() {
        return;
    }
    let value = |at: usize| {
        let reg = uses.sources.get(at).copied().flatten();
        reg.map_or(0, |reg| warp.regs.preds.get(usize::from(reg.index)).copied().unwrap_or(0))
    };
    let unwritten = &mut warp.unwritten;
    let of = |unwritten: &mut Unwritten, at: usize| unwritten.source(uses.sources.get(at));
    let result = match uses.merge {
        Merge::Any => (0..uses.sources.len()).fold(0, |all, at| all | of(unwritten, at)),
        Merge::Select => {
            let chosen = value(2);
            chosen & of(unwritten, 0) | !chosen & of(unwritten, 1) | of(unwritten, 2)
        }
        Merge::And | Merge::Or => {
            let (a, b) = (of(unwritten, 0), of(unwritten, 1));
            let flip = if uses.merge == Merge::Or { u32::MAX } else { 0 };
            // Lanes where an operand of false (for `or`, true) is known.
            let decided = !a & !(value(0) ^ flip) | !b & !(value(1) ^ flip);
            (a | b) & !decided
        }
    };
    for &reg in &uses.results {
        let lanes = unwritten.lanes(reg);
        *lanes = *lanes & !mask | result & mask;
    }
}
