//! Races between the blocks of a launch on global memory.

use std::fmt;
use std::hint::spin_loop;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::ordered::{Accessor, Stamps};

/// How a block touches global memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlobalAccess {
    /// A plain read.
    Read,
    /// A plain write.
    Write,
    /// A read that is volatile, relaxed or acquiring.
    StrongRead,
    /// A write that is volatile, relaxed or releasing.
    StrongWrite,
    /// A read-modify-write.
    Atomic,
    /// A read through the path for memory that nobody writes during the launch.
    ReadOnly,
}

impl fmt::Display for GlobalAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GlobalAccess::Read => "read",
            GlobalAccess::Write => "write",
            GlobalAccess::StrongRead => "volatile read",
            GlobalAccess::StrongWrite => "volatile write",
            GlobalAccess::Atomic => "atomic",
            GlobalAccess::ReadOnly => "read-only load",
        })
    }
}

/// Two blocks that touch one byte, at least one of them with a plain write, or one plainly and one atomically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// First offset concerned, from the start of the allocation.
    pub offset: usize,
    /// Linear index of the other block, if it is one.
    pub other: Option<u64>,
    /// What the other did: "written", "read" or "changed atomically".
    pub earlier: &'static str,
}

/// Who touched which byte of global memory during a launch. Blocks may report from several threads and in any order: a conflict is
/// found whichever comes first. Without an [`Accessor`] the end of the launch is the only order between blocks; with one, what
/// blocks hand to each other through flags and fences counts. What several blocks have read that are not ordered among themselves,
/// no other may write, even if it comes after all of them: their number alone is kept.
///
/// State is kept for units of 16 bytes, and divided into words and bytes where blocks touch less than a unit.
#[derive(Debug)]
pub struct GlobalRaces {
    allocations: Vec<Pages>,
}

type Pages = (u64, OnceLock<Box<[OnceLock<Box<Page>>]>>);

/// Where a conflict is in its page, with which block's number, and what that did.
type Place = (usize, u64, &'static str);

/// Bytes of a page of state, allocated when first touched.
const PAGE: usize = 4096;
/// Bytes that one cell stands for, at each level of division.
pub(super) const SIZES: [usize; 3] = [16, 4, 1];

#[derive(Debug, Default)]
struct Page {
    cells: [OnceLock<Box<[AtomicU64]>>; 3],
    /// By whom and when the cells were touched, where blocks may be ordered; locked while their states change.
    stamps: Mutex<Levels>,
}

/// The stamps of a page, by level; empty until used.
type Levels = [Vec<Stamps>; 3];

/// An access.
#[derive(Clone, Copy)]
struct Touch<'a> {
    me: u64,
    kind: GlobalAccess,
    allocation: usize,
    /// Offsets of the page and of the access in the allocation.
    start: usize,
    run: usize,
    by: Option<&'a Accessor<'a>>,
}

/// A block is a number from 1; 0 is nobody and the greatest are many.
const BLOCK_BITS: u32 = 30;
const MANY: u64 = (1 << BLOCK_BITS) - 1;
const READER_SHIFT: u32 = BLOCK_BITS;
const READER: u64 = MANY << READER_SHIFT;
/// All writes so far were atomic or strong.
const WRITER_ATOMIC: u64 = 1 << 60;
/// All reads so far were strong.
const READER_STRONG: u64 = 1 << 61;
/// The state is in the cells of the next level.
const DIVIDED: u64 = 1 << 62;
/// A thread is dividing the cell.
const DIVIDING: u64 = 1 << 63;

impl GlobalRaces {
    /// For allocations of the given sizes in bytes, which are later named by their index.
    pub fn new(sizes: impl IntoIterator<Item = u64>) -> Self {
        GlobalRaces { allocations: sizes.into_iter().map(|bytes| (bytes, OnceLock::new())).collect() }
    }

