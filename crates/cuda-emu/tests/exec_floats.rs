//! Floating-point instructions: exact sums of integers scaled by powers of two, rounded by hand, are the reference.

#![allow(
    clippy::precedence,
    clippy::type_complexity,
    clippy::double_comparisons,
    reason = "formulas and tables as the manual writes them"
)]

mod common;

use common::exact::{BF16, Exact, F16, F32, Format, MODES, Mode, halves, product, quotient, root, singles, sum};
use common::form::Reg::{H, L, P, W};
use common::form::{Reg, check, combinations, results};

#[test]
fn f32_in_all_rounding_modes() {
    let rows = combinations(&singles(), 2);
    let triples: Vec<Vec<u64>> = combinations(&singles(), 3).into_iter().step_by(3).collect();
    for (name, mode) in MODES {
        let d = |v: u64| F32.decode(v);
        let negative = |e: Exact| Exact { number: -e.number, scale: e.scale };
        // An exact zero from cancellation is -0 when rounding down.
        let encode = move |e: Exact| if e.number == 0 && mode == Mode::Down { 0x8000_0000 } else { F32.encode(e, mode) };
        check(&format!("add.{name}.f32 {{d}}, {{a}}, {{b}};"), &[W, W], W, &rows, |v| encode(sum(d(v[0]), d(v[1]))));
        check(&format!("sub.{name}.f32 {{d}}, {{a}}, {{b}};"), &[W, W], W, &rows, |v| encode(sum(d(v[0]), negative(d(v[1])))));
        check(&format!("mul.{name}.f32 {{d}}, {{a}}, {{b}};"), &[W, W], W, &rows, |v| encode(product(d(v[0]), d(v[1]))));
        check(&format!("fma.{name}.f32 {{d}}, {{a}}, {{b}}, {{c}};"), &[W, W, W], W, &triples, |v| {
            encode(sum(product(d(v[0]), d(v[1])), d(v[2])))
        });
        // Quotient, reciprocal and root with so many more bits that one step decides.
        check(&format!("div.{name}.f32 {{d}}, {{a}}, {{b}};"), &[W, W], W, &rows, |v| {
            F32.encode(quotient(d(v[0]), d(v[1])), mode)
        });
        check(&format!("rcp.{name}.f32 {{d}}, {{a}};"), &[W], W, &combinations(&singles(), 1), |v| {
            F32.encode(quotient(Exact { number: 1, scale: 0 }, d(v[0])), mode)
        });
        let positive: Vec<Vec<u64>> = singles().into_iter().map(|v| vec![v & 0x7fff_ffff]).collect();
        check(&format!("sqrt.{name}.f32 {{d}}, {{a}};"), &[W], W, &positive, |v| F32.encode(root(d(v[0])), mode));
    }
}

