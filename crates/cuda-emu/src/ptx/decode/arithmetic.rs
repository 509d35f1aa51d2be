//! Arithmetic, comparisons, conversions.

use crate::exec::{
    Alu, BoolOp, FTZ, Form, NO_PRED, RELU, Rounding, SAT, compare_form, convert_form, float_form, half_form, integer_form,
    logic_form, pred_form, select_form,
};
use crate::ptx::error::LoadError;
use crate::ptx::ir::Op;
use crate::ptx::syntax::{Operand, Slot, Statement};
use crate::report::InstructionClass;

use super::{Decoded, Decoder, Opcode};

/// A form with its flags, class, and operations per lane.
struct Choice {
    form: Form,
    flags: u32,
    class: InstructionClass,
    flops: u16,
}

impl<'a> Decoder<'a> {
    pub(super) fn arithmetic(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        match opcode.base {
            "setp" => return self.setp(s, opcode),
            "set" => return self.set(s, opcode),
            "selp" => return self.selp(s, opcode),
            "lop3" => return self.lop3(s, opcode),
            _ => {}
        }
        let Some(choice) = choose(opcode) else { return self.unknown(s) };
        let form = &choice.form;
        if s.operands.len() != form.sources.len() + 1 {
            return Err(LoadError::new(
                s.line,
                s.opcode,
                format!("{} operands, expected {}", s.operands.len(), form.sources.len() + 1),
            ));
        }
        let d = self.destination(s, &s.operands[0], form.d)?;
        let mut sources = [0; 4];
        for (i, (operand, &slot)) in s.operands[1..].iter().zip(form.sources).enumerate() {
            sources[i] = self.source(s, operand, slot)?;
        }
        let mut alu = Alu::new(form, d, &sources);
        alu.flags = choice.flags;
        self.push(s, Op::Alu(alu), choice.class, choice.flops);
        Ok(())
    }

    fn setp(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        let ftz = if opcode.take("ftz") { FTZ } else { 0 };
        let combine = opcode.take_map(BoolOp::by_name);
        let [comparison] = opcode.mods[..] else { return self.unknown(s) };
        let Some(form) = compare_form(comparison, opcode.kind) else { return self.unknown(s) };
        if ftz != 0 && opcode.kind != "f32" {
            return self.unknown(s);
        }
        let (d, e) = match s.operands.first() {
            Some(Operand::Pair(p, q)) => (self.wanted_pred(s, p)?, self.wanted_pred(s, q)?),
            Some(p) => (self.wanted_pred(s, p)?, NO_PRED),
            None => return self.error(s, "operands missing"),
        };
        let rest = &s.operands[1..];
        if rest.len() != 2 + usize::from(combine.is_some()) {
            return self.error(s, "wrong number of operands");
        }
        let a = self.source(s, &rest[0], form.sources[0])?;
        let b = self.source(s, &rest[1], form.sources[1])?;
        let (mut c, mut flags) = (0, ftz);
        if let Some(combine) = combine {
            let (pred, negated) = self.pred_source(s, &rest[2])?;
            c = pred;
            flags |= combine.flags(negated);
        }
        let mut alu = Alu::new(&form, d, &[a, b, c]);
        alu.e = e;
        alu.flags = flags;
        self.push(s, Op::Alu(alu), InstructionClass::Predicate, 0);
        Ok(())
    }

    /// `set`: a comparison whose result is a number, all ones or 1.0 for true.
    fn set(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        let ftz = if opcode.take("ftz") { FTZ } else { 0 };
        let [comparison, to] = opcode.mods[..] else { return self.unknown(s) };
        let truth = match to {
            "u32" | "s32" => u32::MAX,
            "f32" => 1f32.to_bits(),
            "f16" => 0x3c00,
            "bf16" => 0x3f80,
            "u16" | "s16" => 0xffff,
            _ => return self.unknown(s),
        };
        let Some(compare) = compare_form(comparison, opcode.kind) else { return self.unknown(s) };
        let [d, a, b] = self.operands(s)?;
        let pred = self.scratch(s, Slot::Pred)?;
        let sources = [self.source(s, a, compare.sources[0])?, self.source(s, b, compare.sources[1])?];
        let mut alu = Alu::new(&compare, pred, &sources);
        alu.e = NO_PRED;
        alu.flags = ftz;
        self.push(s, Op::Alu(alu), InstructionClass::Predicate, 0);
        let Some(select) = select_form(Slot::Word) else { return self.unknown(s) };
        let d = self.destination(s, d, Slot::Word)?;
        let sources = [self.word(s, truth)?, self.word(s, 0)?, pred];
        self.push_alu(s, &select, d, &sources, InstructionClass::Predicate);
        Ok(())
    }

    fn selp(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        let slot = match opcode.kind {
            "b16" | "u16" | "s16" | "f16" | "b32" | "u32" | "s32" | "f32" => Slot::Word,
            "b64" | "u64" | "s64" | "f64" => Slot::Long,
            _ => return self.unknown(s),
        };
        let Some(form) = select_form(slot).filter(|_| opcode.mods.is_empty()) else { return self.unknown(s) };
        let [d, a, b, c] = self.operands(s)?;
        let d = self.destination(s, d, slot)?;
        let sources = [self.source(s, a, slot)?, self.source(s, b, slot)?, self.source(s, c, Slot::Pred)?];
        self.push_alu(s, &form, d, &sources, InstructionClass::Move);
        Ok(())
    }

