//! A block's access to global memory, a warp at a time.

use std::sync::atomic::Ordering::Relaxed;

use thiserror::Error;

use super::arena::poison;
use super::beside::Beside;
use super::block::Block;
use super::fault::{Access, FaultKind, MemoryFault};
use super::lanes::{LaneBytes, Run, WarpAccess};
use super::view::LaunchView;
use crate::check::{Accessor, Conflict, GlobalAccess, MemoryOrder, Threads};
use crate::report::{FindingKind, Issue, SectorTraffic, ideal_sectors, sectors};

/// An access that ends the launch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("lane {lane}: {fault}")]
pub struct LaneFault {
    /// Lane, 0 to 31.
    pub lane: u32,
    /// What went wrong.
    pub fault: MemoryFault,
}

impl From<LaneFault> for Issue {
    fn from(LaneFault { lane, fault }: LaneFault) -> Self {
        Issue { kind: fault.kind.finding(), lane, address: Some(fault.address), message: fault.to_string() }
    }
}

/// Who makes an access, and how it is ordered.
#[derive(Debug, Clone, Copy, Default)]
pub struct By {
    /// Warp within the block.
    pub warp: u32,
    /// Its order.
    pub order: MemoryOrder,
    /// Whether its lanes have waited for the launches that this one depends on.
    pub waited: bool,
}

impl By {
    /// A plain access.
    pub fn warp(warp: u32) -> By {
        By { warp, ..By::default() }
    }
}

/// One block's access to global memory; counts the traffic it sees.
#[derive(Debug)]
pub struct Cursor<'v> {
    view: &'v LaunchView,
    block: u64,
    /// What the block's threads know of other blocks, where these may be ordered.
    threads: Option<Box<Threads>>,
    own_changes: u64,
    /// The allocations hit last, newest first.
    recent: [usize; 2],
    /// Loads so far, those of asynchronous copies included.
    pub loads: SectorTraffic,
    /// Stores so far.
    pub stores: SectorTraffic,
    /// Atomics so far.
    pub atomics: SectorTraffic,
}

impl<'v> Cursor<'v> {
    pub(super) fn new(view: &'v LaunchView, block: u64, threads: Option<Box<Threads>>) -> Self {
        let none = SectorTraffic::default();
        Cursor { view, block, threads, own_changes: 0, recent: [0; 2], loads: none, stores: none, atomics: none }
    }

    /// What the block's threads know of other blocks; absent where nothing orders blocks.
    pub(crate) fn threads(&mut self) -> Option<&mut Threads> {
        self.threads.as_deref_mut()
    }

    /// How often this block has changed memory; counted only where blocks may wait for each other.
    pub(crate) fn own_changes(&self) -> u64 {
        self.own_changes
    }

    /// Loads what each lane asks for into `out`. Other lanes' bytes of `out` stay as they are. Uninitialised bytes are 0xFF.
    ///
    /// The issue, if any, is the first of the instruction; the load is done nevertheless.
    pub fn load(&mut self, access: &WarpAccess<'_>, by: By, out: &mut LaneBytes) -> Result<Option<Issue>, LaneFault> {
        let kind = match by.order {
            MemoryOrder { strong: true, .. } => GlobalAccess::StrongRead,
            MemoryOrder { read_only: true, .. } => GlobalAccess::ReadOnly,
            _ => GlobalAccess::Read,
        };
        let bytes = access.bytes as usize;
        let (mut issue, mut touched) = (None, Touched::default());
        access.try_runs::<true, _>(|run| {
            let (index, offset) = self.resolve(Access::Read, run, access.bytes)?;
            touched.add(run, bytes);
            let first = run.lane * bytes;
            let (once, others) = out.0[first..first + run.lanes * bytes].split_at_mut(run.length(bytes));
            let request = Request { index, offset, length: once.len(), kind, run, bytes, by };
            let written = self.initialised(&request, &mut issue);
            self.race(&request, &mut issue);
            let block = &self.view.blocks[index];
            if by.order.strong {
                self.observe(&request, by.order.acquire, || block.read(offset, once));
            } else {
                block.read(offset, once);
            }
            if !written {
                poison(block, offset, once);
            }
            if run.same {
                repeat(once, others);
            }
            Ok(())
        })?;
        count(&mut self.loads, access, &touched);
        Ok(issue)
    }

