//! Shared memory of one block: what is initialised, who touched what, which asynchronous copies are in flight.

use std::convert::Infallible;

use super::cells::{Cells, Found, Kind, Problem, Touch};
use super::clocks::{ALL_LANES, Clocks, warps_of};
use super::copies::Copies;
use crate::memory::{LaneBytes, Run, WarpAccess};
use crate::report::{FindingKind, Issue};

/// Checks that shared addresses are multiples of the access size and below `size`, the bytes that the launch asked for.
pub fn shared_bounds(access: &WarpAccess<'_, u32>, size: u32) -> Option<Issue> {
    let bytes = access.bytes;
    for (lane, &address) in access.addresses.iter().enumerate() {
        let kind = if access.mask & (1 << lane) == 0 {
            continue;
        } else if u64::from(address) + u64::from(bytes) > u64::from(size) {
            FindingKind::OutOfBounds
        } else if !address.is_multiple_of(bytes) {
            FindingKind::Misaligned
        } else {
            continue;
        };
        let message = format!("{bytes} bytes at offset {address} of {size} bytes of shared memory");
        return Some(Issue { kind, lane: lane as u32, address: Some(u64::from(address)), message });
    }
    None
}

/// The shadow of one block's shared memory. A worker uses one for block after block.
///
/// Two accesses to a byte conflict when one is a plain write, or one is plain and the other atomic, and nothing orders them. Order
/// comes from program order within a lane, from block barriers, and from `bar.warp.sync` between the lanes that take part; shuffles and
/// votes order nothing. State is kept per word, and per byte where a kernel accesses less than words.
///
/// Addresses must have passed [`shared_bounds`] with the size that the block was started with; the methods panic on others.
#[derive(Debug)]
pub struct SharedShadow {
    size: usize,
    warps: usize,
    clocks: Clocks,
    words: Cells,
    bytes: Cells,
    bytes_in_use: bool,
    copies: Copies,
}

impl Default for SharedShadow {
    fn default() -> Self {
        Self::new()
    }
}

/// What is in shared memory before it is written, and where asynchronous copies are in flight: NaN as f16, bf16 or f32.
pub const POISON: u8 = 0xFF;

impl SharedShadow {
    /// A shadow without a block.
    pub fn new() -> Self {
        SharedShadow {
            size: 0,
            warps: 0,
            clocks: Clocks::new(),
            words: Cells::default(),
            bytes: Cells::default(),
            bytes_in_use: false,
            copies: Copies::default(),
        }
    }

    /// Starts a block of `warps` warps with `bytes` bytes of static and dynamic shared memory, all uninitialised. The executor fills
    /// the memory itself with [`POISON`].
    pub fn start_block(&mut self, bytes: u32, warps: u32) {
        (self.size, self.warps) = (bytes as usize, warps as usize);
        let forget = self.clocks.start(self.warps);
        if forget {
            self.bytes = Cells::default();
        }
        self.words.start(self.size.div_ceil(4), self.warps, forget);
        self.bytes_in_use = false;
        self.copies.start(self.warps);
    }

    /// A load. The issue, if any, is the first of the instruction; here and below.
    pub fn read(&mut self, warp: u32, access: &WarpAccess<'_, u32>) -> Option<Issue> {
        let mut found = None;
        each_run::<true>(access, |run| {
            let found_here = self.touch(warp, run, access.bytes, Cells::read);
            found = found.or(found_here);
        });
        found.map(|found| issue(found, "read"))
    }

    /// `ldmatrix`: the warp reads rows of 16 bytes, each for all its lanes.
    pub fn read_rows(&mut self, warp: u32, rows: &[u32]) -> Option<Issue> {
        let mut found = None;
        for (i, &row) in rows.iter().enumerate() {
            if row.is_multiple_of(4) && self.words.read_row(&self.clocks, warp, row as usize / 4) {
                continue;
            }
            // `same` stands for all lanes.
            let run = Run { address: u64::from(row), lane: i % 32, lanes: 32, same: true };
            let found_here = self.touch(warp, run, 16, Cells::read);
            found = found.or(found_here);
        }
        found.map(|found| issue(found, "read"))
    }