#[test]
fn f32_limits_and_flags() {
    let tiny = u64::from(f32::MIN_POSITIVE.to_bits());
    let nan = 0x7fff_ffff;
    let f = |v: f32| u64::from(v.to_bits());
    let one = |text: &str, row: &[u64], want: u64| check(text, &vec![W; row.len()], W, &[row.to_vec()], |_| want);
    // Subnormals live without .ftz and die with it, as inputs and as results, keeping their sign.
    one("add.f32 {d}, {a}, {b};", &[1, 2], 3);
    one("add.ftz.f32 {d}, {a}, {b};", &[1, f(1.0)], f(1.0));
    one("mul.ftz.f32 {d}, {a}, {b};", &[0x8000_0000 | tiny, f(0.5)], 0x8000_0000);
    one("mul.f32 {d}, {a}, {b};", &[tiny, f(0.5)], 1 << 22);
    one("fma.rn.ftz.f32 {d}, {a}, {b}, {c};", &[3, f(1.0), f(-0.0)], f(0.0));
    one("cvt.ftz.f32.f32 {d}, {a};", &[0x8000_0007], 0x8000_0000);
    // Saturation, NaN becoming zero.
    one("add.sat.f32 {d}, {a}, {b};", &[f(0.75), f(0.75)], f(1.0));
    one("fma.rn.sat.f32 {d}, {a}, {b}, {c};", &[f(-1.0), f(1.0), f(0.5)], 0);
    one("mul.sat.f32 {d}, {a}, {b};", &[f(f32::INFINITY), 0], 0);
    one("cvt.sat.f32.f32 {d}, {a};", &[f(1.5)], f(1.0));
    // Every NaN that arithmetic makes is one and the same.
    one("sub.f32 {d}, {a}, {b};", &[f(f32::INFINITY), f(f32::INFINITY)], nan);
    one("sqrt.rn.f32 {d}, {a};", &[f(-1.0)], nan);
    one("div.rn.f32 {d}, {a}, {b};", &[0, 0], nan);
    // One rounding in fma: 1 + 2^-24 squared needs 49 bits.
    let x = 1.0f32 + f32::EPSILON;
    one("fma.rn.f32 {d}, {a}, {b}, {c};", &[f(x), f(x), f(-1.0)], f(((f64::from(x) * f64::from(x)) - 1.0) as f32));
    // Minimum and maximum: numbers win over NaN, zeros are ordered.
    one("max.f32 {d}, {a}, {b};", &[f(-0.0), f(0.0)], 0);
    one("min.f32 {d}, {a}, {b};", &[f(0.0), f(-0.0)], f(-0.0));
    one("max.f32 {d}, {a}, {b};", &[0x7fc0_1234, f(-3.0)], f(-3.0));
    one("min.f32 {d}, {a}, {b};", &[f(-3.0), 0xffc0_0000], f(-3.0));
    one("min.f32 {d}, {a}, {b};", &[0x7fc0_1234, 0xffc0_0000], nan);
    one("max.NaN.f32 {d}, {a}, {b};", &[0x7fc0_1234, f(1.0)], nan);
    one("neg.f32 {d}, {a};", &[f(2.0)], f(-2.0));
    one("abs.f32 {d}, {a};", &[f(-2.0)], f(2.0));
    one("copysign.f32 {d}, {a}, {b};", &[f(-0.0), f(2.0)], f(-2.0));
    // A divisor beyond 2^126 gives zero in the approximate division.
    one("div.approx.f32 {d}, {a}, {b};", &[f(1e38), f(1.5e38)], 0);
    one("div.full.f32 {d}, {a}, {b};", &[f(1e38), f(2e38)], f(0.5));
}

#[test]
fn approximate_functions() {
    let values: Vec<u64> =
        (1..200).map(|i| u64::from((i as f32 * 0.173 - 17.0).to_bits())).chain([0, 0x7f80_0000, 0x3f80_0000]).collect();
    let rows = combinations(&values, 1);
    let functions: [(&str, fn(f64) -> f64); 8] = [
        ("rcp.approx", |x| 1.0 / x),
        ("rsqrt.approx", |x| 1.0 / x.sqrt()),
        ("sqrt.approx", f64::sqrt),
        ("ex2.approx", f64::exp2),
        ("lg2.approx", f64::log2),
        ("sin.approx", f64::sin),
        ("cos.approx", f64::cos),
        ("tanh.approx", f64::tanh),
    ];
    for (name, function) in functions {
        for (row, got) in rows.iter().zip(results(&format!("{name}.f32 {{d}}, {{a}};"), &[W], W, &rows)) {
            let (x, got) = (f32::from_bits(row[0] as u32), f32::from_bits(got as u32));
            let want = function(f64::from(x)) as f32;
            assert!(
                got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= want.abs() * 3e-7,
                "{name}({x}) = {got}, not {want}"
            );
        }
    }
}

#[test]
fn f64_arithmetic() {
    let values: Vec<u64> =
        [0.0f64, -0.0, 1.0, -1.5, 1e300, 1e-310, f64::INFINITY, 0.1, f64::MAX].iter().map(|v| v.to_bits()).collect();
    let rows = combinations(&values, 2);
    type Op = fn(f64, f64) -> f64;
    let operations: [(&str, Op); 4] =
        [("add.f64", |a, b| a + b), ("sub.rn.f64", |a, b| a - b), ("mul.f64", |a, b| a * b), ("div.rn.f64", |a, b| a / b)];
    for (name, op) in operations {
        for (row, got) in rows.iter().zip(results(&format!("{name} {{d}}, {{a}}, {{b}};"), &[L, L], L, &rows)) {
            let (want, got) = (op(f64::from_bits(row[0]), f64::from_bits(row[1])), f64::from_bits(got));
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{name} {row:x?}");
        }
    }
    let x = 1.0 + f64::EPSILON;
    let row = [vec![x.to_bits(), x.to_bits(), (-1.0f64).to_bits()]];
    // (1 + e)^2 - 1 = 2e + e^2, which one rounding keeps.
    check("fma.rn.f64 {d}, {a}, {b}, {c};", &[L, L, L], L, &row, |_| {
        (2.0 * f64::EPSILON + f64::EPSILON * f64::EPSILON).to_bits()
    });
    check("sqrt.rn.f64 {d}, {a};", &[L], L, &[vec![2f64.to_bits()]], |_| 2f64.sqrt().to_bits());
    check("rcp.rn.f64 {d}, {a};", &[L], L, &[vec![3f64.to_bits()]], |_| (1.0f64 / 3.0).to_bits());
    check("neg.f64 {d}, {a};", &[L], L, &[vec![0]], |_| 1 << 63);
    check("abs.f64 {d}, {a};", &[L], L, &[vec![(-2f64).to_bits()]], |_| 2f64.to_bits());
    check("min.f64 {d}, {a}, {b};", &[L, L], L, &[vec![f64::NAN.to_bits(), 1f64.to_bits()]], |_| 1f64.to_bits());
    check("max.f64 {d}, {a}, {b};", &[L, L], L, &[vec![(-0f64).to_bits(), 0]], |_| 0);
}

