//! `cvt`.

use super::float::flush;
use super::half::RELU;
use super::rounding::{
    Rounding, bfloat_to_single, half_to_single, odd_single, single, single_to_bfloat_rounded, single_to_half,
    single_to_half_rounded, single_to_tf32_away, single_to_tf32_even,
};
use super::{FTZ, Form, SAT, alu};

/// The form of `cvt[.rounding].<to>.<from>`. `rounding` is the modifier as written (`rzi`, `rn`, ...), empty for none;
/// the flags passed must also hold it, as [`Rounding::flags`] gives it.
pub(crate) fn convert_form(to: &str, from: &str, rounding: &str, flags: u32) -> Option<Form> {
    let from_float = matches!(from, "f32" | "f64" | "f16" | "bf16");
    let to_float = matches!(to, "f32" | "f64" | "f16" | "bf16" | "tf32" | "f16x2" | "bf16x2");
    match (from_float, to_float) {
        (false, false) if rounding.is_empty() && flags & FTZ == 0 => integer_to_integer(to, from, flags & SAT != 0),
        (false, true) => integer_to_float(to, from),
        (true, false) if rounding.ends_with('i') => float_to_integer(to, from),
        (true, true) => float_to_float(to, from, rounding),
        _ => None,
    }
}

/// Applies `$m!(type)` for the integer type that the string names.
macro_rules! with_integer {
    ($name:expr, $m:ident) => {
        match $name {
            "u8" => $m!(u8),
            "s8" => $m!(i8),
            "u16" => $m!(u16),
            "s16" => $m!(i16),
            "u32" => $m!(u32),
            "s32" => $m!(i32),
            "u64" => $m!(u64),
            "s64" => $m!(i64),
            _ => return None,
        }
    };
}

#[rustfmt::skip] // rustfmt moves the nested macros further right at each run
fn integer_to_integer(to: &str, from: &str, saturate: bool) -> Option<Form> {
    // Widening through i128 is exact for every source; the compiler narrows it again.
    macro_rules! saturating {
        ($d:ty) => {{
            macro_rules! source {
                ($s:ty) => {
                    alu!((a: $s) -> $d { i128::from(a).clamp(i128::from(<$d>::MIN), i128::from(<$d>::MAX)) as $d })
                };
            }
            with_integer!(from, source)
        }};
    }
    macro_rules! plain {
        ($d:ty) => {{
            macro_rules! source {
                ($s:ty) => {
                    alu!((a: $s) -> $d { a as $d })
                };
            }
            with_integer!(from, source)
        }};
    }
    Some(if saturate { with_integer!(to, saturating) } else { with_integer!(to, plain) })
}

/// Whole number of `value` in the flags' mode.
#[inline(always)]
fn whole(value: f64, flags: u32) -> f64 {
    match Rounding::from_flags(flags) {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    }
}

#[inline(always)]
fn whole_single(value: f32, flags: u32) -> f32 {
    match Rounding::from_flags(flags) {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    }
}

/// Clamps to the range; NaN gives 0, but the sign bit alone where the source is f64 or the result has 64 bits.
fn float_to_integer(to: &str, from: &str) -> Option<Form> {
    macro_rules! target {
        ($d:ty) => {{
            const SIGN: $d = ((1 as $d) << (<$d>::BITS - 1));
            const SHORT: bool = <$d>::BITS < 64;
            match from {
                "f32" => alu!(f, (a: f32) -> $d {
                    let a = if f & FTZ != 0 { flush(a) } else { a };
                    if !SHORT && a.is_nan() { SIGN } else { whole_single(a, f) as $d }
                }),
                "f64" => alu!(f, (a: f64) -> $d { if a.is_nan() { SIGN } else { whole(a, f) as $d } }),
                "f16" => alu!(f, (a: u16) -> $d {
                    let a = half_to_single(a);
                    if !SHORT && a.is_nan() { SIGN } else { whole_single(a, f) as $d }
                }),
                "bf16" => alu!(f, (a: u16) -> $d {
                    let a = bfloat_to_single(a);
                    if !SHORT && a.is_nan() { SIGN } else { whole_single(a, f) as $d }
                }),
                _ => return None,
            }
        }};
    }
    Some(with_integer!(to, target))
}

/// An integer as f64 and the part that it cannot hold.
#[inline(always)]
fn split(value: i128) -> (f64, f64) {
    let near = value as f64;
    (near, (value - near as i128) as f64)
}

