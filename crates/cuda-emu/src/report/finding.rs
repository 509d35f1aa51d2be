//! One finding: what, where, and on which address.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was done wrong. The kinds for which [`FindingKind::is_fault`] holds end the launch, as they do on hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// An access beside an allocation, or beyond the end of shared or local memory.
    OutOfBounds,
    /// An address that is no multiple of the access size.
    Misaligned,
    /// An access near address zero.
    NullAddress,
    /// An access to an allocation that was freed.
    UseAfterFree,
    /// An address that never belonged to an allocation.
    Unallocated,
    /// A write to memory that the launch may only read.
    ReadOnlyWrite,
    /// A read of global memory that nothing wrote.
    UninitialisedGlobal,
    /// A read of shared memory that nothing wrote.
    UninitialisedShared,
    /// A read of local memory that nothing wrote.
    UninitialisedLocal,
    /// A read of a register that nothing wrote.
    UninitialisedRegister,
    /// A copy to the host of device memory that nothing wrote.
    UninitialisedHostRead,
    /// Two accesses to shared memory, one of them a plain write, with no barrier between them.
    SharedRace,
    /// Two blocks touch one byte of global memory, one of them with a plain write.
    GlobalRace,
    /// A launch that may begin before earlier ones have ended touches what they touch, and has not waited for them.
    GridDependency,
    /// One store instruction writes different values to one place.
    ConflictingLanes,
    /// A barrier that only some lanes of a warp reached.
    DivergentBarrier,
    /// A barrier whose participants do not agree on its number or its thread count.
    BarrierMismatch,
    /// A thread ended while others wait for it at a barrier.
    ExitBeforeBarrier,
    /// No warp can run and not all have ended.
    Deadlock,
    /// A warp-wide instruction whose member mask does not fit the lanes that execute it.
    InvalidMask,
    /// A shared word was touched while an asynchronous copy into it was in flight.
    PendingCopyTouched,
    /// A thread ended with asynchronous copies that it never waited for.
    CopyNotWaited,
    /// The kernel ran longer than the iteration limit.
    TimeLimit,
    /// The kernel executed `trap` or failed an assertion.
    Trap,
    /// A launch that breaks a limit of the device or of the kernel.
    InvalidLaunch,
    /// A driver call that is wrong, not allowed at that moment, or not supported.
    InvalidCall,
    /// A module that cannot be loaded.
    InvalidModule,
    /// `free` of an address that is no live allocation.
    InvalidFree,
    /// An allocation that was never freed.
    Leak,
}

impl FindingKind {
    /// Whether hardware would end the launch with an error; the other kinds are found by checking only.
    pub fn is_fault(self) -> bool {
        use FindingKind::*;
        matches!(
            self,
            OutOfBounds
                | Misaligned
                | NullAddress
                | UseAfterFree
                | Unallocated
                | ReadOnlyWrite
                | Deadlock
                | TimeLimit
                | Trap
                | InvalidLaunch
        )
    }

    /// The heading of a report.
    pub fn title(self) -> &'static str {
        use FindingKind::*;
        match self {
            OutOfBounds => "Out-of-bounds access",
            Misaligned => "Misaligned access",
            NullAddress => "Access through a null pointer",
            UseAfterFree => "Use after free",
            Unallocated => "Access to unallocated memory",
            ReadOnlyWrite => "Write to read-only memory",
            UninitialisedGlobal => "Uninitialised global memory read",
            UninitialisedShared => "Uninitialised shared memory read",
            UninitialisedLocal => "Uninitialised local memory read",
            UninitialisedRegister => "Uninitialised register read",
            UninitialisedHostRead => "Host copy of uninitialised device memory",
            SharedRace => "Shared memory race",
            GlobalRace => "Global memory race between blocks",
            GridDependency => "Access that does not wait for an earlier launch",
            ConflictingLanes => "Lanes of one store write different values to one place",
            DivergentBarrier => "Divergent barrier",
            BarrierMismatch => "Barrier mismatch",
            ExitBeforeBarrier => "Exit before a barrier",
            Deadlock => "Deadlock",
            InvalidMask => "Invalid member mask",
            PendingCopyTouched => "Access to shared memory with an asynchronous copy in flight",
            CopyNotWaited => "Asynchronous copy never waited for",
            TimeLimit => "Iteration limit reached",
            Trap => "Trap",
            InvalidLaunch => "Invalid launch",
            InvalidCall => "Invalid driver call",
            InvalidModule => "Module refused",
            InvalidFree => "Invalid free",
            Leak => "Leaked allocation",
        }
    }
}

