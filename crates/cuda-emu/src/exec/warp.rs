//! One warp: registers, divergence, asynchronous copies in flight.

use crate::check::MemoryOrder;
use crate::memory::By;
use crate::ptx::{END, Kernel, Special};

use super::local::Local;
use super::regs::{LANES, Regs};
use super::unwritten::Unwritten;

/// Lanes that run together until they reach `reconverge`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub pc: u32,
    pub mask: u32,
    pub reconverge: u32,
}

/// What a warp waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// At the block barrier instruction `pc`.
    Waiting {
        pc: u32,
        barrier: u32,
    },
    Done,
}

#[derive(Debug)]
pub(crate) struct Warp {
    pub index: u32,
    pub regs: Regs,
    /// Diverged parts; the last runs. Lanes of inner entries are also in the entry that they reconverge in.
    pub stack: Vec<Entry>,
    /// Lanes that have not exited.
    pub live: u32,
    /// Lanes that ever were.
    pub all: u32,
    /// Lanes that know that the launches which this one depends on have ended.
    pub waited: u32,
    pub state: State,
    pub executed: u64,
    pub polling: Polling,
    /// Used where the kernel must be watched.
    pub unwritten: Unwritten,
    pub local: Local,
}

/// How a warp looks at global memory again and again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Polling {
    /// What it read strongly of late, by the address of the first lane.
    recent: [u64; 4],
    next: usize,
    /// Repeated reads since [`Polling::restart`], and the instruction count then.
    repeated: u64,
    since: u64,
}

impl Polling {
    /// Repeated reads after which a warp's turn ends.
    pub(crate) const TURN: u32 = 256;
    /// Instructions per repeated read, at most, of a warp that only waits.
    const LOOP: u64 = 64;

    /// Notes a strong read; whether the address was read not long ago.
    pub(crate) fn read(&mut self, address: u64) -> bool {
        let again = self.recent.contains(&address);
        if again {
            self.repeated += 1;
        } else {
            self.recent[self.next % 4] = address;
            self.next += 1;
        }
        again
    }

    pub(crate) fn restart(&mut self, executed: u64) {
        (self.repeated, self.since) = (0, executed);
    }

    /// Whether the warp seems to do nothing but wait.
    pub(crate) fn waits(&self, executed: u64) -> bool {
        self.repeated >= u64::from(Self::TURN) && executed - self.since <= Self::LOOP * self.repeated
    }
}

/// What all warps of a launch start from: constants and module addresses in their planes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Template(Regs);

/// Launch and block numbers that special registers show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub grid: [u32; 3],
    pub block_dim: [u32; 3],
    pub block: [u32; 3],
    pub sm: u32,
    pub sm_count: u32,
    pub dynamic_shared: u32,
    pub total_shared: u32,
}

impl Template {
    pub(crate) fn new(kernel: &Kernel, address: &dyn Fn(u32) -> u64) -> Template {
        let planes = &kernel.planes;
        let mut regs = Regs {
            // Registers that nothing wrote hold a pattern that is NaN as f32 and as a pair of f16, and no address.
            words: vec![[0x7fff_7fff; LANES]; usize::from(planes.words)],
            longs: vec![[0x7fff_7fff_7fff_7fff; LANES]; usize::from(planes.longs)],
            preds: vec![0; usize::from(planes.preds)],
        };
        for &(plane, value) in &planes.word_constants {
            regs.words[usize::from(plane)] = [value; LANES];
        }
        for &(plane, value) in &planes.long_constants {
            regs.longs[usize::from(plane)] = [value; LANES];
        }
        for &(plane, value) in &planes.pred_constants {
            regs.preds[usize::from(plane)] = if value { u32::MAX } else { 0 };
        }
        for &(plane, variable, offset) in &planes.globals {
            regs.longs[usize::from(plane)] = [address(variable).wrapping_add(offset as u64); LANES];
        }
        Template(regs)
    }
}

impl Warp {
    pub(crate) fn new() -> Warp {
        Warp {
            index: 0,
            regs: Regs::default(),
            stack: Vec::new(),
            live: 0,
            all: 0,
            waited: 0,
            state: State::Done,
            executed: 0,
            polling: Polling::default(),
            unwritten: Unwritten::default(),
            local: Local::default(),
        }
    }