#[test]
fn halves_round_once() {
    for (kind, format) in [("f16", F16), ("bf16", BF16)] {
        // bf16 spans too many exponents for exact sums of all pairs: keep to the middle.
        let values: Vec<u64> =
            if kind == "bf16" { (0x3c00..0x4300u64).step_by(61).flat_map(|v| [v, v | 0x8000]).collect() } else { halves(format) };
        let rows = combinations(&values, 2);
        let d = |v: u64| format.decode(v);
        // A zero product keeps the sign of its factors.
        let zero = |v: &[u64]| (v[0] ^ v[1]) & 0x8000;
        check(&format!("add.rn.{kind} {{d}}, {{a}}, {{b}};"), &[H, H], H, &rows, |v| {
            let s = sum(d(v[0]), d(v[1]));
            if s.number == 0 && v[0] & v[1] & 0x8000 != 0 { 0x8000 } else { format.encode(s, Mode::Nearest) }
        });
        check(&format!("mul.rn.{kind} {{d}}, {{a}}, {{b}};"), &[H, H], H, &rows, |v| {
            format.encode(product(d(v[0]), d(v[1])), Mode::Nearest) | zero(v)
        });
        let triples: Vec<Vec<u64>> =
            rows.iter().enumerate().map(|(i, r)| vec![r[0], r[1], values[i * 7 % values.len()]]).collect();
        check(&format!("fma.rn.{kind} {{d}}, {{a}}, {{b}}, {{c}};"), &[H, H, H], H, &triples, |v| {
            let s = sum(product(d(v[0]), d(v[1])), d(v[2]));
            let both_negative = zero(v) & v[2] & 0x8000;
            if s.number == 0 { both_negative } else { format.encode(s, Mode::Nearest) }
        });
        // Pairs do the same on both halves.
        let pairs: Vec<Vec<u64>> =
            triples.iter().zip(triples.iter().rev()).map(|(a, b)| (0..3).map(|i| a[i] | b[i] << 16).collect()).collect();
        check(&format!("fma.rn.{kind}x2 {{d}}, {{a}}, {{b}}, {{c}};"), &[W, W, W], W, &pairs, |v| {
            let part = |shift: u32| {
                let [a, b, c] = [0, 1, 2].map(|i| v[i] >> shift & 0xffff);
                let s = sum(product(d(a), d(b)), d(c));
                if s.number == 0 { (a ^ b) & c & 0x8000 } else { format.encode(s, Mode::Nearest) }
            };
            part(0) | part(16) << 16
        });
    }
}

