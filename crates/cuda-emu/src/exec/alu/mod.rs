//! Arithmetic: one function per instruction form, a loop over the 32 lanes of its operands.
//!
//! Each form is compiled twice, for the build's base features and for AVX2 with FMA and F16C; the second is taken where the
//! processor has them. Results are the same: fused multiply-adds are exact in both, only slower in the first.

mod compare;
mod convert;
mod float;
mod half;
mod integer;
mod logic;
mod rounding;

use super::regs::Regs;
use crate::ptx::Slot;

pub(crate) use compare::{BoolOp, NO_PRED, compare_form, pred_form, select_form};
pub(crate) use convert::convert_form;
pub(crate) use float::{float_form, flush};
pub(crate) use half::{RELU, half_form};
pub(crate) use integer::integer_form;
pub(crate) use logic::{logic_form, move_form};
pub(crate) use rounding::{Rounding, bfloat_to_single, half_to_single, odd_single, single_to_bfloat, single_to_half};

/// A function over the lanes in the mask.
///
/// Unsafe to call only because one version needs processor features; [`Form::function`] returns what this machine can run.
pub(crate) type Function = unsafe fn(&mut Regs, &Alu, u32);

/// A decoded arithmetic instruction: planes and flags, meaning depends on the form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alu {
    pub function: Function,
    pub d: u16,
    /// Second destination.
    pub e: u16,
    pub s: [u16; 4],
    pub flags: u32,
}

impl Alu {
    /// An instruction of this form, without flags.
    pub(crate) fn new(form: &Form, d: u16, sources: &[u16]) -> Alu {
        let mut s = [0; 4];
        s[..sources.len()].copy_from_slice(sources);
        Alu { function: form.function(), d, e: NO_PRED, s, flags: 0 }
    }

    /// Runs the instruction for the lanes in `mask`.
    #[inline(always)]
    pub(crate) fn run(&self, regs: &mut Regs, mask: u32) {
        // SAFETY: `function` came from `Form::function`, which returns the AVX2 version only after the processor was asked.
        unsafe { (self.function)(regs, self, mask) }
    }
}

/// What an instruction form computes, and with which kinds of register.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    base: Function,
    wide: Function,
    /// Destination.
    pub d: Slot,
    /// Sources in order.
    pub sources: &'static [Slot],
}

/// Flag: subnormal inputs and results become zero (`.ftz`).
pub(crate) const FTZ: u32 = 1;
/// Flag: the result is clamped to [0, 1], NaN to 0 (`.sat`).
pub(crate) const SAT: u32 = 2;
/// Where the rounding mode stands in the flags.
pub(crate) const ROUNDING_SHIFT: u32 = 2;

impl Form {
    /// A form out of its two versions; `wide` must be sound to call where AVX2, FMA and F16C are present.
    pub(crate) const fn new(base: Function, wide: Function, d: Slot, sources: &'static [Slot]) -> Form {
        Form { base, wide, d, sources }
    }

    /// The version for this machine.
    pub(crate) fn function(&self) -> Function {
        if wide() { self.wide } else { self.base }
    }
}

/// Whether the processor has AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
pub(crate) fn wide() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// Whether the processor has AVX2, FMA and F16C.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn wide() -> bool {
    false
}

/// `two_versions!(d, sources, body)`: a [`Form`] from an inlined function `body(regs, alu, mask)`.
macro_rules! two_versions {
    ($d:expr, $sources:expr, $body:ident) => {{
        #[allow(clippy::missing_safety_doc, reason = "sound to call anywhere")]
        unsafe fn base(regs: &mut $crate::exec::regs::Regs, alu: &$crate::exec::alu::Alu, mask: u32) {
            $body(regs, alu, mask)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn wide(regs: &mut $crate::exec::regs::Regs, alu: &$crate::exec::alu::Alu, mask: u32) {
            $body(regs, alu, mask)
        }
        #[cfg(not(target_arch = "x86_64"))]
        use base as wide;
        $crate::exec::alu::Form::new(base, wide, $d, $sources)
    }};
}

/// `alu!((a: f32, b: f32) -> f32 { a + b })`: a [`Form`] computing the expression per lane. With `flags,` in front, the name
/// stands for the instruction's flags.
macro_rules! alu {
    (($($s:ident: $t:ty),+) -> $d:ty { $($e:tt)* }) => { $crate::exec::alu::alu!(_flags, ($($s: $t),+) -> $d { $($e)* }) };
    ($flags:ident, ($($s:ident: $t:ty),+) -> $d:ty { $($e:tt)* }) => {{
        #[inline(always)]
        fn body(regs: &mut $crate::exec::regs::Regs, alu: &$crate::exec::alu::Alu, mask: u32) {
            use $crate::exec::regs::{LANES, Lane};
            let mut out = [<$d as Lane>::Stored::default(); LANES];
            {
                let mut sources = alu.s.iter();
                $(let $s = <$t as Lane>::plane(regs, sources.next().copied().unwrap_or(0));)+
                let $flags = alu.flags;
                for lane in 0..LANES {
                    $(let $s: $t = <$t as Lane>::unpack($s[lane]);)+
                    let value: $d = { $($e)* };
                    out[lane] = value.pack();
                }
            }
            <$d as Lane>::write(regs, alu.d, &out, mask);
        }
        $crate::exec::alu::two_versions!(
            <$d as $crate::exec::regs::Lane>::SLOT,
            &[$(<$t as $crate::exec::regs::Lane>::SLOT),+],
            body
        )
    }};
}

use alu;
use two_versions;
