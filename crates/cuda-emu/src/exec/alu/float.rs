//! Arithmetic on f32 and f64.

use super::rounding::{Rounding, single, two_sum};
use super::{FTZ, Form, SAT, alu};

/// What every NaN that arithmetic makes looks like.
const NAN: f32 = f32::from_bits(0x7fff_ffff);

/// Subnormal to zero of the same sign.
#[inline(always)]
pub(crate) fn flush(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits(if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits })
}

#[inline(always)]
fn flush_if(value: f32, flags: u32) -> f32 {
    if flags & FTZ != 0 { flush(value) } else { value }
}

#[inline(always)]
fn canonical(value: f32) -> f32 {
    // On bits: a compiler may take one NaN for another in floating-point code.
    let bits = value.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { NAN.to_bits() } else { bits })
}

#[inline(always)]
fn finish(value: f32, flags: u32) -> f32 {
    let value = canonical(flush_if(value, flags));
    if flags & SAT == 0 {
        value
    } else if value > 0.0 {
        if value > 1.0 { 1.0 } else { value }
    } else {
        0.0
    }
}

/// A form on f32: a plain version, and one that honours `.ftz` and `.sat`.
macro_rules! f32_form {
    ($flags:expr, ($($a:ident),+) $e:expr) => {
        if $flags == 0 {
            alu!(($($a: f32),+) -> f32 { canonical($e) })
        } else {
            alu!(flags, ($($a: f32),+) -> f32 { $(let $a = flush_if($a, flags);)+ finish($e, flags) })
        }
    };
}

/// The form of `operation` on `kind` with these flags; the rounding mode is in the flags too.
pub(crate) fn float_form(operation: &str, kind: &str, flags: u32) -> Option<Form> {
    match kind {
        "f32" if Rounding::from_flags(flags) != Rounding::Nearest => directed(operation),
        "f32" => single_form(operation, flags),
        "f64" if flags == 0 => double_form(operation),
        _ => None,
    }
}

/// Operations in a directed rounding mode, which is read at run time: they are rare.
fn directed(operation: &str) -> Option<Form> {
    Some(match operation {
        "add" => alu!(f, (a: f32, b: f32) -> f32 { round_sum(f64::from(flush_if(a, f)), f64::from(flush_if(b, f)), f) }),
        "sub" => alu!(f, (a: f32, b: f32) -> f32 { round_sum(f64::from(flush_if(a, f)), -f64::from(flush_if(b, f)), f) }),
        "mul" => alu!(f, (a: f32, b: f32) -> f32 { round_sum(f64::from(flush_if(a, f)) * f64::from(flush_if(b, f)), -0.0, f) }),
        "fma" => alu!(f, (a: f32, b: f32, c: f32) -> f32 {
            round_sum(f64::from(flush_if(a, f)) * f64::from(flush_if(b, f)), f64::from(flush_if(c, f)), f)
        }),
        // A quotient or root of two f32 that is no f32 is far enough from one for f64 to tell the side.
        "div" => alu!(f, (a: f32, b: f32) -> f32 { round_sum(f64::from(flush_if(a, f)) / f64::from(flush_if(b, f)), -0.0, f) }),
        "rcp" => alu!(f, (a: f32) -> f32 { round_sum(1.0 / f64::from(flush_if(a, f)), -0.0, f) }),
        "sqrt" => alu!(f, (a: f32) -> f32 { round_sum(f64::from(flush_if(a, f)).sqrt(), -0.0, f) }),
        _ => return None,
    })
}

fn round_sum(a: f64, b: f64, flags: u32) -> f32 {
    let rounding = Rounding::from_flags(flags);
    let (sum, rest) = two_sum(a, b);
    let value =
        if sum == 0.0 && rest == 0.0 && a != 0.0 && rounding == Rounding::Down { -0.0 } else { single(sum, rest, rounding) };
    finish(value, flags)
}