    /// Stores each lane's bytes of `data`, in order of lanes. The issue, if any, is the first of the instruction.
    pub fn store(&mut self, access: &WarpAccess<'_>, by: By, data: &LaneBytes) -> Result<Option<Issue>, LaneFault> {
        let kind = if by.order.strong { GlobalAccess::StrongWrite } else { GlobalAccess::Write };
        let bytes = access.bytes as usize;
        let (mut issue, mut touched) = (None, Touched::default());
        let (mut ascending, mut end) = (true, 0);
        access.try_runs::<false, _>(|run| {
            let (index, offset) = self.resolve(Access::Write, run, access.bytes)?;
            touched.add(run, bytes);
            let data = &data.0[run.lane * bytes..(run.lane + run.lanes) * bytes];
            let block = &self.view.blocks[index];
            self.writable(Access::Write, block, run, bytes)?;
            let request = Request { index, offset, length: data.len(), kind, run, bytes, by };
            self.race(&request, &mut issue);
            if by.order.strong {
                self.publish(&request, by.order.release, || block.write(offset, data));
            } else {
                block.write(offset, data);
            }
            block.mark(offset, data.len());
            ascending &= run.address >= end;
            end = run.address + data.len() as u64;
            Ok(())
        })?;
        self.changed(true);
        count(&mut self.stores, access, &touched);
        if !ascending && issue.is_none() {
            issue = conflicting_lanes(access, data);
        }
        Ok(issue)
    }

    /// Replaces each lane's value of 1 to 8 bytes by `update(lane, value)`, each as one step and in order of lanes; `old` receives
    /// the former values. `update` may be called again when another block was quicker. `reads` says that the lanes look at these.
    pub fn atomic(
        &mut self,
        access: &WarpAccess<'_>,
        by: By,
        reads: bool,
        old: &mut [u64; 32],
        mut update: impl FnMut(usize, u64) -> u64,
    ) -> Result<Option<Issue>, LaneFault> {
        // Atomics of narrow scope are none for other blocks.
        let kind = if by.order.strong { GlobalAccess::Atomic } else { GlobalAccess::Write };
        let bytes = access.bytes.min(8);
        let (mut issue, mut changed) = (None, false);
        count(&mut self.atomics, access, &Touched { descending: true, ..Touched::default() });
        for lane in (0..32).filter(|lane| access.mask & (1 << lane) != 0) {
            let run = Run { address: access.addresses[lane], lane, lanes: 1, same: false };
            let (index, offset) = self.resolve(Access::Atomic, run, bytes)?;
            let block = &self.view.blocks[index];
            self.writable(Access::Atomic, block, run, bytes as usize)?;
            let request = Request { index, offset, length: bytes as usize, kind, run, bytes: bytes as usize, by };
            self.initialised(&request, &mut issue);
            self.race(&request, &mut issue);
            let mut step = || {
                let mut new = 0;
                old[lane] = block.update(offset, bytes, |value| {
                    new = update(lane, value);
                    new
                });
                changed |= new != old[lane];
            };
            match (&self.view.flags, &mut self.threads) {
                (Some(flags), Some(threads)) if by.order.strong => {
                    let (mut flags, who) = (flags.lock(), (by.warp, lane as u32));
                    step();
                    for word in request.words() {
                        threads.exchange(who, &mut flags, word, by.order, reads);
                    }
                }
                _ => step(),
            }
            block.mark(offset, bytes as usize);
        }
        self.changed(changed);
        Ok(issue)
    }

    /// A strong load by `read`, and what its lanes observe.
    fn observe(&mut self, request: &Request, acquire: bool, read: impl FnOnce()) {
        let (Some(flags), Some(threads)) = (&self.view.flags, &mut self.threads) else { return read() };
        let flags = flags.lock();
        read();
        for (lane, word) in request.lane_words() {
            threads.observe((request.by.warp, lane), &flags, word, acquire);
        }
    }

