//! A warp's registers: planes of 32 lanes.

/// Lanes of a warp.
pub(crate) const LANES: usize = 32;

/// Registers of one warp. A word plane holds any type up to 32 bits (16-bit values in the low half), a long plane 64-bit ones,
/// a predicate is one bit a lane. Constants and special registers are planes too, so that an operand is always an index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Regs {
    pub words: Vec<[u32; LANES]>,
    pub longs: Vec<[u64; LANES]>,
    pub preds: Vec<u32>,
}

impl Regs {
    #[inline(always)]
    pub(crate) fn word(&self, index: u16) -> &[u32; LANES] {
        &self.words[usize::from(index)]
    }

    #[inline(always)]
    pub(crate) fn long(&self, index: u16) -> &[u64; LANES] {
        &self.longs[usize::from(index)]
    }

    #[inline(always)]
    pub(crate) fn set_word(&mut self, index: u16, values: &[u32; LANES], mask: u32) {
        blend(&mut self.words[usize::from(index)], values, mask);
    }

    #[inline(always)]
    pub(crate) fn set_long(&mut self, index: u16, values: &[u64; LANES], mask: u32) {
        blend(&mut self.longs[usize::from(index)], values, mask);
    }

    #[inline(always)]
    pub(crate) fn set_pred(&mut self, index: u16, bits: u32, mask: u32) {
        let pred = &mut self.preds[usize::from(index)];
        *pred = (*pred & !mask) | (bits & mask);
    }
}

/// Writes the lanes in `mask`.
#[inline(always)]
fn blend<T: Copy>(plane: &mut [T; LANES], values: &[T; LANES], mask: u32) {
    if mask == u32::MAX {
        *plane = *values;
    } else {
        for lane in 0..LANES {
            plane[lane] = if mask >> lane & 1 != 0 { values[lane] } else { plane[lane] };
        }
    }
}

/// A type that instructions compute with, and how a plane stores it.
pub(crate) trait Lane: Copy {
    /// `u32` or `u64`.
    type Stored: Copy + Default;
    fn plane(regs: &Regs, index: u16) -> &[Self::Stored; LANES];
    fn write(regs: &mut Regs, index: u16, values: &[Self::Stored; LANES], mask: u32);
    fn unpack(stored: Self::Stored) -> Self;
    fn pack(self) -> Self::Stored;
    const SLOT: crate::ptx::Slot;
}

macro_rules! lane {
    ($($type:ty, $stored:ty, $get:ident, $set:ident, $slot:ident, |$u:ident| $unpack:expr, |$p:ident| $pack:expr;)*) => {$(
        impl Lane for $type {
            type Stored = $stored;
            #[inline(always)]
            fn plane(regs: &Regs, index: u16) -> &[$stored; LANES] {
                regs.$get(index)
            }
            #[inline(always)]
            fn write(regs: &mut Regs, index: u16, values: &[$stored; LANES], mask: u32) {
                regs.$set(index, values, mask);
            }
            #[inline(always)]
            fn unpack($u: $stored) -> $type {
                $unpack
            }
            #[inline(always)]
            fn pack(self) -> $stored {
                let $p = self;
                $pack
            }
            const SLOT: crate::ptx::Slot = crate::ptx::Slot::$slot;
        }
    )*};
}

// Narrow signed results are sign-extended into the plane, as PTX does for a destination wider than the type.
lane! {
    u32, u32, word, set_word, Word, |v| v, |v| v;
    i32, u32, word, set_word, Word, |v| v as i32, |v| v as u32;
    f32, u32, word, set_word, Word, |v| f32::from_bits(v), |v| v.to_bits();
    u16, u32, word, set_word, Word, |v| v as u16, |v| u32::from(v);
    i16, u32, word, set_word, Word, |v| v as i16, |v| i32::from(v) as u32;
    u8, u32, word, set_word, Word, |v| v as u8, |v| u32::from(v);
    i8, u32, word, set_word, Word, |v| v as i8, |v| i32::from(v) as u32;
    u64, u64, long, set_long, Long, |v| v, |v| v;
    i64, u64, long, set_long, Long, |v| v as i64, |v| v as u64;
    f64, u64, long, set_long, Long, |v| f64::from_bits(v), |v| v.to_bits();
}