#[test]
fn half_flags_and_extremes() {
    let one = |text: &str, sources: &[Reg], d: Reg, row: &[u64], want: u64| check(text, sources, d, &[row.to_vec()], |_| want);
    // 0x3c00 = 1, 0xc000 = -2, 0x7e00 = NaN in f16; 0x3f80 = 1, 0xc000 = -2 in bf16.
    one("max.f16x2 {d}, {a}, {b};", &[W, W], W, &[0x7e00_c000, 0x3c00_3c00], 0x3c00_3c00);
    one("min.f16x2 {d}, {a}, {b};", &[W, W], W, &[0x7e00_c000, 0x3c00_3c00], 0x3c00_c000);
    one("max.NaN.f16x2 {d}, {a}, {b};", &[W, W], W, &[0x7e00_c000, 0x3c00_3c00], 0x7fff_3c00);
    one("min.NaN.bf16x2 {d}, {a}, {b};", &[W, W], W, &[0x7fc0_c000, 0x3f80_3f80], 0x7fff_c000);
    one("max.f16 {d}, {a}, {b};", &[H, H], H, &[0x8000, 0], 0);
    one("fma.rn.relu.f16x2 {d}, {a}, {b}, {c};", &[W, W, W], W, &[0xc000_3c00, 0x3c00_3c00, 0], 0x0000_3c00);
    one("fma.rn.relu.bf16x2 {d}, {a}, {b}, {c};", &[W, W, W], W, &[0xc000_3f80, 0x3f80_3f80, 0], 0x0000_3f80);
    one("fma.rn.sat.f16 {d}, {a}, {b}, {c};", &[H, H, H], H, &[0x4000, 0x3c00, 0], 0x3c00);
    one("add.sat.f16x2 {d}, {a}, {b};", &[W, W], W, &[0x3c00_c000, 0x3c00_3c00], 0x3c00_0000);
    one("mul.ftz.f16 {d}, {a}, {b};", &[H, H], H, &[0x0001, 0x3c00], 0);
    one("mul.f16 {d}, {a}, {b};", &[H, H], H, &[0x0001, 0x3c00], 1);
    one("neg.f16x2 {d}, {a};", &[W], W, &[0x3c00_c000], 0xbc00_4000);
    one("abs.bf16x2 {d}, {a};", &[W], W, &[0x3f80_c000], 0x3f80_4000);
    one("sub.f16x2 {d}, {a}, {b};", &[W, W], W, &[0x4000_3c00, 0x3c00_3c00], 0x3c00_0000);
    one("ex2.approx.f16 {d}, {a};", &[H], H, &[0x4000], 0x4400);
    one("tanh.approx.f16 {d}, {a};", &[H], H, &[0], 0);
    one("add.f16 {d}, {a}, {b};", &[H, H], H, &[0x7bff, 0x7bff], 0x7c00);
}

#[test]
fn conversions_between_floats() {
    // All halves are exact in f32.
    let all: Vec<Vec<u64>> = (0..0x1_0000).map(|v| vec![v]).collect();
    for (row, got) in all.iter().zip(results("cvt.f32.f16 {d}, {a};", &[H], W, &all)) {
        let got = f64::from(f32::from_bits(got as u32));
        let exponent = row[0] >> 10 & 31;
        if exponent == 31 {
            assert!(if row[0] & 0x3ff == 0 { got.is_infinite() } else { got.is_nan() });
        } else {
            let exact = F16.decode(row[0]);
            assert_eq!(got, exact.number as f64 * 2f64.powi(exact.scale));
        }
    }
    // Each half, the tie above it, and the neighbours of that tie.
    let mut rows = Vec::new();
    for v in (0..0x7bff).step_by(41).chain([0, 1, 0x3ff, 0x400, 0x7bfe]) {
        let (low, high) = (F16.decode(v), F16.decode(v + 1));
        let value = |e: Exact| (e.number as f64 * 2f64.powi(e.scale)) as f32;
        let tie = (value(low) + value(high)) / 2.0;
        for x in [value(low), tie, tie.next_up(), tie.next_down()] {
            rows.extend([vec![u64::from(x.to_bits())], vec![u64::from((-x).to_bits())]]);
        }
    }
    for (name, mode) in MODES {
        let signed = |v: u64, format: Format| {
            format.encode(F32.decode(v), mode) | if v << 1 & 0xffff_ffff == 0 { v >> 16 & 0x8000 } else { 0 }
        };
        // A negative value that rounds to zero keeps its sign: encode does that.
        check(&format!("cvt.{name}.f16.f32 {{d}}, {{a}};"), &[W], H, &rows, |v| signed(v[0], F16));
        if matches!(mode, Mode::Nearest | Mode::Zero) {
            check(&format!("cvt.{name}.bf16.f32 {{d}}, {{a}};"), &[W], H, &rows, |v| signed(v[0], BF16));
        }
        check(
            &format!("cvt.{name}.f32.f64 {{d}}, {{a}};"),
            &[L],
            W,
            &[vec![0.1f64.to_bits()], vec![(-1e-40f64).to_bits()]],
            |v| F32.encode(Format { exponent: 11, fraction: 52 }.decode(v[0]), mode),
        );
    }
    let pairs: Vec<Vec<u64>> = rows.iter().zip(rows.iter().rev()).map(|(a, b)| vec![a[0], b[0]]).collect();
    let near =
        |v: u64, f: Format| f.encode(F32.decode(v), Mode::Nearest) | if v << 1 & 0xffff_ffff == 0 { v >> 16 & 0x8000 } else { 0 };
    check("cvt.rn.f16x2.f32 {d}, {a}, {b};", &[W, W], W, &pairs, |v| near(v[0], F16) << 16 | near(v[1], F16));
    check("cvt.rn.bf16x2.f32 {d}, {a}, {b};", &[W, W], W, &pairs, |v| near(v[0], BF16) << 16 | near(v[1], BF16));
    check("cvt.rn.relu.f16x2.f32 {d}, {a}, {b};", &[W, W], W, &pairs, |v| {
        let relu = |x: u64| if x & 0x8000_0000 != 0 { 0 } else { near(x, F16) };
        relu(v[0]) << 16 | relu(v[1])
    });
    // tf32 has 10 bits of fraction; ties go away from zero.
    let one = |text: &str, sources: Reg, d: Reg, v: u64, want: u64| check(text, &[sources], d, &[vec![v]], |_| want);
    one("cvt.rna.tf32.f32 {d}, {a};", W, W, 0x3f80_1000, 0x3f80_2000);
    one("cvt.rna.tf32.f32 {d}, {a};", W, W, 0x3f80_0fff, 0x3f80_0000);
    one("cvt.f32.bf16 {d}, {a};", H, W, 0x3f81, 0x3f81_0000);
    one("cvt.f64.f32 {d}, {a};", W, L, u64::from(0.1f32.to_bits()), f64::from(0.1f32).to_bits());
    one("cvt.rn.f16.f32 {d}, {a};", W, H, 0x7f80_0001, 0x7fff);
    one("cvt.rn.f16.f32 {d}, {a};", W, H, u64::from(65_520f32.to_bits()), 0x7c00);
    one("cvt.rn.f16.f32 {d}, {a};", W, H, u64::from(65_519f32.to_bits()), 0x7bff);
}

