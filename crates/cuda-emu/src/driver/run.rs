//! Doing the work.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::time::Instant;

use crate::exec::{self, Fault, Launch, Options};
use crate::memory::MemoryFault;
use crate::report::{Finding, LaunchReport};

use super::capture::Graph;
use super::code::Code;
use super::context::Context;
use super::launch::{self, KernelLaunch};
use super::op::Op;
use super::queue::Mark;
use super::settings::Check;
use super::tail::Tail;

thread_local! {
    /// Set while a function of the program runs in stream order: it may not call the driver.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a function that the driver called.
pub(crate) fn in_callback() -> bool {
    IN_CALLBACK.get()
}

impl Context {
    /// Runs one piece of work. What goes wrong becomes the context's error; after that nothing runs any more.
    pub fn run(&mut self, mark: Mark, op: Op) {
        if self.sticky.is_some() {
            return;
        }
        if let Op::Record { event } = op {
            if let Some(event) = self.events.get_mut(&event).filter(|event| event.mark == Some(mark)) {
                event.at = Some(Instant::now());
            }
            return;
        }
        if let Op::Wait { .. } = op {
            return;
        }
        let before = self.tails.remove(&mark.stream).unwrap_or_default();
        if let Op::Graph(graph) = &op {
            return self.run_graph(graph);
        }
        if let Some(tail) = self.perform(&op, &before) {
            self.tails.retain(|&stream, _| self.queues.kind(stream).is_some());
            self.tails.insert(mark.stream, tail);
        }
    }

    fn run_graph(&mut self, graph: &Graph) {
        let mut tails = HashMap::new();
        for node in graph.order(|bound| self.queues.choose(bound)) {
            let before = graph.overlaps(node).and_then(|node| tails.get(&node)).cloned().unwrap_or_default();
            if let Some(tail) = self.perform(graph.op(node), &before) {
                tails.insert(node, tail);
            }
        }
    }

    /// Does one piece of work; after a kernel that others may begin beside, says what they must know.
    fn perform(&mut self, op: &Op, before: &Tail) -> Option<Tail> {
        if self.sticky.is_some() {
            return None;
        }
        let mut tail = None;
        let memory = &self.memory;
        let done = match op {
            Op::Write { dst, data } => memory.write(*dst, data),
            Op::WritePinned { dst, src } => memory.write(*dst, &src.to_vec()),
            Op::Read { dst, src } => {
                let mut data = vec![0; dst.bytes()];
                memory.read(*src, &mut data).map(|()| dst.fill_from(&data))
            }
            Op::Copy { dst, src, bytes } => memory.copy(*dst, *src, *bytes),
            Op::Set { dst, value, width, count } => memory.set(*dst, &value.to_le_bytes()[..*width as usize], *count),
            Op::Free { address } => memory.free(*address),
            Op::Launch(launch) => {
                tail = self.launch(launch, before);
                Ok(())
            }
            Op::Call { function, data } => {
                IN_CALLBACK.set(true);
                // SAFETY: the program handed over the function for this call with this argument; it is called once per submission.
                unsafe { function(*data as *mut c_void) };
                IN_CALLBACK.set(false);
                Ok(())
            }
            Op::Record { .. } | Op::Wait { .. } | Op::Graph(_) => Ok(()),
        };
        if let Err(fault) = done {
            self.fault(&fault);
        }
        for finding in self.memory.take_findings() {
            self.finding(finding);
        }
        tail
    }

    /// A copy or free met memory that is no longer what it was when the call was made.
    fn fault(&mut self, fault: &MemoryFault) {
        let message = format!("{fault} (when queued work ran)");
        self.journal.finding(Finding::host(fault.kind.finding(), Some(fault.address), message));
        self.sticky = Some(Code::IllegalAddress);
    }

    /// A finding of the checks: recorded, and an error if the settings say so.
    fn finding(&mut self, finding: Finding) {
        if self.settings.check == Check::Off {
            return;
        }
        self.journal.finding(finding);
        self.sticky = self.sticky.or(self.verdict());
    }

    fn launch(&mut self, launch: &KernelLaunch, before: &Tail) -> Option<Tail> {
        let settings = self.settings.clone();
        let options = Options {
            warp_order: settings.order,
            block_order: settings.order,
            mma_rounding: settings.mma,
            checks: settings.check != Check::Off,
            workers: settings.workers,
            ..Options::default()
        };
        let address = |name: &str| launch.loaded.global(name).map(|(address, _)| address);
        let run = Launch {
            kernel: &launch.kernel,
            module_globals: &address,
            grid: launch.grid,
            block: launch.block,
            dynamic_shared: launch.dynamic_shared,
            params: &launch.params,
            profile: settings.profile,
            options: &options,
        };
        let beside = before.beside(launch.programmatic);
        let (outcome, overlap) = exec::run_beside(&run, &self.memory, beside.clone());
        let threads = launch.block.iter().product();
        self.journal.launch(LaunchReport {
            kernel: launch.kernel.name.clone(),
            grid: launch.grid,
            block: launch.block,
            registers: launch.kernel.registers_estimate,
            registers_estimated: true,
            programmatic: launch.programmatic,
            shared: launch.kernel.static_shared.saturating_add(launch.dynamic_shared),
            occupancy: Some(launch::occupancy(&launch.kernel, threads, launch.dynamic_shared, settings.profile)),
            counters: outcome.counters,
        });
        let found = !outcome.findings.is_empty();
        for finding in outcome.findings {
            self.journal.finding(finding);
        }
        self.sticky = outcome.fault.map(code_of).or(if found { self.verdict() } else { None });
        (settings.profile.compute >= (9, 0)).then(|| Tail::after(overlap, beside))
    }
}

/// The error that hardware gives.
fn code_of(fault: Fault) -> Code {
    match fault {
        Fault::IllegalAddress => Code::IllegalAddress,
        Fault::MisalignedAddress => Code::MisalignedAddress,
        Fault::Timeout => Code::LaunchTimeout,
        _ => Code::LaunchFailed,
    }
}
