//! Which registers may be read before they are written: by a look at all paths, so that running kernels need watch only what that leaves open.
//!
//! A value that depends on one is as unwritten itself. Compilers make such values and do not use them, so that only where one would
//! show is it reported: stored, sent to other threads or to the matrix unit, taken for an address, or deciding what runs.

use std::collections::HashSet;

use crate::ptx::cfg::Blocks;
use crate::ptx::ir::Instr;
use crate::ptx::syntax::{Body, Operand, Reg, Slot, Statement};

use super::registers::mention;

/// How a result depends on its operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merge {
    /// Unwritten where any operand is.
    Any,
    /// `selp`: the operand that is not chosen does not matter.
    Select,
    /// `and.pred`, `or.pred`: an operand of false, or true, decides alone.
    And,
    Or,
}

/// The registers of an instruction.
#[derive(Debug, Clone)]
pub(crate) struct Uses {
    pub merge: Merge,
    /// What the result depends on; constants are `None`.
    pub sources: Vec<Option<Reg>>,
    /// What shows.
    pub sinks: Vec<Reg>,
    pub results: Vec<Reg>,
}

/// What is to be watched while a kernel runs.
#[derive(Debug)]
pub(crate) struct Watch {
    /// By instruction.
    pub uses: Vec<Option<Box<Uses>>>,
    pub words: usize,
    pub longs: usize,
    pub preds: usize,
    names: Vec<(Reg, String)>,
}

impl Watch {
    /// A register's name in the PTX.
    pub fn name(&self, reg: Reg) -> &str {
        self.names.iter().find(|(known, _)| *known == reg).map_or("", |(_, name)| name)
    }
}

/// What must be watched in a kernel whose statements begin at the instructions `starts`; `None` if every path writes before it reads.
pub(super) fn watch(body: &Body<'_>, code: &[Instr], starts: &[u32]) -> Option<Watch> {
    // A statement acts with its last instruction.
    let mut uses: Vec<Option<Box<Uses>>> = vec![None; code.len()];
    for (statement, range) in body.statements.iter().zip(starts.windows(2)) {
        if range[0] < range[1] {
            uses[range[1] as usize - 1] = Some(Box::new(uses_of(statement)));
        }
    }
    let index = |reg: Reg| {
        let first = match reg.slot {
            Slot::Word => 0,
            Slot::Long => usize::from(body.words),
            Slot::Pred => usize::from(body.words) + usize::from(body.longs),
        };
        first + usize::from(reg.index)
    };
    let count = usize::from(body.words) + usize::from(body.longs) + usize::from(body.preds);
    let blocks = Blocks::of(code);
    // Registers that may be unwritten where a block begins.
    let mut open = vec![vec![0u64; count.div_ceil(64)]; blocks.starts.len()];
    open.first_mut()?.fill(u64::MAX);
    let step = |state: &mut [u64], pc: usize, suspect: &mut dyn FnMut(Reg)| {
        let Some(uses) = &uses[pc] else { return };
        let is_open = |state: &[u64], reg: Reg| state[index(reg) / 64] >> (index(reg) % 64) & 1 != 0;
        uses.sinks.iter().copied().filter(|&reg| is_open(state, reg)).for_each(suspect);
        let unwritten = uses.sources.iter().flatten().any(|&reg| is_open(state, reg));
        for &reg in &uses.results {
            let bit = 1 << (index(reg) % 64);
            if unwritten {
                state[index(reg) / 64] |= bit;
            } else if code[pc].guard == crate::ptx::NONE {
                state[index(reg) / 64] &= !bit;
            }
        }
    };
    let mut work: Vec<usize> = vec![0];
    let mut met = vec![false; blocks.starts.len()];
    while let Some(block) = work.pop() {
        met[block] = true;
        let mut state = open[block].clone();
        (blocks.starts[block]..blocks.ends[block]).for_each(|pc| step(&mut state, pc as usize, &mut |_| {}));
        for &next in &blocks.next[block] {
            let mut changed = !met[next];
            for (open, state) in open[next].iter_mut().zip(&state) {
                changed |= state & !*open != 0;
                *open |= state;
            }
            if changed && !work.contains(&next) {
                work.push(next);
            }
        }
    }
    let mut suspects = HashSet::new();
    for block in (0..blocks.starts.len()).filter(|&block| met[block]) {
        let mut state = open[block].clone();
        for pc in blocks.starts[block]..blocks.ends[block] {
            step(&mut state, pc as usize, &mut |reg| {
                suspects.insert(reg);
            });
        }
    }
    if suspects.is_empty() {
        return None;
    }
    let names = suspects.iter().map(|&reg| (reg, body.name(reg))).collect();
    keep_what_matters(&mut uses, suspects);
    Some(Watch { uses, words: body.words.into(), longs: body.longs.into(), preds: body.preds.into(), names })
}

