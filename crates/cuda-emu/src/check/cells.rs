//! The shadow of shared memory proper: for each word, or each byte, whether it is initialised, who wrote it and who read it.

use super::clocks::{ALL_LANES, Clocks, WARPS, warps_of};

/// Written by someone.
const INITIALISED: u8 = 1;
/// The destination of an asynchronous copy that nobody has waited for.
const PENDING: u8 = 2;
/// What is known stands in finer cells.
pub(super) const DIVIDED: u8 = 4;
/// Flag of a writer: the write was atomic.
const ATOMIC: u16 = 1 << 15;

/// Neighbouring cells touched by neighbouring lanes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touch {
    pub warp: u32,
    /// Lane of the first cell, or [`ALL_LANES`].
    pub lane: u32,
    /// Cells per lane are two to this power.
    pub shift: u32,
    /// First cell.
    pub first: usize,
    /// Number of cells.
    pub count: usize,
}

impl Touch {
    fn lane_of(&self, cell: usize) -> u32 {
        if self.lane == ALL_LANES { ALL_LANES } else { self.lane + ((cell - self.first) >> self.shift) as u32 }
    }
}

/// What is wrong with an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Uninitialised,
    Pending,
    /// Not ordered after a write of this (warp, lane).
    Write(u32, u32),
    /// Not ordered after a read of this (warp, lane); the lane may be unknown.
    Read(u32, Option<u32>),
}

/// Cell and lane of the first problem of an access.
pub(super) type Found = Option<(usize, u32, Problem)>;

/// What an access does to its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Write,
    Atomic,
    /// An asynchronous copy is issued: the cells are written some time from now on.
    Copy,
}

#[derive(Debug, Default)]
pub(super) struct Cells {
    state: Vec<u8>,
    write_ticks: Vec<u32>,
    /// Lane, warp << 5, and a flag for atomics.
    writers: Vec<u16>,
    /// The newest tick of any reader.
    read_ticks: Vec<u32>,
    /// For each warp, the tick of its last read and the lanes that read since the warp last synchronised.
    reads: Vec<(Vec<u32>, Vec<u32>)>,
}

/// `1 << (i >> shift)`: the lane bits of consecutive cells.
static LANE_BITS: [[u32; 512]; 5] = {
    let mut table = [[0; 512]; 5];
    let mut shift = 0;
    while shift < 5 {
        let mut i = 0;
        while i < 32 << shift {
            table[shift][i] = 1 << (i >> shift);
            i += 1;
        }
        shift += 1;
    }
    table
};

fn max(ticks: &[u32]) -> u32 {
    ticks.iter().fold(0, |max, &tick| max.max(tick))
}

impl Cells {
    /// Prepares `count` cells, all uninitialised. Ticks of earlier blocks may stay, unless `forget`.
    pub fn start(&mut self, count: usize, warps: usize, forget: bool) {
        if forget {
            *self = Cells::default();
        }
        self.state.clear();
        self.state.resize(count, 0);
        let longer = count.max(self.writers.len());
        self.write_ticks.resize(longer, 0);
        self.writers.resize(longer, 0);
        self.read_ticks.resize(longer, 0);
        let warps = warps.min(WARPS).max(self.reads.len());
        self.reads.resize_with(warps, Default::default);
        for (ticks, lanes) in &mut self.reads {
            ticks.resize(longer, 0);
            lanes.resize(longer, 0);
        }
    }

    /// Whether one of the cells has been divided.
    #[inline]
    pub fn is_divided(&self, first: usize, count: usize) -> bool {
        self.state[first..first + count].iter().fold(0, |all, &state| all | state) & DIVIDED != 0
    }

    /// Copies what is known of a cell of `coarse` to `parts` cells of this.
    pub fn inherit(&mut self, coarse: &mut Cells, cell: usize, parts: usize) {
        if coarse.state[cell] & DIVIDED != 0 {
            return;
        }
        let fine = cell * parts..(cell + 1) * parts;
        self.state[fine.clone()].fill(coarse.state[cell]);
        self.write_ticks[fine.clone()].fill(coarse.write_ticks[cell]);
        self.writers[fine.clone()].fill(coarse.writers[cell]);
        self.read_ticks[fine.clone()].fill(coarse.read_ticks[cell]);
        for ((ticks, lanes), (coarse_ticks, coarse_lanes)) in self.reads.iter_mut().zip(&coarse.reads) {
            ticks[fine.clone()].fill(coarse_ticks[cell]);
            lanes[fine.clone()].fill(coarse_lanes[cell]);
        }
        coarse.state[cell] = DIVIDED;
    }