fn single_form(operation: &str, flags: u32) -> Option<Form> {
    Some(match operation {
        "add" => f32_form!(flags, (a, b) a + b),
        "sub" => f32_form!(flags, (a, b) a - b),
        "mul" => f32_form!(flags, (a, b) a * b),
        "fma" => f32_form!(flags, (a, b, c) a.mul_add(b, c)),
        "div" | "div.full" => f32_form!(flags, (a, b) a / b),
        "div.approx" => f32_form!(flags, (a, b) quotient(a, b)),
        "rcp" | "rcp.approx" => f32_form!(flags, (a) 1.0 / a),
        "sqrt" | "sqrt.approx" => f32_form!(flags, (a) a.sqrt()),
        "rsqrt.approx" => f32_form!(flags, (a)(1.0 / f64::from(a).sqrt()) as f32),
        "ex2.approx" => f32_form!(flags, (a) f64::from(a).exp2() as f32),
        "lg2.approx" => f32_form!(flags, (a) f64::from(a).log2() as f32),
        "sin.approx" => f32_form!(flags, (a) f64::from(a).sin() as f32),
        "cos.approx" => f32_form!(flags, (a) f64::from(a).cos() as f32),
        "tanh.approx" => f32_form!(flags, (a) f64::from(a).tanh() as f32),
        "min" => f32_form!(flags, (a, b) minimum(a, b)),
        "max" => f32_form!(flags, (a, b) - minimum(-a, -b)),
        "min.NaN" => f32_form!(flags, (a, b) if a.is_nan() || b.is_nan() { NAN } else { minimum(a, b) }),
        "max.NaN" => f32_form!(flags, (a, b) if a.is_nan() || b.is_nan() { NAN } else { -minimum(-a, -b) }),
        // Signs of NaN are kept by these: they only touch one bit.
        "neg" if flags == 0 => alu!((a: f32) -> f32 { -a }),
        "abs" if flags == 0 => alu!((a: f32) -> f32 { a.abs() }),
        "neg" => f32_form!(flags, (a) - a),
        "abs" => f32_form!(flags, (a) a.abs()),
        "copysign" if flags == 0 => alu!((a: f32, b: f32) -> f32 { b.copysign(a) }),
        _ => return None,
    })
}

fn double_form(operation: &str) -> Option<Form> {
    Some(match operation {
        "add" => alu!((a: f64, b: f64) -> f64 { a + b }),
        "sub" => alu!((a: f64, b: f64) -> f64 { a - b }),
        "mul" => alu!((a: f64, b: f64) -> f64 { a * b }),
        "fma" => alu!((a: f64, b: f64, c: f64) -> f64 { a.mul_add(b, c) }),
        "div" => alu!((a: f64, b: f64) -> f64 { a / b }),
        "rcp" | "rcp.approx.ftz" => alu!((a: f64) -> f64 { 1.0 / a }),
        "sqrt" => alu!((a: f64) -> f64 { a.sqrt() }),
        "rsqrt.approx" => alu!((a: f64) -> f64 { 1.0 / a.sqrt() }),
        "min" => alu!((a: f64, b: f64) -> f64 { minimum64(a, b) }),
        "max" => alu!((a: f64, b: f64) -> f64 { -minimum64(-a, -b) }),
        "neg" => alu!((a: f64) -> f64 { -a }),
        "abs" => alu!((a: f64) -> f64 { a.abs() }),
        "copysign" => alu!((a: f64, b: f64) -> f64 { b.copysign(a) }),
        _ => return None,
    })
}

/// `min`: a number wins over NaN, and -0 is less than +0.
#[inline(always)]
pub(super) fn minimum(a: f32, b: f32) -> f32 {
    let less = if a == b {
        f32::from_bits(a.to_bits() | b.to_bits())
    } else if a < b {
        a
    } else {
        b
    };
    if a.is_nan() {
        b
    } else if b.is_nan() {
        a
    } else {
        less
    }
}

#[inline(always)]
fn minimum64(a: f64, b: f64) -> f64 {
    let less = if a == b {
        f64::from_bits(a.to_bits() | b.to_bits())
    } else if a < b {
        a
    } else {
        b
    };
    if a.is_nan() {
        b
    } else if b.is_nan() {
        a
    } else {
        less
    }
}

/// `div.approx`: a divisor beyond 2^126 gives zero (NaN for an infinite dividend).
#[inline(always)]
fn quotient(a: f32, b: f32) -> f32 {
    let huge = b.abs() > f32::from_bits(0x7e80_0000) && b.is_finite();
    if !huge {
        a / b
    } else if a.is_infinite() {
        NAN
    } else {
        (a / b) * 0.0
    }
}
