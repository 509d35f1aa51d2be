//! Integer, logical and conversion instructions against `i128` arithmetic, on edge values.

#![allow(clippy::precedence, clippy::type_complexity, reason = "formulas and tables as the manual writes them")]

mod common;

use common::form::Reg::{H, L, P, W};
use common::form::{Reg, check, combinations};

/// Values at the edges of 16, 32 and 64 bits.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    31,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
    0x0123_4567_89ab_cdef,
];

fn register(bits: u32) -> Reg {
    match bits {
        16 => H,
        32 => W,
        _ => L,
    }
}

fn low(value: i128, bits: u32) -> u64 {
    (value as u128 & ((1u128 << bits) - 1)) as u64
}

/// The number that the low bits are.
fn number(value: u64, bits: u32, signed: bool) -> i128 {
    let value = i128::from(low(i128::from(value), bits));
    if signed && value >> (bits - 1) & 1 == 1 { value - (1i128 << bits) } else { value }
}

/// Checks a form on all integer types.
fn each_type(name: &str, operands: usize, types: &[&str], want: impl Fn(&[i128], u32) -> i128) {
    for kind in types {
        let bits: u32 = kind[1..].parse().unwrap();
        let signed = kind.starts_with('s');
        let text = format!("{name}.{kind} {{d}}, {};", ["{a}", "{b}", "{c}"][..operands].join(", "));
        let values = if operands == 3 { &EDGES[..10] } else { &EDGES[..] };
        check(&text, &vec![register(bits); operands], register(bits), &combinations(values, operands), |row| {
            let numbers: Vec<i128> = row.iter().map(|&v| number(v, bits, signed)).collect();
            low(want(&numbers, bits), bits)
        });
    }
}

const ALL: [&str; 6] = ["u16", "s16", "u32", "s32", "u64", "s64"];

#[test]
fn sums_and_products() {
    each_type("add", 2, &ALL, |v, _| v[0] + v[1]);
    each_type("sub", 2, &ALL, |v, _| v[0] - v[1]);
    each_type("mul.lo", 2, &ALL, |v, _| v[0].wrapping_mul(v[1]));
    each_type("mul.hi", 2, &ALL[..4], |v, bits| v[0] * v[1] >> bits);
    each_type("mad.lo", 3, &ALL[..4], |v, _| v[0] * v[1] + v[2]);
    each_type("mad.hi", 3, &ALL[2..4], |v, bits| (v[0] * v[1] >> bits) + v[2]);
    each_type("sad", 3, &ALL, |v, _| (v[0] - v[1]).abs() + v[2]);
    each_type("min", 2, &ALL, |v, _| v[0].min(v[1]));
    each_type("max", 2, &ALL, |v, _| v[0].max(v[1]));
    each_type("neg", 1, &["s16", "s32", "s64"], |v, _| -v[0]);
    each_type("abs", 1, &["s16", "s32", "s64"], |v, _| v[0].abs());
    let clamp = |v: i128| v.clamp(i128::from(i32::MIN), i128::from(i32::MAX));
    each_type("add.sat", 2, &["s32"], |v, _| clamp(v[0] + v[1]));
    each_type("sub.sat", 2, &["s32"], |v, _| clamp(v[0] - v[1]));
    check("mul.hi.u64 {d}, {a}, {b};", &[L, L], L, &combinations(&EDGES, 2), |v| {
        (u128::from(v[0]) * u128::from(v[1]) >> 64) as u64
    });
    check("mul.hi.s64 {d}, {a}, {b};", &[L, L], L, &combinations(&EDGES, 2), |v| {
        (i128::from(v[0] as i64) * i128::from(v[1] as i64) >> 64) as u64
    });
}

#[test]
fn division_as_hardware_does_it() {
    each_type("div", 2, &ALL, |v, _| if v[1] == 0 { -1 } else { v[0] / v[1] });
    each_type("rem", 2, &ALL, |v, _| if v[1] == 0 { v[0] } else { v[0] % v[1] });
}

