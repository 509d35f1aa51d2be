//! What a thread knows: which accesses of other blocks happen before what it does next.
//!
//! Knowledge is handed on by reference: a node adds facts to what its parents say. Most of it is never looked at, so that it is put
//! together only when a question is asked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use super::clocks::{ALL_LANES, WARPS};

/// Stands for "every warp" in an access.
pub(super) const ALL_WARPS: u32 = WARPS as u32;

/// A word of global memory: index of the allocation, offset in words.
pub(crate) type Word = (usize, usize);

/// A prefix of what a block did: ticks up to which the accesses of its warps, and beyond that of some lanes, are known.
#[derive(Debug, Clone)]
pub(super) struct Prefix {
    pub warps: [u32; WARPS],
    pub lanes: BTreeMap<(u32, u32), u32>,
}

impl Prefix {
    /// Whether it holds an access of a lane (or of [`ALL_LANES`], or of [`ALL_WARPS`]) at this tick.
    pub fn holds(&self, warp: u32, lane: u32, tick: u32) -> bool {
        match self.warps.get(warp as usize) {
            None => self.warps.iter().all(|&known| tick <= known),
            Some(&known) => tick <= known || self.lanes.get(&(warp, lane)).is_some_and(|&known| tick <= known),
        }
    }

    fn merge(&mut self, other: &Prefix) {
        for (known, &other) in self.warps.iter_mut().zip(&other.warps) {
            *known = (*known).max(other);
        }
        for (&lane, &tick) in &other.lanes {
            let known = self.lanes.entry(lane).or_default();
            *known = (*known).max(tick);
        }
        // Where all lanes are known, so is the warp.
        if self.lanes.len() >= ALL_LANES as usize {
            for (warp, known) in (0..).zip(&mut self.warps) {
                let lanes = self.lanes.range((warp, 0)..(warp, ALL_LANES));
                let (count, least) = lanes.fold((0, u32::MAX), |(count, least), (_, &tick)| (count + 1, least.min(tick)));
                if count == ALL_LANES {
                    *known = (*known).max(least);
                }
            }
            let warps = self.warps;
            self.lanes.retain(|&(warp, _), tick| *tick > warps[warp as usize]);
        }
    }
}

/// Something that a thread knows.
#[derive(Debug)]
pub(super) enum Fact {
    /// These accesses of a block happen before.
    Prefix(u64, Prefix),
    /// So do the strong writes of this word, up to this number.
    Seen(Word, u64),
}

/// What a thread knows; `None` is nothing.
pub(super) type View = Option<Arc<Node>>;

#[derive(Debug)]
pub(super) struct Node {
    fact: Option<Fact>,
    parents: Vec<Arc<Node>>,
    whole: OnceLock<Whole>,
}

#[derive(Debug, Default)]
struct Whole {
    blocks: HashMap<u64, Prefix>,
    seen: HashMap<Word, u64>,
}

/// Adds a fact.
pub(super) fn with(view: &View, fact: Fact) -> View {
    Some(Arc::new(Node { fact: Some(fact), parents: view.iter().cloned().collect(), whole: OnceLock::new() }))
}

/// Whether two views are one.
pub(super) fn same(a: &View, b: &View) -> bool {
    a.as_ref().map(Arc::as_ptr) == b.as_ref().map(Arc::as_ptr)
}

/// What either says.
pub(super) fn join(a: &View, b: &View) -> View {
    join_all([a, b])
}

/// What any says.
pub(super) fn join_all<'a>(views: impl IntoIterator<Item = &'a View>) -> View {
    let mut parents: Vec<Arc<Node>> = Vec::new();
    let mut known = HashSet::new();
    for view in views.into_iter().flatten() {
        if parents.last().is_none_or(|last| !Arc::ptr_eq(last, view)) && known.insert(Arc::as_ptr(view)) {
            parents.push(view.clone());
        }
    }
    match parents.len() {
        0 | 1 => parents.pop(),
        2 => Some(Arc::new(Node { fact: None, parents, whole: OnceLock::new() })),
        _ => Some(Arc::new(gather(parents))),
    }
}

/// Many threads of one block mostly know the same and differ by what they did themselves: that becomes one fact.
fn gather(views: Vec<Arc<Node>>) -> Node {
    let mut fact: Option<(u64, Prefix)> = None;
    let (mut parents, mut known) = (Vec::new(), HashSet::new());
    let mut add = |parent: Arc<Node>| {
        if known.insert(Arc::as_ptr(&parent)) {
            parents.push(parent);
        }
    };
    for view in views {
        match (&view.fact, &mut fact) {
            (Some(Fact::Prefix(block, prefix)), None) => {
                fact = Some((*block, prefix.clone()));
                view.parents.iter().cloned().for_each(&mut add);
            }
            (Some(Fact::Prefix(block, prefix)), Some((first, all))) if block == first => {
                all.merge(prefix);
                view.parents.iter().cloned().for_each(&mut add);
            }
            _ => add(view),
        }
    }
    Node { fact: fact.map(|(block, prefix)| Fact::Prefix(block, prefix)), parents, whole: OnceLock::new() }
}