    /// A load.
    #[inline]
    pub fn read(&mut self, clocks: &Clocks, touch: Touch) -> Found {
        let range = touch.first..touch.first + touch.count;
        let clean = self.state[range.clone()].iter().fold(true, |clean, &state| clean & (state == INITIALISED));
        let written_before = max(&self.write_ticks[range.clone()]) <= clocks.floor(touch.warp);
        let found = if clean && (written_before || self.own_writes(touch)) { None } else { self.check_read(clocks, touch) };
        let tick = clocks.tick(touch.warp);
        for newest in &mut self.read_ticks[range.clone()] {
            *newest = (*newest).max(tick);
        }
        let (ticks, lanes) = &mut self.reads[touch.warp as usize];
        let (ticks, lanes) = (&mut ticks[range.clone()], &mut lanes[range]);
        if touch.lane == ALL_LANES {
            ticks.fill(tick);
            lanes.fill(u32::MAX);
            return found;
        }
        if clocks.has_lane_clocks(touch.warp) {
            forget_ordered_readers(clocks, touch, ticks, lanes);
        }
        let synced = clocks.synced(touch.warp);
        let start = (touch.lane as usize) << touch.shift;
        let bits = &LANE_BITS[touch.shift as usize][start..start + touch.count];
        for ((old, lanes), &bit) in ticks.iter_mut().zip(lanes).zip(bits) {
            *lanes = bit | if *old > synced { *lanes } else { 0 };
            *old = tick;
        }
        found
    }

    /// Reads four words for all lanes of a warp, if nothing is wrong with that at first sight; `false` leaves everything as it was.
    #[inline]
    pub fn read_row(&mut self, clocks: &Clocks, warp: u32, first: usize) -> bool {
        fn four<T>(cells: &mut [T], first: usize) -> Option<&mut [T; 4]> {
            cells.get_mut(first..)?.first_chunk_mut()
        }
        let (ticks, lanes) = &mut self.reads[warp as usize];
        let (Some(state), Some(written), Some(read), Some(ticks), Some(lanes)) = (
            four(&mut self.state, first),
            four(&mut self.write_ticks, first),
            four(&mut self.read_ticks, first),
            four(ticks, first),
            four(lanes, first),
        ) else {
            return false;
        };
        if *state != [INITIALISED; 4] || max(written) > clocks.floor(warp) {
            return false;
        }
        let tick = clocks.tick(warp);
        *read = read.map(|newest| newest.max(tick));
        *ticks = [tick; 4];
        *lanes = [u32::MAX; 4];
        true
    }

    /// A store, an atomic, or the start of an asynchronous copy.
    #[inline]
    pub fn write(&mut self, clocks: &Clocks, touch: Touch, kind: Kind) -> Found {
        let range = touch.first..touch.first + touch.count;
        let states = self.state[range.clone()].iter().fold((INITIALISED, 0), |(all, any), &state| (all & state, any | state));
        let clean = states.1 & PENDING == 0 && (kind != Kind::Atomic || states.0 & INITIALISED != 0);
        let floor = clocks.floor(touch.warp);
        let ordered = max(&self.write_ticks[range.clone()]) <= floor || self.own_writes(touch);
        let ordered = ordered && (max(&self.read_ticks[range.clone()]) <= floor || self.reads_ordered(clocks, touch));
        let found = if clean && ordered { None } else { self.check_write(clocks, touch, kind) };
        match kind {
            Kind::Copy => self.state[range].fill(PENDING),
            Kind::Write => self.put(clocks, touch, 0),
            Kind::Atomic => self.put(clocks, touch, ATOMIC),
        }
        found
    }

    /// An asynchronous copy that its thread has waited for counts as written by that thread now.
    pub fn arrived(&mut self, clocks: &Clocks, touch: Touch) {
        self.put(clocks, touch, 0);
    }

    fn put(&mut self, clocks: &Clocks, touch: Touch, flag: u16) {
        let range = touch.first..touch.first + touch.count;
        self.state[range.clone()].fill(INITIALISED);
        self.write_ticks[range.clone()].fill(clocks.tick(touch.warp));
        let base = flag | (touch.warp as u16) << 5;
        for (i, writer) in self.writers[range].iter_mut().enumerate() {
            *writer = base | (touch.lane as u16 + (i as u16 >> touch.shift));
        }
    }

