//! All of a device's memory, as the host sees it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::block::{AllocKind, AllocLabel, Block};
use super::fault::{Access, FaultKind, MemoryFault, Neighbour, OutOfMemory, Position};
use super::view::{LaunchView, ViewOptions};
use crate::report::{Finding, FindingKind};

/// First device address: beyond what user processes map, so that the host crashes instead of reading something.
const BASE: u64 = 1 << 48;
/// Addresses below this are taken for null pointers with an offset.
const NULL_END: u64 = 1 << 16;
/// Alignment of allocations.
const ALIGN: u64 = 512;
/// Least number of unused bytes between allocations.
const RED_ZONE: u64 = 512;

/// A live allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Device address of the first byte.
    pub address: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Its name in reports.
    pub label: AllocLabel,
}

/// All of a device's global memory. Host memory is used for allocated bytes only.
#[derive(Debug)]
pub struct Memory {
    table: Arc<Table>,
}

/// The table of allocations; launches keep it alive to name what they hit.
#[derive(Debug)]
pub(crate) struct Table {
    total: u64,
    state: RwLock<State>,
    findings: Mutex<Vec<Finding>>,
}

#[derive(Debug)]
struct State {
    next: u64,
    used: u64,
    live: BTreeMap<u64, Arc<Block>>,
    freed: BTreeMap<u64, (u64, AllocLabel)>,
    /// The live allocations by address, made when a launch asks.
    snapshot: Option<Arc<[Arc<Block>]>>,
}

/// Bytes that an allocation takes from the device.
fn rounded(bytes: u64) -> u64 {
    bytes.max(1).div_ceil(ALIGN).saturating_mul(ALIGN)
}

impl Memory {
    /// A device with `total` bytes.
    pub fn new(total: u64) -> Self {
        let state = State { next: BASE + ALIGN, used: 0, live: BTreeMap::new(), freed: BTreeMap::new(), snapshot: None };
        Memory { table: Arc::new(Table { total, state: RwLock::new(state), findings: Mutex::new(Vec::new()) }) }
    }

    /// Reserves `bytes` bytes, uninitialised, and returns their address, a multiple of 512 never returned before.
    pub fn alloc(&self, bytes: u64, label: AllocLabel) -> Result<u64, OutOfMemory> {
        let mut state = self.table.write();
        let free = self.table.total - state.used;
        let refused = OutOfMemory { requested: bytes, free, total: self.table.total };
        if bytes > free || rounded(bytes) > free {
            return Err(refused);
        }
        let start = state.next;
        let end = start.checked_add(rounded(bytes) + RED_ZONE).ok_or(refused)?;
        let block = Block::new(start, bytes, label).ok_or(refused)?;
        state.next = end;
        state.used += rounded(bytes);
        state.live.insert(start, Arc::new(block));
        state.snapshot = None;
        Ok(start)
    }

    /// Gives an allocation back. Its address is remembered, and later use of it named.
    pub fn free(&self, address: u64) -> Result<(), MemoryFault> {
        let mut state = self.table.write();
        let known = state.live.get(&address).is_some_and(|block| block.label.kind != AllocKind::Host);
        let Some(block) = known.then(|| state.live.remove(&address)).flatten() else {
            drop(state);
            return Err(self.table.fault(Access::Free, Some(FaultKind::InvalidFree), address, 0));
        };
        block.freed.store(true, Relaxed);
        state.used -= rounded(block.bytes);
        state.freed.insert(address, (block.bytes, block.label.clone()));
        state.snapshot = None;
        Ok(())
    }

    /// Lets kernels reach page-locked memory of the host, under its own address.
    ///
    /// # Safety
    /// `bytes` bytes, rounded up to whole words of eight, are at this address, a multiple of eight, until [`Memory::unmap`].
    pub(crate) unsafe fn map(&self, address: u64, bytes: u64) -> Result<(), OutOfMemory> {
        let mut state = self.table.write();
        // SAFETY: passed on.
        let block = unsafe { Block::of_host(address, bytes, AllocLabel { sequence: 0, kind: AllocKind::Host }) };
        let block = block.ok_or(OutOfMemory { requested: bytes, free: 0, total: self.table.total })?;
        state.live.insert(address, Arc::new(block));
        state.snapshot = None;
        Ok(())
    }

    /// Ends what [`Memory::map`] began, if it did.
    pub(crate) fn unmap(&self, address: u64) {
        let mut state = self.table.write();
        if state.live.get(&address).is_some_and(|block| block.label.kind == AllocKind::Host)
            && let Some(block) = state.live.remove(&address)
        {
            block.freed.store(true, Relaxed);
            state.snapshot = None;
        }
    }

