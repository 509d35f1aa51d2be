//! A guess at the registers that the machine code will need.

use crate::ptx::syntax::{Base, Body, Operand, Reg, Slot};

/// The largest number of 32-bit registers whose first and last mention enclose one statement, plus a few for addresses.
/// Loops are not followed, so values carried round them may be missed.
pub(super) fn estimate(body: &Body<'_>) -> u32 {
    let mut words = vec![(u32::MAX, 0u32); usize::from(body.words)];
    let mut longs = vec![(u32::MAX, 0u32); usize::from(body.longs)];
    for (at, statement) in body.statements.iter().enumerate() {
        for operand in &statement.operands {
            mention(operand, &mut |reg| {
                let spans = match reg.slot {
                    Slot::Word => &mut words,
                    Slot::Long => &mut longs,
                    Slot::Pred => return,
                };
                let span = &mut spans[usize::from(reg.index)];
                *span = (span.0.min(at as u32), at as u32);
            });
        }
    }
    let mut change = vec![0i64; body.statements.len() + 1];
    for (spans, size) in [(words, 1), (longs, 2)] {
        for (first, last) in spans.into_iter().filter(|span| span.0 != u32::MAX && span.0 < span.1) {
            change[first as usize] += size;
            change[last as usize] -= size;
        }
    }
    let (mut live, mut most) = (0, 0);
    for change in change {
        live += change;
        most = most.max(live);
    }
    (most as u32 + 6).clamp(16, 255)
}

/// Calls `each` with the registers in an operand.
pub(super) fn mention(operand: &Operand<'_>, each: &mut impl FnMut(Reg)) {
    match operand {
        Operand::Reg(reg) | Operand::Not(reg) | Operand::Address(Base::Reg(reg), _) => each(*reg),
        Operand::Vector(parts) => parts.iter().for_each(|part| mention(part, each)),
        Operand::Pair(a, b) => {
            mention(a, each);
            mention(b, each);
        }
        _ => {}
    }
}