    /// Records that a block touches `bytes` bytes of an allocation, and reports the first conflict with another block.
    /// Blocks beyond 2^30 share numbers, so that some conflicts may be missed there.
    ///
    /// # Panics
    /// If the range is not within the allocation.
    #[inline]
    pub fn access(
        &self,
        allocation: usize,
        offset: usize,
        bytes: usize,
        block: u64,
        kind: GlobalAccess,
        by: Option<&Accessor<'_>>,
    ) -> Option<Conflict> {
        let (size, pages) = &self.allocations[allocation];
        let pages = pages.get_or_init(|| (0..size.div_ceil(PAGE as u64)).map(|_| OnceLock::new()).collect());
        let me = block % (MANY - 1) + 1;
        if by.is_none() && bytes == SIZES[1] && is_settled(pages, offset, me, kind) {
            return None;
        }
        let (mut at, end) = (offset, offset + bytes);
        let mut found = None;
        while at < end {
            let page = pages[at / PAGE].get_or_init(Box::default);
            let start = at / PAGE * PAGE;
            let stop = end.min(start + PAGE);
            let place = page.access(at - start..stop - start, Touch { me, kind, allocation, start, run: offset, by });
            if let Some((place, other, earlier)) = place {
                let other = (other != MANY).then(|| other - 1);
                found = found.or(Some(Conflict { offset: start + place, other, earlier }));
            }
            at = stop;
        }
        found
    }

    /// Whether some byte of a range was read, and whether one was written.
    pub(crate) fn touched(&self, allocation: usize, offset: usize, bytes: usize) -> (bool, bool) {
        let Some(pages) = self.allocations.get(allocation).and_then(|(_, pages)| pages.get()) else { return (false, false) };
        let (mut at, end, mut found) = (offset, offset + bytes, (false, false));
        while at < end {
            let (start, stop) = (at / PAGE * PAGE, end.min(at / PAGE * PAGE + PAGE));
            if let Some(page) = pages.get(at / PAGE).and_then(OnceLock::get) {
                let (read, written) = page.touched(0, at - start..stop - start);
                found = (found.0 || read, found.1 || written);
            }
            at = stop;
        }
        found
    }

    /// Different bytes read and written so far.
    pub fn unique_bytes(&self) -> (u64, u64) {
        let pages = self.allocations.iter().filter_map(|(_, pages)| pages.get());
        let pages = pages.flat_map(|pages| pages.iter()).filter_map(OnceLock::get);
        pages.fold((0, 0), |(read, written), page| {
            let (more_read, more_written) = page.unique_bytes();
            (read + more_read, written + more_written)
        })
    }
}

/// Whether a word on its own (a scattered or broadcast access) is in a state that the access leaves as it is, without conflict.
#[inline]
fn is_settled(pages: &[OnceLock<Box<Page>>], offset: usize, me: u64, kind: GlobalAccess) -> bool {
    let Some(words) = pages[offset / PAGE].get().and_then(|page| page.cells[1].get()) else { return false };
    if !offset.is_multiple_of(SIZES[1]) {
        return false;
    }
    // A word whose unit was never divided has the state 0, which no access leaves as it is.
    let state = words[offset % PAGE / SIZES[1]].load(Acquire);
    state & (DIVIDED | DIVIDING) == 0 && step(state, me, kind) == state && conflict(state, me, kind).is_none()
}

impl Page {
    #[inline]
    fn cells(&self, level: usize) -> &[AtomicU64] {
        self.cells[level].get_or_init(|| (0..PAGE / SIZES[level]).map(|_| AtomicU64::new(0)).collect())
    }

    fn access(&self, bytes: Range<usize>, touch: Touch<'_>) -> Option<Place> {
        if touch.by.is_none() {
            return self.touch(0, bytes, touch, None);
        }
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        self.touch(0, bytes, touch, Some(&mut *stamps))
    }