/// Drops the registers, and so the instructions, that no suspect depends on.
fn keep_what_matters(uses: &mut [Option<Box<Uses>>], mut matters: HashSet<Reg>) {
    loop {
        let before = matters.len();
        for uses in uses.iter().flatten() {
            if uses.results.iter().any(|reg| matters.contains(reg)) {
                matters.extend(uses.sources.iter().flatten());
            }
        }
        if matters.len() == before {
            break;
        }
    }
    for slot in uses {
        if let Some(uses) = slot {
            uses.sinks.retain(|reg| matters.contains(reg));
            uses.results.retain(|reg| matters.contains(reg));
            if uses.sinks.is_empty() && uses.results.is_empty() {
                *slot = None;
            }
        }
    }
}

fn uses_of(s: &Statement<'_>) -> Uses {
    let base = s.opcode.split('.').next().unwrap_or_default();
    let all = |operands: &[Operand<'_>]| {
        let mut regs = Vec::new();
        operands.iter().for_each(|operand| mention(operand, &mut |reg| regs.push(reg)));
        regs
    };
    let mut uses = Uses { merge: Merge::Any, sources: Vec::new(), sinks: Vec::new(), results: Vec::new() };
    uses.sinks.extend(s.guard.map(|(index, _)| Reg { slot: Slot::Pred, index }));
    let (first, rest) = s.operands.split_at(s.operands.len().min(1));
    match base {
        "st" | "red" | "cp" | "bra" | "ret" | "exit" | "trap" | "brkpt" | "membar" | "fence" | "nanosleep" | "griddepcontrol"
        | "prefetch" | "prefetchu" => uses.sinks.extend(all(&s.operands)),
        "bar" | "barrier" if !s.opcode.contains(".red.") => uses.sinks.extend(all(&s.operands)),
        "ld" | "ldu" | "atom" | "ldmatrix" | "mma" | "shfl" | "vote" | "match" | "redux" | "bar" | "barrier" => {
            uses.sinks.extend(all(rest));
            uses.results = all(first);
        }
        _ => {
            uses.merge = match s.opcode {
                "and.pred" => Merge::And,
                "or.pred" => Merge::Or,
                _ if base == "selp" => Merge::Select,
                _ => Merge::Any,
            };
            uses.sources = match uses.merge {
                Merge::Any => all(rest).into_iter().map(Some).collect(),
                _ => rest.iter().map(|operand| if let Operand::Reg(reg) = operand { Some(*reg) } else { None }).collect(),
            };
            uses.results = all(first);
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use crate::ptx::Module;

    /// Names of the registers that a kernel may read unwritten.
    fn suspects(body: &str) -> Vec<String> {
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 k_0) {{ .reg .pred %p<9>; .reg .b32 %r<9>; .reg .b64 %out;\n\
             .reg .f32 sum; ld.param.u64 %out, [k_0]; mov.u32 %r0, %tid.x; setp.eq.u32 %p0, %r0, 3;\n{body}\nret;\n}}"
        );
        let kernel = Module::parse(&text).unwrap().kernel("k").unwrap();
        let mut names: Vec<String> =
            kernel.watch.iter().flat_map(|watch| watch.names.iter().map(|(_, name)| name.clone())).collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_shows_and_may_be_unwritten_is_suspected() {
        let none: [&str; 7] = [
            "st.global.u32 [%out], %r0;",
            // Both sides write; a loop writes before it reads; a value that nothing uses.
            "@%p0 bra A; mov.u32 %r1, 1; bra B; A: mov.u32 %r1, 2; B: st.global.u32 [%out], %r1;",
            "mov.u32 %r1, 0; L: add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 9; @%p1 bra L; st.global.u32 [%out], %r1;",
            "mov.u32 %r2, %r1; add.u32 %r3, %r2, 1; mul.lo.u32 %r4, %r3, %r3;",
            "mov.f32 sum, 0f00000000; add.f32 sum, sum, sum; st.global.f32 [%out], sum;",
            // Not reached by any path.
            "ret; st.global.u32 [%out], %r5;",
            "mov.b64 {%r1, %r2}, %out; mov.b64 %out, {%r2, %r1}; st.global.u32 [%out], %r1;",
        ];
        for body in none {
            assert!(suspects(body).is_empty(), "{body}: {:?}", suspects(body));
        }
        let some = [
            ("st.global.u32 [%out], %r1;", "%r1"),
            ("@%p0 mov.u32 %r1, 1; st.global.u32 [%out], %r1;", "%r1"),
            ("@%p0 bra A; mov.u32 %r1, 1; A: add.u32 %r2, %r1, 1; st.global.u32 [%out], %r2;", "%r2"),
            ("cvt.u64.u32 %out, %r3; ld.global.u32 %r1, [%out];", "%out"),
            ("@%p3 bra A; mov.u32 %r1, 1; A:", "%p3"),
            ("@%p3 mov.u32 %r1, 1;", "%p3"),
            ("add.f32 sum, sum, sum; st.global.f32 [%out], sum;", "sum"),
            ("L: add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 9; @%p1 bra L;", "%p1"),
            ("shfl.sync.bfly.b32 %r1, %r2, 1, 31, -1;", "%r2"),
        ];
        for (body, name) in some {
            assert_eq!(suspects(body), [name], "{body}");
        }
    }
}