#[inline(always)]
fn saturate(value: f32, flags: u32) -> f32 {
    if flags & SAT == 0 {
        value
    } else if value > 0.0 {
        if value > 1.0 { 1.0 } else { value }
    } else {
        0.0
    }
}

fn integer_to_float(to: &str, from: &str) -> Option<Form> {
    macro_rules! source {
        ($s:ty) => {
            match to {
                "f32" => alu!(f, (a: $s) -> f32 {
                    if f == 0 {
                        a as f32
                    } else {
                        let (near, rest) = split(i128::from(a));
                        saturate(single(near, rest, Rounding::from_flags(f)), f)
                    }
                }),
                "f64" => alu!((a: $s) -> f64 { a as f64 }),
                "f16" => alu!(f, (a: $s) -> u16 {
                    let (near, rest) = split(i128::from(a));
                    single_to_half_rounded(odd_single(super::rounding::odd(near, rest)), Rounding::from_flags(f))
                }),
                _ => return None,
            }
        };
    }
    Some(with_integer!(from, source))
}

/// `.relu` and `.sat` before a narrowing; neither changes by rounding later.
#[inline(always)]
fn prepare(value: f32, flags: u32) -> f32 {
    let value = if flags & FTZ != 0 { flush(value) } else { value };
    let value = if flags & RELU != 0 && value <= 0.0 { 0.0 } else { value };
    saturate(value, flags)
}

#[inline(always)]
fn half(value: f32, flags: u32) -> u16 {
    if flags == 0 { single_to_half(value) } else { single_to_half_rounded(prepare(value, flags), Rounding::from_flags(flags)) }
}

#[inline(always)]
fn bfloat(value: f32, flags: u32) -> u16 {
    single_to_bfloat_rounded(prepare(value, flags), Rounding::from_flags(flags))
}

fn float_to_float(to: &str, from: &str, rounding: &str) -> Option<Form> {
    let integral = rounding.ends_with('i');
    let none = rounding.is_empty();
    let narrow = matches!(rounding, "rn" | "rz" | "rm" | "rp");
    Some(match (to, from) {
        ("f32", "f32") if integral => alu!(f, (a: f32) -> f32 { prepare(whole_single(prepare(a, f & FTZ), f), f) }),
        ("f32", "f32") if none => alu!(f, (a: f32) -> f32 { prepare(a, f) }),
        ("f64", "f64") if integral => alu!(f, (a: f64) -> f64 { whole(a, f) }),
        ("f64", "f64") if none => alu!((a: f64) -> f64 { a }),
        ("f16", "f16") if integral => alu!(f, (a: u16) -> u16 { single_to_half(whole_single(half_to_single(a), f)) }),
        ("f64", "f32") if none => alu!(f, (a: f32) -> f64 { f64::from(if f & FTZ != 0 { flush(a) } else { a }) }),
        ("f32", "f64") if narrow => alu!(f, (a: f64) -> f32 {
            prepare(if f == 0 { a as f32 } else { single(a, 0.0, Rounding::from_flags(f)) }, f)
        }),
        ("f32", "f16") if none => alu!(f, (a: u16) -> f32 { saturate(half_to_single(a), f) }),
        ("f32", "bf16") if none => alu!(f, (a: u16) -> f32 { saturate(bfloat_to_single(a), f) }),
        ("f64", "f16") if none => alu!((a: u16) -> f64 { f64::from(half_to_single(a)) }),
        ("f16", "f32") if narrow => alu!(f, (a: f32) -> u16 { half(a, f) }),
        ("f16", "f64") if narrow => alu!(f, (a: f64) -> u16 { half(odd_single(a), f) }),
        ("bf16", "f32") if narrow => alu!(f, (a: f32) -> u16 { bfloat(a, f) }),
        ("f16x2", "f32") if narrow => {
            alu!(f, (hi: f32, lo: f32) -> u32 { u32::from(half(lo, f)) | u32::from(half(hi, f)) << 16 })
        }
        ("bf16x2", "f32") if narrow => {
            alu!(f, (hi: f32, lo: f32) -> u32 { u32::from(bfloat(lo, f)) | u32::from(bfloat(hi, f)) << 16 })
        }
        ("tf32", "f32") if rounding == "rna" => alu!((a: f32) -> u32 { single_to_tf32_away(a) }),
        ("tf32", "f32") if rounding == "rn" => alu!((a: f32) -> u32 { single_to_tf32_even(a) }),
        _ => return None,
    })
}
