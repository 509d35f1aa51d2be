//! The inputs under way: from the iterator to the hands of the caller, a bounded number at a time.
//!
//! All threads meet here. An input has a slot from when a worker takes it until the caller has its result; there are at most
//! `depth` slots, which is what holds the fast stages back.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

use super::{Explained, Prepared};

pub(super) struct Window<S, I, E, T> {
    /// The inputs not taken yet. Only the worker that set `State::fetching` uses it: an iterator may take its time.
    source: Mutex<S>,
    state: Mutex<State<I, E, T>>,
    changed: Condvar,
    depth: usize,
    batch: usize,
    memory: u64,
}

struct State<I, E, T> {
    slots: VecDeque<Slot<I, E, T>>,
    /// Index of the input in `slots[0]`: the first whose result the caller does not have.
    first: usize,
    /// Index of the first input that the network was not given.
    next: usize,
    fetching: bool,
    /// The iterator has ended.
    ended: bool,
    /// The caller broke off, or a thread panicked.
    stopped: bool,
    panicked: bool,
    /// Bytes of pictures in memory; wide enough for whatever a caller says of them.
    in_use: u128,
}

enum Slot<I, E, T> {
    Reading {
        /// For memory.
        waits: bool,
    },
    Read(Box<Read<I, E>>, u64),
    AtNetwork(u64),
    Explained(Box<Seen<I, E>>, u64),
    Finishing(u64),
    Done(T),
}

/// Work for a worker.
pub(super) enum Taken<I, E> {
    /// To be read.
    Input(usize, I),
    /// To be finished.
    Explained(usize, I, Result<Explained, E>),
}

/// An input that was read.
type Read<I, E> = (I, Result<Prepared, E>);
/// An input that the network has seen.
type Seen<I, E> = (I, Result<Explained, E>);

impl<S: Iterator<Item = I>, I, E, T> Window<S, I, E, T> {
    pub(super) fn new(source: S, depth: usize, batch: usize, memory: u64) -> Self {
        let state = State {
            slots: VecDeque::new(),
            first: 0,
            next: 0,
            fetching: false,
            ended: false,
            stopped: false,
            panicked: false,
            in_use: 0,
        };
        Self { source: Mutex::new(source), state: Mutex::new(state), changed: Condvar::new(), depth, batch, memory }
    }

    /// Work, as soon as there is some: finishing before reading, since it frees what is held. `None` when all is done.
    pub(super) fn take(&self) -> Option<Taken<I, E>> {
        let mut state = self.lock();
        loop {
            if state.stopped || state.ended && state.slots.is_empty() {
                return None;
            }
            if let Some((index, input, explained)) = state.take_explained() {
                return Some(Taken::Explained(index, input, explained));
            }
            if !state.ended && !state.fetching && state.slots.len() < self.depth {
                state.fetching = true;
                drop(state);
                let input = self.source.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
                state = self.lock();
                state.fetching = false;
                self.changed.notify_all();
                let Some(input) = input else {
                    state.ended = true;
                    continue;
                };
                state.slots.push_back(Slot::Reading { waits: false });
                return Some(Taken::Input(state.first + state.slots.len() - 1, input));
            }
            state = self.wait(state);
        }
    }

