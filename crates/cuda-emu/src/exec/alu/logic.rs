//! Bits, shifts, moves.

use super::{Form, alu};

/// The form of a bitwise or bit-field `operation` on `kind`.
pub(crate) fn logic_form(operation: &str, kind: &str) -> Option<Form> {
    macro_rules! bits {
        (|$($a:ident),+| $e:expr) => {
            match kind {
                "b16" => alu!(($($a: u16),+) -> u16 { $e }),
                "b32" => alu!(($($a: u32),+) -> u32 { $e }),
                "b64" => alu!(($($a: u64),+) -> u64 { $e }),
                _ => return None,
            }
        };
    }
    Some(match (operation, kind) {
        ("and", _) => bits!(|a, b| a & b),
        ("or", _) => bits!(|a, b| a | b),
        ("xor", _) => bits!(|a, b| a ^ b),
        ("not", _) => bits!(|a| !a),
        ("cnot", "b16") => alu!((a: u16) -> u16 { u16::from(a == 0) }),
        ("cnot", "b32") => alu!((a: u32) -> u32 { u32::from(a == 0) }),
        ("cnot", "b64") => alu!((a: u64) -> u64 { u64::from(a == 0) }),
        // Shift counts are 32-bit words whatever the type; counts beyond the width clamp.
        ("shl", "b16") => alu!((a: u16, n: u32) -> u16 { if n > 15 { 0 } else { a << n } }),
        ("shl", "b32") => alu!((a: u32, n: u32) -> u32 { if n > 31 { 0 } else { a << n } }),
        ("shl", "b64") => alu!((a: u64, n: u32) -> u64 { if n > 63 { 0 } else { a << n } }),
        ("shr", "b16" | "u16") => alu!((a: u16, n: u32) -> u16 { if n > 15 { 0 } else { a >> n } }),
        ("shr", "b32" | "u32") => alu!((a: u32, n: u32) -> u32 { if n > 31 { 0 } else { a >> n } }),
        ("shr", "b64" | "u64") => alu!((a: u64, n: u32) -> u64 { if n > 63 { 0 } else { a >> n } }),
        ("shr", "s16") => alu!((a: i16, n: u32) -> i16 { a >> n.min(15) }),
        ("shr", "s32") => alu!((a: i32, n: u32) -> i32 { a >> n.min(31) }),
        ("shr", "s64") => alu!((a: i64, n: u32) -> i64 { a >> n.min(63) }),
        ("shf.l.wrap", "b32") => alu!((lo: u32, hi: u32, n: u32) -> u32 { (pair(lo, hi) << (n & 31) >> 32) as u32 }),
        ("shf.l.clamp", "b32") => alu!((lo: u32, hi: u32, n: u32) -> u32 { (pair(lo, hi) << n.min(32) >> 32) as u32 }),
        ("shf.r.wrap", "b32") => alu!((lo: u32, hi: u32, n: u32) -> u32 { (pair(lo, hi) >> (n & 31)) as u32 }),
        ("shf.r.clamp", "b32") => alu!((lo: u32, hi: u32, n: u32) -> u32 { (pair(lo, hi) >> n.min(32)) as u32 }),
        ("popc", "b32") => alu!((a: u32) -> u32 { a.count_ones() }),
        ("popc", "b64") => alu!((a: u64) -> u32 { a.count_ones() }),
        ("clz", "b32") => alu!((a: u32) -> u32 { a.leading_zeros() }),
        ("clz", "b64") => alu!((a: u64) -> u32 { a.leading_zeros() }),
        ("brev", "b32") => alu!((a: u32) -> u32 { a.reverse_bits() }),
        ("brev", "b64") => alu!((a: u64) -> u64 { a.reverse_bits() }),
        ("bfind", "u32") => alu!((a: u32) -> u32 { 31u32.wrapping_sub(a.leading_zeros()) }),
        ("bfind", "s32") => alu!((a: i32) -> u32 { 31u32.wrapping_sub((a ^ (a >> 31)).leading_zeros()) }),
        ("bfind", "u64") => alu!((a: u64) -> u32 { 63u32.wrapping_sub(a.leading_zeros()) }),
        ("bfind", "s64") => alu!((a: i64) -> u32 { 63u32.wrapping_sub((a ^ (a >> 63)).leading_zeros()) }),
        ("bfind.shiftamt", "u32") => alu!((a: u32) -> u32 { if a == 0 { u32::MAX } else { a.leading_zeros() } }),
        ("bfind.shiftamt", "s32") => alu!((a: i32) -> u32 { shift_amount(u64::from((a ^ (a >> 31)) as u32), 32) }),
        ("bfind.shiftamt", "u64") => alu!((a: u64) -> u32 { shift_amount(a, 64) }),
        ("bfind.shiftamt", "s64") => alu!((a: i64) -> u32 { shift_amount((a ^ (a >> 63)) as u64, 64) }),
        ("bfe", "u32") => alu!((a: u32, at: u32, n: u32) -> u32 { extract(u64::from(a), at, n, 32, false) as u32 }),
        ("bfe", "s32") => alu!((a: u32, at: u32, n: u32) -> u32 { extract(u64::from(a), at, n, 32, true) as u32 }),
        ("bfe", "u64") => alu!((a: u64, at: u32, n: u32) -> u64 { extract(a, at, n, 64, false) }),
        ("bfe", "s64") => alu!((a: u64, at: u32, n: u32) -> u64 { extract(a, at, n, 64, true) }),
        ("bfi", "b32") => {
            alu!((a: u32, b: u32, at: u32, n: u32) -> u32 { insert(u64::from(a), u64::from(b), at, n, 32) as u32 })
        }
        ("bfi", "b64") => alu!((a: u64, b: u64, at: u32, n: u32) -> u64 { insert(a, b, at, n, 64) }),
        ("prmt", "b32") => {
            alu!((a: u32, b: u32, c: u32) -> u32 { permute(a, b, [c & 15, c >> 4 & 15, c >> 8 & 15, c >> 12 & 15]) })
        }
        ("prmt.f4e", "b32") => {
            alu!((a: u32, b: u32, c: u32) -> u32 { permute(a, b, [c & 3, (c & 3) + 1, (c & 3) + 2, (c & 3) + 3]) })
        }
        ("prmt.b4e", "b32") => {
            alu!((a: u32, b: u32, c: u32) -> u32 { permute(a, b, [c & 3, (c & 3).wrapping_sub(1) & 7, (c & 3).wrapping_sub(2) & 7, (c & 3).wrapping_sub(3) & 7]) })
        }
        ("prmt.rc8", "b32") => alu!((a: u32, b: u32, c: u32) -> u32 { permute(a, b, [c & 3; 4]) }),
        ("prmt.ecl", "b32") => {
            alu!((a: u32, b: u32, c: u32) -> u32 { let n = c & 3; permute(a, b, [n, n.max(1), n.max(2), 3]) })
        }
        ("prmt.ecr", "b32") => {
            alu!((a: u32, b: u32, c: u32) -> u32 { let n = c & 3; permute(a, b, [0, n.min(1), n.min(2), n]) })
        }
        ("prmt.rc16", "b32") => {
            alu!((a: u32, b: u32, c: u32) -> u32 { let n = (c & 1) * 2; permute(a, b, [n, n + 1, n, n + 1]) })
        }
        // The truth table is in the flags.
        ("lop3", "b32") => alu!(table, (a: u32, b: u32, c: u32) -> u32 {
            let mut out = 0u32;
            for row in 0..8u32 {
                let term = (if row & 4 != 0 { a } else { !a }) & (if row & 2 != 0 { b } else { !b }) & (if row & 1 != 0 { c } else { !c });
                out |= if table >> row & 1 != 0 { term } else { 0 };
            }
            out
        }),
        _ => return None,
    })
}

