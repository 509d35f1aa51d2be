//! Order between blocks: what their threads hand to each other through fences, atomics, flags and barriers, in PTX's memory model.
//!
//! A strong read observes the strong write that it reads from, and so what was *released* by it: by a release operation all that happens
//! before it, by an earlier fence of the same thread all that happened before that fence. The reading thread *knows* it after an acquire
//! operation, or after its own next fence. Read-modify-writes hand on what they replace. Barriers join what threads know.
//!
//! `fence.sc`, which `__threadfence()` is, does more: one before a barrier, and another after a barrier on the other side, also order,
//! although neither belongs to the thread that touches the flag. Were they executed the other way round, the flag could not have been seen.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clocks::{Clocks, warps_of};
use super::knowledge::{Fact, Prefix, View, Word, join, join_all, same, with};

/// How an access is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryOrder {
    /// May meet the strong accesses of other blocks: volatile, relaxed or more, at device scope or wider.
    pub strong: bool,
    /// What the write that it reads from released is known after it.
    pub acquire: bool,
    /// What happens before it is released by it.
    pub release: bool,
    /// A load through the read-only path, of memory that nobody writes during the launch.
    pub read_only: bool,
}

/// Words that were written strongly, and what they hand on.
#[derive(Debug, Default)]
pub struct Flags {
    words: Mutex<HashMap<Word, Flag>>,
}

/// The flags while one thread looks at them.
pub(crate) type Guard<'a> = MutexGuard<'a, HashMap<Word, Flag>>;

#[derive(Debug, Default)]
pub(crate) struct Flag {
    /// Strong writes so far.
    version: u64,
    /// Block and thread that wrote last.
    writer: (u64, u32),
    released: View,
    fenced: View,
    /// What has been joined into each of them since a store replaced it: addresses of nodes that they keep alive.
    joined: [HashSet<usize>; 2],
}

impl Flags {
    pub(crate) fn lock(&self) -> Guard<'_> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Strong writes of a word so far, if it is tracked.
    fn version(&self, word: Word) -> Option<u64> {
        self.lock().get(&word).map(|flag| flag.version)
    }
}

/// What one thread knows.
#[derive(Debug, Clone, Default)]
struct Thread {
    /// What happens before its next step.
    known: View,
    /// What it observed, to be known after a fence; and what a `fence.sc` would add.
    observed: View,
    observed_fenced: View,
    /// What its strong writes release, since its last fence; and what a `fence.sc` that happened before handed to all.
    released: View,
    fenced: View,
    /// The word that it observed last, at which version and whether by an acquiring read: noted once, not with each turn of a loop.
    newest: (Word, u64, bool),
}

/// What a barrier has been handed.
#[derive(Debug, Clone, Default)]
struct Handed {
    known: View,
    observed_fenced: View,
    fenced: View,
}

/// The threads of a running block.
#[derive(Debug)]
pub struct Threads {
    block: u64,
    warps: u32,
    clocks: Clocks,
    threads: Vec<Thread>,
    barriers: Vec<Handed>,
    /// Nothing was fenced, released or observed yet: all threads know nothing.
    idle: bool,
}

impl Threads {
    /// Those of a block of this linear index, before their first step.
    pub(crate) fn new(block: u64, threads: u32) -> Threads {
        let warps = threads.div_ceil(32);
        let mut clocks = Clocks::new();
        clocks.start(warps as usize);
        let threads = vec![Thread::default(); 32 * warps as usize];
        Threads { block, warps, clocks, threads, barriers: vec![Handed::default(); 16], idle: true }
    }

    /// The time stamp of what a warp does.
    pub(super) fn tick(&self, warp: u32) -> u32 {
        self.clocks.tick(warp)
    }

    /// Whether an earlier access within the block happens before what a lane, or all lanes, do next.
    pub(super) fn ordered(&self, by: (u32, u32), tick: u32, next: (u32, u32)) -> bool {
        if by.0 >= self.warps { tick <= self.clocks.floor(next.0) } else { self.clocks.ordered(by, tick, next) }
    }