    /// Makes this the warp `index` of a block, at the kernel's first instruction.
    pub(crate) fn start(&mut self, index: u32, kernel: &Kernel, template: &Template, place: &Place, checks: bool) {
        let threads: u32 = place.block_dim.iter().product();
        let lanes = (threads - index * 32).min(32);
        self.index = index;
        self.all = if lanes == 32 { u32::MAX } else { (1 << lanes) - 1 };
        self.live = self.all;
        self.waited = 0;
        self.regs.words.clone_from(&template.0.words);
        self.regs.longs.clone_from(&template.0.longs);
        self.regs.preds.clone_from(&template.0.preds);
        self.stack.clear();
        self.stack.push(Entry { pc: 0, mask: self.all, reconverge: END });
        self.state = State::Ready;
        self.executed = 0;
        self.polling = Polling::default();
        if let Some(watch) = &kernel.watch {
            self.unwritten.start(watch);
        }
        self.local.reset(kernel.local_bytes, checks);
        for &(plane, special) in &kernel.planes.word_specials {
            self.regs.words[usize::from(plane)] = special_plane(special, index, threads, place);
        }
    }

    /// The lanes in `mask`, as memory sees them.
    pub(crate) fn by(&self, mask: u32, order: MemoryOrder) -> By {
        By { warp: self.index, order, waited: self.waited & mask == mask }
    }

    /// Removes lanes for good.
    pub(crate) fn exit(&mut self, mask: u32) {
        self.live &= !mask;
        for entry in &mut self.stack {
            entry.mask &= !mask;
        }
        self.stack.retain(|entry| entry.mask != 0);
        if self.live == 0 {
            self.state = State::Done;
        }
    }

    /// Sends the lanes in `taken` of the running part to `target`, the others on; both meet at `reconverge`.
    /// Returns whether they parted.
    pub(crate) fn branch(&mut self, taken: u32, target: u32, reconverge: u32) -> bool {
        let Some(top) = self.stack.last_mut() else { return false };
        if taken == top.mask {
            top.pc = target;
            return false;
        }
        if taken == 0 {
            return false;
        }
        let (next, rest) = (top.pc, top.mask & !taken);
        if top.reconverge == reconverge {
            // The part below already waits there for these lanes.
            self.stack.pop();
        } else {
            top.pc = reconverge;
        }
        for (pc, mask) in [(next, rest), (target, taken)] {
            if pc != reconverge {
                self.stack.push(Entry { pc, mask, reconverge });
            }
        }
        true
    }
}

fn special_plane(special: Special, warp: u32, threads: u32, place: &Place) -> [u32; LANES] {
    let [x, y, _] = place.block_dim;
    std::array::from_fn(|lane| {
        let lane = lane as u32;
        let thread = warp * 32 + lane;
        match special {
            Special::Tid(0) => thread % x,
            Special::Tid(1) => thread / x % y,
            Special::Tid(_) => thread / x / y,
            Special::Ntid(axis) => place.block_dim[usize::from(axis)],
            Special::Ctaid(axis) => place.block[usize::from(axis)],
            Special::Nctaid(axis) => place.grid[usize::from(axis)],
            Special::LaneId => lane,
            Special::WarpId => warp,
            Special::NWarpId => threads.div_ceil(32),
            Special::LaneMaskEq => 1 << lane,
            Special::LaneMaskLt => (1 << lane) - 1,
            Special::LaneMaskLe => u32::MAX >> (31 - lane),
            Special::LaneMaskGt => !(u32::MAX >> (31 - lane)),
            Special::LaneMaskGe => u32::MAX << lane,
            Special::SmId => place.sm,
            Special::NSmId => place.sm_count,
            Special::DynamicShared => place.dynamic_shared,
            Special::TotalShared => place.total_shared,
            // Read by instructions of their own.
            Special::Clock | Special::ClockHi | Special::Clock64 | Special::GlobalTimer | Special::GridId => 0,
        }
    })
}