    /// Touches bytes of the page; returns the first conflict.
    fn touch(&self, level: usize, bytes: Range<usize>, touch: Touch<'_>, mut stamps: Option<&mut Levels>) -> Option<Place> {
        let (size, Touch { me, kind, .. }) = (SIZES[level], touch);
        let mut found = None;
        // A state that this access leaves as it is, without conflict: most cells of a range are in the same.
        let mut settled = DIVIDING;
        let first = bytes.start / size;
        for (cell, index) in self.cells(level)[first..bytes.end.div_ceil(size)].iter().zip(first..) {
            let (low, high) = (bytes.start.max(index * size), bytes.end.min((index + 1) * size));
            let whole = high - low == size;
            let state = cell.load(Acquire);
            if whole && state == settled {
                continue;
            }
            if !whole && state & DIVIDED == 0 {
                self.divide(level, index, cell, stamps.as_deref_mut());
            }
            let updated = match (whole, &mut stamps) {
                (false, _) => None,
                (true, None) => update(cell, me, kind),
                (true, Some(stamps)) => update_ordered(cell, &mut stamps_of(stamps, level)[index], touch, level, low),
            };
            let conflict = match updated {
                Some((state, conflict)) => {
                    if conflict.is_none() && stamps.is_none() && step(state, me, kind) == state {
                        settled = state;
                    }
                    conflict.map(|(other, earlier)| (low, other, earlier))
                }
                None => self.touch(level + 1, low..high, touch, stamps.as_deref_mut()),
            };
            found = found.or(conflict);
        }
        found
    }

    /// Hands the state of a cell to the cells of the next level.
    fn divide(&self, level: usize, index: usize, cell: &AtomicU64, mut stamps: Option<&mut Levels>) {
        let state = wait(cell);
        if state & DIVIDED != 0 {
            return;
        }
        if cell.compare_exchange(state, DIVIDING, Acquire, Acquire).is_err() {
            return self.divide(level, index, cell, stamps);
        }
        let parts = SIZES[level] / SIZES[level + 1];
        for part in &self.cells(level + 1)[index * parts..(index + 1) * parts] {
            part.store(state, Release);
        }
        if let Some(stamps) = &mut stamps {
            let whole = stamps_of(stamps, level)[index];
            for (part, stamps) in stamps_of(stamps, level + 1)[index * parts..(index + 1) * parts].iter_mut().enumerate() {
                *stamps = whole.part(part * SIZES[level + 1]);
            }
        }
        cell.store(DIVIDED, Release);
    }

    fn touched(&self, level: usize, bytes: Range<usize>) -> (bool, bool) {
        let Some(cells) = self.cells[level].get() else { return (false, false) };
        let (size, mut found) = (SIZES[level], (false, false));
        for index in bytes.start / size..bytes.end.div_ceil(size) {
            let state = wait(&cells[index]);
            let (read, written) = if state & DIVIDED == 0 {
                (state & READER != 0, state & MANY != 0)
            } else {
                self.touched(level + 1, bytes.start.max(index * size)..bytes.end.min((index + 1) * size))
            };
            found = (found.0 || read, found.1 || written);
        }
        found
    }

    fn unique_bytes(&self) -> (u64, u64) {
        let (mut read, mut written) = (0, 0);
        for (cells, size) in self.cells.iter().zip(SIZES) {
            for cell in cells.get().iter().flat_map(|cells| cells.iter()) {
                // A divided cell has neither reader nor writer.
                let state = cell.load(Acquire);
                read += if state & READER != 0 { size as u64 } else { 0 };
                written += if state & MANY != 0 { size as u64 } else { 0 };
            }
        }
        (read, written)
    }
}

/// The state of a cell that nobody is dividing.
#[inline]
fn wait(cell: &AtomicU64) -> u64 {
    loop {
        let state = cell.load(Acquire);
        if state & DIVIDING == 0 {
            return state;
        }
        spin_loop();
    }
}

