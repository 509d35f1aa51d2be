//! Arithmetic on f16 and bf16, single and in pairs.

use super::float::{flush, minimum};
use super::rounding::{bfloat_to_single, half_to_single, odd, odd_single, single_to_bfloat, single_to_half, two_sum};
use super::{FTZ, Form, SAT, alu};

/// Flag: negative results become zero (`.relu`).
pub(crate) const RELU: u32 = 16;

/// A 16-bit floating-point format.
trait Format {
    fn single(bits: u16) -> f32;
    /// From a value rounded to odd, or exact.
    fn round(value: f32) -> u16;
    /// From an exact f64, or one rounded to odd.
    #[inline(always)]
    fn round_double(value: f64) -> u16 {
        Self::round(odd_single(value))
    }
    /// Subnormal to zero.
    fn flush(bits: u16) -> u16;
}

struct F16;
struct Bf16;

impl Format for F16 {
    #[inline(always)]
    fn single(bits: u16) -> f32 {
        half_to_single(bits)
    }
    #[inline(always)]
    fn round(value: f32) -> u16 {
        single_to_half(value)
    }
    #[inline(always)]
    fn flush(bits: u16) -> u16 {
        if bits & 0x7c00 == 0 { bits & 0x8000 } else { bits }
    }
}

impl Format for Bf16 {
    #[inline(always)]
    fn single(bits: u16) -> f32 {
        bfloat_to_single(bits)
    }
    #[inline(always)]
    fn round(value: f32) -> u16 {
        single_to_bfloat(value)
    }
    #[inline(always)]
    fn flush(bits: u16) -> u16 {
        (flush(f32::from_bits(u32::from(bits) << 16)).to_bits() >> 16) as u16
    }
}

/// What an operation does with one element; the third operand is only read by `fma`.
trait Operation {
    fn apply<F: Format>(a: u16, b: u16, c: u16) -> u16;
}

macro_rules! operations {
    ($($name:ident<$format:ident>($a:ident, $b:ident, $c:ident) $e:expr;)*) => {$(
        struct $name;
        impl Operation for $name {
            #[inline(always)]
            fn apply<$format: Format>($a: u16, $b: u16, $c: u16) -> u16 {
                $e
            }
        }
    )*};
}

// Sums and products go through f64, where products of halves are exact; rounding to odd on the way keeps one rounding in all.
operations! {
    Add<F>(a, b, _c) F::round_double(f64::from(F::single(a)) + f64::from(F::single(b)));
    Sub<F>(a, b, _c) F::round_double(f64::from(F::single(a)) - f64::from(F::single(b)));
    Mul<F>(a, b, _c) F::round_double(f64::from(F::single(a)) * f64::from(F::single(b)));
    Fma<F>(a, b, c) {
        let (sum, rest) = two_sum(f64::from(F::single(a)) * f64::from(F::single(b)), f64::from(F::single(c)));
        F::round_double(odd(sum, rest))
    };
    Neg<F>(a, _b, _c) a ^ 0x8000;
    Abs<F>(a, _b, _c) a & 0x7fff;
    Min<F>(a, b, _c) F::round(minimum(F::single(a), F::single(b)));
    Max<F>(a, b, _c) F::round(-minimum(-F::single(a), -F::single(b)));
    MinNan<F>(a, b, _c) {
        let (a, b) = (F::single(a), F::single(b));
        F::round(if a.is_nan() || b.is_nan() { f32::NAN } else { minimum(a, b) })
    };
    MaxNan<F>(a, b, _c) {
        let (a, b) = (F::single(a), F::single(b));
        F::round(if a.is_nan() || b.is_nan() { f32::NAN } else { -minimum(-a, -b) })
    };
    Ex2<F>(a, _b, _c) F::round_double(f64::from(F::single(a)).exp2());
    Tanh<F>(a, _b, _c) F::round_double(f64::from(F::single(a)).tanh());
}

/// One element with the flags' effects.
#[inline(always)]
fn element<O: Operation, F: Format>(a: u16, b: u16, c: u16, flags: u32) -> u16 {
    if flags == 0 {
        return O::apply::<F>(a, b, c);
    }
    let out =
        if flags & FTZ != 0 { F::flush(O::apply::<F>(F::flush(a), F::flush(b), F::flush(c))) } else { O::apply::<F>(a, b, c) };
    let value = F::single(out);
    if flags & SAT != 0 {
        F::round(if value > 0.0 { value.min(1.0) } else { 0.0 })
    } else if flags & RELU != 0 && value <= 0.0 {
        0
    } else {
        out
    }
}

#[inline(always)]
fn both<O: Operation, F: Format>(a: u32, b: u32, c: u32, flags: u32) -> u32 {
    let low = element::<O, F>(a as u16, b as u16, c as u16, flags);
    let high = element::<O, F>((a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16, flags);
    u32::from(low) | u32::from(high) << 16
}

/// The form of `operation` on `f16`, `f16x2`, `bf16` or `bf16x2`. Flags are read at run time.
pub(crate) fn half_form(operation: &str, kind: &str) -> Option<Form> {
    macro_rules! kinds {
        ($o:ident, 1) => {
            match kind {
                "f16" => alu!(f, (a: u16) -> u16 { element::<$o, F16>(a, 0, 0, f) }),
                "f16x2" => alu!(f, (a: u32) -> u32 { both::<$o, F16>(a, 0, 0, f) }),
                "bf16" => alu!(f, (a: u16) -> u16 { element::<$o, Bf16>(a, 0, 0, f) }),
                "bf16x2" => alu!(f, (a: u32) -> u32 { both::<$o, Bf16>(a, 0, 0, f) }),
                _ => return None,
            }
        };
        ($o:ident, 2) => {
            match kind {
                "f16" => alu!(f, (a: u16, b: u16) -> u16 { element::<$o, F16>(a, b, 0, f) }),
                "f16x2" => alu!(f, (a: u32, b: u32) -> u32 { both::<$o, F16>(a, b, 0, f) }),
                "bf16" => alu!(f, (a: u16, b: u16) -> u16 { element::<$o, Bf16>(a, b, 0, f) }),
                "bf16x2" => alu!(f, (a: u32, b: u32) -> u32 { both::<$o, Bf16>(a, b, 0, f) }),
                _ => return None,
            }
        };
        ($o:ident, 3) => {
            match kind {
                "f16" => alu!(f, (a: u16, b: u16, c: u16) -> u16 { element::<$o, F16>(a, b, c, f) }),
                "f16x2" => alu!(f, (a: u32, b: u32, c: u32) -> u32 { both::<$o, F16>(a, b, c, f) }),
                "bf16" => alu!(f, (a: u16, b: u16, c: u16) -> u16 { element::<$o, Bf16>(a, b, c, f) }),
                "bf16x2" => alu!(f, (a: u32, b: u32, c: u32) -> u32 { both::<$o, Bf16>(a, b, c, f) }),
                _ => return None,
            }
        };
    }
    Some(match operation {
        "add" => kinds!(Add, 2),
        "sub" => kinds!(Sub, 2),
        "mul" => kinds!(Mul, 2),
        "fma" => kinds!(Fma, 3),
        "neg" => kinds!(Neg, 1),
        "abs" => kinds!(Abs, 1),
        "min" => kinds!(Min, 2),
        "max" => kinds!(Max, 2),
        "min.NaN" => kinds!(MinNan, 2),
        "max.NaN" => kinds!(MaxNan, 2),
        "ex2.approx" => kinds!(Ex2, 1),
        "tanh.approx" => kinds!(Tanh, 1),
        _ => return None,
    })
}