#[test]
fn wide_products() {
    for (kind, bits) in [("u16", 16), ("s16", 16), ("u32", 32), ("s32", 32)] {
        let signed = kind.starts_with('s');
        let (narrow, wide) = (register(bits), register(2 * bits));
        let product = move |v: &[u64]| number(v[0], bits, signed) * number(v[1], bits, signed);
        check(&format!("mul.wide.{kind} {{d}}, {{a}}, {{b}};"), &[narrow, narrow], wide, &combinations(&EDGES, 2), |v| {
            low(product(v), 2 * bits)
        });
        let text = format!("mad.wide.{kind} {{d}}, {{a}}, {{b}}, {{c}};");
        check(&text, &[narrow, narrow, wide], wide, &combinations(&EDGES, 3), |v| {
            low(product(v) + number(v[2], 2 * bits, signed), 2 * bits)
        });
    }
    let low24 = |v: u64| i128::from(v & 0xff_ffff);
    check("mul24.lo.u32 {d}, {a}, {b};", &[W, W], W, &combinations(&EDGES, 2), |v| low(low24(v[0]) * low24(v[1]), 32));
}

#[test]
fn bits_and_shifts() {
    for bits in [16, 32, 64] {
        let r = register(bits);
        let mask = |v: u64| low(i128::from(v), bits);
        let rows = combinations(&EDGES, 2);
        check(&format!("and.b{bits} {{d}}, {{a}}, {{b}};"), &[r, r], r, &rows, |v| mask(v[0] & v[1]));
        check(&format!("or.b{bits} {{d}}, {{a}}, {{b}};"), &[r, r], r, &rows, |v| mask(v[0] | v[1]));
        check(&format!("xor.b{bits} {{d}}, {{a}}, {{b}};"), &[r, r], r, &rows, |v| mask(v[0] ^ v[1]));
        check(&format!("not.b{bits} {{d}}, {{a}};"), &[r], r, &combinations(&EDGES, 1), |v| mask(!v[0]));
        check(&format!("cnot.b{bits} {{d}}, {{a}};"), &[r], r, &combinations(&EDGES, 1), |v| u64::from(mask(v[0]) == 0));
        let counts: Vec<Vec<u64>> = EDGES
            .iter()
            .flat_map(|&v| [0u64, 1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 0xffff_ffff].map(|n| vec![v, n]))
            .collect();
        check(&format!("shl.b{bits} {{d}}, {{a}}, {{b}};"), &[r, W], r, &counts, |v| {
            if v[1] >= u64::from(bits) { 0 } else { mask(v[0] << v[1]) }
        });
        for (kind, signed) in [("u", false), ("s", true)] {
            check(&format!("shr.{kind}{bits} {{d}}, {{a}}, {{b}};"), &[r, W], r, &counts, |v| {
                low(number(v[0], bits, signed) >> v[1].min(100), bits)
            });
        }
    }
    for (mode, left, wrap) in
        [("l.wrap", true, true), ("l.clamp", true, false), ("r.wrap", false, true), ("r.clamp", false, false)]
    {
        check(&format!("shf.{mode}.b32 {{d}}, {{a}}, {{b}}, {{c}};"), &[W, W, W], W, &combinations(&EDGES[..10], 3), |v| {
            let n = if wrap { v[2] & 31 } else { (v[2] & 0xffff_ffff).min(32) };
            let pair = i128::from((v[1] & 0xffff_ffff) << 32 | v[0] & 0xffff_ffff);
            if left { low(pair << n >> 32, 32) } else { low(pair >> n, 32) }
        });
    }
}

/// Bits of a number, least first.
fn digits(value: u64, bits: u32) -> Vec<bool> {
    (0..bits).map(|i| value >> i & 1 == 1).collect()
}

fn from_digits(digits: &[bool]) -> u64 {
    digits.iter().enumerate().fold(0, |sum, (i, &d)| sum | u64::from(d) << i)
}