#[test]
fn conversions_with_integers() {
    let floats = [
        0.0f32,
        -0.0,
        0.5,
        1.5,
        2.5,
        -0.5,
        -1.5,
        -2.7,
        3.2,
        127.6,
        255.5,
        32_767.9,
        2e9,
        3e9,
        -3e9,
        5e9,
        1e19,
        2e19,
        -1e19,
        f32::INFINITY,
    ];
    let rows: Vec<Vec<u64>> = floats.iter().map(|v| vec![u64::from(v.to_bits())]).collect();
    let modes: [(&str, fn(f64) -> f64); 4] =
        [("rni", f64::round_ties_even), ("rzi", f64::trunc), ("rmi", f64::floor), ("rpi", f64::ceil)];
    for (name, round) in modes {
        for (kind, bits) in [("u8", 8), ("s8", 8), ("u16", 16), ("s16", 16), ("u32", 32), ("s32", 32), ("u64", 64), ("s64", 64)] {
            let d = if bits <= 16 {
                H
            } else if bits == 32 {
                W
            } else {
                L
            };
            let signed = kind.starts_with('s');
            let (least, most) =
                if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
            check(&format!("cvt.{name}.{kind}.f32 {{d}}, {{a}};"), &[W], d, &rows, |v| {
                let value = round(f64::from(f32::from_bits(v[0] as u32)));
                let clamped = (value as i128).clamp(least, most) as u64;
                if bits < 64 { clamped & ((1 << bits.max(16)) - 1) } else { clamped }
            });
        }
        check(&format!("cvt.{name}.f32.f32 {{d}}, {{a}};"), &[W], W, &rows, |v| {
            u64::from((round(f64::from(f32::from_bits(v[0] as u32))) as f32).to_bits())
        });
    }
    let nan = [vec![0x7fc0_0000]];
    check("cvt.rzi.s32.f32 {d}, {a};", &[W], W, &nan, |_| 0);
    check("cvt.rzi.s64.f32 {d}, {a};", &[W], L, &nan, |_| 1 << 63);
    check("cvt.rzi.s32.f64 {d}, {a};", &[L], W, &[vec![f64::NAN.to_bits()]], |_| 0x8000_0000);
    check("cvt.rni.s32.f64 {d}, {a};", &[L], W, &[vec![(-2.5f64).to_bits()]], |_| (-2i32) as u32 as u64);
    let integers: Vec<Vec<u64>> =
        [0u64, 1, 16_777_217, 0x7fff_ffff, 0xffff_ffff, 33_554_435, 0xffff_ff7f].iter().map(|&v| vec![v]).collect();
    for (name, mode) in MODES {
        check(&format!("cvt.{name}.f32.s32 {{d}}, {{a}};"), &[W], W, &integers, |v| {
            F32.encode(Exact { number: i128::from(v[0] as i32), scale: 0 }, mode)
        });
        check(&format!("cvt.{name}.f32.u32 {{d}}, {{a}};"), &[W], W, &integers, |v| {
            F32.encode(Exact { number: i128::from(v[0]), scale: 0 }, mode)
        });
    }
    let longs: Vec<Vec<u64>> = [0u64, u64::MAX, 1 << 63, (1 << 40) + 1, 0x7fff_ffff_ffff_fbff].iter().map(|&v| vec![v]).collect();
    check("cvt.rn.f32.u64 {d}, {a};", &[L], W, &longs, |v| {
        F32.encode(Exact { number: i128::from(v[0]), scale: 0 }, Mode::Nearest)
    });
    check("cvt.rn.f64.s64 {d}, {a};", &[L], L, &longs, |v| {
        Format { exponent: 11, fraction: 52 }.encode(Exact { number: i128::from(v[0] as i64), scale: 0 }, Mode::Nearest)
    });
    check("cvt.rn.f16.s32 {d}, {a};", &[W], H, &[vec![2049], vec![70_000]], |v| {
        F16.encode(Exact { number: i128::from(v[0]), scale: 0 }, Mode::Nearest)
    });
    check("cvt.rn.f32.u16 {d}, {a};", &[H], W, &[vec![65_535]], |_| u64::from(65_535f32.to_bits()));
    check("cvt.rzi.s32.f16 {d}, {a};", &[H], W, &[vec![0xc180]], |_| (-2i32) as u32 as u64);
}

