//! Comparisons, selections, predicate logic.

use super::rounding::{bfloat_to_single, half_to_single};
use super::{Alu, FTZ, Form, flush, two_versions};
use crate::exec::regs::{LANES, Lane, Regs};
use crate::ptx::Slot;

/// No predicate plane.
pub(crate) const NO_PRED: u16 = u16::MAX;

/// How `setp` combines the comparison with a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BoolOp {
    And,
    Or,
    Xor,
}

const AND: u32 = 2;
const OR: u32 = 4;
const XOR: u32 = 8;
const NEGATED: u32 = 16;

impl BoolOp {
    pub(crate) fn by_name(name: &str) -> Option<BoolOp> {
        Some(match name {
            "and" => BoolOp::And,
            "or" => BoolOp::Or,
            "xor" => BoolOp::Xor,
            _ => return None,
        })
    }

    /// Flags of a `setp` that combines with this; the predicate is the third source.
    pub(crate) fn flags(self, negated: bool) -> u32 {
        let operation = match self {
            BoolOp::And => AND,
            BoolOp::Or => OR,
            BoolOp::Xor => XOR,
        };
        operation | if negated { NEGATED } else { 0 }
    }
}

/// Writes the two destinations of `setp` from the bare comparison.
#[inline(always)]
fn finish(regs: &mut Regs, alu: &Alu, bits: u32, mask: u32) {
    let combine = |bits: u32, with: u32| {
        if alu.flags & AND != 0 {
            bits & with
        } else if alu.flags & OR != 0 {
            bits | with
        } else if alu.flags & XOR != 0 {
            bits ^ with
        } else {
            bits
        }
    };
    let with = if alu.flags & (AND | OR | XOR) == 0 {
        0
    } else {
        let pred = regs.preds[usize::from(alu.s[2])];
        if alu.flags & NEGATED != 0 { !pred } else { pred }
    };
    if alu.d != NO_PRED {
        regs.set_pred(alu.d, combine(bits, with), mask);
    }
    if alu.e != NO_PRED {
        regs.set_pred(alu.e, combine(!bits, with), mask);
    }
}

/// `compare!(f32, |a, b| a < b)`: the form of one comparison; with `flags`, they are in scope.
macro_rules! compare {
    ($t:ty, |$a:ident, $b:ident, $flags:ident| $e:expr) => {{
        #[inline(always)]
        fn body(regs: &mut Regs, alu: &Alu, mask: u32) {
            let mut bits = 0u32;
            {
                let $a = <$t as Lane>::plane(regs, alu.s[0]);
                let $b = <$t as Lane>::plane(regs, alu.s[1]);
                let $flags = alu.flags;
                for lane in 0..LANES {
                    let ($a, $b) = (<$t as Lane>::unpack($a[lane]), <$t as Lane>::unpack($b[lane]));
                    bits |= u32::from($e) << lane;
                }
            }
            finish(regs, alu, bits, mask);
        }
        two_versions!(Slot::Pred, &[<$t as Lane>::SLOT, <$t as Lane>::SLOT], body)
    }};
}

