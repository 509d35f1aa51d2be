//! Branches, barriers, fences, hints.

use crate::ptx::error::LoadError;
use crate::ptx::ir::{Barrier, BarrierKind, END, NONE, Op};
use crate::ptx::syntax::{Operand, Slot, Statement};
use crate::report::InstructionClass;

use super::{Decoded, Decoder, Opcode};

impl<'a> Decoder<'a> {
    pub(super) fn control(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        let (op, class) = match s.opcode {
            "bra" | "bra.uni" => {
                let [Operand::Name(label)] = self.operands(s)? else { return self.error(s, "expected a label") };
                self.branches.push((self.code.len(), label, s.scope, s.line));
                (Op::Branch { target: END, reconverge: END }, InstructionClass::Control)
            }
            "ret" | "ret.uni" | "exit" => (Op::Exit, InstructionClass::Control),
            "trap" | "brkpt" => (Op::Trap, InstructionClass::Control),
            "bar.warp.sync" => {
                let [members] = self.operands(s)?;
                (Op::WarpBarrier(self.source(s, members, Slot::Word)?), InstructionClass::Barrier)
            }
            "membar.cta" => (Op::Nop, InstructionClass::Barrier),
            "membar.gl" | "membar.sys" => (Op::Fence { sequential: true }, InstructionClass::Barrier),
            "griddepcontrol.wait" => (Op::GridWait, InstructionClass::Barrier),
            "griddepcontrol.launch_dependents" => (Op::GridTrigger, InstructionClass::Barrier),
            "nanosleep.u32" => (Op::Nop, InstructionClass::Other),
            _ => match opcode.base {
                "bar" | "barrier" => return self.barrier(s, opcode),
                "fence" if fence_is_known(opcode) => (fence(opcode), InstructionClass::Barrier),
                "prefetch" | "prefetchu" if prefetch_is_known(opcode) => (Op::Nop, InstructionClass::Other),
                _ => return self.unknown(s),
            },
        };
        self.push(s, op, class, 0);
        Ok(())
    }

    fn barrier(&mut self, s: &Statement<'a>, _opcode: &mut Opcode<'a>) -> Decoded {
        // `barrier` without `.aligned` may be reached by parts of a warp, which no compiler output here does: it is held to the same rule.
        let mut words: Vec<&str> = s.opcode.split('.').skip(1).collect();
        words.retain(|w| *w != "cta" && *w != "aligned");
        let (kind, reduction) = match words[..] {
            ["sync"] => (BarrierKind::Sync, false),
            ["arrive"] => (BarrierKind::Arrive, false),
            ["red", "and", "pred"] => (BarrierKind::And, true),
            ["red", "or", "pred"] => (BarrierKind::Or, true),
            ["red", "popc", "u32"] => (BarrierKind::Popc, true),
            _ => return self.unknown(s),
        };
        let slot = if kind == BarrierKind::Popc { Slot::Word } else { Slot::Pred };
        let (d, rest) = match (reduction, s.operands.as_slice()) {
            (true, [d, rest @ ..]) => (self.destination(s, d, slot)?, rest),
            (_, rest) => (NONE, rest),
        };
        let (pred, rest) = match (reduction, rest) {
            (true, [rest @ .., pred]) => (Some(self.pred_source(s, pred)?), rest),
            (_, rest) => (None, rest),
        };
        let (id, threads) = match rest {
            [id] => (self.source(s, id, Slot::Word)?, NONE),
            [id, threads] => (self.source(s, id, Slot::Word)?, self.source(s, threads, Slot::Word)?),
            _ => return self.error(s, "wrong number of operands"),
        };
        if kind == BarrierKind::Arrive && threads == NONE {
            return Err(LoadError::new(s.line, s.opcode, "arrive needs a number of threads"));
        }
        let (a, negated) = pred.unwrap_or((NONE, false));
        let op = Barrier { kind, id, threads, a, negated, d };
        self.push(s, Op::Barrier(Box::new(op)), InstructionClass::Barrier, 0);
        Ok(())
    }
}

fn fence_is_known(opcode: &Opcode<'_>) -> bool {
    let scope = matches!(opcode.kind, "cta" | "gpu" | "sys" | "cluster");
    scope && matches!(opcode.mods[..], [] | ["sc" | "acq_rel"])
}

/// A fence of narrow scope orders nothing between blocks.
fn fence(opcode: &Opcode<'_>) -> Op {
    if matches!(opcode.kind, "cta" | "cluster") {
        return Op::Nop;
    }
    Op::Fence { sequential: opcode.mods[..] == ["sc"] }
}

fn prefetch_is_known(opcode: &Opcode<'_>) -> bool {
    matches!(opcode.kind, "L1" | "L2") && matches!(opcode.mods[..], [] | ["global"] | ["local"])
}