    /// What a thread knows of another block.
    pub(super) fn known(&self, warp: u32, lane: u32, block: u64) -> Option<&Prefix> {
        self.threads[(warp * 32 + lane) as usize].known.as_ref()?.block(block)
    }

    /// Whether lanes know the same.
    pub(super) fn alike(&self, warp: u32, one: u32, other: u32) -> bool {
        let known = |lane: u32| &self.threads[(warp * 32 + lane) as usize].known;
        one == other || same(known(one), known(other))
    }

    /// Whether a thread has seen all strong writes of a word.
    pub(super) fn has_seen(&self, warp: u32, lane: u32, flags: &Flags, word: Word) -> bool {
        let known = self.threads[(warp * 32 + lane) as usize].known.as_ref();
        let seen = known.and_then(|known| known.seen(word));
        seen.is_some() && seen >= flags.version(word)
    }

    /// A fence of device scope or wider.
    pub(crate) fn fence(&mut self, warp: u32, mask: u32, sequential: bool) {
        self.idle = false;
        // Threads that know the same before know the same after.
        let mut newest: Option<[View; 4]> = None;
        for lane in warps_of(mask) {
            let at = warp as usize * 32 + lane;
            let thread = &mut self.threads[at];
            let fenced = if sequential { thread.observed_fenced.clone() } else { None };
            let before = [&thread.known, &thread.observed, &fenced];
            let known = match &newest {
                Some([known, observed, fenced, after])
                    if before.iter().zip([known, observed, fenced]).all(|(a, b)| same(a, b)) =>
                {
                    after.clone()
                }
                _ => {
                    let after = join_all(before);
                    newest = Some([thread.known.clone(), thread.observed.clone(), fenced, after.clone()]);
                    after
                }
            };
            thread.known = known;
            thread.observed = None;
            if sequential {
                thread.observed_fenced = None;
            }
            let snapshot = self.snapshot(warp, lane as u32);
            let thread = &mut self.threads[at];
            if sequential {
                thread.fenced = join(&thread.fenced, &snapshot);
            }
            thread.released = snapshot;
        }
        self.clocks.advance(warp);
    }

    /// All that happens before a lane's next step.
    fn snapshot(&self, warp: u32, lane: u32) -> View {
        let (warps, lanes) = self.clocks.view(warp, lane);
        let lanes = lanes.map(|(lane, tick)| ((warp, lane), tick)).collect();
        let known = &self.threads[(warp * 32 + lane) as usize].known;
        with(known, Fact::Prefix(self.block, Prefix { warps, lanes }))
    }

    /// A lane reads a word strongly.
    pub(crate) fn observe(&mut self, (warp, lane): (u32, u32), flags: &Guard<'_>, word: Word, acquire: bool) {
        let Some(flag) = flags.get(&word) else { return };
        self.idle = false;
        let thread = &mut self.threads[(warp * 32 + lane) as usize];
        let (newest, version, acquired) = thread.newest;
        let is_new = (newest, version) != (word, flag.version);
        if is_new {
            thread.known = with(&thread.known, Fact::Seen(word, flag.version));
            thread.observed = join(&thread.observed, &flag.released);
            thread.observed_fenced = join(&thread.observed_fenced, &flag.fenced);
        }
        if acquire && (is_new || !acquired) {
            thread.known = join(&thread.known, &flag.released);
        }
        thread.newest = (word, flag.version, acquire || !is_new && acquired);
    }

    /// A lane's read-modify-write of a word; `reads` says that it looks at the old value.
    pub(crate) fn exchange(&mut self, who: (u32, u32), flags: &mut Guard<'_>, word: Word, order: MemoryOrder, reads: bool) {
        if reads {
            self.observe(who, flags, word, order.acquire);
        }
        self.publish(who, flags, word, order.release, false);
        if reads {
            self.note(who, flags, word);
        }
    }

