//! `mov` and `cvta`.

use crate::exec::{LOCAL_WINDOW, SHARED_WINDOW, integer_form, move_form, pred_form};
use crate::ptx::ir::Op;
use crate::ptx::syntax::{Operand, Slot, Special, Statement};
use crate::report::InstructionClass;

use super::{Decoded, Decoder, Opcode};

impl<'a> Decoder<'a> {
    pub(super) fn moves(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        if opcode.base == "cvta" {
            return self.address_conversion(s, opcode);
        }
        let [d, a] = self.operands(s)?;
        let slot = match opcode.kind {
            _ if !opcode.mods.is_empty() => return self.unknown(s),
            "pred" => Slot::Pred,
            "b16" | "u16" | "s16" | "f16" | "bf16" | "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => Slot::Word,
            "b64" | "u64" | "s64" | "f64" => Slot::Long,
            _ => return self.unknown(s),
        };
        match (d, a) {
            (Operand::Vector(parts), a) => return self.split(s, parts, a, slot),
            (d, Operand::Vector(parts)) => return self.join(s, d, parts, slot),
            (d, Operand::Special(special @ (Special::Clock | Special::ClockHi | Special::Clock64 | Special::GlobalTimer))) => {
                let long = matches!(special, Special::Clock64 | Special::GlobalTimer);
                if long != (slot == Slot::Long) {
                    return self.error(s, "operand of the wrong width");
                }
                let d = self.destination(s, d, slot)?;
                self.push(s, Op::Clock { d, long, high: *special == Special::ClockHi }, InstructionClass::Move, 0);
                return Ok(());
            }
            (d, Operand::Special(Special::GridId)) if slot == Slot::Long => {
                // One launch at a time: the grid has no meaningful number.
                let zero = self.long(s, 0)?;
                let d = self.destination(s, d, slot)?;
                return self.transfer(s, "l", d, &[zero]);
            }
            _ => {}
        }
        let d = self.destination(s, d, slot)?;
        let a = self.source(s, a, slot)?;
        match slot {
            Slot::Word => self.transfer(s, "w", d, &[a]),
            Slot::Long => self.transfer(s, "l", d, &[a]),
            Slot::Pred => {
                let Some(form) = pred_form("mov") else { return self.unknown(s) };
                self.push_alu(s, &form, d, &[a], InstructionClass::Predicate);
                Ok(())
            }
        }
    }

    fn transfer(&mut self, s: &Statement<'a>, kind: &str, d: u16, sources: &[u16]) -> Decoded {
        let Some(form) = move_form(kind) else { return self.unknown(s) };
        self.push_alu(s, &form, d, sources, InstructionClass::Move);
        Ok(())
    }

    /// `mov.b32 {lo, hi}, a` and its 64-bit forms.
    fn split(&mut self, s: &Statement<'a>, parts: &[Operand<'a>], a: &Operand<'a>, slot: Slot) -> Decoded {
        let a = self.source(s, a, slot)?;
        match (slot, parts) {
            (Slot::Word, [lo, hi]) => self.halves(s, [lo, hi], a, ["w>lo", "w>hi"]),
            (Slot::Long, [lo, hi]) => self.halves(s, [lo, hi], a, ["l>lo", "l>hi"]),
            (Slot::Long, [a0, a1, a2, a3]) => {
                let (lo, hi) = (self.scratch(s, Slot::Word)?, self.scratch(s, Slot::Word)?);
                self.transfer(s, "l>lo", lo, &[a])?;
                self.transfer(s, "l>hi", hi, &[a])?;
                self.halves(s, [a0, a1], lo, ["w>lo", "w>hi"])?;
                self.halves(s, [a2, a3], hi, ["w>lo", "w>hi"])
            }
            _ => self.unknown(s),
        }
    }

    fn halves(&mut self, s: &Statement<'a>, parts: [&Operand<'a>; 2], a: u16, kinds: [&str; 2]) -> Decoded {
        for (part, kind) in parts.into_iter().zip(kinds) {
            if *part != Operand::Sink {
                let d = self.destination(s, part, Slot::Word)?;
                self.transfer(s, kind, d, &[a])?;
            }
        }
        Ok(())
    }

    /// `mov.b32 d, {lo, hi}` and its 64-bit forms.
    fn join(&mut self, s: &Statement<'a>, d: &Operand<'a>, parts: &[Operand<'a>], slot: Slot) -> Decoded {
        let d = self.destination(s, d, slot)?;
        let mut planes = Vec::with_capacity(4);
        for part in parts {
            planes.push(self.source(s, part, Slot::Word)?);
        }
        match (slot, planes[..].len()) {
            (Slot::Word, 2) => self.transfer(s, "hh>w", d, &planes),
            (Slot::Long, 2) => self.transfer(s, "ww>l", d, &planes),
            (Slot::Long, 4) => {
                let (lo, hi) = (self.scratch(s, Slot::Word)?, self.scratch(s, Slot::Word)?);
                self.transfer(s, "hh>w", lo, &planes[..2])?;
                self.transfer(s, "hh>w", hi, &planes[2..])?;
                self.transfer(s, "ww>l", d, &[lo, hi])
            }
            _ => self.unknown(s),
        }
    }

    /// Shared and local memory appear in the generic address space behind fixed windows; everything else is there as it is.
    fn address_conversion(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        let back = opcode.take("to");
        let [d, a] = self.operands(s)?;
        let window = match opcode.mods[..] {
            _ if opcode.kind != "u64" => return self.unknown(s),
            ["global" | "const" | "param"] => None,
            ["shared"] | ["shared::cta"] => Some(SHARED_WINDOW),
            ["local"] => Some(LOCAL_WINDOW),
            _ => return self.unknown(s),
        };
        let d = self.destination(s, d, Slot::Long)?;
        let a = self.source(s, a, Slot::Long)?;
        let Some(window) = window else { return self.transfer(s, "l", d, &[a]) };
        let Some(form) = integer_form(if back { "sub" } else { "add" }, "u64") else { return self.unknown(s) };
        let window = self.long(s, window)?;
        self.push_alu(s, &form, d, &[a, window], InstructionClass::Move);
        Ok(())
    }
}