/// The form of `setp.<operation>.<kind>`; the destinations are `d` and `e`, either may be [`NO_PRED`].
pub(crate) fn compare_form(operation: &str, kind: &str) -> Option<Form> {
    macro_rules! integers {
        (|$a:ident, $b:ident| $e:expr) => {
            match kind {
                "u16" => compare!(u16, |$a, $b, _f| $e),
                "s16" => compare!(i16, |$a, $b, _f| $e),
                "u32" => compare!(u32, |$a, $b, _f| $e),
                "s32" => compare!(i32, |$a, $b, _f| $e),
                "u64" => compare!(u64, |$a, $b, _f| $e),
                "s64" => compare!(i64, |$a, $b, _f| $e),
                _ => return None,
            }
        };
    }
    macro_rules! equality {
        (|$a:ident, $b:ident| $e:expr) => {
            match kind {
                "b16" | "u16" | "s16" => compare!(u16, |$a, $b, _f| $e),
                "b32" | "u32" | "s32" => compare!(u32, |$a, $b, _f| $e),
                "b64" | "u64" | "s64" => compare!(u64, |$a, $b, _f| $e),
                _ => return None,
            }
        };
    }
    macro_rules! floats {
        (|$a:ident, $b:ident| $e:expr) => {
            match kind {
                "f32" => compare!(f32, |$a, $b, flags| {
                    let ($a, $b) = if flags & FTZ != 0 { (flush($a), flush($b)) } else { ($a, $b) };
                    $e
                }),
                "f64" => compare!(f64, |$a, $b, _f| $e),
                "f16" => compare!(u16, |$a, $b, _f| {
                    let ($a, $b) = (half_to_single($a), half_to_single($b));
                    $e
                }),
                "bf16" => compare!(u16, |$a, $b, _f| {
                    let ($a, $b) = (bfloat_to_single($a), bfloat_to_single($b));
                    $e
                }),
                _ => return None,
            }
        };
    }
    let float = kind.starts_with('f') || kind.starts_with("bf");
    #[allow(clippy::nonminimal_bool, clippy::neg_cmp_op_on_partial_ord, reason = "unordered comparisons hold for NaN")]
    Some(match operation {
        "eq" if float => floats!(|a, b| a == b),
        "ne" if float => floats!(|a, b| (a < b) | (a > b)),
        "lt" if float => floats!(|a, b| a < b),
        "le" if float => floats!(|a, b| a <= b),
        "gt" if float => floats!(|a, b| a > b),
        "ge" if float => floats!(|a, b| a >= b),
        "equ" if float => floats!(|a, b| !((a < b) | (a > b))),
        "neu" if float => floats!(|a, b| a != b),
        "ltu" if float => floats!(|a, b| !(a >= b)),
        "leu" if float => floats!(|a, b| !(a > b)),
        "gtu" if float => floats!(|a, b| !(a <= b)),
        "geu" if float => floats!(|a, b| !(a < b)),
        "num" if float => floats!(|a, b| !(a.is_nan() | b.is_nan())),
        "nan" if float => floats!(|a, b| a.is_nan() | b.is_nan()),
        "eq" => equality!(|a, b| a == b),
        "ne" => equality!(|a, b| a != b),
        "lt" => integers!(|a, b| a < b),
        "le" => integers!(|a, b| a <= b),
        "gt" => integers!(|a, b| a > b),
        "ge" => integers!(|a, b| a >= b),
        "lo" if kind.starts_with('u') => integers!(|a, b| a < b),
        "ls" if kind.starts_with('u') => integers!(|a, b| a <= b),
        "hi" if kind.starts_with('u') => integers!(|a, b| a > b),
        "hs" if kind.starts_with('u') => integers!(|a, b| a >= b),
        _ => return None,
    })
}

/// `selp` on a plane of this kind.
pub(crate) fn select_form(slot: Slot) -> Option<Form> {
    macro_rules! select {
        ($t:ty) => {{
            #[inline(always)]
            fn body(regs: &mut Regs, alu: &Alu, mask: u32) {
                let mut out = [0; LANES];
                let pred = regs.preds[usize::from(alu.s[2])];
                let (a, b) = (<$t as Lane>::plane(regs, alu.s[0]), <$t as Lane>::plane(regs, alu.s[1]));
                for lane in 0..LANES {
                    out[lane] = if pred >> lane & 1 != 0 { a[lane] } else { b[lane] };
                }
                <$t as Lane>::write(regs, alu.d, &out, mask);
            }
            two_versions!(<$t as Lane>::SLOT, &[<$t as Lane>::SLOT, <$t as Lane>::SLOT, Slot::Pred], body)
        }};
    }
    match slot {
        Slot::Word => Some(select!(u32)),
        Slot::Long => Some(select!(u64)),
        Slot::Pred => None,
    }
}

/// `and.pred` and the like.
pub(crate) fn pred_form(operation: &str) -> Option<Form> {
    macro_rules! logic {
        ([$($slot:expr),*], |$a:ident, $b:ident| $e:expr) => {{
            #[inline(always)]
            fn body(regs: &mut Regs, alu: &Alu, mask: u32) {
                let ($a, $b) = (regs.preds[usize::from(alu.s[0])], regs.preds[usize::from(alu.s[1])]);
                regs.set_pred(alu.d, $e, mask);
            }
            two_versions!(Slot::Pred, &[$($slot),*], body)
        }};
    }
    Some(match operation {
        "and" => logic!([Slot::Pred, Slot::Pred], |a, b| a & b),
        "or" => logic!([Slot::Pred, Slot::Pred], |a, b| a | b),
        "xor" => logic!([Slot::Pred, Slot::Pred], |a, b| a ^ b),
        "not" => logic!([Slot::Pred], |a, _b| !a),
        "mov" => logic!([Slot::Pred], |a, _b| a),
        _ => return None,
    })
}