/// Copies, packs and unpacks; `w` and `l` are words and longs, `h` halves of a word.
pub(crate) fn move_form(kind: &str) -> Option<Form> {
    Some(match kind {
        "w" => alu!((a: u32) -> u32 { a }),
        "h" => alu!((a: u16) -> u16 { a }),
        "l" => alu!((a: u64) -> u64 { a }),
        "hh>w" => alu!((lo: u16, hi: u16) -> u32 { u32::from(lo) | u32::from(hi) << 16 }),
        "ww>l" => alu!((lo: u32, hi: u32) -> u64 { pair(lo, hi) }),
        "w>lo" => alu!((a: u32) -> u32 { a & 0xffff }),
        "w>hi" => alu!((a: u32) -> u32 { a >> 16 }),
        "l>lo" => alu!((a: u64) -> u32 { a as u32 }),
        "l>hi" => alu!((a: u64) -> u32 { (a >> 32) as u32 }),
        "w>l" => alu!((a: u32) -> u64 { u64::from(a) }),
        _ => return None,
    })
}

#[inline(always)]
fn pair(lo: u32, hi: u32) -> u64 {
    u64::from(lo) | u64::from(hi) << 32
}

#[inline(always)]
fn shift_amount(magnitude: u64, width: u32) -> u32 {
    if magnitude == 0 { u32::MAX } else { magnitude.leading_zeros() - (64 - width) }
}

/// `bfe`: field of `n` bits at `at` (both one byte), sign-extended from the field's top bit, or from the operand's beyond it.
#[inline(always)]
fn extract(a: u64, at: u32, n: u32, width: u32, signed: bool) -> u64 {
    let (at, n) = (at & 255, n & 255);
    let top = width - 1;
    let sign = if !signed || n == 0 { 0 } else { a >> (at + n - 1).min(top) & 1 };
    let mut out = 0;
    let kept = n.min(width.saturating_sub(at)).min(width);
    if kept > 0 {
        out = a >> at & (u64::MAX >> (64 - kept));
    }
    if sign != 0 && kept < width { out | u64::MAX << kept } else { out }
}

/// `bfi`: the low `n` bits of `a` placed at `at` in `b`.
#[inline(always)]
fn insert(a: u64, b: u64, at: u32, n: u32, width: u32) -> u64 {
    let (at, n) = (at & 255, n & 255);
    if n == 0 || at >= width {
        return b;
    }
    let field = (u64::MAX >> (64 - n.min(width - at))) << at;
    b & !field | a << at & field
}

/// `prmt`: four bytes out of eight; bit 3 of a selector replicates the byte's sign instead.
#[inline(always)]
fn permute(a: u32, b: u32, selectors: [u32; 4]) -> u32 {
    let bytes = pair(a, b);
    let mut out = 0;
    for (i, selector) in selectors.into_iter().enumerate() {
        let byte = (bytes >> (8 * (selector & 7))) as u8;
        let byte = if selector & 8 != 0 { ((byte as i8) >> 7) as u8 } else { byte };
        out |= u32::from(byte) << (8 * i);
    }
    out
}