    /// The write of a read-modify-write is seen by the lane that made it.
    fn note(&mut self, (warp, lane): (u32, u32), flags: &Guard<'_>, word: Word) {
        let Some(flag) = flags.get(&word) else { return };
        let thread = &mut self.threads[(warp * 32 + lane) as usize];
        thread.known = with(&thread.known, Fact::Seen(word, flag.version));
        thread.newest = (word, flag.version, true);
    }

    /// A lane writes a word strongly; `replaces` says that it is a store, not a read-modify-write.
    pub(crate) fn publish(&mut self, (warp, lane): (u32, u32), flags: &mut Guard<'_>, word: Word, release: bool, replaces: bool) {
        let thread = warp * 32 + lane;
        let mut released = self.threads[thread as usize].released.clone();
        if release {
            self.idle = false;
            released = join(&released, &self.snapshot(warp, lane));
            self.clocks.advance(warp);
        }
        let fenced = self.threads[thread as usize].fenced.clone();
        if replaces && released.is_none() && fenced.is_none() && !flags.contains_key(&word) {
            return; // data that is written strongly, no flag
        }
        let flag = flags.entry(word).or_default();
        flag.version += 1;
        if replaces && flag.writer != (self.block, thread) {
            (flag.released, flag.fenced) = (None, None);
            flag.joined = Default::default();
        }
        flag.writer = (self.block, thread);
        let [joined, joined_fenced] = &mut flag.joined;
        for (view, into, joined) in [(released, &mut flag.released, joined), (fenced, &mut flag.fenced, joined_fenced)] {
            if view.as_ref().is_some_and(|node| joined.insert(Arc::as_ptr(node) as usize)) {
                *into = join(into, &view);
            }
        }
    }

    /// A warp reaches a block barrier.
    pub(crate) fn arrive(&mut self, warp: u32, barrier: u32) {
        self.clocks.arrive(warp, barrier);
        if self.idle {
            return;
        }
        let lanes = &self.threads[warp as usize * 32..warp as usize * 32 + 32];
        let held = &mut self.barriers[barrier as usize % 16];
        let all = |of: fn(&Thread) -> &View, held: &View| join_all(lanes.iter().map(of).chain([held]));
        *held = Handed {
            known: all(|thread| &thread.known, &held.known),
            observed_fenced: all(|thread| &thread.observed_fenced, &held.observed_fenced),
            fenced: all(|thread| &thread.fenced, &held.fenced),
        };
    }

    /// A block barrier lets these warps (as bits) go on. Each has arrived.
    pub(crate) fn complete(&mut self, barrier: u32, waiters: u32) {
        self.clocks.complete(barrier, waiters);
        if self.idle {
            return;
        }
        let held = std::mem::take(&mut self.barriers[barrier as usize % 16]);
        for warp in warps_of(waiters) {
            self.hand(warp, u32::MAX, &held);
        }
    }

    /// `bar.warp.sync` of the lanes in `mask`; `live` are those of the warp that have not ended.
    pub(crate) fn warp_sync(&mut self, warp: u32, mask: u32, live: u32) {
        self.clocks.warp_sync(warp, mask, live);
        if self.idle {
            return;
        }
        let lanes = || warps_of(mask).map(|lane| &self.threads[warp as usize * 32 + lane]);
        let held = Handed {
            known: join_all(lanes().map(|thread| &thread.known)),
            observed_fenced: join_all(lanes().map(|thread| &thread.observed_fenced)),
            fenced: join_all(lanes().map(|thread| &thread.fenced)),
        };
        self.hand(warp as usize, mask, &held);
    }

    /// What lanes were handed includes what they had.
    fn hand(&mut self, warp: usize, mask: u32, held: &Handed) {
        for lane in warps_of(mask) {
            let thread = &mut self.threads[warp * 32 + lane];
            thread.known = held.known.clone();
            thread.observed_fenced = held.observed_fenced.clone();
            thread.fenced = held.fenced.clone();
        }
    }
}