    /// Where the reader of an input asks for memory and puts its picture.
    pub(super) fn room(&self, index: usize) -> Room<'_, S, I, E, T> {
        Room { window: self, index, taken: 0 }
    }

    /// The next inputs for the network and the index of the first. They end where a batch does, counted from the first input of
    /// all, so that how pictures are grouped does not depend on how quickly they were read. Only where the next one waits for
    /// memory the network goes ahead, because that may be what frees some.
    pub(super) fn take_batch(&self) -> Option<(usize, Vec<Read<I, E>>)> {
        self.next_batch(true)
    }

    /// As [`Window::take_batch`], if it need not wait for the batch: nothing else keeps it from going on.
    pub(super) fn take_batch_if_ready(&self) -> Option<(usize, Vec<Read<I, E>>)> {
        self.next_batch(false)
    }

    fn next_batch(&self, wait: bool) -> Option<(usize, Vec<Read<I, E>>)> {
        let mut state = self.lock();
        loop {
            let State { first, next, ended, stopped, .. } = *state;
            if stopped {
                return None;
            }
            let waiting = state.slots.range(next - first..);
            let ready = waiting.clone().take_while(|slot| matches!(slot, Slot::Read(..))).count();
            let whole = self.batch - next % self.batch;
            let last = ended && next + ready == first + state.slots.len();
            if last && ready == 0 {
                return None;
            }
            let stuck = || wait && matches!(waiting.clone().nth(ready), Some(Slot::Reading { waits: true }));
            if ready >= whole || last || ready > 0 && stuck() {
                let mut batch = Vec::new();
                for at in next - first..next - first + ready.min(whole) {
                    if let Some((read, held)) = state.slots[at].take_read() {
                        state.slots[at] = Slot::AtNetwork(held);
                        batch.push(*read);
                    }
                }
                state.next += batch.len();
                return Some((next, batch));
            }
            if !wait {
                return None;
            }
            state = self.wait(state);
        }
    }

    /// What the network made of the batch that began with input `first`.
    pub(super) fn put_batch(&self, first: usize, batch: Vec<Seen<I, E>>) {
        let mut state = self.lock();
        for (index, (input, explained)) in (first..).zip(batch) {
            let at = index - state.first;
            if let Slot::AtNetwork(before) = state.slots[at] {
                // What it still keeps.
                let held = explained.as_ref().map_or(0, Explained::bytes);
                state.in_use = state.in_use - u128::from(before) + u128::from(held);
                state.slots[at] = Slot::Explained(Box::new((input, explained)), held);
            }
        }
        self.changed.notify_all();
    }

    pub(super) fn put_done(&self, index: usize, done: T) {
        let mut state = self.lock();
        let at = index - state.first;
        if let Slot::Finishing(held) = state.slots[at] {
            state.in_use -= u128::from(held);
        }
        state.slots[at] = Slot::Done(done);
        self.changed.notify_all();
    }

    /// The result of the first input that has not been handed on; `None` after the last, or when stopped.
    pub(super) fn next_done(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.stopped || state.ended && state.slots.is_empty() {
                return None;
            }
            match state.slots.pop_front() {
                Some(Slot::Done(done)) => {
                    state.first += 1;
                    self.changed.notify_all();
                    return Some(done);
                }
                Some(other) => state.slots.push_front(other),
                None => {}
            }
            state = self.wait(state);
        }
    }

    /// Ends all threads after what they are doing.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Whether a thread panicked.
    pub(super) fn panicked(&self) -> bool {
        self.lock().panicked
    }

    /// Stops the others should this thread panic, so that none waits for ever.
    pub(super) fn guard(&self) -> Guard<'_, S, I, E, T> {
        Guard(self)
    }

    fn lock(&self) -> MutexGuard<'_, State<I, E, T>> {
        // No foreign code runs under the lock, so what a panic elsewhere left behind is sound.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<I, E, T>>) -> MutexGuard<'a, State<I, E, T>> {
        self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<I, E, T> State<I, E, T> {
    /// The first input that is to be finished.
    fn take_explained(&mut self) -> Option<(usize, I, Result<Explained, E>)> {
        let (at, slot) = self.slots.iter_mut().enumerate().find(|(_, slot)| matches!(slot, Slot::Explained(..)))?;
        let (explained, held) = slot.take_explained()?;
        *slot = Slot::Finishing(held);
        let (input, explained) = *explained;
        Some((self.first + at, input, explained))
    }
}

impl<I, E, T> Slot<I, E, T> {
    fn take_read(&mut self) -> Option<(Box<Read<I, E>>, u64)> {
        match std::mem::replace(self, Self::Reading { waits: false }) {
            Self::Read(read, held) => Some((read, held)),
            other => {
                *self = other;
                None
            }
        }
    }

    fn take_explained(&mut self) -> Option<(Box<Seen<I, E>>, u64)> {
        match std::mem::replace(self, Self::Reading { waits: false }) {
            Self::Explained(explained, held) => Some((explained, held)),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Explained {
    fn bytes(&self) -> u64 {
        super::bytes(self.photo.as_ref(), &self.explanation.input)
    }
}

/// Memory for an input that is being read.
pub(super) struct Room<'a, S: Iterator<Item = I>, I, E, T> {
    window: &'a Window<S, I, E, T>,
    index: usize,
    taken: u128,
}

impl<S: Iterator<Item = I>, I, E, T> Room<'_, S, I, E, T> {
    /// Waits until there is room for so many bytes more. The first input of all that are under way never waits: everything before
    /// it is done with, so nothing else would free what it waits for. Meanwhile this thread finishes others, or all workers might
    /// be waiting for what none of them frees.
    pub(super) fn take(&mut self, bytes: u64, finish: &impl Fn(usize, I, Result<Explained, E>)) {
        let mut state = self.window.lock();
        while !state.stopped && self.index > state.first && state.in_use + u128::from(bytes) > self.window.memory.into() {
            let at = self.index - state.first;
            state.slots[at] = Slot::Reading { waits: true };
            self.window.changed.notify_all(); // the network may go ahead with what there is
            state = match state.take_explained() {
                Some((index, input, explained)) => {
                    drop(state);
                    finish(index, input, explained);
                    self.window.lock()
                }
                None => self.window.wait(state),
            };
        }
        let at = self.index - state.first;
        state.slots[at] = Slot::Reading { waits: false };
        state.in_use += u128::from(bytes);
        self.taken += u128::from(bytes);
    }

    /// The input was read, and keeps `held` bytes of what was taken.
    pub(super) fn put(self, input: I, prepared: Result<Prepared, E>, held: u64) {
        let mut state = self.window.lock();
        state.in_use = state.in_use - self.taken + u128::from(held);
        let at = self.index - state.first;
        state.slots[at] = Slot::Read(Box::new((input, prepared)), held);
        self.window.changed.notify_all();
    }
}

/// See [`Window::guard`].
pub(super) struct Guard<'a, S: Iterator<Item = I>, I, E, T>(&'a Window<S, I, E, T>);

impl<S: Iterator<Item = I>, I, E, T> Drop for Guard<'_, S, I, E, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().panicked = true;
            self.0.stop();
        }
    }
}
