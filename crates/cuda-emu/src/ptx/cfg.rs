//! Where diverged lanes meet again: immediate post-dominators of branches.

use super::ir::{END, Instr, Op};

/// Sets `reconverge` of each conditional branch to the first instruction of the block that every path from it passes.
pub(crate) fn set_reconvergence(code: &mut [Instr]) {
    let blocks = Blocks::of(code);
    let post = blocks.post_dominators();
    for (block, &end) in blocks.ends.iter().enumerate() {
        if let Op::Branch { reconverge, .. } = &mut code[end as usize - 1].op {
            *reconverge = post[block].map_or(END, |block| blocks.starts[block]);
        }
    }
}

/// Runs of instructions without branches in or out.
pub(super) struct Blocks {
    pub starts: Vec<u32>,
    /// One past the last instruction.
    pub ends: Vec<u32>,
    /// Successors; none means the block leaves the kernel.
    pub next: Vec<Vec<usize>>,
}

impl Blocks {
    pub fn of(code: &[Instr]) -> Blocks {
        let mut leader = vec![false; code.len() + 1];
        if let Some(first) = leader.first_mut() {
            *first = true;
        }
        for (pc, instr) in code.iter().enumerate() {
            match instr.op {
                Op::Branch { target, .. } => {
                    leader[(target as usize).min(code.len())] = true;
                    leader[pc + 1] = true;
                }
                Op::Exit | Op::Trap => leader[pc + 1] = true,
                _ => {}
            }
        }
        let starts: Vec<u32> = (0..code.len()).filter(|&pc| leader[pc]).map(|pc| pc as u32).collect();
        let ends: Vec<u32> = starts.iter().skip(1).copied().chain((!code.is_empty()).then_some(code.len() as u32)).collect();
        let block_at = |pc: u32| starts.binary_search(&pc).ok();
        let next = ends
            .iter()
            .map(|&end| {
                let last = &code[end as usize - 1];
                let mut next = Vec::new();
                if let Op::Branch { target, .. } = last.op {
                    next.extend(block_at(target));
                }
                let leaves = matches!(last.op, Op::Branch { .. } | Op::Exit | Op::Trap);
                if !leaves || last.guard != super::ir::NONE {
                    next.extend(block_at(end));
                }
                next
            })
            .collect();
        Blocks { starts, ends, next }
    }

    /// Immediate post-dominator of each block, `None` for the exit (Cooper, Harvey and Kennedy's iteration on the reversed graph).
    fn post_dominators(&self) -> Vec<Option<usize>> {
        let count = self.starts.len();
        let exit = count;
        let mut before = vec![Vec::new(); count + 1];
        for (block, next) in self.next.iter().enumerate() {
            if next.is_empty() {
                before[exit].push(block);
            }
            for &successor in next {
                before[successor].push(block);
            }
        }
        // Post-order of the reversed graph from the exit; blocks in endless loops are not reached and meet nowhere.
        let mut order = Vec::with_capacity(count + 1);
        let mut number = vec![usize::MAX; count + 1];
        let mut seen = vec![false; count + 1];
        let mut stack = vec![(exit, 0)];
        seen[exit] = true;
        while let Some((node, child)) = stack.pop() {
            if let Some(&previous) = before[node].get(child) {
                stack.push((node, child + 1));
                if !seen[previous] {
                    seen[previous] = true;
                    stack.push((previous, 0));
                }
            } else {
                number[node] = order.len();
                order.push(node);
            }
        }
        let mut dominator = vec![usize::MAX; count + 1];
        dominator[exit] = exit;
        let mut changed = true;
        while changed {
            changed = false;
            for &node in order.iter().rev().filter(|&&node| node != exit) {
                let leaves = if self.next[node].is_empty() { Some(exit) } else { None };
                let mut meet = usize::MAX;
                for successor in self.next[node].iter().copied().chain(leaves) {
                    if dominator[successor] == usize::MAX {
                        continue;
                    }
                    meet = if meet == usize::MAX { successor } else { intersect(&dominator, &number, meet, successor) };
                }
                if dominator[node] != meet {
                    dominator[node] = meet;
                    changed = true;
                }
            }
        }
        (0..count).map(|block| Some(dominator[block]).filter(|&d| d != exit && d != usize::MAX)).collect()
    }
}

fn intersect(dominator: &[usize], number: &[usize], mut a: usize, mut b: usize) -> usize {
    while a != b {
        while number[a] < number[b] {
            a = dominator[a];
        }
        while number[b] < number[a] {
            b = dominator[b];
        }
    }
    a
}

#[cfg(test)]
mod tests {
    use super::super::Module;
    use super::*;

    fn reconvergence(body: &str) -> Vec<(u32, u32)> {
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k() {{ .reg .pred %p<9>; .reg .b32 %r<9>;\n{body}\n}}"
        );
        let kernel = Module::parse(&text).unwrap().kernel("k").unwrap();
        kernel
            .code
            .iter()
            .enumerate()
            .filter_map(|(pc, i)| match i.op {
                Op::Branch { reconverge, .. } => Some((pc as u32, reconverge)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn branches_meet_at_their_post_dominator() {
        // if / else
        assert_eq!(
            reconvergence("@%p1 bra A;\n mov.u32 %r1, 1;\n bra.uni B;\n A: mov.u32 %r1, 2;\n B: mov.u32 %r2, 3;\n ret;"),
            [(0, 4), (2, 4)]
        );
        // a loop: lanes that leave wait behind it
        assert_eq!(reconvergence("L: add.s32 %r1, %r1, 1;\n @%p1 bra L;\n ret;"), [(1, 2)]);
        // one side returns, the other goes on: they never meet
        assert_eq!(reconvergence("@%p1 bra A;\n ret;\n A: mov.u32 %r1, 2;\n ret;"), [(0, END)]);
        // a block out of line at the end, as newer compilers place them
        assert_eq!(reconvergence("@%p1 bra A;\n B: mov.u32 %r2, 3;\n ret;\n A: mov.u32 %r1, 2;\n bra.uni B;"), [(0, 1), (4, 1)]);
        // an endless loop has no way out
        assert_eq!(reconvergence("L: @%p1 bra L;\n bra.uni L;"), [(0, END), (1, END)]);
    }
}