/// Applies an access to an undivided cell; returns its state then, and whom the access conflicts with. `None` if the cell is divided.
#[inline]
fn update(cell: &AtomicU64, me: u64, kind: GlobalAccess) -> Option<(u64, Option<(u64, &'static str)>)> {
    loop {
        let state = wait(cell);
        if state & DIVIDED != 0 {
            return None;
        }
        let next = step(state, me, kind);
        if next == state || cell.compare_exchange_weak(state, next, Release, Acquire).is_ok() {
            return Some((next, conflict(state, me, kind)));
        }
    }
}

fn stamps_of(levels: &mut Levels, level: usize) -> &mut [Stamps] {
    let stamps = &mut levels[level];
    if stamps.is_empty() {
        stamps.resize(PAGE / SIZES[level], Stamps::default());
    }
    stamps
}

/// [`update`] where blocks may be ordered: what comes before the access is no conflict, and need not be kept. The page is locked.
fn update_ordered(
    cell: &AtomicU64,
    stamps: &mut Stamps,
    touch: Touch<'_>,
    level: usize,
    low: usize,
) -> Option<(u64, Option<(u64, &'static str)>)> {
    let state = wait(cell);
    let by = touch.by.filter(|_| state & DIVIDED == 0)?;
    let (Touch { me, kind, .. }, size, offset) = (touch, SIZES[level], touch.start + low);
    let position = offset - touch.run;
    let (writer, reader) = (state & MANY, state >> READER_SHIFT & MANY);
    let is_read = matches!(kind, GlobalAccess::Read | GlobalAccess::StrongRead | GlobalAccess::ReadOnly);
    let (mut before, mut kept) = (state, state);
    if reader != 0 && reader != me && reader != MANY && by.follows(reader - 1, stamps.reader, position, size) {
        before &= !(READER | READER_STRONG);
        if is_read {
            kept = before;
        }
    }
    if kind != GlobalAccess::ReadOnly && writer != 0 && writer != me && conflict(before, me, kind).is_some() {
        let follows = writer != MANY && by.follows(writer - 1, stamps.writer, position, size);
        if follows || state & WRITER_ATOMIC != 0 && by.has_seen(touch.allocation, offset, position, size) {
            before &= !(MANY | WRITER_ATOMIC);
            if !is_read {
                kept &= !(MANY | WRITER_ATOMIC);
            }
        }
    }
    let next = step(kept, me, kind);
    let new = by.stamp(position);
    let stamp = if is_read { &mut stamps.reader } else { &mut stamps.writer };
    let former = if is_read { kept >> READER_SHIFT & MANY } else { kept & MANY };
    // An own plain write stays what others must come after, whatever the block does to the place atomically.
    if is_read || former != me || next != kept || kind == GlobalAccess::Write || state & WRITER_ATOMIC != 0 {
        *stamp = if former == me { by.renewed(*stamp, new, size) } else { new };
    }
    cell.store(next, Release);
    Some((next, conflict(before, me, kind)))
}

/// The state after an access.
#[inline]
fn step(state: u64, me: u64, kind: GlobalAccess) -> u64 {
    let (writer, reader) = (state & MANY, state >> READER_SHIFT & MANY);
    match kind {
        GlobalAccess::Read | GlobalAccess::StrongRead | GlobalAccess::ReadOnly => {
            let reader_now = if reader == 0 || reader == me { me } else { MANY };
            let strong = kind == GlobalAccess::StrongRead && (reader == 0 || state & READER_STRONG != 0);
            let kept = state & !(READER | READER_STRONG);
            kept | reader_now << READER_SHIFT | if strong { READER_STRONG } else { 0 }
        }
        GlobalAccess::Write => state & !(MANY | WRITER_ATOMIC) | me,
        GlobalAccess::StrongWrite | GlobalAccess::Atomic => {
            if writer == me {
                return state; // after an own plain write it stays plain for the others
            }
            let writer_now = if writer != 0 && state & WRITER_ATOMIC != 0 { MANY } else { me };
            state & !MANY | writer_now | WRITER_ATOMIC
        }
    }
}

/// Whom an access conflicts with.
#[inline]
fn conflict(state: u64, me: u64, kind: GlobalAccess) -> Option<(u64, &'static str)> {
    let (writer, reader) = (state & MANY, state >> READER_SHIFT & MANY);
    if (writer == 0 || writer == me) && (reader == 0 || reader == me) && kind != GlobalAccess::ReadOnly {
        return None;
    }
    conflict_of_many(state, me, kind)
}

/// [`conflict`] for a cell that another block touched.
fn conflict_of_many(state: u64, me: u64, kind: GlobalAccess) -> Option<(u64, &'static str)> {
    let (writer, reader) = (state & MANY, state >> READER_SHIFT & MANY);
    let (atomic, strong) = (state & WRITER_ATOMIC != 0, state & READER_STRONG != 0);
    let other_writer = writer != 0 && writer != me;
    let other_reader = reader != 0 && reader != me;
    let (by_writer, by_reader) = match kind {
        GlobalAccess::Read => (other_writer, false),
        GlobalAccess::ReadOnly => (writer != 0, false),
        GlobalAccess::StrongRead => (other_writer && !atomic, false),
        GlobalAccess::Write => (other_writer, other_reader),
        GlobalAccess::StrongWrite | GlobalAccess::Atomic => (other_writer && !atomic, other_reader && !strong),
    };
    if by_writer {
        Some((writer, if atomic { "changed atomically" } else { "written" }))
    } else {
        by_reader.then_some((reader, "read"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::GlobalAccess::*;
    use super::*;

    /// Conflicts of accesses (offset, bytes, block, kind) made in this order, as pairs of step and other block.
    fn conflicts(accesses: &[(usize, usize, u64, GlobalAccess)]) -> Vec<(usize, Option<u64>)> {
        let races = GlobalRaces::new([10_000]);
        let mut found = Vec::new();
        for (step, &(offset, bytes, block, kind)) in accesses.iter().enumerate() {
            if let Some(conflict) = races.access(0, offset, bytes, block, kind, None) {
                found.push((step, conflict.other));
            }
        }
        found
    }

    #[test]
    fn legal_patterns_are_silent() {
        // Blocks write their own parts, also adjacent bytes, and read what all may read.
        assert_eq!(
            conflicts(&[(0, 64, 0, Write), (64, 64, 1, Write), (0, 64, 0, Read), (200, 32, 0, Read), (200, 32, 1, Read)]),
            []
        );
        assert_eq!(conflicts(&[(0, 3, 0, Write), (3, 3, 1, Write), (6, 2, 2, Write), (0, 3, 0, Write)]), []);
        assert_eq!(conflicts(&[(8, 4, 0, Atomic), (8, 4, 1, Atomic), (8, 4, 0, StrongRead), (8, 4, 2, StrongWrite)]), []);
        assert_eq!(conflicts(&[(0, 16, 0, Read), (0, 4, 1, Read), (4, 4, 2, Read), (0, 16, 3, Read)]), []);
    }

    #[test]
    fn each_conflict_is_found_in_either_order() {
        let plain = [(Write, Write), (Write, Read), (Write, Atomic), (Read, Atomic), (Read, StrongWrite), (Write, StrongRead)];
        for (one, two) in plain {
            for (first, second) in [(one, two), (two, one)] {
                assert_eq!(conflicts(&[(40, 4, 5, first), (40, 4, 6, second)]), [(1, Some(5))], "{first} then {second}");
                assert_eq!(conflicts(&[(32, 16, 5, first), (41, 1, 6, second)]), [(1, Some(5))], "{first} then {second}");
                assert_eq!(conflicts(&[(41, 1, 5, first), (32, 16, 6, second)]), [(1, Some(5))], "{first} then {second}");
                assert_eq!(conflicts(&[(4090, 10, 5, first), (4098, 1, 6, second)]), [(1, Some(5))], "{first} then {second}");
            }
        }
        assert_eq!(conflicts(&[(0, 4, 1, Read), (0, 4, 2, Read), (0, 4, 1, Write)]), [(2, None)]);
        assert_eq!(conflicts(&[(0, 4, 1, Atomic), (0, 4, 2, Atomic), (0, 4, 1, Read)]), [(2, None)]);
        // An own plain write is not hidden by an own atomic.
        assert_eq!(conflicts(&[(0, 4, 1, Write), (0, 4, 1, Atomic), (0, 4, 2, Atomic)]), [(2, Some(1))]);
    }

    #[test]
    fn conflicts_name_the_place() {
        let races = GlobalRaces::new([64, 10_000]);
        assert_eq!(races.access(1, 5000, 2, 7, Write, None), None);
        let found = races.access(1, 4000, 2000, 8, Read, None).unwrap();
        assert_eq!(found, Conflict { offset: 5000, other: Some(7), earlier: "written" });
        assert_eq!(races.access(0, 0, 64, 9, Write, None), None);
    }

    #[test]
    fn unique_bytes_count_each_byte_once() {
        let races = GlobalRaces::new([10_000]);
        for block in 0..3 {
            races.access(0, 100, 1000, block, Read, None);
        }
        races.access(0, 50, 7, 1, Write, None);
        races.access(0, 50, 16, 1, Atomic, None);
        assert_eq!(races.unique_bytes(), (1000, 16));
        // Bytes 50 to 57 written, 50 to 66 changed, 100 to 1100 read.
        let touched = |offset, bytes| races.touched(0, offset, bytes);
        assert_eq!([touched(0, 50), touched(66, 34), touched(1100, 5000)], [(false, false); 3]);
        assert_eq!([touched(49, 2), touched(65, 1), touched(40, 100)], [(false, true), (false, true), (true, true)]);
        assert_eq!([touched(100, 1), touched(1099, 1), touched(1098, 8000)], [(true, false); 3]);
    }

    proptest! {
        /// Bytes, one by one, by the definition: every pair of accesses by different blocks with a plain write, or of a plain one
        /// and an atomic one.
        #[test]
        fn a_launch_is_silent_exactly_if_no_two_blocks_conflict(
            accesses in prop::collection::vec((0usize..60, 1usize..20, 0u64..4, prop::sample::select(vec![Read, Write, Atomic])), 1..8)
        ) {
            let clash = |a: &(usize, usize, u64, GlobalAccess), b: &(usize, usize, u64, GlobalAccess)| {
                a.2 != b.2 && a.0 < b.0 + b.1 && b.0 < a.0 + a.1 && !matches!((a.3, b.3), (Read, Read) | (Atomic, Atomic))
            };
            let want = accesses.iter().enumerate().any(|(i, a)| accesses[..i].iter().any(|b| clash(a, b)));
            prop_assert_eq!(!conflicts(&accesses).is_empty(), want);
        }
    }

    #[test]
    fn blocks_on_several_threads() {
        let races = GlobalRaces::new([1 << 16]);
        let conflicts: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4u64)
                .map(|block| {
                    let races = &races;
                    scope.spawn(move || {
                        let mut found = 0;
                        for i in 0..4000usize {
                            // Interleaved three-byte pieces, and one word that all write.
                            found += usize::from(races.access(0, 12 * i + 3 * block as usize, 3, block, Write, None).is_some());
                            found += usize::from(races.access(0, 60_000, 4, block, Read, None).is_some());
                        }
                        races.access(0, 64_000, 4, block, Write, None).map_or(found, |_| found + 1)
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(conflicts, 3);
        assert_eq!(races.unique_bytes(), (4, 48_004));
    }
}