/// What a check reports: the warp's part of a [`Finding`]. The executor, which knows the rest, completes it with [`Issue::at`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// What was done wrong.
    pub kind: FindingKind,
    /// Lane that did it, 0 to 31.
    pub lane: u32,
    /// Address concerned: a device address for global memory, an offset for shared memory.
    pub address: Option<u64>,
    /// The particulars, one sentence without a full stop.
    pub message: String,
}

impl Issue {
    /// The finding of this issue at `site`.
    pub fn at(self, site: &Site<'_>) -> Finding {
        Finding {
            kind: self.kind,
            kernel: site.kernel.to_owned(),
            pc: site.pc,
            source: site.source.map(|(file, line)| (file.to_owned(), line)),
            block: site.block,
            thread: site.thread_of(self.lane),
            address: self.address,
            message: self.message,
            count: 1,
        }
    }
}

/// Where a warp is.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Kernel name.
    pub kernel: &'a str,
    /// Index of the instruction in the decoded kernel.
    pub pc: u32,
    /// Source file and line, from `.loc`.
    pub source: Option<(&'a str, u32)>,
    /// Block index.
    pub block: [u32; 3],
    /// Threads per block along x, y and z.
    pub block_dim: [u32; 3],
    /// Warp within the block.
    pub warp: u32,
}

impl Site<'_> {
    /// Thread index of a lane of this warp.
    pub fn thread_of(&self, lane: u32) -> [u32; 3] {
        let (x, y) = (self.block_dim[0].max(1), self.block_dim[1].max(1));
        let linear = self.warp * 32 + lane;
        [linear % x, linear / x % y, linear / x / y]
    }
}

/// Something that went wrong, with its place. Displays over several lines, as device sanitizers do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was done wrong.
    pub kind: FindingKind,
    /// Kernel name; empty for what the host did.
    pub kernel: String,
    /// Index of the instruction in the decoded kernel.
    pub pc: u32,
    /// Source file and line, from `.loc`.
    pub source: Option<(String, u32)>,
    /// Block index.
    pub block: [u32; 3],
    /// Thread index.
    pub thread: [u32; 3],
    /// Address concerned: a device address for global memory, an offset for shared memory.
    pub address: Option<u64>,
    /// The particulars.
    pub message: String,
    /// How often the same instruction did the same; the place is that of the first.
    pub count: u64,
}

impl Finding {
    /// A finding about what the host did, without a kernel.
    pub fn host(kind: FindingKind, address: Option<u64>, message: String) -> Self {
        Finding { kind, kernel: String::new(), pc: 0, source: None, block: [0; 3], thread: [0; 3], address, message, count: 1 }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "========= {}", self.kind.title())?;
        if !self.kernel.is_empty() {
            write!(f, "\n=========     at {} instruction {}", self.kernel, self.pc)?;
            if let Some((file, line)) = &self.source {
                write!(f, " in {file}:{line}")?;
            }
            let ([bx, by, bz], [tx, ty, tz]) = (self.block, self.thread);
            write!(f, "\n=========     by thread ({tx},{ty},{tz}) in block ({bx},{by},{bz})")?;
        }
        if let Some(address) = self.address {
            write!(f, "\n=========     address {address:#x}")?;
        }
        if !self.message.is_empty() {
            write!(f, "\n=========     {}", self.message)?;
        }
        if self.count > 1 {
            write!(f, "\n=========     {} times", self.count)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_completed_names_everything() {
        let issue = Issue {
            kind: FindingKind::OutOfBounds,
            lane: 3,
            address: Some(0x1_0000),
            message: "4 bytes after allocation #2".into(),
        };
        let site = Site { kernel: "relu", pc: 7, source: Some(("relu.cu", 21)), block: [4, 5, 6], block_dim: [8, 4, 2], warp: 1 };
        let finding = issue.at(&site);
        assert_eq!(finding.thread, [3, 0, 1]);
        let text = finding.to_string();
        for part in
            ["Out-of-bounds", "relu instruction 7 in relu.cu:21", "thread (3,0,1) in block (4,5,6)", "0x10000", "allocation #2"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.lines().all(|line| line.starts_with("========= ")));
    }
}
