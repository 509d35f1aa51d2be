//! The order in which queued work may run, and the choice among what may.

use std::collections::{BTreeMap, VecDeque};

use super::op::Op;
use super::random::Random;
use super::settings::Streams;

/// The legacy default stream of each context.
pub(crate) const LEGACY: u32 = 0;

/// How a stream relates to the legacy stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// The legacy stream: waits for all earlier work of blocking streams, which wait for its own.
    Legacy,
    /// Ordered with the legacy stream.
    Blocking,
    /// Ordered with nothing.
    NonBlocking,
}

/// A point in a stream: reached when everything up to this sequence number has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub stream: u32,
    pub seq: u64,
}

#[derive(Debug)]
struct Queue {
    kind: StreamKind,
    entries: VecDeque<(u64, Op)>,
    /// No longer known to the program; goes when empty.
    destroyed: bool,
}

/// The streams of a context and their work.
#[derive(Debug)]
pub(crate) struct Queues {
    queues: BTreeMap<u32, Queue>,
    seq: u64,
    policy: Streams,
    random: Random,
}

impl Queues {
    pub fn new(policy: Streams, seed: u64) -> Self {
        let mut queues = Queues { queues: BTreeMap::new(), seq: 0, policy, random: Random::new(seed) };
        queues.add(LEGACY, StreamKind::Legacy);
        queues
    }

    pub fn add(&mut self, stream: u32, kind: StreamKind) {
        self.queues.insert(stream, Queue { kind, entries: VecDeque::new(), destroyed: false });
    }

    /// Forgets the stream once its work has run.
    pub fn destroy(&mut self, stream: u32) {
        if let Some(queue) = self.queues.get_mut(&stream) {
            queue.destroyed = true;
            self.sweep(stream);
        }
    }

    pub fn kind(&self, stream: u32) -> Option<StreamKind> {
        self.queues.get(&stream).filter(|queue| !queue.destroyed).map(|queue| queue.kind)
    }

    /// The streams that the program made and has not destroyed.
    pub fn live(&self) -> usize {
        self.queues.values().filter(|queue| !queue.destroyed && queue.kind != StreamKind::Legacy).count()
    }

    /// Adds work; it may run when [`Queues::next`] or [`Queues::voluntary`] hands it out.
    pub fn push(&mut self, stream: u32, op: Op) -> Mark {
        self.seq += 1;
        if let Some(queue) = self.queues.get_mut(&stream) {
            queue.entries.push_back((self.seq, op));
        }
        Mark { stream, seq: self.seq }
    }

    pub fn reached(&self, mark: Mark) -> bool {
        self.front(mark.stream).is_none_or(|seq| seq > mark.seq)
    }

    /// The marks that stand for all present work of a stream. For the legacy stream that includes the blocking streams.
    pub fn end_of(&self, stream: u32) -> Vec<Mark> {
        let legacy = stream == LEGACY;
        let counts = |id: u32, queue: &Queue| id == stream || (legacy && queue.kind == StreamKind::Blocking);
        self.marks(counts)
    }

    /// The marks that stand for all present work.
    pub fn end_of_all(&self) -> Vec<Mark> {
        self.marks(|_, _| true)
    }

    fn marks(&self, counts: impl Fn(u32, &Queue) -> bool) -> Vec<Mark> {
        let wanted = self.queues.iter().filter(|&(&id, queue)| counts(id, queue));
        wanted.filter_map(|(&stream, queue)| Some(Mark { stream, seq: queue.entries.back()?.0 })).collect()
    }

    /// Whether some queued work satisfies `test`.
    pub fn any(&self, test: impl Fn(&Op) -> bool) -> bool {
        self.queues.values().flat_map(|queue| &queue.entries).any(|(_, op)| test(op))
    }

    /// The next piece of work on the way to `goals`; `None` when all are reached.
    pub fn next(&mut self, goals: &[Mark]) -> Option<(Mark, Op)> {
        let goal = *goals.iter().find(|&&goal| !self.reached(goal))?;
        let stream = match self.policy {
            Streams::Random => self.any_ready()?,
            Streams::Eager | Streams::Lazy => {
                // Each blocker's first entry is older than the one it blocks, so this ends.
                let mut stream = goal.stream;
                while let Some(blocker) = self.blocker(stream) {
                    stream = blocker;
                }
                stream
            }
        };
        self.pop(stream)
    }

    /// Work that runs although nothing waits for it, as the policy has it.
    pub fn voluntary(&mut self) -> Option<(Mark, Op)> {
        match self.policy {
            Streams::Eager => self.next(&self.end_of_all()),
            Streams::Lazy => None,
            Streams::Random => {
                if self.random.below(2) == 0 {
                    return None;
                }
                let stream = self.any_ready()?;
                self.pop(stream)
            }
        }
    }

    /// A seeded number below `bound`, or the policy's fixed choice: first for eager, last for lazy.
    pub fn choose(&mut self, bound: usize) -> usize {
        match self.policy {
            Streams::Eager => 0,
            Streams::Lazy => bound.saturating_sub(1),
            Streams::Random => self.random.below(bound),
        }
    }