impl Node {
    /// What is known of a block.
    pub fn block(&self, block: u64) -> Option<&Prefix> {
        self.whole().blocks.get(&block)
    }

    /// The number of the newest strong write of a word that is known.
    pub fn seen(&self, word: Word) -> Option<u64> {
        self.whole().seen.get(&word).copied()
    }

    fn whole(&self) -> &Whole {
        self.whole.get_or_init(|| {
            let mut whole = Whole::default();
            let (mut stack, mut met) = (vec![self], HashSet::new());
            while let Some(node) = stack.pop() {
                if !met.insert(std::ptr::from_ref(node)) {
                    continue;
                }
                if let Some(known) = node.whole.get() {
                    known.blocks.iter().for_each(|(&block, prefix)| whole.learn(block, prefix));
                    known.seen.iter().for_each(|(&word, &number)| whole.see(word, number));
                    continue;
                }
                match &node.fact {
                    Some(Fact::Prefix(block, prefix)) => whole.learn(*block, prefix),
                    Some(Fact::Seen(word, number)) => whole.see(*word, *number),
                    None => {}
                }
                stack.extend(node.parents.iter().map(Arc::as_ref));
            }
            whole
        })
    }
}

impl Whole {
    fn learn(&mut self, block: u64, prefix: &Prefix) {
        self.blocks.entry(block).and_modify(|known| known.merge(prefix)).or_insert_with(|| prefix.clone());
    }

    fn see(&mut self, word: Word, number: u64) {
        let known = self.seen.entry(word).or_default();
        *known = (*known).max(number);
    }
}

impl Drop for Node {
    /// Chains of blocks that hand on to each other are longer than a thread's stack is deep.
    fn drop(&mut self) {
        let mut rest = std::mem::take(&mut self.parents);
        while let Some(node) = rest.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                rest.append(&mut node.parents);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(warps: &[u32], lanes: &[((u32, u32), u32)]) -> Prefix {
        let row = std::array::from_fn(|warp| warps.get(warp).copied().unwrap_or(u32::MAX));
        Prefix { warps: row, lanes: lanes.iter().copied().collect() }
    }

    #[test]
    fn a_prefix_holds_what_its_warps_and_lanes_did() {
        let known = prefix(&[5, 9], &[((0, 3), 7)]);
        assert!(known.holds(0, 0, 5) && !known.holds(0, 0, 6));
        assert!(known.holds(0, 3, 7) && !known.holds(0, 3, 8) && !known.holds(0, ALL_LANES, 6));
        assert!(known.holds(ALL_WARPS, ALL_LANES, 5) && !known.holds(ALL_WARPS, ALL_LANES, 6));
    }

    #[test]
    fn joined_views_know_what_each_knows_and_no_more() {
        let a = with(&None, Fact::Prefix(1, prefix(&[5], &[])));
        let b = with(&a, Fact::Seen((0, 4), 2));
        let c = with(&None, Fact::Prefix(2, prefix(&[3], &[])));
        let all = join(&b, &c).unwrap();
        assert!(all.block(1).unwrap().holds(0, 0, 5) && all.block(2).unwrap().holds(0, 0, 3) && all.block(3).is_none());
        assert_eq!((all.seen((0, 4)), all.seen((0, 5))), (Some(2), None));
        assert!(!all.block(2).unwrap().holds(0, 0, 4));
        assert!(same(&join(&a, &None), &a) && same(&join(&None, &None), &None) && !same(&a, &b));
    }

    #[test]
    fn all_lanes_of_a_block_become_its_warp() {
        let lanes: Vec<View> =
            (0..32).map(|lane| with(&None, Fact::Prefix(7, prefix(&[1, 1], &[((0, lane), 4 + lane)])))).collect();
        let all = join_all(&lanes).unwrap();
        let known = all.block(7).unwrap();
        assert!(known.holds(0, ALL_LANES, 4) && !known.holds(0, ALL_LANES, 5) && known.holds(0, 9, 13) && !known.holds(0, 9, 14));
        assert!(!known.holds(1, 0, 2));
        let some = join_all(&lanes[..31]).unwrap();
        assert!(!some.block(7).unwrap().holds(0, ALL_LANES, 2));
    }

    #[test]
    fn long_chains_are_put_together_and_dropped() {
        let mut view = None;
        for block in 0..200_000 {
            view = with(&view, Fact::Prefix(block % 1000, prefix(&[block as u32], &[])));
        }
        assert!(view.unwrap().block(0).unwrap().holds(0, 0, 199_000));
    }
}