    /// A store of `data`. Lanes that write one place must write the same.
    pub fn write(&mut self, warp: u32, access: &WarpAccess<'_, u32>, data: &LaneBytes) -> Option<Issue> {
        let mut found = None;
        each_run::<false>(access, |run| {
            let found_here = self.touch(warp, run, access.bytes, |cells, clocks, touch| cells.write(clocks, touch, Kind::Write));
            if let Some(here) = found_here
                && found.is_none()
            {
                found = judge_write(warp, access, data, here);
            }
        });
        found
    }

    /// An atomic or a reduction.
    pub fn atomic(&mut self, warp: u32, access: &WarpAccess<'_, u32>) -> Option<Issue> {
        let mut found = None;
        each_run::<false>(access, |run| {
            let found_here = self.touch(warp, run, access.bytes, |cells, clocks, touch| cells.write(clocks, touch, Kind::Atomic));
            found = found.or(found_here);
        });
        found.map(|found| issue(found, "atomic"))
    }

    /// A warp reaches a block barrier (`bar.sync`, `bar.arrive`, `bar.red`), 0 to 15: what it did until now is handed over.
    pub fn arrive(&mut self, warp: u32, barrier: u32) {
        self.clocks.arrive(warp, barrier);
    }

    /// A barrier completes; `waiters` are the warps, as bits, that waited and now go on. Each must have arrived.
    pub fn complete(&mut self, barrier: u32, waiters: u32) {
        self.clocks.complete(barrier, waiters);
    }

    /// `bar.warp.sync` of the lanes in `mask`; `live` are the lanes of the warp that have not ended.
    pub fn warp_sync(&mut self, warp: u32, mask: u32, live: u32) {
        self.clocks.warp_sync(warp, mask, live);
    }

    /// `cp.async` of 4, 8 or 16 bytes a lane. The addresses are destinations, `data` the bytes that will arrive (zeros where the source
    /// is shorter). The destinations in `shared` become NaN until their thread waits.
    pub fn copy_issue(&mut self, warp: u32, access: &WarpAccess<'_, u32>, data: &LaneBytes, shared: &mut [u8]) -> Option<Issue> {
        let mut found = None;
        each_run::<false>(access, |run| {
            let found_here = self.touch(warp, run, access.bytes, |cells, clocks, touch| cells.write(clocks, touch, Kind::Copy));
            found = found.or(found_here);
            let start = run.address as usize;
            shared[start..start + run.length(access.bytes as usize)].fill(POISON);
        });
        self.copies.issue(warp, access, data);
        found.map(|found| issue(found, "asynchronous copy"))
    }

    /// `cp.async.commit_group` by the lanes in `mask`.
    pub fn copy_commit(&mut self, warp: u32, mask: u32) {
        self.copies.commit(warp, mask);
    }

    /// `cp.async.wait_group` with `Some(groups)`, `cp.async.wait_all` with `None`, by the lanes in `mask`: the bytes arrive in `shared`,
    /// and count as written by these lanes now.
    pub fn copy_wait(&mut self, warp: u32, mask: u32, groups: Option<u32>, shared: &mut [u8]) {
        let mut copies = std::mem::take(&mut self.copies);
        copies.wait(warp, mask, groups, |copy, lanes| {
            let bytes = copy.bytes as usize;
            let access = WarpAccess { addresses: &copy.addresses, mask: lanes, bytes: copy.bytes };
            each_run::<false>(&access, |run| {
                let (start, length) = (run.address as usize, run.length(bytes));
                let from = run.lane * bytes;
                shared[start..start + length].copy_from_slice(&copy.data.0[from..from + length]);
                self.touch(warp, run, copy.bytes, |cells, clocks, touch| {
                    cells.arrived(clocks, touch);
                    None
                });
            });
        });
        self.copies = copies;
    }

    /// Lanes end. Copies that they never waited for are an issue.
    pub fn exit(&mut self, warp: u32, mask: u32) -> Option<Issue> {
        let (lane, address) = self.copies.exit(warp, mask)?;
        let message = format!("the thread ends with an asynchronous copy to shared offset {address} that it never waited for");
        Some(Issue { kind: FindingKind::CopyNotWaited, lane, address: Some(u64::from(address)), message })
    }