#[test]
fn counting_and_fields() {
    for bits in [32u32, 64] {
        let r = register(bits);
        let rows = combinations(&EDGES, 1);
        check(&format!("popc.b{bits} {{d}}, {{a}};"), &[r], W, &rows, |v| {
            digits(v[0], bits).iter().filter(|&&d| d).count() as u64
        });
        check(&format!("clz.b{bits} {{d}}, {{a}};"), &[r], W, &rows, |v| {
            digits(v[0], bits).iter().rev().take_while(|&&d| !d).count() as u64
        });
        check(&format!("brev.b{bits} {{d}}, {{a}};"), &[r], r, &rows, |v| {
            from_digits(&digits(v[0], bits).into_iter().rev().collect::<Vec<_>>())
        });
        for signed in [false, true] {
            let kind = if signed { 's' } else { 'u' };
            let top = move |v: u64| {
                let d = digits(v, bits);
                let sign = signed && d[bits as usize - 1];
                d.iter().rposition(|&digit| digit != sign)
            };
            check(&format!("bfind.{kind}{bits} {{d}}, {{a}};"), &[r], W, &rows, |v| {
                top(v[0]).map_or(0xffff_ffff, |at| at as u64)
            });
            check(&format!("bfind.shiftamt.{kind}{bits} {{d}}, {{a}};"), &[r], W, &rows, |v| {
                top(v[0]).map_or(0xffff_ffff, |at| u64::from(bits) - 1 - at as u64)
            });
            let fields: Vec<Vec<u64>> = EDGES
                .iter()
                .flat_map(|&v| {
                    combinations(&[0, 1, 5, 16, 31, 32, 40, 63, 64, 255, 300], 2).into_iter().map(move |f| vec![v, f[0], f[1]])
                })
                .collect();
            // As the manual's pseudo code has it.
            check(&format!("bfe.{kind}{bits} {{d}}, {{a}}, {{b}}, {{c}};"), &[r, W, W], r, &fields, |v| {
                let (at, n, a) = ((v[1] & 255) as usize, (v[2] & 255) as usize, digits(v[0], bits));
                let last = bits as usize - 1;
                let sign = if !signed || n == 0 { false } else { a[(at + n - 1).min(last)] };
                let out: Vec<bool> = (0..=last).map(|i| if i < n && at + i <= last { a[at + i] } else { sign }).collect();
                from_digits(&out)
            });
            let inserts: Vec<Vec<u64>> = fields.iter().map(|f| vec![f[0], !f[0] ^ 0xf0f0, f[1], f[2]]).collect();
            check(&format!("bfi.b{bits} {{d}}, {{a}}, {{b}}, {{c}}, {{e}};"), &[r, r, W, W], r, &inserts, |v| {
                let (at, n) = ((v[2] & 255) as usize, (v[3] & 255) as usize);
                let (a, mut out) = (digits(v[0], bits), digits(v[1], bits));
                for i in 0..n {
                    if at + i < bits as usize && i < bits as usize {
                        out[at + i] = a[i];
                    }
                }
                from_digits(&out)
            });
        }
    }
}

