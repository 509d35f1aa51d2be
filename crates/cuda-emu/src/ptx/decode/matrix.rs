//! `ldmatrix` and `mma`.

use crate::ptx::error::LoadError;
use crate::ptx::ir::{LoadMatrix, Mma, MmaKind, Op, Space};
use crate::ptx::syntax::{Operand, Slot, Statement};
use crate::report::InstructionClass;

use super::{Decoded, Decoder, Opcode};

impl<'a> Decoder<'a> {
    pub(super) fn matrix(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        if !opcode.take("sync") || !opcode.take("aligned") {
            return self.unknown(s);
        }
        if opcode.base == "mma" { self.mma(s, opcode) } else { self.load_matrix(s, opcode) }
    }

    fn load_matrix(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        let transposed = opcode.take("trans");
        let count = match opcode.mods[..] {
            ["m8n8", "x1", "shared" | "shared::cta"] if opcode.kind == "b16" => 1,
            ["m8n8", "x2", "shared" | "shared::cta"] if opcode.kind == "b16" => 2,
            ["m8n8", "x4", "shared" | "shared::cta"] if opcode.kind == "b16" => 4,
            _ => return self.unknown(s),
        };
        let [d, address] = self.operands(s)?;
        let mut planes = [0; 4];
        self.fragment(s, d, &mut planes[..count], true)?;
        let address = self.address(s, address, Space::Shared)?;
        let op = LoadMatrix { address, count: count as u8, transposed, d: planes };
        self.push(s, Op::LoadMatrix(Box::new(op)), InstructionClass::LdMatrix, 0);
        Ok(())
    }

    fn mma(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        let [shape, "row", "col", d_kind, a_kind, b_kind] = opcode.mods[..] else { return self.unknown(s) };
        let (kind, k) = match (a_kind, shape) {
            ("f16", "m16n8k8") => (MmaKind::F16, 8),
            ("f16", "m16n8k16") => (MmaKind::F16, 16),
            ("bf16", "m16n8k8") => (MmaKind::Bf16, 8),
            ("bf16", "m16n8k16") => (MmaKind::Bf16, 16),
            ("tf32", "m16n8k4") => (MmaKind::Tf32, 4),
            ("tf32", "m16n8k8") => (MmaKind::Tf32, 8),
            _ => return self.unknown(s),
        };
        let half_sum = match (d_kind, opcode.kind) {
            ("f32", "f32") => false,
            ("f16", "f16") if kind == MmaKind::F16 => true,
            _ => return self.unknown(s),
        };
        if a_kind != b_kind {
            return self.unknown(s);
        }
        // Registers of A: 16 * k elements over 32 lanes, in words of one or two elements; B has half as many.
        let per_word = if kind == MmaKind::Tf32 { 1 } else { 2 };
        let a_words = 16 * k / 32 / per_word;
        let sums = if half_sum { 2 } else { 4 };
        let [d, a, b, c] = self.operands(s)?;
        let mut mma = Mma { kind, k: k as u8, half_sum, d: [0; 4], a: [0; 4], b: [0; 2], c: [0; 4] };
        self.fragment(s, d, &mut mma.d[..sums], true)?;
        self.fragment(s, a, &mut mma.a[..a_words], false)?;
        self.fragment(s, b, &mut mma.b[..a_words / 2], false)?;
        self.fragment(s, c, &mut mma.c[..sums], false)?;
        // 16 * 8 sums of k products, spread over the lanes.
        let flops = 2 * 16 * 8 * k / 32;
        self.push(s, Op::Mma(Box::new(mma)), InstructionClass::Mma, flops as u16);
        Ok(())
    }

    /// The word planes of a vector operand of this length.
    fn fragment(&mut self, s: &Statement<'_>, operand: &Operand<'_>, planes: &mut [u16], write: bool) -> Result<(), LoadError> {
        let parts = match operand {
            Operand::Vector(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        if parts.len() != planes.len() {
            return Err(LoadError::new(
                s.line,
                s.opcode,
                format!("{} registers in an operand, expected {}", parts.len(), planes.len()),
            ));
        }
        for (plane, part) in planes.iter_mut().zip(parts) {
            *plane = if write { self.destination(s, part, Slot::Word)? } else { self.source(s, part, Slot::Word)? };
        }
        Ok(())
    }
}