    /// A strong store by `write`, and what its lanes release.
    fn publish(&mut self, request: &Request, release: bool, write: impl FnOnce()) {
        let (Some(flags), Some(threads)) = (&self.view.flags, &mut self.threads) else { return write() };
        let mut flags = flags.lock();
        write();
        for (lane, word) in request.lane_words() {
            threads.publish((request.by.warp, lane), &mut flags, word, release, true);
        }
    }

    /// Notes that memory changed, for those who wait for it.
    #[inline]
    fn changed(&mut self, really: bool) {
        if self.view.ordered_threads != 0 && really {
            self.own_changes += 1;
            self.view.changes.fetch_add(1, Relaxed);
        }
    }

    /// The allocation of a run, as index and offset.
    #[inline]
    fn resolve(&mut self, access: Access, run: Run, bytes: u32) -> Result<(usize, usize), LaneFault> {
        let blocks = &self.view.blocks;
        let length = run.length(bytes as usize) as u64;
        let fits = |block: &Block| run.address.wrapping_sub(block.start) < block.bytes && length <= block.end() - run.address;
        let [newest, older] = self.recent;
        let index = if blocks.get(newest).is_some_and(|block| fits(block)) {
            newest
        } else if blocks.get(older).is_some_and(|block| fits(block)) {
            self.recent = [older, newest];
            older
        } else {
            let index = blocks.partition_point(|block| block.start <= run.address).wrapping_sub(1);
            if !blocks.get(index).is_some_and(|block| fits(block)) {
                return Err(self.stray(access, run, bytes));
            }
            self.recent = [index, newest];
            index
        };
        let block = &blocks[index];
        // Sizes are powers of two, and a division would cost more than all the rest.
        if run.address & (u64::from(bytes) - 1) != 0 {
            return Err(self.fault(access, Some(FaultKind::Misaligned), run, bytes));
        }
        if block.freed.load(Relaxed) {
            return Err(self.fault(access, Some(FaultKind::UseAfterFree), run, bytes));
        }
        Ok((index, (run.address - block.start) as usize))
    }

    #[inline]
    fn writable(&self, access: Access, block: &Block, run: Run, bytes: usize) -> Result<(), LaneFault> {
        if self.view.is_read_only(block, run.address, (run.lanes * bytes) as u64) {
            return Err(self.fault(access, Some(FaultKind::ReadOnly), run, bytes as u32));
        }
        Ok(())
    }

    /// Whether all bytes of a run were written; if not, and nothing else is to be reported, an issue is.
    #[inline]
    fn initialised(&self, request: &Request, issue: &mut Option<Issue>) -> bool {
        if self.view.races.is_none() {
            return true;
        }
        let &Request { index, offset, length, run, bytes, .. } = request;
        let block = &self.view.blocks[index];
        let Some(first) = block.first_unwritten(offset, length) else { return true };
        issue.get_or_insert_with(|| {
            let message = format!("offset {first} of {} of {} bytes was never written", block.label, block.bytes);
            let lane = (run.lane + (first - offset) / bytes) as u32;
            Issue { kind: FindingKind::UninitialisedGlobal, lane, address: Some(block.start + first as u64), message }
        });
        false
    }

    #[inline]
    fn race(&self, request: &Request, issue: &mut Option<Issue>) {
        let Some(races) = &self.view.races else { return };
        self.overlap(request, issue);
        let &Request { index, offset, length, kind, run, bytes, by: By { warp, .. } } = request;
        let by = self.view.flags.as_ref().zip(self.threads.as_deref()).map(|(flags, threads)| Accessor {
            threads,
            flags,
            warp,
            lane: run.lane as u32,
            lanes: run.lanes as u32,
            bytes,
            same: run.same,
        });
        let Some(conflict) = races.access(index, offset, length, self.block, kind, by.as_ref()) else { return };
        issue.get_or_insert_with(|| self.conflict(request, conflict));
    }