    /// Copies bytes to the device.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
        let (block, offset) = self.table.range(Access::Write, address, bytes.len() as u64)?;
        block.write(offset, bytes);
        block.mark(offset, bytes.len());
        Ok(())
    }

    /// Copies bytes from the device. Bytes that were never written are 0xFF, and a finding; see [`Memory::take_findings`].
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
        let (block, offset) = self.table.range(Access::Read, address, out.len() as u64)?;
        block.read(offset, out);
        if let Some(first) = block.first_unwritten(offset, out.len()) {
            let missing = poison(&block, offset, out);
            let message =
                format!("{missing} of {} bytes were never written, the first at offset {first} of {}", out.len(), block.label);
            let finding = Finding::host(FindingKind::UninitialisedHostRead, Some(block.start + first as u64), message);
            self.table.findings().push(finding);
        }
        Ok(())
    }

    /// Fills `count` elements with a pattern of 1, 2 or 4 bytes, given in memory order. The address must be a multiple of its size.
    pub fn set(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), MemoryFault> {
        let bytes = count.saturating_mul(pattern.len() as u64);
        let (block, offset) = self.table.range(Access::Write, address, bytes)?;
        if pattern.is_empty() || !address.is_multiple_of(pattern.len() as u64) {
            return Err(self.table.fault(Access::Write, Some(FaultKind::Misaligned), address, bytes));
        }
        let chunk = pattern.repeat(4096 / pattern.len());
        let bytes = bytes as usize; // fits: it lies within an allocation
        for at in (0..bytes).step_by(chunk.len()) {
            block.write(offset + at, &chunk[..chunk.len().min(bytes - at)]);
        }
        block.mark(offset, bytes);
        Ok(())
    }

    /// Copies bytes on the device; the ranges may overlap. Bytes never written stay so, which is no finding.
    pub fn copy(&self, destination: u64, source: u64, bytes: u64) -> Result<(), MemoryFault> {
        let (from, from_offset) = self.table.range(Access::Read, source, bytes)?;
        let (to, to_offset) = self.table.range(Access::Write, destination, bytes)?;
        let mut data = vec![0; bytes as usize]; // fits: it lies within an allocation
        from.read(from_offset, &mut data);
        let missing: Vec<usize> = unwritten(&from, from_offset, data.len()).collect();
        to.write(to_offset, &data);
        to.mark(to_offset, data.len());
        for at in missing {
            to.unmark(to_offset + at, 1);
        }
        Ok(())
    }

    /// Checks that a range lies within one live allocation.
    pub fn check(&self, access: Access, address: u64, bytes: u64) -> Result<(), MemoryFault> {
        self.table.range(access, address, bytes).map(|_| ())
    }

    /// The live allocation that holds `address`.
    pub fn find(&self, address: u64) -> Option<Allocation> {
        self.table.holding(address).map(|block| allocation(&block))
    }

    /// Free and total bytes.
    pub fn info(&self) -> (u64, u64) {
        (self.table.total - self.table.read().used, self.table.total)
    }

    /// The live allocations by address.
    pub fn live(&self) -> Vec<Allocation> {
        self.table.read().live.values().map(|block| allocation(block)).collect()
    }

    /// A finding for each allocation that the host made and never freed.
    pub fn leaks(&self) -> Vec<Finding> {
        let leaked = self.live().into_iter().filter(|allocation| allocation.label.kind == AllocKind::Device);
        leaked
            .map(|allocation| {
                let message = format!("{} of {} bytes was never freed", allocation.label, allocation.bytes);
                Finding::host(FindingKind::Leak, Some(allocation.address), message)
            })
            .collect()
    }

    /// The findings about host accesses since the last call.
    pub fn take_findings(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.table.findings())
    }

    /// What a launch works on: the allocations as they are now.
    pub fn view(&self, options: ViewOptions) -> LaunchView {
        LaunchView::new(self.table.clone(), self.table.snapshot(), options)
    }
}

fn allocation(block: &Block) -> Allocation {
    Allocation { address: block.start, bytes: block.bytes, label: block.label.clone() }
}

/// Offsets within a range that were never written.
fn unwritten(block: &Block, offset: usize, bytes: usize) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let found = block.first_unwritten(offset + at, bytes - at)? - offset;
        at = found + 1;
        Some(found)
    })
}

