//! Loads, stores, atomics, asynchronous copies.

use crate::check::MemoryOrder;
use crate::ptx::error::LoadError;
use crate::ptx::ir::{Access, Address, Atomic, AtomicKind, AtomicOp, CopyAsync, NONE, Op, Prefetch, Space};
use crate::ptx::syntax::{Base, Operand, Place, Slot, Statement};
use crate::report::InstructionClass;

use super::{Decoded, Decoder, Opcode};

/// Modifiers that order or cache accesses, see [`order`].
fn is_hint(name: &str) -> bool {
    matches!(
        name,
        "volatile"
            | "relaxed"
            | "acquire"
            | "release"
            | "acq_rel"
            | "weak"
            | "cta"
            | "gpu"
            | "sys"
            | "cluster"
            | "ca"
            | "cg"
            | "cs"
            | "lu"
            | "cv"
            | "wb"
            | "wt"
            | "L1::evict_last"
            | "L1::no_allocate"
            | "L1::evict_first"
    ) || name.starts_with("L2::")
        || name.starts_with("L1::")
}

/// What the modifiers say about order; narrow scopes order nothing between blocks.
fn order(mods: &[&str]) -> MemoryOrder {
    let has = |name: &str| mods.contains(&name);
    let wide = !has("cta") && !has("cluster");
    MemoryOrder {
        strong: has("volatile") || wide && ["relaxed", "acquire", "release", "acq_rel"].into_iter().any(has),
        acquire: wide && (has("acquire") || has("acq_rel")),
        release: wide && (has("release") || has("acq_rel")),
        read_only: has("nc"),
    }
}

fn space(name: &str) -> Option<Space> {
    Some(match name {
        "global" => Space::Global,
        "const" => Space::Const,
        "shared" | "shared::cta" => Space::Shared,
        "local" => Space::Local,
        "param" | "param::entry" => Space::Param,
        _ => return None,
    })
}

impl<'a> Decoder<'a> {
    pub(super) fn memory(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        match opcode.base {
            "ld" | "ldu" => self.access(s, opcode, true),
            "st" => self.access(s, opcode, false),
            "atom" | "red" => self.atomic(s, opcode),
            _ => self.copy_async(s, opcode),
        }
    }

    /// An address operand in `space`.
    pub(super) fn address(&mut self, s: &Statement<'_>, operand: &Operand<'_>, space: Space) -> Result<Address, LoadError> {
        let Operand::Address(base, offset) = operand else { return self.error(s, "expected an address in brackets") };
        match *base {
            Base::Reg(reg) if reg.slot != Slot::Pred => {
                Ok(Address { plane: reg.index, long: reg.slot == Slot::Long, offset: *offset })
            }
            Base::Absolute => Ok(Address { plane: NONE, long: false, offset: *offset }),
            Base::Place(place @ Place::Global(_)) if matches!(space, Space::Global | Space::Const | Space::Generic) => {
                let plane = self.symbol(s, place, 0, Slot::Long)?;
                Ok(Address { plane, long: true, offset: *offset })
            }
            Base::Place(place) => {
                let fits = match place {
                    Place::Shared(_) | Place::Dynamic => space == Space::Shared,
                    Place::Local(_) => space == Space::Local,
                    Place::Param(_) => space == Space::Param,
                    Place::Global(_) => false,
                };
                if !fits {
                    return self.error(s, "variable lies in another state space");
                }
                Ok(Address { plane: NONE, long: false, offset: self.place_offset(place) + offset })
            }
            Base::Reg(_) => self.error(s, "a predicate is no address"),
        }
    }

