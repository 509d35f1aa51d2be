//! Runs a launch: its limits, its blocks, and what they add up to.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;

use crate::memory::{Beside, LaunchView, Memory, ViewOptions};
use crate::profile::Profile;
use crate::ptx::Op;
use crate::report::{Counters, Finding, FindingKind, Findings, InstructionClass, Occupancy, OccupancyRequest};

use super::block::{Block, Pause};
use super::cta::{Count, Cta, Dependency, Stop};
use super::options::{Fault, Launch, Outcome, Overlap};
use super::order::Shuffler;
use super::shared::Shared;
use super::warp::{Place, Template, Warp};

/// Runs `launch` on `memory`. Findings and faults are part of the outcome: this never fails by itself.
pub fn run(launch: &Launch<'_>, memory: &Memory) -> Outcome {
    run_beside(launch, memory, Vec::new()).0
}

/// As [`run`], for a launch that may begin while those in `beside` still run: what it does before it waits for them is held to that.
/// Also says what a later launch that begins beside this one must know of it.
pub(crate) fn run_beside(launch: &Launch<'_>, memory: &Memory, beside: Vec<Beside>) -> (Outcome, Overlap) {
    let mut addresses = Vec::new();
    if let Err(message) = check(launch, &mut addresses) {
        let mut finding = Finding::host(FindingKind::InvalidLaunch, None, message);
        finding.kernel.clone_from(&launch.kernel.name);
        let outcome = Outcome { counters: Counters::default(), findings: vec![finding], fault: Some(Fault::InvalidLaunch) };
        return (outcome, Overlap::default());
    }
    let template = Template::new(launch.kernel, &|variable| addresses.get(variable as usize).copied().unwrap_or(0));
    let view = memory.view(ViewOptions {
        grid: launch.grid,
        checks: launch.options.checks,
        ordered_threads: if launch.kernel.observes { launch.block.iter().product() } else { 0 },
        ..ViewOptions::default()
    });
    let view = view.with_beside(beside);
    let mut blocks: Vec<u64> = (0..launch.grid.iter().map(|&n| u64::from(n)).product()).collect();
    Shuffler::new(launch.options.block_order, [0; 3]).arrange(&mut blocks);
    let occupancy = OccupancyRequest {
        threads: launch.block.iter().product(),
        registers: launch.kernel.registers_estimate,
        shared: launch.kernel.dynamic_start + launch.dynamic_shared,
    };
    let per_multiprocessor = Occupancy::of(&occupancy, &launch.profile.limits()).blocks.max(1);
    let resident = per_multiprocessor as usize * launch.profile.sm_count.max(1) as usize;
    let job = Job { launch, template, view, blocks, resident, progress: Mutex::default(), stopped: AtomicBool::new(false) };
    let total = Mutex::new(Total::default());
    let wanted = match launch.options.workers {
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        workers => workers,
    };
    let workers = wanted.min(job.blocks.len());
    // Threads of its own: one of rayon's that waits would take up a task of its caller's, which may call the driver in turn.
    thread::scope(|scope| {
        for _ in 1..workers {
            let _ = thread::Builder::new().spawn_scoped(scope, || job.work(&total)); // without it the others have more to do
        }
        job.work(&total);
    });
    let total = total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let begins_early = total.blocks_let_go == job.blocks.len() as u64;
    let overlap = Overlap { footprint: job.view.footprint(&launch.kernel.name), waits: total.waits, begins_early };
    (job.outcome(total), overlap)
}

/// Limits of the kernel and the device; also finds the module's variables.
fn check(launch: &Launch<'_>, addresses: &mut Vec<u64>) -> Result<(), String> {
    let (kernel, profile) = (launch.kernel, launch.profile);
    if launch.grid.contains(&0) || launch.block.contains(&0) {
        return Err(format!("grid {:?} and block {:?} must not be empty", launch.grid, launch.block));
    }
    if launch.grid.iter().zip(Profile::GRID_DIM).any(|(&n, most)| n > most) {
        return Err(format!("grid {:?} is larger than {:?}", launch.grid, Profile::GRID_DIM));
    }
    let threads = launch.block.iter().map(|&n| u64::from(n)).product::<u64>();
    if threads > u64::from(Profile::THREADS_PER_BLOCK) || launch.block[2] > Profile::BLOCK_DIM[2] {
        return Err(format!(
            "block {:?} is larger than {} threads or {:?}",
            launch.block,
            Profile::THREADS_PER_BLOCK,
            Profile::BLOCK_DIM
        ));
    }
    if let Some(most) = kernel.max_threads.filter(|most| threads > most.iter().map(|&n| u64::from(n)).product()) {
        return Err(format!("block {:?} has more threads than the kernel's bound {most:?}", launch.block));
    }
    let shared = u64::from(kernel.dynamic_start) + u64::from(launch.dynamic_shared);
    if shared > u64::from(profile.shared_optin) {
        return Err(format!("{shared} bytes of shared memory, the device has {} per block", profile.shared_optin));
    }
    if launch.params.len() != kernel.param_bytes as usize {
        return Err(format!("{} bytes of parameters, the kernel takes {}", launch.params.len(), kernel.param_bytes));
    }
    // Only the variables that the kernel uses need an address.
    addresses.resize(kernel.globals.len(), 0);
    for &(_, variable, _) in &kernel.planes.globals {
        let name = &kernel.globals[variable as usize];
        let address = (launch.module_globals)(name).ok_or_else(|| format!("module variable `{name}` has no address"))?;
        addresses[variable as usize] = address;
    }
    Ok(())
}