#[test]
fn bytes_and_tables() {
    let rows: Vec<Vec<u64>> = combinations(&[0x8899_aabb, 0x0123_4567], 2)
        .into_iter()
        .flat_map(|ab| [0u64, 0x3210, 0x7654, 0xfedc, 0x5a3c, 1, 2, 3, 0xffff].map(|s| vec![ab[0], ab[1], s]))
        .collect();
    let byte = |v: &[u64], selector: u64| {
        let b = (v[0] & 0xffff_ffff | v[1] << 32) >> (8 * (selector & 7)) & 255;
        if selector & 8 == 0 {
            b
        } else if b & 128 != 0 {
            255
        } else {
            0
        }
    };
    let select = |v: &[u64], s: [u64; 4]| (0..4).map(|i| byte(v, s[i]) << (8 * i)).sum();
    check("prmt.b32 {d}, {a}, {b}, {c};", &[W, W, W], W, &rows, |v| select(v, [0, 1, 2, 3].map(|i| v[2] >> (4 * i) & 15)));
    // Tables of the manual, selector bytes 0 to 3, most significant byte first there.
    let modes: [(&str, [[u64; 4]; 4]); 6] = [
        ("f4e", [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]),
        ("b4e", [[0, 7, 6, 5], [1, 0, 7, 6], [2, 1, 0, 7], [3, 2, 1, 0]]),
        ("rc8", [[0; 4], [1; 4], [2; 4], [3; 4]]),
        ("ecl", [[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]]),
        ("ecr", [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 2, 2], [0, 1, 2, 3]]),
        ("rc16", [[0, 1, 0, 1], [2, 3, 2, 3], [0, 1, 0, 1], [2, 3, 2, 3]]),
    ];
    for (mode, table) in modes {
        check(&format!("prmt.b32.{mode} {{d}}, {{a}}, {{b}}, {{c}};"), &[W, W, W], W, &rows, |v| {
            select(v, table[(v[2] & 3) as usize])
        });
    }
    for table in [0u64, 0x80, 0xfe, 0x96, 0xe8, 0xca, 0x3c, 255] {
        check(&format!("lop3.b32 {{d}}, {{a}}, {{b}}, {{c}}, {table};"), &[W, W, W], W, &rows, |v| {
            (0..32).map(|i| (table >> ((v[0] >> i & 1) << 2 | (v[1] >> i & 1) << 1 | v[2] >> i & 1) & 1) << i).sum()
        });
    }
    for (ta, tb) in [("u32", "u32"), ("u32", "s32"), ("s32", "u32"), ("s32", "s32")] {
        let part = |v: u64, i: u32, t: &str| number(v >> (8 * i) & 255, 8, t == "s32");
        check(&format!("dp4a.{ta}.{tb} {{d}}, {{a}}, {{b}}, {{c}};"), &[W, W, W], W, &rows, |v| {
            low((0..4).map(|i| part(v[0], i, ta) * part(v[1], i, tb)).sum::<i128>() + i128::from(v[2]), 32)
        });
    }
}

#[test]
fn conversions_between_integers() {
    let types = [("u8", 8), ("s8", 8), ("u16", 16), ("s16", 16), ("u32", 32), ("s32", 32), ("u64", 64), ("s64", 64)];
    for (from, from_bits) in types {
        for (to, to_bits) in types {
            let (a, d) = (register(from_bits.max(16)), register(to_bits.max(16)));
            // A narrow result fills its 16-bit register by its sign.
            let place = move |value: i128| low(number(low(value, to_bits), to_bits, to.starts_with('s')), to_bits.max(16));
            let source = move |v: &[u64]| number(v[0], from_bits, from.starts_with('s'));
            let rows = combinations(&EDGES, 1);
            check(&format!("cvt.{to}.{from} {{d}}, {{a}};"), &[a], d, &rows, |v| place(source(v)));
            let (least, most) = if to.starts_with('s') {
                (-(1i128 << (to_bits - 1)), (1i128 << (to_bits - 1)) - 1)
            } else {
                (0, (1i128 << to_bits) - 1)
            };
            check(&format!("cvt.sat.{to}.{from} {{d}}, {{a}};"), &[a], d, &rows, |v| place(source(v).clamp(least, most)));
        }
    }
}

