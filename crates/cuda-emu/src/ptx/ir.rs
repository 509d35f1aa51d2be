//! Decoded instructions.

use crate::check::MemoryOrder;
use crate::exec::Alu;
use crate::report::InstructionClass;

use super::syntax::{Slot, Special};

/// No register.
pub(crate) const NONE: u16 = u16::MAX;
/// Branch target or reconvergence point beyond the last instruction.
pub(crate) const END: u32 = u32::MAX;

/// State spaces of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Global,
    Const,
    Shared,
    Local,
    Param,
    Generic,
}

/// Plane that an address starts from; its kind, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    /// [`NONE`] for an absolute address.
    pub plane: u16,
    /// Whether the plane is a long.
    pub long: bool,
    pub offset: i64,
}

/// A load or a store.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub space: Space,
    pub address: Address,
    /// Bytes per element: 1, 2, 4 or 8.
    pub bytes: u8,
    /// Elements: 1, 2 or 4.
    pub count: u8,
    /// Whether narrow loads are sign-extended.
    pub signed: bool,
    /// Register of each element, [`NONE`] where a loaded value is not wanted.
    pub regs: [u16; 8],
    pub slot: Slot,
    pub order: MemoryOrder,
}

/// What an atomic does with the old value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomicOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exch,
    Cas,
    Inc,
    Dec,
}

/// What an atomic computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomicKind {
    U32,
    S32,
    U64,
    S64,
    F32,
    F64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    B16,
}

/// `atom` and `red`.
#[derive(Debug, Clone)]
pub(crate) struct Atomic {
    pub space: Space,
    pub address: Address,
    pub op: AtomicOp,
    pub kind: AtomicKind,
    /// [`NONE`] for `red`.
    pub d: u16,
    pub a: u16,
    pub b: u16,
    pub order: MemoryOrder,
}

/// `cp.async`.
#[derive(Debug, Clone)]
pub(crate) struct CopyAsync {
    pub shared: Address,
    pub global: Address,
    /// 4, 8 or 16.
    pub bytes: u8,
    /// Plane with the number of source bytes; the rest is zero. [`NONE`]: all of them.
    pub source_bytes: u16,
    /// Predicate that makes the source ignored, [`NONE`] without.
    pub ignore: u16,
}

/// `cp.async.bulk.prefetch.L2`.
#[derive(Debug, Clone)]
pub(crate) struct Prefetch {
    pub address: Address,
    /// Plane with the number of bytes.
    pub bytes: u16,
}

/// `ldmatrix`.
#[derive(Debug, Clone)]
pub(crate) struct LoadMatrix {
    pub address: Address,
    /// Matrices: 1, 2 or 4.
    pub count: u8,
    pub transposed: bool,
    pub d: [u16; 4],
}

/// Element types of a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MmaKind {
    F16,
    Bf16,
    Tf32,
}

/// `mma.sync.m16n8k*`.
#[derive(Debug, Clone)]
pub(crate) struct Mma {
    pub kind: MmaKind,
    /// 4, 8 or 16.
    pub k: u8,
    /// Whether C and D are f16 pairs instead of f32.
    pub half_sum: bool,
    pub d: [u16; 4],
    pub a: [u16; 4],
    pub b: [u16; 2],
    pub c: [u16; 4],
}

/// Ways to shuffle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

/// `shfl.sync`.
#[derive(Debug, Clone)]
pub(crate) struct Shuffle {
    pub mode: ShuffleMode,
    pub d: u16,
    /// Predicate: whether the source lane was in range. May be [`NONE`].
    pub p: u16,
    pub a: u16,
    pub b: u16,
    pub c: u16,
    pub members: u16,
}

/// Warp-wide operations with a member mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collective {
    Ballot,
    Any,
    All,
    Uniform,
    MatchAny,
    MatchAll,
    ReduceAdd,
    ReduceMinU,
    ReduceMinS,
    ReduceMaxU,
    ReduceMaxS,
    ReduceAnd,
    ReduceOr,
    ReduceXor,
}

/// `vote`, `match`, `redux`.
#[derive(Debug, Clone)]
pub(crate) struct WarpWide {
    pub op: Collective,
    /// Word or predicate destination, by operation.
    pub d: u16,
    /// Second destination of `match.all`: a predicate.
    pub p: u16,
    /// Source: a predicate for votes, else a word, or a long for 64-bit `match`.
    pub a: u16,
    pub long: bool,
    /// The predicate is negated.
    pub negated: bool,
    /// Word plane; [`NONE`] for forms without mask (all executing lanes).
    pub members: u16,
}

/// What arriving at a block barrier does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarrierKind {
    Sync,
    Arrive,
    And,
    Or,
    Popc,
}

/// `bar` / `barrier`.
#[derive(Debug, Clone)]
pub(crate) struct Barrier {
    pub kind: BarrierKind,
    /// Word planes; `threads` is [`NONE`] for "all threads of the block".
    pub id: u16,
    pub threads: u16,
    /// Predicate source of a reduction, and whether it is negated.
    pub a: u16,
    pub negated: bool,
    /// Predicate or (for `popc`) word destination.
    pub d: u16,
}

/// A decoded instruction's action.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Alu(Alu),
    /// Fences within the block, prefetches, hints: nothing to do.
    Nop,
    /// A fence of device scope or wider; whether it is sequentially consistent.
    Fence {
        sequential: bool,
    },
    Load(Box<Access>),
    Store(Box<Access>),
    Atomic(Box<Atomic>),
    CopyAsync(Box<CopyAsync>),
    CopyCommit,
    /// Brings memory nearer, which must be there.
    Prefetch(Box<Prefetch>),
    /// `griddepcontrol.wait`: earlier launches that this one depends on have ended.
    GridWait,
    /// `griddepcontrol.launch_dependents`: later launches may begin.
    GridTrigger,
    /// Waits until at most this many committed groups are in flight; `None` also waits for uncommitted copies (`wait_all`).
    CopyWait(Option<u32>),
    LoadMatrix(Box<LoadMatrix>),
    Mma(Box<Mma>),
    Shuffle(Box<Shuffle>),
    WarpWide(Box<WarpWide>),
    ActiveMask(u16),
    /// `%clock` and the like: destination plane, and whether it is a long.
    Clock {
        d: u16,
        long: bool,
        high: bool,
    },
    Barrier(Box<Barrier>),
    /// `bar.warp.sync`: word plane of the member mask.
    WarpBarrier(u16),
    Branch {
        target: u32,
        reconverge: u32,
    },
    Exit,
    Trap,
}

/// A decoded instruction.
#[derive(Debug, Clone)]
pub(crate) struct Instr {
    pub op: Op,
    /// Predicate plane, [`NONE`] without guard.
    pub guard: u16,
    pub negated: bool,
    pub class: InstructionClass,
    /// Floating-point operations per lane.
    pub flops: u16,
}

/// Planes to fill before a warp starts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Planes {
    pub words: u16,
    pub longs: u16,
    pub preds: u16,
    pub word_constants: Vec<(u16, u32)>,
    pub long_constants: Vec<(u16, u64)>,
    pub pred_constants: Vec<(u16, bool)>,
    pub word_specials: Vec<(u16, Special)>,
    /// Long plane, index into the kernel's list of variables, offset.
    pub globals: Vec<(u16, u32, i64)>,
}