    fn any_ready(&mut self) -> Option<u32> {
        let streams: Vec<u32> =
            self.queues.iter().filter(|(_, queue)| !queue.entries.is_empty()).map(|(&stream, _)| stream).collect();
        let ready: Vec<u32> = streams.into_iter().filter(|&stream| self.blocker(stream).is_none()).collect();
        ready.get(self.random.below(ready.len())).copied()
    }

    fn pop(&mut self, stream: u32) -> Option<(Mark, Op)> {
        let (seq, op) = self.queues.get_mut(&stream)?.entries.pop_front()?;
        self.sweep(stream);
        Some((Mark { stream, seq }, op))
    }

    fn sweep(&mut self, stream: u32) {
        if self.queues.get(&stream).is_some_and(|queue| queue.destroyed && queue.entries.is_empty()) {
            self.queues.remove(&stream);
        }
    }

    fn front(&self, stream: u32) -> Option<u64> {
        self.queues.get(&stream)?.entries.front().map(|&(seq, _)| seq)
    }

    /// A stream whose first entry must run before this stream's first entry may.
    fn blocker(&self, stream: u32) -> Option<u32> {
        let queue = self.queues.get(&stream)?;
        let (seq, op) = queue.entries.front()?;
        if let Op::Wait { mark } = op
            && !self.reached(*mark)
        {
            return Some(mark.stream);
        }
        let older = |other: u32| self.front(other).is_some_and(|front| front < *seq);
        match queue.kind {
            StreamKind::NonBlocking => None,
            StreamKind::Blocking => older(LEGACY).then_some(LEGACY),
            StreamKind::Legacy => {
                let blocking = self.queues.iter().filter(|(_, queue)| queue.kind == StreamKind::Blocking);
                blocking.map(|(&id, _)| id).find(|&id| older(id))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(address: u64) -> Op {
        Op::Free { address }
    }

    fn run(queues: &mut Queues, goals: &[Mark]) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some((_, op)) = queues.next(goals) {
            if let Op::Free { address } = op {
                order.push(address);
            }
        }
        order
    }

    fn streams(policy: Streams, seed: u64, kinds: &[StreamKind]) -> Queues {
        let mut queues = Queues::new(policy, seed);
        for (i, &kind) in kinds.iter().enumerate() {
            queues.add(i as u32 + 1, kind);
        }
        queues
    }

    #[test]
    fn lazy_runs_only_what_is_waited_for() {
        let mut queues = streams(Streams::Lazy, 0, &[StreamKind::NonBlocking; 2]);
        queues.push(1, free(10));
        let recorded = queues.push(1, free(11));
        queues.push(1, free(12));
        queues.push(2, Op::Wait { mark: recorded });
        queues.push(2, free(20));
        assert!(queues.voluntary().is_none());
        let goals = queues.end_of(2);
        assert_eq!(run(&mut queues, &goals), [10, 11, 20]);
        let goals = queues.end_of_all();
        assert_eq!(run(&mut queues, &goals), [12]);
    }

    #[test]
    fn the_legacy_stream_orders_blocking_streams_only() {
        let mut queues = streams(Streams::Lazy, 0, &[StreamKind::Blocking, StreamKind::NonBlocking]);
        queues.push(1, free(10));
        queues.push(2, free(20));
        queues.push(LEGACY, free(0));
        queues.push(1, free(11));
        let goals = queues.end_of(1);
        assert_eq!(run(&mut queues, &goals), [10, 0, 11]);
        queues.push(1, free(12));
        let goals = queues.end_of(LEGACY);
        assert_eq!(run(&mut queues, &goals), [12]);
        assert!(!queues.reached(Mark { stream: 2, seq: 2 }));
    }

    #[test]
    fn random_order_keeps_the_rules_and_varies() {
        let mut orders = std::collections::HashSet::new();
        for seed in 0..50 {
            let mut queues = streams(Streams::Random, seed, &[StreamKind::NonBlocking, StreamKind::NonBlocking]);
            queues.push(1, free(10));
            let mark = queues.push(1, free(11));
            queues.push(2, free(20));
            queues.push(2, Op::Wait { mark });
            queues.push(2, free(21));
            let goals = queues.end_of_all();
            let order = run(&mut queues, &goals);
            let at = |n| order.iter().position(|&x| x == n).unwrap();
            assert!(at(10) < at(11) && at(20) < at(21) && at(11) < at(21), "{order:?}");
            orders.insert(order);
        }
        assert_eq!(orders.len(), 3, "20 may run before, between and after 10 and 11");
    }

    #[test]
    fn a_destroyed_stream_finishes_its_work() {
        let mut queues = streams(Streams::Lazy, 0, &[StreamKind::NonBlocking]);
        let mark = queues.push(1, free(10));
        queues.destroy(1);
        assert_eq!((queues.kind(1), queues.live()), (None, 0));
        assert!(!queues.reached(mark));
        assert_eq!(run(&mut queues, &[mark]), [10]);
        assert!(queues.reached(mark));
    }
}