    fn access(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>, load: bool) -> Decoded {
        let space = opcode.take_map(space).unwrap_or(Space::Generic);
        let mut order = order(&opcode.mods);
        let read_only = opcode.take("nc") || opcode.base == "ldu";
        order.read_only = read_only;
        let count = opcode.take_map(|m| match m {
            "v2" => Some(2),
            "v4" => Some(4),
            "v8" => Some(8),
            _ => None,
        });
        opcode.mods.retain(|m| !is_hint(m));
        let (bytes, slot) = match opcode.kind {
            "b8" | "u8" | "s8" => (1, Slot::Word),
            "b16" | "u16" | "s16" | "f16" | "bf16" => (2, Slot::Word),
            "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => (4, Slot::Word),
            "b64" | "u64" | "s64" | "f64" => (8, Slot::Long),
            _ => return self.unknown(s),
        };
        let wrong = match space {
            Space::Const | Space::Param => !load,
            Space::Global => false,
            _ => read_only,
        };
        if !opcode.mods.is_empty() || wrong || u32::from(bytes) * count.unwrap_or(1) > 16 {
            return self.unknown(s);
        }
        let operands: &[Operand<'a>; 2] = self.operands(s)?;
        let (value, address) = if load { (&operands[0], &operands[1]) } else { (&operands[1], &operands[0]) };
        let parts = match (value, count) {
            (Operand::Vector(parts), Some(count)) if parts.len() == count as usize => parts.as_slice(),
            (Operand::Vector(_), _) | (_, Some(_)) => return self.error(s, "vector of the wrong length"),
            (one, None) => std::slice::from_ref(one),
        };
        // A register may be wider than the type.
        let slot = match parts.iter().find_map(|p| if let Operand::Reg(reg) = p { Some(reg.slot) } else { None }) {
            Some(Slot::Long) => Slot::Long,
            _ => slot,
        };
        let mut regs = [NONE; 8];
        for (reg, part) in regs.iter_mut().zip(parts) {
            *reg = match part {
                Operand::Sink if load => NONE,
                _ if load => self.destination(s, part, slot)?,
                _ => self.source(s, part, slot)?,
            };
        }
        let address = self.address(s, address, space)?;
        let access =
            Access { space, address, bytes, count: parts.len() as u8, signed: opcode.kind.starts_with('s'), regs, slot, order };
        let class = match (space, load) {
            (Space::Global | Space::Generic, true) => InstructionClass::LoadGlobal,
            (Space::Global | Space::Generic, false) => InstructionClass::StoreGlobal,
            (Space::Shared, true) => InstructionClass::LoadShared,
            (Space::Shared, false) => InstructionClass::StoreShared,
            (Space::Local, _) => InstructionClass::Local,
            (Space::Const | Space::Param, _) => InstructionClass::Constant,
        };
        self.push(s, if load { Op::Load(Box::new(access)) } else { Op::Store(Box::new(access)) }, class, 0);
        Ok(())
    }

    fn atomic(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        let space = opcode.take_map(space).unwrap_or(Space::Generic);
        opcode.take("noftz");
        // Without a word about it an atomic is relaxed, at the scope of the device.
        let mut order = order(&opcode.mods);
        order.strong |= !opcode.mods.iter().any(|m| matches!(*m, "cta" | "cluster"));
        opcode.mods.retain(|m| !is_hint(m));
        let [op] = opcode.mods[..] else { return self.unknown(s) };
        let op = match op {
            "add" => AtomicOp::Add,
            "min" => AtomicOp::Min,
            "max" => AtomicOp::Max,
            "and" => AtomicOp::And,
            "or" => AtomicOp::Or,
            "xor" => AtomicOp::Xor,
            "exch" => AtomicOp::Exch,
            "cas" => AtomicOp::Cas,
            "inc" => AtomicOp::Inc,
            "dec" => AtomicOp::Dec,
            _ => return self.unknown(s),
        };
        let (kind, slot) = match opcode.kind {
            "b32" | "u32" => (AtomicKind::U32, Slot::Word),
            "s32" => (AtomicKind::S32, Slot::Word),
            "b64" | "u64" => (AtomicKind::U64, Slot::Long),
            "s64" => (AtomicKind::S64, Slot::Long),
            "f32" => (AtomicKind::F32, Slot::Word),
            "f64" => (AtomicKind::F64, Slot::Long),
            "f16" => (AtomicKind::F16, Slot::Word),
            "f16x2" => (AtomicKind::F16x2, Slot::Word),
            "bf16" => (AtomicKind::Bf16, Slot::Word),
            "bf16x2" => (AtomicKind::Bf16x2, Slot::Word),
            "b16" => (AtomicKind::B16, Slot::Word),
            _ => return self.unknown(s),
        };
        use AtomicKind::*;
        let known = match op {
            AtomicOp::Add => kind != B16,
            AtomicOp::Min | AtomicOp::Max => matches!(kind, U32 | S32 | U64 | S64),
            AtomicOp::And | AtomicOp::Or | AtomicOp::Xor | AtomicOp::Exch => matches!(kind, U32 | U64),
            AtomicOp::Cas => matches!(kind, U32 | U64 | B16),
            AtomicOp::Inc | AtomicOp::Dec => kind == U32,
        };
        if !known || !matches!(space, Space::Global | Space::Shared | Space::Generic) {
            return self.unknown(s);
        }
        let first = usize::from(opcode.base == "atom");
        let wanted = first + 2 + usize::from(op == AtomicOp::Cas);
        if s.operands.len() != wanted {
            return self.error(s, "wrong number of operands");
        }
        let d = match (first, &s.operands[0]) {
            (0, _) | (_, Operand::Sink) => NONE,
            (_, d) => self.destination(s, d, slot)?,
        };
        let address = self.address(s, &s.operands[first], space)?;
        let a = self.source(s, &s.operands[first + 1], slot)?;
        let b = if op == AtomicOp::Cas { self.source(s, &s.operands[first + 2], slot)? } else { NONE };
        self.push(s, Op::Atomic(Box::new(Atomic { space, address, op, kind, d, a, b, order })), InstructionClass::Atomic, 0);
        Ok(())
    }

    fn copy_async(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        let op = match (&opcode.mods[..], opcode.kind) {
            (["async"], "commit_group") => Op::CopyCommit,
            (["async"], "wait_all") => Op::CopyWait(None),
            (["async"], "wait_group") => {
                let [Operand::Int(groups)] = self.operands(s)? else {
                    return self.error(s, "the number of groups must be a constant");
                };
                Op::CopyWait(Some(u32::try_from(*groups).unwrap_or(u32::MAX)))
            }
            (["async", "bulk", "prefetch", "L2"], "global") => {
                let [address, bytes] = self.operands(s)?;
                let address = self.address(s, address, Space::Global)?;
                Op::Prefetch(Box::new(Prefetch { address, bytes: self.source(s, bytes, Slot::Word)? }))
            }
            (["async", "ca" | "cg", "shared" | "shared::cta", rest @ ..], last)
                if (rest.contains(&"global") || last == "global")
                    && rest.iter().chain([&last]).all(|m| *m == "global" || is_hint(m)) =>
            {
                let [shared, global, Operand::Int(bytes), rest @ ..] = s.operands.as_slice() else {
                    return self.error(s, "the size must be a constant");
                };
                let allowed: &[u64] = if opcode.mods[1] == "cg" { &[16] } else { &[4, 8, 16] };
                if !allowed.contains(bytes) {
                    return self.error(s, "size not allowed for this copy");
                }
                let (source_bytes, ignore) = match rest {
                    [] => (NONE, NONE),
                    [Operand::Reg(reg)] if reg.slot == Slot::Pred => (NONE, reg.index),
                    [size] => (self.source(s, size, Slot::Word)?, NONE),
                    _ => return self.error(s, "wrong number of operands"),
                };
                let shared = self.address(s, shared, Space::Shared)?;
                let global = self.address(s, global, Space::Global)?;
                Op::CopyAsync(Box::new(CopyAsync { shared, global, bytes: *bytes as u8, source_bytes, ignore }))
            }
            _ => return self.unknown(s),
        };
        self.push(s, op, InstructionClass::AsyncCopy, 0);
        Ok(())
    }
}
