//! Integer arithmetic.

use super::{Form, alu};

/// The form of `operation` (`add`, `mul.lo`, ...) on `kind` (`s32`, `u64`, ...).
pub(crate) fn integer_form(operation: &str, kind: &str) -> Option<Form> {
    macro_rules! signless {
        (|$a:ident, $b:ident| $e:expr) => {
            match kind {
                "u16" | "s16" => alu!(($a: u16, $b: u16) -> u16 { $e }),
                "u32" | "s32" => alu!(($a: u32, $b: u32) -> u32 { $e }),
                "u64" | "s64" => alu!(($a: u64, $b: u64) -> u64 { $e }),
                _ => return None,
            }
        };
    }
    macro_rules! signed {
        (|$a:ident, $b:ident| $e:expr) => {
            match kind {
                "u16" => alu!(($a: u16, $b: u16) -> u16 { $e }),
                "s16" => alu!(($a: i16, $b: i16) -> i16 { $e }),
                "u32" => alu!(($a: u32, $b: u32) -> u32 { $e }),
                "s32" => alu!(($a: i32, $b: i32) -> i32 { $e }),
                "u64" => alu!(($a: u64, $b: u64) -> u64 { $e }),
                "s64" => alu!(($a: i64, $b: i64) -> i64 { $e }),
                _ => return None,
            }
        };
    }
    macro_rules! signed_unary {
        (|$a:ident| $e:expr) => {
            match kind {
                "s16" => alu!(($a: i16) -> i16 { $e }),
                "s32" => alu!(($a: i32) -> i32 { $e }),
                "s64" => alu!(($a: i64) -> i64 { $e }),
                _ => return None,
            }
        };
    }
    Some(match operation {
        "add" => signless!(|a, b| a.wrapping_add(b)),
        "sub" => signless!(|a, b| a.wrapping_sub(b)),
        "add.sat" if kind == "s32" => alu!((a: i32, b: i32) -> i32 { a.saturating_add(b) }),
        "sub.sat" if kind == "s32" => alu!((a: i32, b: i32) -> i32 { a.saturating_sub(b) }),
        "min" => signed!(|a, b| if b < a { b } else { a }),
        "max" => signed!(|a, b| if b > a { b } else { a }),
        "neg" => signed_unary!(|a| a.wrapping_neg()),
        "abs" => signed_unary!(|a| a.wrapping_abs()),
        "mul.lo" => signless!(|a, b| a.wrapping_mul(b)),
        "mul.hi" => match kind {
            "u16" => alu!((a: u16, b: u16) -> u16 { ((u32::from(a) * u32::from(b)) >> 16) as u16 }),
            "s16" => alu!((a: i16, b: i16) -> i16 { ((i32::from(a) * i32::from(b)) >> 16) as i16 }),
            "u32" => alu!((a: u32, b: u32) -> u32 { ((u64::from(a) * u64::from(b)) >> 32) as u32 }),
            "s32" => alu!((a: i32, b: i32) -> i32 { ((i64::from(a) * i64::from(b)) >> 32) as i32 }),
            "u64" => alu!((a: u64, b: u64) -> u64 { ((u128::from(a) * u128::from(b)) >> 64) as u64 }),
            "s64" => alu!((a: i64, b: i64) -> i64 { ((i128::from(a) * i128::from(b)) >> 64) as i64 }),
            _ => return None,
        },
        "mul.wide" => match kind {
            "u16" => alu!((a: u16, b: u16) -> u32 { u32::from(a) * u32::from(b) }),
            "s16" => alu!((a: i16, b: i16) -> i32 { i32::from(a) * i32::from(b) }),
            "u32" => alu!((a: u32, b: u32) -> u64 { u64::from(a) * u64::from(b) }),
            "s32" => alu!((a: i32, b: i32) -> i64 { i64::from(a) * i64::from(b) }),
            _ => return None,
        },
        "mul24.lo" => match kind {
            "u32" => alu!((a: u32, b: u32) -> u32 { (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff) }),
            "s32" => alu!((a: i32, b: i32) -> i32 { (a << 8 >> 8).wrapping_mul(b << 8 >> 8) }),
            _ => return None,
        },
        "mad.lo" => match kind {
            "u16" | "s16" => alu!((a: u16, b: u16, c: u16) -> u16 { a.wrapping_mul(b).wrapping_add(c) }),
            "u32" | "s32" => alu!((a: u32, b: u32, c: u32) -> u32 { a.wrapping_mul(b).wrapping_add(c) }),
            "u64" | "s64" => alu!((a: u64, b: u64, c: u64) -> u64 { a.wrapping_mul(b).wrapping_add(c) }),
            _ => return None,
        },
        "mad.hi" => match kind {
            "u32" => alu!((a: u32, b: u32, c: u32) -> u32 { (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c) }),
            "s32" => alu!((a: i32, b: i32, c: i32) -> i32 { (((i64::from(a) * i64::from(b)) >> 32) as i32).wrapping_add(c) }),
            "u64" => alu!((a: u64, b: u64, c: u64) -> u64 { (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c) }),
            "s64" => alu!((a: i64, b: i64, c: i64) -> i64 { (((i128::from(a) * i128::from(b)) >> 64) as i64).wrapping_add(c) }),
            _ => return None,
        },
        "mad.wide" => match kind {
            "u16" => alu!((a: u16, b: u16, c: u32) -> u32 { (u32::from(a) * u32::from(b)).wrapping_add(c) }),
            "s16" => alu!((a: i16, b: i16, c: i32) -> i32 { (i32::from(a) * i32::from(b)).wrapping_add(c) }),
            "u32" => alu!((a: u32, b: u32, c: u64) -> u64 { (u64::from(a) * u64::from(b)).wrapping_add(c) }),
            "s32" => alu!((a: i32, b: i32, c: i64) -> i64 { (i64::from(a) * i64::from(b)).wrapping_add(c) }),
            _ => return None,
        },
        // Division by zero is unspecified in PTX; hardware returns all ones, and the dividend as remainder.
        "div" => match kind {
            "u16" => alu!((a: u16, b: u16) -> u16 { a.checked_div(b).unwrap_or(u16::MAX) }),
            "s16" => alu!((a: i16, b: i16) -> i16 { if b == 0 { -1 } else { a.wrapping_div(b) } }),
            "u32" => alu!((a: u32, b: u32) -> u32 { a.checked_div(b).unwrap_or(u32::MAX) }),
            "s32" => alu!((a: i32, b: i32) -> i32 { if b == 0 { -1 } else { a.wrapping_div(b) } }),
            "u64" => alu!((a: u64, b: u64) -> u64 { a.checked_div(b).unwrap_or(u64::MAX) }),
            "s64" => alu!((a: i64, b: i64) -> i64 { if b == 0 { -1 } else { a.wrapping_div(b) } }),
            _ => return None,
        },
        "rem" => signed!(|a, b| if b == 0 { a } else { a.wrapping_rem(b) }),
        "sad" => match kind {
            "u16" => alu!((a: u16, b: u16, c: u16) -> u16 { a.abs_diff(b).wrapping_add(c) }),
            "s16" => alu!((a: i16, b: i16, c: u16) -> u16 { a.abs_diff(b).wrapping_add(c) }),
            "u32" => alu!((a: u32, b: u32, c: u32) -> u32 { a.abs_diff(b).wrapping_add(c) }),
            "s32" => alu!((a: i32, b: i32, c: u32) -> u32 { a.abs_diff(b).wrapping_add(c) }),
            "u64" => alu!((a: u64, b: u64, c: u64) -> u64 { a.abs_diff(b).wrapping_add(c) }),
            "s64" => alu!((a: i64, b: i64, c: u64) -> u64 { a.abs_diff(b).wrapping_add(c) }),
            _ => return None,
        },
        "dp4a" => match kind {
            "u32.u32" => alu!((a: u32, b: u32, c: u32) -> u32 { dot4(a, b, false, false, c) }),
            "u32.s32" => alu!((a: u32, b: u32, c: u32) -> u32 { dot4(a, b, false, true, c) }),
            "s32.u32" => alu!((a: u32, b: u32, c: u32) -> u32 { dot4(a, b, true, false, c) }),
            "s32.s32" => alu!((a: u32, b: u32, c: u32) -> u32 { dot4(a, b, true, true, c) }),
            _ => return None,
        },
        _ => return None,
    })
}

/// Sum of the products of four bytes, each operand's bytes signed or not, plus `c`.
#[inline(always)]
fn dot4(a: u32, b: u32, a_signed: bool, b_signed: bool, c: u32) -> u32 {
    let byte = |word: u32, i: u32, signed: bool| {
        let bits = (word >> (8 * i)) as u8;
        if signed { i32::from(bits as i8) } else { i32::from(bits) }
    };
    (0..4).fold(c, |sum, i| sum.wrapping_add((byte(a, i, a_signed) * byte(b, i, b_signed)) as u32))
}