/// A launch in progress.
struct Job<'a> {
    launch: &'a Launch<'a>,
    template: Template,
    view: LaunchView,
    /// Linear block numbers in order of their turns.
    blocks: Vec<u64>,
    /// Blocks that the device holds at once; if these wait for others, they wait for ever.
    resident: usize,
    progress: Mutex<Progress>,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Total {
    counters: Counters,
    counts: Vec<Count>,
    findings: Findings,
    fault: Option<Fault>,
    /// Whether a thread waited for earlier launches.
    waits: bool,
    /// Blocks that let later launches begin, or ended, without having waited for earlier ones.
    blocks_let_go: u64,
}

fn add_counts(into: &mut Vec<Count>, counts: Vec<Count>) {
    if into.is_empty() {
        *into = counts;
        return;
    }
    for (sum, count) in into.iter_mut().zip(&counts) {
        sum.warps += count.warps;
        sum.lanes += count.lanes;
    }
}

/// Adds what a block counted and found, and keeps its parts for another.
fn collect(block: Block<'_>, own: &mut Total, pool: &mut Vec<(Vec<Warp>, Shared)>) {
    let Block { warps, mut cta, .. } = block;
    let counters = &mut cta.counters;
    counters.blocks += 1;
    counters.warps += warps.len() as u64;
    counters.global_load += &cta.global.loads;
    counters.global_store += &cta.global.stores;
    counters.global_atomic += &cta.global.atomics;
    own.counters.merge(counters);
    add_counts(&mut own.counts, cta.counts);
    own.findings.extend(cta.findings);
    own.waits |= cta.dependency.waited;
    own.blocks_let_go += u64::from(cta.dependency.triggered_early || !cta.dependency.waited);
    pool.push((warps, cta.shared));
}

/// How far a launch has come.
#[derive(Default)]
struct Progress {
    /// Turns taken.
    next: usize,
    /// Blocks that have begun and not ended.
    live: usize,
    /// Those of them that found nothing to do while memory stayed as it was after this many changes; each counts once per `round`.
    idle: usize,
    changes: u64,
    round: u64,
}

/// A block that waits for others.
struct Parked<'a> {
    block: Block<'a>,
    /// Changes of memory when it last ran.
    changes: u64,
    /// How often it ran since they changed.
    vain: u32,
    /// The round in which it was counted as idle.
    round: u64,
}

/// How often a block looks in vain before it counts as idle.
const VAIN: u32 = 16;