    /// Reports what the launches that may still run make wrong.
    #[inline]
    fn overlap(&self, request: &Request, issue: &mut Option<Issue>) {
        for beside in &self.view.beside {
            let runs = !(request.by.waited && beside.ends_by_wait);
            if runs || request.kind == GlobalAccess::ReadOnly {
                self.beside(request, beside, runs, issue);
            }
        }
    }

    #[cold]
    fn beside(&self, request: &Request, beside: &Beside, runs: bool, issue: &mut Option<Issue>) {
        let &Request { index, kind, offset, length, run, bytes, by } = request;
        let block = &self.view.blocks[index];
        let address = block.start + offset as u64;
        let (read, written) = beside.footprint.touched(address, length);
        let is_read = matches!(kind, GlobalAccess::Read | GlobalAccess::StrongRead | GlobalAccess::ReadOnly);
        let earlier = match (written, read && !is_read) {
            (true, _) => "written",
            (_, true) => "read",
            _ => return,
        };
        let why = match (runs, by.waited) {
            (false, _) => "which began before that had ended, so that the byte is not read-only during this launch",
            (true, false) => "which may still run before griddepcontrol.wait",
            (true, true) => "which may still run: the launches in between did not wait for it",
        };
        issue.get_or_insert_with(|| {
            // The lane is that of the run's first byte concerned.
            let one = |lane: &usize| beside.footprint.touched(address + (lane * bytes) as u64, bytes) != (false, false);
            let lane = if run.same { 0 } else { (0..run.lanes).find(one).unwrap_or(0) };
            let message = format!(
                "{kind} of a byte {earlier} by the launch of {} before, {why}, offset {} of {} of {} bytes",
                beside.footprint.kernel(),
                offset + lane * bytes,
                block.label,
                block.bytes
            );
            let address = Some(address + (lane * bytes) as u64);
            Issue { kind: FindingKind::GridDependency, lane: (run.lane + lane) as u32, address, message }
        });
    }

    /// Asks for bytes to be brought nearer: they must be there.
    pub(crate) fn prefetch(&self, lane: u32, address: u64, bytes: u64) -> Result<(), LaneFault> {
        let blocks = &self.view.blocks;
        let block = blocks.get(blocks.partition_point(|block| block.start <= address).wrapping_sub(1));
        let inside =
            block.is_some_and(|block| address < block.end() && bytes <= block.end() - address && !block.freed.load(Relaxed));
        if inside {
            return Ok(());
        }
        Err(LaneFault { lane, fault: self.view.table.fault(Access::Read, None, address, bytes) })
    }

    #[cold]
    fn conflict(&self, request: &Request, conflict: Conflict) -> Issue {
        let &Request { index, kind, offset, run, bytes, .. } = request;
        let block = &self.view.blocks[index];
        let other = match conflict.other {
            Some(linear) => {
                let [x, y, z] = self.view.block_index(linear);
                format!("block ({x},{y},{z})")
            }
            None => "several other blocks".into(),
        };
        let order = match (kind, &self.threads) {
            (GlobalAccess::ReadOnly, _) => ", which such a load may not see",
            (_, Some(_)) => ", with no release and acquire (fence, atomic or flag, barrier) in between",
            _ => "",
        };
        let message = format!(
            "{kind} of a byte {} by {other} in this launch{order}, offset {} of {} of {} bytes",
            conflict.earlier, conflict.offset, block.label, block.bytes
        );
        let lane = (run.lane + (conflict.offset.saturating_sub(offset)) / bytes) as u32;
        Issue { kind: FindingKind::GlobalRace, lane, address: Some(block.start + conflict.offset as u64), message }
    }

    /// The fault of the first lane of a run that leaves its allocation.
    #[cold]
    fn stray(&self, access: Access, run: Run, bytes: u32) -> LaneFault {
        let inside = self.view.blocks.iter().find(|block| run.address.wrapping_sub(block.start) < block.bytes);
        let lanes = inside.map_or(0, |block| (block.end() - run.address) / u64::from(bytes));
        let skipped = if run.same { 0 } else { lanes.min(run.lanes as u64 - 1) };
        let address = run.address.wrapping_add(skipped * u64::from(bytes));
        self.fault(access, None, Run { address, lane: run.lane + skipped as usize, lanes: 1, same: false }, bytes)
    }