/// Overwrites the bytes of `out` that were never written; returns how many. f16 and f32 values of such bytes are NaN.
pub(crate) fn poison(block: &Block, offset: usize, out: &mut [u8]) -> usize {
    unwritten(block, offset, out.len()).map(|at| out[at] = 0xFF).count()
}

impl Table {
    // A poisoned lock means that a check panicked elsewhere; the table itself is changed in single steps and stays whole.
    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn findings(&self) -> MutexGuard<'_, Vec<Finding>> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holding(&self, address: u64) -> Option<Arc<Block>> {
        let state = self.read();
        let (_, block) = state.live.range(..=address).next_back()?;
        (address < block.end()).then(|| block.clone())
    }

    /// The block of a range and the offset in it.
    fn range(&self, access: Access, address: u64, bytes: u64) -> Result<(Arc<Block>, usize), MemoryFault> {
        let block = self.holding(address).filter(|block| bytes <= block.end() - address);
        match block {
            Some(block) => {
                let offset = (address - block.start) as usize;
                Ok((block, offset))
            }
            None => Err(self.fault(access, None, address, bytes)),
        }
    }

    fn snapshot(&self) -> Arc<[Arc<Block>]> {
        if let Some(snapshot) = &self.read().snapshot {
            return snapshot.clone();
        }
        let mut state = self.write();
        let snapshot: Arc<[Arc<Block>]> = state.live.values().cloned().collect();
        state.snapshot = Some(snapshot.clone());
        snapshot
    }

    /// The fault of an access, with the reason found out if `kind` is not given.
    #[cold]
    pub fn fault(&self, access: Access, kind: Option<FaultKind>, address: u64, bytes: u64) -> MemoryFault {
        let neighbour = self.neighbour(address);
        let kind = kind.unwrap_or(match &neighbour {
            _ if address < NULL_END => FaultKind::Null,
            Some(near) if near.freed && matches!(near.position, Position::At(_)) => FaultKind::UseAfterFree,
            Some(_) => FaultKind::OutOfBounds,
            None => FaultKind::Unallocated,
        });
        MemoryFault { access, kind, address, bytes, neighbour: neighbour.map(Box::new) }
    }

    /// The allocation, live or freed, that holds `address` or is nearest to it.
    fn neighbour(&self, address: u64) -> Option<Neighbour> {
        let state = self.read();
        if address < BASE || address >= state.next {
            return None;
        }
        let live = |(start, block): (&u64, &Arc<Block>)| (*start, block.bytes, block.label.clone(), false);
        let freed = |(start, (bytes, label)): (&u64, &(u64, AllocLabel))| (*start, *bytes, label.clone(), true);
        let candidates = [
            state.live.range(..=address).next_back().map(live),
            state.freed.range(..=address).next_back().map(freed),
            state.live.range(address..).next().map(live),
            state.freed.range(address..).next().map(freed),
        ];
        let position = |start: u64, bytes: u64| {
            if address < start {
                (Position::Before(start - address), start - address)
            } else if address < start + bytes {
                (Position::At(address - start), 0)
            } else {
                (Position::After(address - start - bytes), address - start - bytes + 1)
            }
        };
        let nearest = candidates.into_iter().flatten().min_by_key(|(start, bytes, ..)| position(*start, *bytes).1);
        nearest.map(|(start, bytes, label, freed)| Neighbour { label, bytes, freed, position: position(start, bytes).0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: u64 = 1 << 34;

    fn memory(sizes: &[u64]) -> (Memory, Vec<u64>) {
        let memory = Memory::new(TOTAL);
        let label = |i| AllocLabel { sequence: i as u64 + 1, kind: AllocKind::Device };
        let addresses = sizes.iter().enumerate().map(|(i, &bytes)| memory.alloc(bytes, label(i)).unwrap()).collect();
        (memory, addresses)
    }

    #[test]
    fn allocations_are_aligned_apart_and_counted() {
        let (memory, at) = memory(&[1, 512, 513, 4096]);
        for pair in at.windows(2) {
            assert_eq!(pair[0] % 512, 0);
        }
        assert!(at[1] - at[0] > 512 && at[2] - at[1] >= 1024 && at[3] - at[2] >= 513 + 512);
        assert_eq!(memory.info(), (TOTAL - (512 + 512 + 1024 + 4096), TOTAL));
        memory.free(at[2]).unwrap();
        assert_eq!(memory.info().0, TOTAL - (512 + 512 + 4096));
        assert_eq!(memory.live().iter().map(|a| a.bytes).collect::<Vec<_>>(), [1, 512, 4096]);
        let again = memory.alloc(513, AllocLabel { sequence: 5, kind: AllocKind::Device }).unwrap();
        assert!(again > at[3], "addresses are not handed out twice");
        assert_eq!(memory.leaks().len(), 4);
        assert!(memory.leaks()[0].message.contains("allocation #1 of 1 bytes"));
    }

    #[test]
    fn a_large_allocation_costs_nothing_until_touched() {
        let (memory, at) = memory(&[TOTAL - (1 << 20)]);
        memory.write(at[0] + TOTAL / 2, b"far").unwrap();
        let mut out = [0; 3];
        memory.read(at[0] + TOTAL / 2, &mut out).unwrap();
        assert_eq!(&out, b"far");
        let refused = memory.alloc(2 << 20, AllocLabel { sequence: 2, kind: AllocKind::Device }).unwrap_err();
        assert_eq!(refused, OutOfMemory { requested: 2 << 20, free: 1 << 20, total: TOTAL });
        assert!(memory.alloc(u64::MAX, AllocLabel { sequence: 2, kind: AllocKind::Device }).is_err());
    }

    #[test]
    fn faults_name_the_allocation() {
        let (memory, at) = memory(&[4096, 100]);
        let message = |address, bytes| memory.write(address, &vec![0; bytes]).unwrap_err().to_string();
        assert!(message(at[0] + 4104, 4).ends_with("out of bounds, 8 bytes after allocation #1 of 4096 bytes"));
        assert!(message(at[0] + 4092, 8).ends_with("out of bounds, at offset 4092 of allocation #1 of 4096 bytes"));
        assert!(message(at[1] - 16, 4).ends_with("16 bytes before allocation #2 of 100 bytes"));
        assert_eq!(message(8, 4), "invalid write of 4 bytes at 0x8: null pointer");
        assert!(message(0x7fff_0000_1234, 4).ends_with("not device memory"));
        memory.free(at[0]).unwrap();
        assert!(message(at[0] + 12, 4).ends_with("use after free, at offset 12 of allocation #1 of 4096 bytes, since freed"));
        let kind = |result: Result<(), MemoryFault>| result.unwrap_err().kind;
        assert_eq!(kind(memory.free(at[0])), FaultKind::InvalidFree);
        assert_eq!(kind(memory.free(at[1] + 4)), FaultKind::InvalidFree);
        assert_eq!(kind(memory.set(at[1] + 2, &[0; 4], 1)), FaultKind::Misaligned);
        assert_eq!(kind(memory.set(at[1], &[0; 4], u64::MAX)), FaultKind::OutOfBounds);
        assert_eq!(kind(memory.copy(at[1], at[0], 4)), FaultKind::UseAfterFree);
        assert_eq!(kind(memory.read(u64::MAX, &mut [0; 2])), FaultKind::Unallocated);
    }

    #[test]
    fn reading_what_was_never_written_is_a_finding() {
        let (memory, at) = memory(&[64, 64]);
        memory.set(at[0], &0x1234u16.to_le_bytes(), 16).unwrap();
        let mut out = [0; 40];
        memory.read(at[0], &mut out[..32]).unwrap();
        assert!(memory.take_findings().is_empty());
        memory.read(at[0], &mut out).unwrap();
        assert_eq!((out[0], out[31], out[32], out[39]), (0x34, 0x12, 0xFF, 0xFF));
        let findings = memory.take_findings();
        assert_eq!((findings.len(), findings[0].kind), (1, FindingKind::UninitialisedHostRead));
        assert!(findings[0].message.contains("8 of 40 bytes") && findings[0].message.contains("offset 32 of allocation #1"));
        // A copy carries the knowledge along, and is none itself.
        memory.set(at[1], &[7], 64).unwrap();
        memory.copy(at[1] + 1, at[0], 40).unwrap();
        assert!(memory.take_findings().is_empty());
        memory.read(at[1], &mut [0; 64]).unwrap();
        assert!(memory.take_findings()[0].message.contains("8 of 64 bytes were never written, the first at offset 33"));
    }

    #[test]
    fn copies_may_overlap() {
        let (memory, at) = memory(&[64]);
        memory.write(at[0], &(0..64).collect::<Vec<u8>>()).unwrap();
        memory.copy(at[0] + 8, at[0], 32).unwrap();
        let mut out = [0; 64];
        memory.read(at[0], &mut out).unwrap();
        assert_eq!(out[8..40], (0..32).collect::<Vec<u8>>()[..]);
        assert_eq!((out[7], out[40]), (7, 40));
    }
}