    /// Applies `operation` to the cells of a run: words, or bytes where the access is narrower or an earlier one was.
    #[inline]
    fn touch(
        &mut self,
        warp: u32,
        run: Run,
        bytes: u32,
        operation: impl Fn(&mut Cells, &Clocks, Touch) -> Found,
    ) -> Option<Place> {
        let (start, length) = (run.address as usize, run.length(bytes as usize));
        let lane = if run.same { ALL_LANES } else { run.lane as u32 };
        if bytes >= 4 && !self.words.is_divided(start / 4, length / 4) {
            let shift = if run.same { 0 } else { (bytes / 4).trailing_zeros() };
            let touch = Touch { warp, lane, shift, first: start / 4, count: length / 4 };
            return place(operation(&mut self.words, &self.clocks, touch), 4, warp, run);
        }
        if !self.bytes_in_use {
            self.bytes.start(self.size.next_multiple_of(4), self.warps, false);
            self.bytes_in_use = true;
        }
        for word in start / 4..(start + length).div_ceil(4) {
            self.bytes.inherit(&mut self.words, word, 4);
        }
        let shift = if run.same { 0 } else { bytes.trailing_zeros() };
        let touch = Touch { warp, lane, shift, first: start, count: length };
        place(operation(&mut self.bytes, &self.clocks, touch), 1, warp, run)
    }
}

/// A problem with its place.
#[derive(Debug, Clone, Copy)]
struct Place {
    address: u64,
    warp: u32,
    lane: u32,
    problem: Problem,
}

fn place(found: Found, cell_bytes: u64, warp: u32, run: Run) -> Option<Place> {
    let (cell, lane, problem) = found?;
    let lane = if lane == ALL_LANES { run.lane as u32 } else { lane };
    Some(Place { address: cell as u64 * cell_bytes, warp, lane, problem })
}

#[inline]
fn each_run<const SAME: bool>(access: &WarpAccess<'_, u32>, mut each: impl FnMut(Run)) {
    let Ok(()) = access.try_runs::<SAME, Infallible>(|run| {
        each(run);
        Ok(())
    });
}

/// An unordered write by another lane of this very instruction is an issue only if the two write different values.
#[cold]
fn judge_write(warp: u32, access: &WarpAccess<'_, u32>, data: &LaneBytes, place: Place) -> Option<Issue> {
    let Problem::Write(other_warp, other) = place.problem else { return Some(issue(place, "write")) };
    let address = access.addresses[place.lane as usize];
    let lanes = || warps_of(access.mask).filter(|&lane| access.addresses[lane] == address);
    if other_warp != warp || !lanes().any(|lane| lane as u32 == other) {
        return Some(issue(place, "write"));
    }
    let bytes = access.bytes as usize;
    let value = data.lane(place.lane as usize, bytes);
    let different = lanes().find(|&lane| data.lane(lane, bytes) != value)?;
    let message = format!("lanes {} and {different} write different values to shared offset {address}", place.lane);
    Some(Issue { kind: FindingKind::ConflictingLanes, lane: place.lane, address: Some(u64::from(address)), message })
}

#[cold]
fn issue(place: Place, what: &str) -> Issue {
    let Place { address, warp, lane, problem } = place;
    let order = |other: u32| if other == warp { "no warp barrier" } else { "no barrier" };
    let (kind, message) = match problem {
        Problem::Uninitialised => {
            (FindingKind::UninitialisedShared, format!("{what} of shared offset {address}, which was never written"))
        }
        Problem::Pending => (
            FindingKind::PendingCopyTouched,
            format!("{what} of shared offset {address}, to which an asynchronous copy is in flight"),
        ),
        Problem::Write(other, lane) => (
            FindingKind::SharedRace,
            format!(
                "{what} of shared offset {address} after a write by warp {other} lane {lane} with {} in between",
                order(other)
            ),
        ),
        Problem::Read(other, lane) => {
            let lane = lane.map_or_else(String::new, |lane| format!(" lane {lane}"));
            (
                FindingKind::SharedRace,
                format!("{what} of shared offset {address} after a read by warp {other}{lane} with {} in between", order(other)),
            )
        }
    };
    Issue { kind, lane, address: Some(address), message }
}
