//! What the warps of a running block share.

use crate::memory::Cursor;
use crate::ptx::Kernel;
use crate::report::{Counters, Finding, FindingKind, Issue, Site};

use super::options::{Fault, Options};
use super::shared::Shared;
use super::warp::Place;

/// The launch cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop(pub Fault);

/// How often an instruction was executed, and by how many lanes in all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub warps: u64,
    pub lanes: u64,
}

/// What a block does about the launches before and after its own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dependency {
    /// A thread has waited for the earlier ones.
    pub waited: bool,
    /// A thread has let later ones begin before it waited.
    pub triggered_early: bool,
}

/// A block while it runs.
pub(crate) struct Cta<'a> {
    pub kernel: &'a Kernel,
    pub options: &'a Options,
    pub params: &'a [u8],
    pub place: Place,
    pub shared: Shared,
    pub global: Cursor<'a>,
    pub dependency: Dependency,
    pub counters: Counters,
    /// By instruction.
    pub counts: Vec<Count>,
    pub findings: Vec<Finding>,
    /// Changes with every reading of a clock.
    pub clock: u64,
    /// Repeated strong reads of global memory in the present turn of a warp: it may be waiting for others.
    pub polls: u32,
}

/// Findings kept per block; after that a block has nothing new to say.
const MAX_FINDINGS: usize = 1000;

impl Cta<'_> {
    /// A warp arrives at a block barrier.
    pub(crate) fn arrive(&mut self, warp: u32, barrier: u32) {
        self.shared.arrive(warp, barrier);
        if let Some(threads) = self.global.threads() {
            threads.arrive(warp, barrier);
        }
    }

    /// A block barrier lets these warps (as bits) go on.
    pub(crate) fn complete(&mut self, barrier: u32, waiters: u32) {
        self.shared.complete(barrier, waiters);
        if let Some(threads) = self.global.threads() {
            threads.complete(barrier, waiters);
        }
    }

    /// `bar.warp.sync` of the lanes in `mask`.
    pub(crate) fn warp_sync(&mut self, warp: u32, mask: u32, live: u32) {
        self.shared.warp_sync(warp, mask, live);
        if let Some(threads) = self.global.threads() {
            threads.warp_sync(warp, mask, live);
        }
    }

    /// A fence of device scope or wider by the lanes in `mask`.
    pub(crate) fn fence(&mut self, warp: u32, mask: u32, sequential: bool) {
        if let Some(threads) = self.global.threads() {
            threads.fence(warp, mask, sequential);
        }
    }

    /// Notes something that does not end the launch.
    pub(crate) fn report(&mut self, warp: u32, pc: u32, issue: Issue) {
        if self.findings.len() < MAX_FINDINGS || issue.kind.is_fault() {
            let site = Site {
                kernel: &self.kernel.name,
                pc,
                source: self.kernel.source(pc),
                block: self.place.block,
                block_dim: self.place.block_dim,
                warp,
            };
            self.findings.push(issue.at(&site));
        }
    }

    /// Notes what ends the launch.
    pub(crate) fn fail(&mut self, warp: u32, pc: u32, issue: Issue) -> Stop {
        let fault = Fault::of(issue.kind);
        self.report(warp, pc, issue);
        Stop(fault)
    }

    /// [`Cta::fail`] for an issue without address.
    pub(crate) fn fail_with(&mut self, warp: u32, pc: u32, kind: FindingKind, lane: u32, message: String) -> Stop {
        self.fail(warp, pc, Issue { kind, lane, address: None, message })
    }
}
