//! Statements to instructions.

mod arithmetic;
mod assigned;
mod control;
mod matrix;
mod memory;
mod moves;
mod registers;
mod warp;

use std::collections::HashMap;

use crate::exec::{Alu, Form};
use crate::report::InstructionClass;

use super::cfg::set_reconvergence;
use super::error::LoadError;
use super::ir::{Instr, NONE, Op, Planes, Space};
use super::kernel::Kernel;
use super::syntax::{Body, Operand, Place, Slot, Special, Statement};

pub(crate) use assigned::{Merge, Uses, Watch};

/// Decodes a function's body into a kernel without parameters, which the caller adds.
pub(crate) fn decode(name: &str, body: &Body<'_>, globals: Vec<String>) -> Result<Kernel, LoadError> {
    let dynamic_start = body.shared.next_multiple_of(body.dynamic_align.max(1));
    let mut decoder = Decoder {
        planes: Planes { words: body.words, longs: body.longs, preds: body.preds, ..Planes::default() },
        words: HashMap::new(),
        longs: HashMap::new(),
        specials: Vec::new(),
        dynamic_start,
        code: Vec::with_capacity(body.statements.len()),
        sources: Vec::with_capacity(body.statements.len()),
        branches: Vec::new(),
    };
    // Where each statement's instructions start: one statement may become several.
    let mut starts = Vec::with_capacity(body.statements.len() + 1);
    for statement in &body.statements {
        starts.push(decoder.code.len() as u32);
        decoder.statement(statement)?;
        decoder.sources.resize(decoder.code.len(), statement.source);
    }
    starts.push(decoder.code.len() as u32);
    for (pc, label, scope, line) in std::mem::take(&mut decoder.branches) {
        let at = body.label(label, scope).ok_or_else(|| LoadError::new(line, label, "label is not defined"))?;
        decoder.code[pc].op = Op::Branch { target: starts[at as usize], reconverge: super::ir::END };
    }
    set_reconvergence(&mut decoder.code);
    Ok(Kernel {
        name: name.to_owned(),
        params: Vec::new(),
        param_bytes: 0,
        static_shared: body.shared,
        max_threads: None,
        registers_estimate: registers::estimate(body),
        local_bytes: body.local,
        watch: assigned::watch(body, &decoder.code, &starts),
        observes: decoder.code.iter().any(|instr| observes(&instr.op)),
        needs: decoder.code.iter().map(|instr| needs(&instr.op)).max().unwrap_or(0),
        dynamic_start,
        code: decoder.code,
        planes: decoder.planes,
        globals,
        sources: decoder.sources,
        files: HashMap::new(),
    })
}

/// Whether an instruction reads global memory strongly.
fn observes(op: &Op) -> bool {
    let is_global = |space| matches!(space, Space::Global | Space::Generic);
    match op {
        Op::Load(access) => access.order.strong && is_global(access.space),
        Op::Atomic(atomic) => atomic.order.strong && atomic.d != NONE && is_global(atomic.space),
        _ => false,
    }
}

/// The least target that has an instruction, where that is beyond the oldest; of those that came with 9.0.
fn needs(op: &Op) -> u32 {
    if matches!(op, Op::GridWait | Op::GridTrigger | Op::Prefetch(_)) { 90 } else { 0 }
}

struct Decoder<'a> {
    planes: Planes,
    words: HashMap<u32, u16>,
    longs: HashMap<u64, u16>,
    specials: Vec<(Special, u16)>,
    dynamic_start: u32,
    code: Vec<Instr>,
    sources: Vec<(u32, u32)>,
    /// Branches whose label is resolved at the end: instruction, label, scope, line.
    branches: Vec<(usize, &'a str, u16, u32)>,
}

/// A statement's opcode in parts, for the decoding functions.
struct Opcode<'a> {
    base: &'a str,
    /// Everything between the base and the type.
    mods: Vec<&'a str>,
    /// The last part; empty for an opcode of one part.
    kind: &'a str,
}