    fn lop3(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        let Some(form) = logic_form("lop3", opcode.kind).filter(|_| opcode.mods.is_empty()) else { return self.unknown(s) };
        let [d, a, b, c, Operand::Int(table)] = self.operands(s)? else { return self.error(s, "the table must be a constant") };
        if *table > 255 {
            return self.error(s, "the table must be a byte");
        }
        let d = self.destination(s, d, Slot::Word)?;
        let sources = [self.source(s, a, Slot::Word)?, self.source(s, b, Slot::Word)?, self.source(s, c, Slot::Word)?];
        let mut alu = Alu::new(&form, d, &sources);
        alu.flags = *table as u32;
        self.push(s, Op::Alu(alu), InstructionClass::Integer, 0);
        Ok(())
    }

    /// A predicate source, possibly negated.
    pub(super) fn pred_source(&self, s: &Statement<'_>, operand: &Operand<'_>) -> Result<(u16, bool), LoadError> {
        match operand {
            Operand::Reg(reg) if reg.slot == Slot::Pred => Ok((reg.index, false)),
            Operand::Not(reg) if reg.slot == Slot::Pred => Ok((reg.index, true)),
            _ => self.error(s, "expected a predicate"),
        }
    }

    fn wanted_pred(&self, s: &Statement<'_>, operand: &Operand<'_>) -> Result<u16, LoadError> {
        match operand {
            Operand::Sink => Ok(NO_PRED),
            _ => self.pred_source(s, operand).map(|(pred, _)| pred),
        }
    }
}

fn choose(opcode: &mut Opcode<'_>) -> Option<Choice> {
    match opcode.base {
        "cvt" => return conversion(opcode),
        "prmt" if opcode.mods == ["b32"] => {
            // The mode stands after the type.
            let form = logic_form(&format!("prmt.{}", opcode.kind), "b32")?;
            return Some(Choice { form, flags: 0, class: InstructionClass::Integer, flops: 0 });
        }
        "dp4a" => {
            let [a] = opcode.mods[..] else { return None };
            let form = integer_form("dp4a", &format!("{a}.{}", opcode.kind))?;
            return Some(Choice { form, flags: 0, class: InstructionClass::Integer, flops: 0 });
        }
        _ => {}
    }
    if opcode.kind == "pred" {
        let form = pred_form(opcode.base).filter(|_| opcode.mods.is_empty())?;
        return Some(Choice { form, flags: 0, class: InstructionClass::Predicate, flops: 0 });
    }
    if matches!(opcode.kind, "f32" | "f64" | "f16" | "f16x2" | "bf16" | "bf16x2") {
        return floating(opcode);
    }
    let operation = std::iter::once(opcode.base).chain(opcode.mods.iter().copied()).collect::<Vec<_>>().join(".");
    let form = logic_form(&operation, opcode.kind).or_else(|| integer_form(&operation, opcode.kind))?;
    Some(Choice { form, flags: 0, class: InstructionClass::Integer, flops: 0 })
}

fn floating(opcode: &mut Opcode<'_>) -> Option<Choice> {
    let base = if opcode.base == "mad" { "fma" } else { opcode.base };
    let rounding = opcode.take_map(Rounding::by_name);
    let mut flags = rounding.unwrap_or(Rounding::Nearest).flags();
    let half = !matches!(opcode.kind, "f32" | "f64");
    for (name, flag) in [("ftz", FTZ), ("sat", SAT), ("relu", RELU)] {
        if opcode.take(name) {
            if name == "relu" && !half {
                return None;
            }
            flags |= flag;
        }
    }
    let special = matches!(base, "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" | "div");
    // These must say how precise they are.
    if matches!(base, "rcp" | "sqrt" | "div") && opcode.mods.is_empty() && rounding.is_none() {
        return None;
    }
    let mut operation = std::iter::once(base).chain(opcode.mods.iter().copied()).collect::<Vec<_>>().join(".");
    if opcode.kind == "f64" && flags == FTZ && base == "rcp" {
        (operation, flags) = ("rcp.approx.ftz".into(), 0);
    }
    let form = if half {
        half_form(&operation, opcode.kind).filter(|_| matches!(rounding, None | Some(Rounding::Nearest)))?
    } else {
        float_form(&operation, opcode.kind, flags)?
    };
    let pairs = if opcode.kind.ends_with("x2") { 2 } else { 1 };
    let flops = match base {
        "fma" => 2 * pairs,
        "add" | "sub" | "mul" | "div" => pairs,
        _ => 0,
    };
    let class = match opcode.kind {
        _ if special => InstructionClass::Special,
        "f32" => InstructionClass::Float32,
        "f64" => InstructionClass::Float64,
        _ => InstructionClass::Float16,
    };
    Some(Choice { form, flags, class, flops })
}

fn conversion(opcode: &mut Opcode<'_>) -> Option<Choice> {
    let to = opcode.mods.pop()?;
    let mut flags = 0;
    for (name, flag) in [("ftz", FTZ), ("sat", SAT), ("relu", RELU)] {
        if opcode.take(name) {
            flags |= flag;
        }
    }
    let rounding = opcode.mods.pop().unwrap_or_default();
    if !opcode.mods.is_empty() {
        return None;
    }
    flags |= match rounding {
        "" | "rna" => 0,
        _ => Rounding::by_name(rounding)?.flags(),
    };
    let form = convert_form(to, opcode.kind, rounding, flags)?;
    Some(Choice { form, flags, class: InstructionClass::Convert, flops: 0 })
}
