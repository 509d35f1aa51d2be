//! Runs a launch: its limits, its blocks, and what they add up to.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::memory::{LaunchView, Memory, ViewOptions};
use crate::profile::Profile;
use crate::ptx::Op;
use crate::report::{Counters, Finding, FindingKind, Findings, InstructionClass};

use super::block;
use super::cta::{Count, Cta, Stop};
use super::options::{Fault, Launch, Outcome};
use super::order::Shuffler;
use super::shared::Shared;
use super::warp::{Place, Template, Warp};

/// Runs `launch` on `memory`. Findings and faults are part of the outcome: this never fails by itself.
pub fn run(launch: &Launch<'_>, memory: &Memory) -> Outcome {
    let mut addresses = Vec::new();
    if let Err(message) = check(launch, &mut addresses) {
        let mut finding = Finding::host(FindingKind::InvalidLaunch, None, message);
        finding.kernel.clone_from(&launch.kernel.name);
        return Outcome { counters: Counters::default(), findings: vec![finding], fault: Some(Fault::InvalidLaunch) };
    }
    let template = Template::new(launch.kernel, &|variable| addresses.get(variable as usize).copied().unwrap_or(0));
    let view = memory.view(ViewOptions { grid: launch.grid, checks: launch.options.checks, ..ViewOptions::default() });
    let mut blocks: Vec<u64> = (0..launch.grid.iter().map(|&n| u64::from(n)).product()).collect();
    Shuffler::new(launch.options.block_order, [0; 3]).arrange(&mut blocks);
    let job = Job { launch, template, view, blocks, next: AtomicUsize::new(0), stopped: AtomicBool::new(false) };
    let total = Mutex::new(Total::default());
    let wanted = match launch.options.workers {
        0 => rayon::current_num_threads(),
        workers => workers,
    };
    let workers = wanted.min(job.blocks.len());
    if workers <= 1 {
        job.work(&total);
    } else {
        rayon::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|_| job.work(&total));
            }
        });
    }
    let total = total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    job.outcome(total)
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
    next: AtomicUsize,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Total {
    counters: Counters,
    counts: Vec<Count>,
    findings: Findings,
    fault: Option<Fault>,
}

impl Job<'_> {
    /// Runs blocks until none is left or one has failed.
    fn work(&self, total: &Mutex<Total>) {
        let launch = self.launch;
        let (kernel, options) = (launch.kernel, launch.options);
        let threads: u32 = launch.block.iter().product();
        let mut warps: Vec<Warp> = (0..threads.div_ceil(32)).map(|_| Warp::new()).collect();
        let dynamic_start = if launch.dynamic_shared == 0 { kernel.static_shared } else { kernel.dynamic_start };
        let shared_bytes = dynamic_start + launch.dynamic_shared;
        let mut own = Total { counts: vec![Count::default(); kernel.code.len()], ..Total::default() };
        let mut shared = Shared::default();
        while !self.stopped.load(Ordering::Relaxed) {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(&linear) = self.blocks.get(turn) else { break };
            let place = self.place(linear, shared_bytes);
            shared.reset(shared_bytes, warps.len(), options.checks);
            let mut cta = Cta {
                kernel,
                options,
                params: launch.params,
                place,
                shared: std::mem::take(&mut shared),
                global: self.view.cursor(linear),
                counters: std::mem::take(&mut own.counters),
                counts: std::mem::take(&mut own.counts),
                findings: Vec::new(),
                clock: 0,
            };
            for (index, warp) in warps.iter_mut().enumerate() {
                warp.start(index as u32, kernel, &self.template, &place, options.checks);
            }
            let done = block::run(&mut warps, &mut cta);
            own.counters = cta.counters;
            own.counters.blocks += 1;
            own.counters.warps += warps.len() as u64;
            own.counters.global_load += &cta.global.loads;
            own.counters.global_store += &cta.global.stores;
            own.counters.global_atomic += &cta.global.atomics;
            own.counts = cta.counts;
            own.findings.extend(cta.findings);
            shared = cta.shared;
            if let Err(Stop(fault)) = done {
                own.fault = Some(fault);
                self.stopped.store(true, Ordering::Relaxed);
            }
        }
        own.counters.shared_load = shared.loads;
        own.counters.shared_store = shared.stores;
        own.counters.shared_atomic = shared.atomics;
        let mut total = total.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        total.counters.merge(&own.counters);
        total.counts.resize(kernel.code.len(), Count::default());
        for (sum, count) in total.counts.iter_mut().zip(&own.counts) {
            sum.warps += count.warps;
            sum.lanes += count.lanes;
        }
        total.findings.merge(own.findings);
        total.fault = total.fault.or(own.fault);
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
