//! Runs a block: turns of its warps, and barriers between them.

use crate::ptx::{Barrier, BarrierKind, NONE, Op};
use crate::report::{FindingKind, Issue};

use super::cta::{Cta, Stop};
use super::options::Order;
use super::order::Shuffler;
use super::step;
use super::warp::{State, Warp};

const BARRIERS: usize = 16;

/// A barrier in use.
#[derive(Debug, Clone, Default)]
struct Gathering {
    /// Threads arrived, whole warps counted.
    threads: u32,
    /// Threads expected; `None` for all that have not ended.
    expected: Option<u32>,
    /// Warps that wait; others arrived and went on.
    waiting: Vec<usize>,
    /// Predicate counts of a reduction: true lanes, lanes.
    votes: (u32, u32),
}

/// A block that has begun.
pub(crate) struct Block<'a> {
    pub warps: Vec<Warp>,
    pub cta: Cta<'a>,
    gatherings: Vec<Option<Gathering>>,
    shuffler: Shuffler,
    turns: Vec<usize>,
}

/// Why a block stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    Done,
    /// All warps that can go on read the same memory over and over, and change nothing.
    Waiting,
}

impl<'a> Block<'a> {
    /// `warps` are at the kernel's first instruction.
    pub(crate) fn new(warps: Vec<Warp>, cta: Cta<'a>) -> Block<'a> {
        let shuffler = Shuffler::new(cta.options.warp_order, cta.place.block);
        let turns = (0..warps.len()).collect();
        Block { warps, cta, gatherings: vec![None; BARRIERS], shuffler, turns }
    }

    /// Runs until all warps have ended, or until other blocks must run first.
    pub(crate) fn run(&mut self) -> Result<Pause, Stop> {
        let Block { warps, cta, gatherings, shuffler, turns } = self;
        let mut changes = None;
        loop {
            shuffler.arrange(turns);
            let mut moved = false;
            for &turn in &*turns {
                if warps[turn].state != State::Ready {
                    continue;
                }
                moved = true;
                cta.polls = 0;
                step::run(&mut warps[turn], cta, shuffler.quantum())?;
                match warps[turn].state {
                    State::Waiting { pc, barrier } => arrive(warps, turn, cta, gatherings, pc, barrier)?,
                    State::Done => release_complete(warps, cta, gatherings)?,
                    State::Ready => {}
                }
            }
            if warps.iter().all(|warp| warp.state == State::Done) {
                return Ok(Pause::Done);
            }
            if !moved {
                return Err(deadlock(warps, cta));
            }
            if changes != Some(cta.global.own_changes()) {
                changes = Some(cta.global.own_changes());
                warps.iter_mut().for_each(|warp| warp.polling.restart(warp.executed));
            } else if warps.iter().all(|warp| warp.state != State::Ready || warp.polling.waits(warp.executed)) {
                return Ok(Pause::Waiting);
            }
        }
    }

    /// Ends a block that waits for what no block will do.
    pub(crate) fn give_up(&mut self) -> Stop {
        let Some(warp) = self.warps.iter().find(|warp| warp.state == State::Ready) else {
            return deadlock(&self.warps, &mut self.cta);
        };
        let (pc, lane) = warp.stack.last().map_or((0, 0), |top| (top.pc, top.mask.trailing_zeros()));
        let pc = pc.min(self.cta.kernel.code.len().saturating_sub(1) as u32);
        let message = "the thread waits in a loop for memory to change, and all blocks that can run do so".to_owned();
        self.cta.fail_with(warp.index, pc, FindingKind::Deadlock, lane, message)
    }
}

/// A warp has come to a barrier.
fn arrive(
    warps: &mut [Warp],
    index: usize,
    cta: &mut Cta<'_>,
    gatherings: &mut [Option<Gathering>],
    pc: u32,
    barrier: u32,
) -> Result<(), Stop> {
    let Op::Barrier(op) = &cta.kernel.code[pc as usize].op else { return Ok(()) };
    let warp = &mut warps[index];
    let first = warp.live.trailing_zeros();
    cta.counters.barriers += 1;
    if barrier as usize >= BARRIERS {
        let message = format!("barrier {barrier} does not exist; there are {BARRIERS}");
        return Err(cta.fail_with(warp.index, pc, FindingKind::BarrierMismatch, first, message));
    }
    let expected = (op.threads != NONE).then(|| warp.regs.word(op.threads)[first as usize]);
    if let Some(threads) = expected.filter(|&threads| threads == 0 || threads % 32 != 0) {
        let message = format!("{threads} threads expected at barrier {barrier}, not a multiple of 32");
        return Err(cta.fail_with(warp.index, pc, FindingKind::BarrierMismatch, first, message));
    }
    let gathering = gatherings[barrier as usize].get_or_insert_with(|| Gathering { expected, ..Gathering::default() });
    if gathering.expected != expected {
        let count = |threads: Option<u32>| threads.map_or("all threads".to_owned(), |n| format!("{n} threads"));
        let message = format!("barrier {barrier} is awaited with {} and with {}", count(gathering.expected), count(expected));
        return Err(cta.fail_with(warp.index, pc, FindingKind::BarrierMismatch, first, message));
    }
    gathering.threads += 32;
    cta.arrive(warp.index, barrier);
    if op.a != NONE {
        let votes = warp.regs.preds[usize::from(op.a)] ^ if op.negated { u32::MAX } else { 0 };
        gathering.votes.0 += (votes & warp.live).count_ones();
        gathering.votes.1 += warp.live.count_ones();
    }
    if op.kind == BarrierKind::Arrive {
        warp.state = State::Ready;
    } else {
        gathering.waiting.push(index);
    }
    release_complete(warps, cta, gatherings)
}

/// Lets the warps of each complete barrier go on.
fn release_complete(warps: &mut [Warp], cta: &mut Cta<'_>, gatherings: &mut [Option<Gathering>]) -> Result<(), Stop> {
    let live = warps.iter().filter(|warp| warp.state != State::Done).count() as u32;
    for (number, slot) in gatherings.iter_mut().enumerate() {
        let Some(gathering) = slot else { continue };
        let complete = match gathering.expected {
            Some(threads) => gathering.threads >= threads,
            None => gathering.threads >= live * 32,
        };
        if !complete {
            continue;
        }
        let gathering = std::mem::take(gathering);
        *slot = None;
        if let Some(&index) = gathering.waiting.first()
            && gathering.expected.is_none()
            && let Some(gone) = warps.iter().find(|warp| warp.live != warp.all)
            && let State::Waiting { pc, barrier } = warps[index].state
        {
            let lane = (gone.all & !gone.live).trailing_zeros();
            let message = format!("this thread ended before barrier {barrier}, at which the block's other threads met");
            cta.report(gone.index, pc, Issue { kind: FindingKind::ExitBeforeBarrier, lane, address: None, message });
        }
        let waiters = gathering.waiting.iter().fold(0, |bits, &index| bits | 1 << index);
        cta.complete(number as u32, waiters);
        // What comes after the barrier comes after the wait of whoever met there.
        let waited = gathering.waiting.iter().any(|&index| warps[index].waited != 0);
        for &index in &gathering.waiting {
            let warp = &mut warps[index];
            warp.waited |= if waited { u32::MAX } else { 0 };
            if let State::Waiting { pc, .. } = warp.state
                && let Op::Barrier(op) = &cta.kernel.code[pc as usize].op
            {
                reduce(warp, op, gathering.votes);
            }
            warp.state = State::Ready;
        }
    }
    Ok(())
}

/// Writes a barrier reduction's result.
fn reduce(warp: &mut Warp, op: &Barrier, (votes, lanes): (u32, u32)) {
    let mask = warp.live;
    let truth = |b: bool| if b { u32::MAX } else { 0 };
    match op.kind {
        BarrierKind::And => warp.regs.set_pred(op.d, truth(votes == lanes), mask),
        BarrierKind::Or => warp.regs.set_pred(op.d, truth(votes != 0), mask),
        BarrierKind::Popc => warp.regs.set_word(op.d, &[votes; 32], mask),
        BarrierKind::Sync | BarrierKind::Arrive => {}
    }
}

/// Nobody can go on: says who waits where.
fn deadlock(warps: &[Warp], cta: &mut Cta<'_>) -> Stop {
    let mut message = String::from("no warp can go on:");
    let mut first = None;
    for warp in warps {
        match warp.state {
            State::Waiting { pc, barrier } => {
                let source = cta.kernel.source(pc).map_or(String::new(), |(file, line)| format!(" ({file}:{line})"));
                message += &format!(" warp {} waits at barrier {barrier}{source},", warp.index);
                first.get_or_insert((warp.index, pc, warp.live.trailing_zeros()));
            }
            _ => message += &format!(" warp {} has ended,", warp.index),
        }
    }
    message.pop();
    let (warp, pc, lane) = first.unwrap_or_default();
    cta.fail_with(warp, pc, FindingKind::Deadlock, lane, message)
}

impl Shuffler {
    /// How many instructions a warp may execute before another gets its turn.
    fn quantum(&mut self) -> u64 {
        match self.order() {
            Order::Random(_) => 1 + self.next() % 64,
            _ => u64::MAX,
        }
    }
}