impl<'a> Opcode<'a> {
    fn new(text: &'a str) -> Self {
        let mut parts = text.split('.');
        let base = parts.next().unwrap_or_default();
        let mut mods: Vec<&str> = parts.collect();
        let kind = mods.pop().unwrap_or_default();
        Opcode { base, mods, kind }
    }

    /// Removes a modifier; whether it was there.
    fn take(&mut self, name: &str) -> bool {
        let found = self.mods.iter().position(|&m| m == name);
        found.map(|at| self.mods.remove(at)).is_some()
    }

    /// Removes the first modifier that `map` knows.
    fn take_map<T>(&mut self, map: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (at, value) = self.mods.iter().enumerate().find_map(|(at, m)| Some((at, map(m)?)))?;
        self.mods.remove(at);
        Some(value)
    }
}

type Decoded = Result<(), LoadError>;

impl<'a> Decoder<'a> {
    fn statement(&mut self, s: &Statement<'a>) -> Decoded {
        let mut opcode = Opcode::new(s.opcode);
        match opcode.base {
            "bra" | "ret" | "exit" | "trap" | "brkpt" | "bar" | "barrier" | "membar" | "fence" | "nanosleep"
            | "griddepcontrol" | "prefetch" | "prefetchu" | "pmevent" | "applypriority" | "discard" => {
                self.control(s, &mut opcode)
            }
            "shfl" | "vote" | "match" | "redux" | "activemask" => self.warp(s, &mut opcode),
            "ldmatrix" | "mma" => self.matrix(s, &mut opcode),
            "ld" | "ldu" | "st" | "atom" | "red" | "cp" => self.memory(s, &mut opcode),
            "mov" | "cvta" => self.moves(s, &mut opcode),
            _ => self.arithmetic(s, &mut opcode),
        }
    }

    fn error<T>(&self, s: &Statement<'_>, message: &str) -> Result<T, LoadError> {
        Err(LoadError::new(s.line, s.opcode, message))
    }

    fn unknown<T>(&self, s: &Statement<'_>) -> Result<T, LoadError> {
        self.error(s, "instruction or modifier that is not implemented")
    }

    /// The operands, which must be this many.
    fn operands<'s, const N: usize>(&self, s: &'s Statement<'a>) -> Result<&'s [Operand<'a>; N], LoadError> {
        match s.operands.as_slice().try_into() {
            Ok(operands) => Ok(operands),
            Err(_) => Err(LoadError::new(s.line, s.opcode, format!("{} operands, expected {N}", s.operands.len()))),
        }
    }

    fn push(&mut self, s: &Statement<'_>, op: Op, class: InstructionClass, flops: u16) {
        let (guard, negated) = s.guard.unwrap_or((NONE, false));
        self.code.push(Instr { op, guard, negated, class, flops });
    }

    fn push_alu(&mut self, s: &Statement<'_>, form: &Form, d: u16, sources: &[u16], class: InstructionClass) {
        let alu = Alu::new(form, d, sources);
        self.push(s, Op::Alu(alu), class, 0);
    }

    /// The plane of a source operand of this kind.
    fn source(&mut self, s: &Statement<'_>, operand: &Operand<'_>, slot: Slot) -> Result<u16, LoadError> {
        match (operand, slot) {
            (Operand::Reg(reg), _) if reg.slot == slot => Ok(reg.index),
            (Operand::Int(value), Slot::Word) => {
                let number = *value as i64;
                if number < i64::from(i32::MIN) || number > i64::from(u32::MAX) {
                    return self.error(s, "constant does not fit 32 bits");
                }
                self.word(s, *value as u32)
            }
            (Operand::Int(value), Slot::Pred) => {
                let plane = self.scratch(s, Slot::Pred)?;
                self.planes.pred_constants.push((plane, *value != 0));
                Ok(plane)
            }
            (Operand::Int(value), Slot::Long) => self.long(s, *value),
            (Operand::Single(bits), Slot::Word) => self.word(s, *bits),
            (Operand::Double(bits), Slot::Word) => self.word(s, (f64::from_bits(*bits) as f32).to_bits()),
            (Operand::Double(bits), Slot::Long) => self.long(s, *bits),
            (Operand::Special(special), Slot::Word) => self.special(s, *special),
            (Operand::Symbol(place, offset), Slot::Word | Slot::Long) => self.symbol(s, *place, *offset, slot),
            _ => self.error(s, "operand of the wrong kind or width"),
        }
    }