#[test]
fn comparisons_and_selections() {
    for kind in ALL {
        let bits: u32 = kind[1..].parse().unwrap();
        let r = register(bits);
        let signed = kind.starts_with('s');
        let operations: [(&str, fn(i128, i128) -> bool); 6] = [
            ("eq", |a, b| a == b),
            ("ne", |a, b| a != b),
            ("lt", |a, b| a < b),
            ("le", |a, b| a <= b),
            ("gt", |a, b| a > b),
            ("ge", |a, b| a >= b),
        ];
        for (name, want) in operations {
            check(&format!("setp.{name}.{kind} {{d}}, {{a}}, {{b}};"), &[r, r], P, &combinations(&EDGES, 2), |v| {
                u64::from(want(number(v[0], bits, signed), number(v[1], bits, signed)))
            });
        }
        check(&format!("selp.{kind} {{d}}, {{a}}, {{b}}, {{c}};"), &[r, r, P], r, &combinations(&[0, 1, 77], 3), |v| {
            if v[2] & 0xffff_ffff != 0 { v[0] } else { v[1] }
        });
    }
    for (name, want) in [("lo", u64::lt as fn(&u64, &u64) -> bool), ("ls", u64::le), ("hi", u64::gt), ("hs", u64::ge)] {
        check(&format!("setp.{name}.u64 {{d}}, {{a}}, {{b}};"), &[L, L], P, &combinations(&EDGES, 2), |v| {
            u64::from(want(&v[0], &v[1]))
        });
    }
    // Combination with a predicate, both results, and a negated source.
    let rows = combinations(&[0, 1], 3);
    type Combine = fn(bool, bool) -> bool;
    let combinations: [(&str, Combine); 3] = [("and", |a, b| a & b), ("or", |a, b| a | b), ("xor", |a, b| a ^ b)];
    for (name, combine) in combinations {
        let text = format!("setp.eq.{name}.u32 {{d}}|%p8, {{a}}, {{b}}, {{c}};");
        check(&text, &[W, W, P], P, &rows, |v| u64::from(combine(v[0] == v[1], v[2] != 0)));
        let text = format!("setp.eq.{name}.u32 %p8|{{d}}, {{a}}, {{b}}, !{{c}};");
        check(&text, &[W, W, P], P, &rows, |v| u64::from(combine(v[0] != v[1], v[2] == 0)));
        check(&format!("{name}.pred {{d}}, {{a}}, {{b}};"), &[P, P], P, &common::form::combinations(&[0, 1], 2), |v| {
            u64::from(combine(v[0] != 0, v[1] != 0))
        });
    }
    check("not.pred {d}, {a};", &[P], P, &common::form::combinations(&[0, 1], 1), |v| 1 - v[0]);
    check("mov.pred {d}, {a};", &[P], P, &common::form::combinations(&[0, 1], 1), |v| v[0]);
    check("set.lt.u32.s32 {d}, {a}, {b};", &[W, W], W, &common::form::combinations(&EDGES, 2), |v| {
        if (v[0] as i32) < v[1] as i32 { 0xffff_ffff } else { 0 }
    });
}

#[test]
fn moves() {
    let rows = combinations(&EDGES, 1);
    check("mov.b16 {d}, {a};", &[H], H, &rows, |v| v[0] & 0xffff);
    check("mov.u32 {d}, {a};", &[W], W, &rows, |v| v[0] & 0xffff_ffff);
    check("mov.b64 {d}, {a};", &[L], L, &rows, |v| v[0]);
    check("mov.b32 {d}, {{a}, {b}};", &[H, H], W, &combinations(&EDGES, 2), |v| v[0] & 0xffff | (v[1] & 0xffff) << 16);
    check("mov.b64 {d}, {{a}, {b}};", &[W, W], L, &combinations(&EDGES, 2), |v| v[0] & 0xffff_ffff | v[1] << 32);
    check("mov.b64 {%r4, {d}}, {a};", &[L], W, &rows, |v| v[0] >> 32);
    check("mov.b32 {{d}, _}, {a};", &[W], H, &rows, |v| v[0] & 0xffff);
    check("mov.b64 {%h3, {d}, %h4, %h5}, {a};", &[L], H, &rows, |v| v[0] >> 16 & 0xffff);
    let four = combinations(&[1, 0xffff, 0x8000], 4);
    check("mov.b64 {d}, {{a}, {b}, {c}, {e}};", &[H, H, H, H], L, &four, |v| v[0] | v[1] << 16 | v[2] << 32 | v[3] << 48);
    // A guarded move leaves the other lanes as they were.
    let rows = combinations(&[0, 1, 9], 2);
    check("mov.u32 {d}, 5; @{a} mov.u32 {d}, {b};", &[P, W], W, &rows, |v| if v[0] != 0 { v[1] } else { 5 });
    check("mov.u32 {d}, 5; @!{a} mov.u32 {d}, {b};", &[P, W], W, &rows, |v| if v[0] == 0 { v[1] } else { 5 });
}
