//! What the parser makes of a kernel's text, before it is decoded.

/// Where a register lives: one bit, up to 32 bits, or 64 bits a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Slot {
    Pred,
    Word,
    Long,
}

/// A register: its file and its plane there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Reg {
    pub slot: Slot,
    pub index: u16,
}

/// What a name stands for in an address or a `mov`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Offset in the block's static shared memory.
    Shared(u32),
    /// The start of dynamic shared memory, after the static part.
    Dynamic,
    /// Offset in the thread's local memory.
    Local(u32),
    /// Offset in the parameter block.
    Param(u32),
    /// A `.global` or `.const` variable: index into the module's list.
    Global(u32),
}

/// What an address starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    Reg(Reg),
    Place(Place),
    Absolute,
}

/// Special registers with a plane of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    /// `%tid`, `%ntid`, `%ctaid`, `%nctaid`, then the axis.
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NWarpId,
    LaneMaskEq,
    LaneMaskLt,
    LaneMaskLe,
    LaneMaskGt,
    LaneMaskGe,
    SmId,
    NSmId,
    DynamicShared,
    TotalShared,
    Clock,
    ClockHi,
    Clock64,
    GlobalTimer,
    GridId,
}

/// An operand as written, names resolved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand<'a> {
    Reg(Reg),
    /// `!%p1`
    Not(Reg),
    Special(Special),
    /// An integer, sign applied (two's complement).
    Int(u64),
    Single(u32),
    Double(u64),
    /// The address of a variable plus a constant.
    Symbol(Place, i64),
    /// A label or function, not known as a variable.
    Name(&'a str),
    /// `[base+offset]`
    Address(Base, i64),
    /// `{a, b}`
    Vector(Vec<Operand<'a>>),
    /// `a|b`
    Pair(Box<Operand<'a>>, Box<Operand<'a>>),
    /// `_`: the result is not wanted.
    Sink,
}

/// One instruction.
#[derive(Debug, Clone)]
pub(crate) struct Statement<'a> {
    /// Predicate register, and whether it is negated.
    pub guard: Option<(u16, bool)>,
    pub opcode: &'a str,
    pub operands: Vec<Operand<'a>>,
    /// Line of the PTX text.
    pub line: u32,
    /// File number and line of the last `.loc`, zero without.
    pub source: (u32, u32),
    /// Innermost `{ }` this instruction stands in.
    pub scope: u16,
}

/// A function's instructions and what they need.
#[derive(Debug, Default)]
pub(crate) struct Body<'a> {
    pub statements: Vec<Statement<'a>>,
    /// Label, scope and the index of the statement that follows it.
    pub labels: Vec<(&'a str, u16, u32)>,
    /// Parent of each scope; scope 0 is the function's body.
    pub scopes: Vec<u16>,
    /// Planes needed of each kind.
    pub preds: u16,
    pub words: u16,
    pub longs: u16,
    /// Bytes of static shared memory, and the largest alignment asked of the dynamic part.
    pub shared: u32,
    pub dynamic_align: u32,
    pub local: u32,
    /// Declared registers: file, first plane, and for `name<n>` their number.
    pub registers: Vec<(Slot, u16, Option<u32>, &'a str)>,
}

impl Body<'_> {
    /// A register's name.
    pub(crate) fn name(&self, reg: Reg) -> String {
        let declared = self.registers.iter().find_map(|&(slot, first, count, name)| {
            let number = u32::from(reg.index.checked_sub(first)?);
            (slot == reg.slot && number < count.unwrap_or(1))
                .then(|| if count.is_some() { format!("{name}{number}") } else { name.to_owned() })
        });
        declared.unwrap_or_default()
    }

    /// The statement a label stands for, seen from `scope`.
    pub(crate) fn label(&self, name: &str, mut scope: u16) -> Option<u32> {
        loop {
            if let Some(&(_, _, at)) = self.labels.iter().find(|&&(label, s, _)| label == name && s == scope) {
                return Some(at);
            }
            if scope == 0 {
                return None;
            }
            scope = self.scopes[usize::from(scope)];
        }
    }
}

impl Special {
    pub(crate) fn by_name(name: &str) -> Option<Special> {
        use Special::*;
        let axis = |suffix: &str| match suffix {
            ".x" => Some(0),
            ".y" => Some(1),
            ".z" => Some(2),
            _ => None,
        };
        for (prefix, make) in [("%tid", Tid as fn(u8) -> Special), ("%ntid", Ntid), ("%ctaid", Ctaid), ("%nctaid", Nctaid)] {
            if let Some(axis) = name.strip_prefix(prefix).and_then(axis) {
                return Some(make(axis));
            }
        }
        Some(match name {
            "%laneid" => LaneId,
            "%warpid" => WarpId,
            "%nwarpid" => NWarpId,
            "%lanemask_eq" => LaneMaskEq,
            "%lanemask_lt" => LaneMaskLt,
            "%lanemask_le" => LaneMaskLe,
            "%lanemask_gt" => LaneMaskGt,
            "%lanemask_ge" => LaneMaskGe,
            "%smid" => SmId,
            "%nsmid" => NSmId,
            "%dynamic_smem_size" => DynamicShared,
            "%total_smem_size" => TotalShared,
            "%clock" | "%clock_lo" => Clock,
            "%clock_hi" => ClockHi,
            "%clock64" => Clock64,
            "%globaltimer" => GlobalTimer,
            "%gridid" => GridId,
            _ => return None,
        })
    }
}