    #[cold]
    fn fault(&self, access: Access, kind: Option<FaultKind>, run: Run, bytes: u32) -> LaneFault {
        // What lies at an odd address is out of bounds first, and misaligned second.
        LaneFault { lane: run.lane as u32, fault: self.view.table.fault(access, kind, run.address, u64::from(bytes)) }
    }
}

/// A run's access to an allocation.
struct Request {
    index: usize,
    offset: usize,
    length: usize,
    kind: GlobalAccess,
    run: Run,
    /// Bytes per lane.
    bytes: usize,
    by: By,
}

impl Request {
    fn words(&self) -> impl Iterator<Item = (usize, usize)> {
        let index = self.index;
        (self.offset / 4..(self.offset + self.length).div_ceil(4)).map(move |word| (index, word))
    }

    /// The words of each lane.
    fn lane_words(&self) -> impl Iterator<Item = (u32, (usize, usize))> {
        let (index, bytes, step) = (self.index, self.bytes, if self.run.same { 0 } else { self.bytes });
        let (first, offset) = (self.run.lane, self.offset);
        (0..self.run.lanes).flat_map(move |lane| {
            let start = offset + lane * step;
            (start / 4..(start + bytes).div_ceil(4)).map(move |word| ((first + lane) as u32, (index, word)))
        })
    }
}

/// Sectors touched by runs, as long as they ascend.
#[derive(Debug, Default)]
struct Touched {
    sectors: u64,
    newest: u64,
    descending: bool,
}

impl Touched {
    #[inline]
    fn add(&mut self, run: Run, bytes: usize) {
        let (first, last) = (run.address / 32, (run.address + run.length(bytes) as u64 - 1) / 32);
        self.descending |= first < self.newest;
        self.sectors += last - first + u64::from(first != self.newest);
        self.newest = last;
    }
}

/// Counts one request.
#[inline]
fn count(traffic: &mut SectorTraffic, access: &WarpAccess<'_>, touched: &Touched) {
    let lanes = access.mask.count_ones();
    traffic.requests += 1;
    traffic.ideal_sectors += u64::from(ideal_sectors(lanes, access.bytes));
    traffic.bytes += u64::from(lanes * access.bytes);
    let sectors =
        if touched.descending { u64::from(sectors(access.addresses, access.mask, access.bytes)) } else { touched.sectors };
    traffic.sectors += sectors;
}

/// Fills `others` with copies of `once`.
#[inline]
fn repeat(once: &[u8], others: &mut [u8]) {
    fn fill<const N: usize>(once: &[u8], others: &mut [u8]) {
        let Some(value) = once.first_chunk::<N>() else { return };
        others.chunks_exact_mut(N).for_each(|chunk| chunk.copy_from_slice(value));
    }
    match once.len() {
        1 => fill::<1>(once, others),
        2 => fill::<2>(once, others),
        4 => fill::<4>(once, others),
        8 => fill::<8>(once, others),
        _ => fill::<16>(once, others),
    }
}

/// Lanes of one store that write different bytes to one place.
#[cold]
fn conflicting_lanes(access: &WarpAccess<'_>, data: &LaneBytes) -> Option<Issue> {
    let bytes = access.bytes as usize;
    let mut lanes: Vec<usize> = (0..32).filter(|lane| access.mask & (1 << lane) != 0).collect();
    // Addresses are multiples of the size, so lanes overlap wholly or not at all.
    lanes.sort_by_key(|&lane| access.addresses[lane]);
    let clash = lanes.windows(2).find(|pair| {
        access.addresses[pair[0]] == access.addresses[pair[1]] && data.lane(pair[0], bytes) != data.lane(pair[1], bytes)
    })?;
    let message = format!("lanes {} and {} write different values to one address", clash[0], clash[1]);
    Some(Issue { kind: FindingKind::ConflictingLanes, lane: clash[1] as u32, address: Some(access.addresses[clash[1]]), message })
}