#[test]
fn ordered_and_unordered_comparisons() {
    let values = [0.0f32, -0.0, 1.0, -1.0, f32::INFINITY, f32::NAN].map(|v| u64::from(v.to_bits()));
    type Compare = fn(f32, f32) -> bool;
    let operations: [(&str, Compare); 14] = [
        ("eq", |a, b| a == b),
        ("ne", |a, b| a < b || a > b),
        ("lt", |a, b| a < b),
        ("le", |a, b| a <= b),
        ("gt", |a, b| a > b),
        ("ge", |a, b| a >= b),
        ("equ", |a, b| a == b || a.is_nan() || b.is_nan()),
        ("neu", |a, b| a != b),
        ("ltu", |a, b| a < b || a.is_nan() || b.is_nan()),
        ("leu", |a, b| a <= b || a.is_nan() || b.is_nan()),
        ("gtu", |a, b| a > b || a.is_nan() || b.is_nan()),
        ("geu", |a, b| a >= b || a.is_nan() || b.is_nan()),
        ("num", |a, b| !a.is_nan() && !b.is_nan()),
        ("nan", |a, b| a.is_nan() || b.is_nan()),
    ];
    for (name, want) in operations {
        let rows = combinations(&values, 2);
        check(&format!("setp.{name}.f32 {{d}}, {{a}}, {{b}};"), &[W, W], P, &rows, |v| {
            u64::from(want(f32::from_bits(v[0] as u32), f32::from_bits(v[1] as u32)))
        });
        let halves = [0u64, 0x8000, 0x3c00, 0xbc00, 0x7c00, 0x7e00];
        check(&format!("setp.{name}.f16 {{d}}, {{a}}, {{b}};"), &[H, H], P, &combinations(&halves, 2), |v| {
            let value = |h: u64| f32::from_bits(values[halves.iter().position(|&x| x == h).unwrap()] as u32);
            u64::from(want(value(v[0]), value(v[1])))
        });
        let doubles: Vec<Vec<u64>> =
            rows.iter().map(|r| r.iter().map(|&v| f64::from(f32::from_bits(v as u32)).to_bits()).collect()).collect();
        check(&format!("setp.{name}.f64 {{d}}, {{a}}, {{b}};"), &[L, L], P, &doubles, |v| {
            u64::from(want(f64::from_bits(v[0]) as f32, f64::from_bits(v[1]) as f32))
        });
    }
    check("setp.eq.ftz.f32 {d}, {a}, {b};", &[W, W], P, &[vec![1, 0]], |_| 1);
    check("setp.eq.f32 {d}, {a}, {b};", &[W, W], P, &[vec![1, 0]], |_| 0);
}