impl<'a> Job<'a> {
    /// Runs blocks until none is left or one has failed.
    fn work(&'a self, total: &Mutex<Total>) {
        let mut own = Total::default();
        let mut pool = Vec::new();
        let mut parked: VecDeque<Parked<'a>> = VecDeque::new();
        while !self.stopped.load(Ordering::Relaxed) {
            let news = parked.front().is_some_and(|front| front.changes != self.view.changes());
            let started = if news { None } else { self.admit().map(|linear| self.start(linear, &mut own, &mut pool)) };
            let Some(mut running) = started.or_else(|| parked.pop_front()) else { break };
            running.vain = if running.changes == self.view.changes() { running.vain + 1 } else { 0 };
            running.changes = self.view.changes();
            let done = running.block.run();
            let done = match done {
                Ok(Pause::Waiting) if self.is_stuck(&mut running) => Err(running.block.give_up()),
                done => done,
            };
            match done {
                Ok(Pause::Waiting) => {
                    parked.push_back(running);
                    continue;
                }
                Ok(Pause::Done) => self.retire(&running),
                Err(Stop(fault)) => {
                    own.fault = Some(fault);
                    self.stopped.store(true, Ordering::Relaxed);
                }
            }
            collect(running.block, &mut own, &mut pool);
        }
        parked.into_iter().for_each(|parked| collect(parked.block, &mut own, &mut pool));
        for (_, shared) in &pool {
            own.counters.shared_load += &shared.loads;
            own.counters.shared_store += &shared.stores;
            own.counters.shared_atomic += &shared.atomics;
        }
        let mut total = total.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        total.counters.merge(&own.counters);
        add_counts(&mut total.counts, own.counts);
        total.findings.merge(own.findings);
        total.waits |= own.waits;
        total.blocks_let_go += own.blocks_let_go;
        total.fault = total.fault.or(own.fault);
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn may_admit(&self, progress: &Progress) -> bool {
        progress.next < self.blocks.len() && progress.live < self.resident
    }

    /// The linear number of the block whose turn it is to begin, if the device has room for it.
    fn admit(&self) -> Option<u64> {
        let mut progress = self.progress();
        if !self.may_admit(&progress) {
            return None;
        }
        progress.next += 1;
        progress.live += 1;
        self.blocks.get(progress.next - 1).copied()
    }

    /// A block has ended.
    fn retire(&self, block: &Parked<'_>) {
        let mut progress = self.progress();
        progress.live -= 1;
        progress.idle -= usize::from(block.round == progress.round);
    }

    /// Whether a block that waits will wait for ever: all others do, and memory stays as it is.
    fn is_stuck(&self, block: &mut Parked<'_>) -> bool {
        let mut progress = self.progress();
        let changes = self.view.changes();
        if progress.changes != changes {
            (progress.changes, progress.idle, progress.round) = (changes, 0, progress.round + 1);
        }
        if block.vain >= VAIN && block.changes == changes && block.round != progress.round {
            block.round = progress.round;
            progress.idle += 1;
        }
        progress.idle >= progress.live && !self.may_admit(&progress)
    }

    /// A block at its first instruction.
    fn start(&'a self, linear: u64, own: &mut Total, pool: &mut Vec<(Vec<Warp>, Shared)>) -> Parked<'a> {
        let launch = self.launch;
        let (kernel, options) = (launch.kernel, launch.options);
        let dynamic_start = if launch.dynamic_shared == 0 { kernel.static_shared } else { kernel.dynamic_start };
        let shared_bytes = dynamic_start + launch.dynamic_shared;
        let place = self.place(linear, shared_bytes);
        let (mut warps, mut shared) = pool.pop().unwrap_or_default();
        warps.resize_with(launch.block.iter().product::<u32>().div_ceil(32) as usize, Warp::new);
        shared.reset(shared_bytes, warps.len(), options.checks);
        for (index, warp) in warps.iter_mut().enumerate() {
            warp.start(index as u32, kernel, &self.template, &place, options.checks);
        }
        // Counts are handed from block to block; only one that waits keeps them.
        let mut counts = std::mem::take(&mut own.counts);
        counts.resize(kernel.code.len(), Count::default());
        let cta = Cta {
            kernel,
            options,
            params: launch.params,
            place,
            shared,
            global: self.view.cursor(linear),
            dependency: Dependency::default(),
            counters: std::mem::take(&mut own.counters),
            counts,
            findings: Vec::new(),
            clock: 0,
            polls: 0,
        };
        Parked { block: Block::new(warps, cta), changes: u64::MAX, vain: 0, round: u64::MAX }
    }

    fn place(&self, linear: u64, shared_bytes: u32) -> Place {
        let [x, y, _] = self.launch.grid.map(u64::from);
        let sm_count = self.launch.profile.sm_count.max(1);
        Place {
            grid: self.launch.grid,
            block_dim: self.launch.block,
            block: [(linear % x) as u32, (linear / x % y) as u32, (linear / x / y) as u32],
            sm: (linear % u64::from(sm_count)) as u32,
            sm_count,
            dynamic_shared: self.launch.dynamic_shared,
            total_shared: shared_bytes,
        }
    }

    /// Turns counts by instruction into counts by class.
    fn outcome(&self, mut total: Total) -> Outcome {
        let counters = &mut total.counters;
        counters.launches = 1;
        (counters.unique_read_bytes, counters.unique_written_bytes) = self.view.unique_bytes();
        for (instr, count) in self.launch.kernel.code.iter().zip(&total.counts) {
            counters.instructions[instr.class] += count.warps;
            counters.thread_instructions += count.lanes;
            counters.flops += u64::from(instr.flops) * count.lanes;
            if instr.class == InstructionClass::Mma {
                counters.mma += count.warps;
            }
            if matches!(instr.op, Op::Branch { .. }) && instr.guard != crate::ptx::NONE {
                counters.branches += count.warps;
            }
        }
        Outcome { counters: total.counters, findings: total.findings.into_vec(), fault: total.fault }
    }
}