    /// Whether each cell was last written by the lane that touches it now.
    fn own_writes(&self, touch: Touch) -> bool {
        let writers = &self.writers[touch.first..touch.first + touch.count];
        let first = (touch.warp as u16) << 5 | touch.lane as u16;
        touch.lane != ALL_LANES
            && writers.iter().zip(0u16..).fold(true, |own, (&writer, i)| own & (writer == first + (i >> touch.shift)))
    }

    /// Whether all reads of the cells happen before what the warp does next, or were made by the lane that touches the cell now.
    fn reads_ordered(&self, clocks: &Clocks, touch: Touch) -> bool {
        let range = touch.first..touch.first + touch.count;
        self.reads.iter().zip(0u32..).all(|((ticks, lanes), warp)| {
            let ordered = clocks.knows_warp(touch.warp, warp, max(&ticks[range.clone()]));
            ordered
                || warp == touch.warp && touch.lane != ALL_LANES && {
                    let bits = &LANE_BITS[touch.shift as usize][(touch.lane as usize) << touch.shift..];
                    lanes[range.clone()].iter().zip(bits).fold(0, |others, (lanes, bit)| others | lanes & !bit) == 0
                }
        })
    }

    #[cold]
    fn check_read(&self, clocks: &Clocks, touch: Touch) -> Found {
        (touch.first..touch.first + touch.count).find_map(|cell| {
            let lane = touch.lane_of(cell);
            let problem = if self.state[cell] & PENDING != 0 {
                Some(Problem::Pending)
            } else if self.state[cell] & INITIALISED == 0 {
                Some(Problem::Uninitialised)
            } else {
                self.unordered_writer(clocks, cell, (touch.warp, lane), false)
            };
            problem.map(|problem| (cell, lane, problem))
        })
    }

    #[cold]
    fn check_write(&self, clocks: &Clocks, touch: Touch, kind: Kind) -> Found {
        (touch.first..touch.first + touch.count).find_map(|cell| {
            let lane = touch.lane_of(cell);
            let by = (touch.warp, lane);
            let problem = if self.state[cell] & PENDING != 0 {
                Some(Problem::Pending)
            } else if kind == Kind::Atomic && self.state[cell] & INITIALISED == 0 {
                Some(Problem::Uninitialised)
            } else {
                let writer = self.unordered_writer(clocks, cell, by, kind == Kind::Atomic);
                writer.or_else(|| self.unordered_reader(clocks, cell, by))
            };
            problem.map(|problem| (cell, lane, problem))
        })
    }

    fn unordered_writer(&self, clocks: &Clocks, cell: usize, by: (u32, u32), atomic: bool) -> Option<Problem> {
        if self.state[cell] & INITIALISED == 0 {
            return None;
        }
        let writer = self.writers[cell];
        let who = (u32::from(writer >> 5 & 31), u32::from(writer & 31));
        let exempt = atomic && writer & ATOMIC != 0;
        (!exempt && !clocks.ordered(who, self.write_ticks[cell], by)).then_some(Problem::Write(who.0, who.1))
    }

    fn unordered_reader(&self, clocks: &Clocks, cell: usize, by: (u32, u32)) -> Option<Problem> {
        self.reads.iter().enumerate().find_map(|(warp, (ticks, lanes))| {
            let (warp, tick) = (warp as u32, ticks[cell]);
            if clocks.knows_warp(by.0, warp, tick) {
                return None;
            }
            if warp != by.0 {
                let one = lanes[cell].is_power_of_two().then(|| lanes[cell].trailing_zeros());
                return Some(Problem::Read(warp, one));
            }
            let other = warps_of(lanes[cell]).find(|&lane| !clocks.ordered((warp, lane as u32), tick, by));
            other.map(|lane| Problem::Read(warp, Some(lane as u32)))
        })
    }
}

/// Where lanes know more than their warp: a reader that comes after all earlier ones of its warp replaces them.
#[cold]
fn forget_ordered_readers(clocks: &Clocks, touch: Touch, ticks: &mut [u32], lanes: &mut [u32]) {
    for (i, (tick, lanes)) in ticks.iter_mut().zip(lanes).enumerate() {
        let by = (touch.warp, touch.lane_of(touch.first + i));
        if warps_of(*lanes).all(|lane| clocks.ordered((touch.warp, lane as u32), *tick, by)) {
            (*tick, *lanes) = (0, 0);
        }
    }
}