    /// The plane of a destination; `_` gets a plane that nobody reads.
    fn destination(&mut self, s: &Statement<'_>, operand: &Operand<'_>, slot: Slot) -> Result<u16, LoadError> {
        match operand {
            Operand::Reg(reg) if reg.slot == slot => Ok(reg.index),
            Operand::Sink => self.scratch(s, slot),
            _ => self.error(s, "destination of the wrong kind or width"),
        }
    }

    /// A plane of its own.
    fn scratch(&mut self, s: &Statement<'_>, slot: Slot) -> Result<u16, LoadError> {
        let next = match slot {
            Slot::Pred => &mut self.planes.preds,
            Slot::Word => &mut self.planes.words,
            Slot::Long => &mut self.planes.longs,
        };
        if *next >= NONE - 1 {
            return Err(LoadError::new(s.line, s.opcode, "kernel uses too many registers and constants"));
        }
        *next += 1;
        Ok(*next - 1)
    }

    /// The plane of a 32-bit constant.
    fn word(&mut self, s: &Statement<'_>, value: u32) -> Result<u16, LoadError> {
        if let Some(&plane) = self.words.get(&value) {
            return Ok(plane);
        }
        let plane = self.scratch(s, Slot::Word)?;
        self.planes.word_constants.push((plane, value));
        self.words.insert(value, plane);
        Ok(plane)
    }

    /// The plane of a 64-bit constant.
    fn long(&mut self, s: &Statement<'_>, value: u64) -> Result<u16, LoadError> {
        if let Some(&plane) = self.longs.get(&value) {
            return Ok(plane);
        }
        let plane = self.scratch(s, Slot::Long)?;
        self.planes.long_constants.push((plane, value));
        self.longs.insert(value, plane);
        Ok(plane)
    }

    fn special(&mut self, s: &Statement<'_>, special: Special) -> Result<u16, LoadError> {
        if let Some(&(_, plane)) = self.specials.iter().find(|(known, _)| *known == special) {
            return Ok(plane);
        }
        if matches!(special, Special::Clock | Special::ClockHi | Special::Clock64 | Special::GlobalTimer | Special::GridId) {
            return self.error(s, "this special register can only be read by mov");
        }
        let plane = self.scratch(s, Slot::Word)?;
        self.planes.word_specials.push((plane, special));
        self.specials.push((special, plane));
        Ok(plane)
    }

    /// Offset of a place inside its space; not for global variables.
    fn place_offset(&self, place: Place) -> i64 {
        match place {
            Place::Shared(at) | Place::Local(at) | Place::Param(at) => i64::from(at),
            Place::Dynamic => i64::from(self.dynamic_start),
            Place::Global(_) => 0,
        }
    }

    fn symbol(&mut self, s: &Statement<'_>, place: Place, offset: i64, slot: Slot) -> Result<u16, LoadError> {
        if let Place::Global(index) = place {
            if slot != Slot::Long {
                return self.error(s, "address of a variable needs a 64-bit register");
            }
            let known = self.planes.globals.iter().find(|&&(_, i, o)| (i, o) == (index, offset));
            if let Some(&(plane, ..)) = known {
                return Ok(plane);
            }
            let plane = self.scratch(s, Slot::Long)?;
            self.planes.globals.push((plane, index, offset));
            return Ok(plane);
        }
        let value = self.place_offset(place).wrapping_add(offset) as u64;
        if slot == Slot::Long { self.long(s, value) } else { self.word(s, value as u32) }
    }
}
