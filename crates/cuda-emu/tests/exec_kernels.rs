//! Whole kernels, compiled by NVRTC from the `.cu` beside each `.ptx`, against plain loops.

#![allow(clippy::precedence, clippy::type_complexity, reason = "formulas and tables as the manual writes them")]

mod common;

use common::{Arg, Host, Random};
use cuda_emu::exec::{MmaRounding, Order};

const BASIC: &str = include_str!("kernels/basic.ptx");
const GEMM: &str = include_str!("kernels/gemm_f16.ptx");

fn half(v: f32) -> u16 {
    half::f16::from_f32(v).to_bits()
}

fn orders() -> [Order; 4] {
    [Order::InOrder, Order::Reverse, Order::Random(1), Order::Random(2)]
}

#[test]
fn vector_add_with_a_residue() {
    let host = Host::new(BASIC);
    let n = 1000;
    let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let b: Vec<f32> = (0..n).map(|i| 0.5 * i as f32 - 7.0).collect();
    let out = host.empty(4 * n);
    let args = [Arg::U64(host.f32s(&a)), Arg::U64(host.f32s(&b)), Arg::U64(out), Arg::U32(n as u32)];
    let outcome = host.outcome_clean("vector_add", [4, 1, 1], [256, 1, 1], 0, &args);
    let want: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    assert_eq!(host.read_f32s(out, n), want);
    assert_eq!(outcome.counters.unique_written_bytes, 4 * n as u64);
    assert_eq!((outcome.counters.blocks, outcome.counters.warps), (4, 32));
}

#[test]
fn block_sum_in_every_order() {
    for order in orders() {
        let mut host = Host::new(BASIC);
        (host.options.warp_order, host.options.block_order) = (order, order);
        let n = 2500;
        let x: Vec<f32> = (0..n).map(|i| (i % 17) as f32 - 3.0).collect();
        let out = host.empty(4 * 10);
        host.launch_clean("block_sum", [10, 1, 1], [256, 1, 1], 0, &[Arg::U64(host.f32s(&x)), Arg::U64(out), Arg::U32(n as u32)]);
        let want: Vec<f32> = x.chunks(256).map(|c| c.iter().sum()).collect();
        assert_eq!(host.read_f32s(out, 10), want, "{order:?}");
    }
}

#[test]
fn sgemm_with_edges() {
    for (order, (m, n, k)) in orders().into_iter().zip([(64, 64, 16), (70, 65, 33), (1, 130, 5), (128, 1, 64)]) {
        let mut host = Host::new(BASIC);
        host.options.warp_order = order;
        let mut random = Random(9);
        let a: Vec<f32> = (0..m * k).map(|_| random.integer(8) as f32).collect();
        let b: Vec<f32> = (0..k * n).map(|_| random.integer(8) as f32).collect();
        let out = host.empty(4 * m * n);
        let args = [
            Arg::U64(host.f32s(&a)),
            Arg::U64(host.f32s(&b)),
            Arg::U64(out),
            Arg::U32(m as u32),
            Arg::U32(n as u32),
            Arg::U32(k as u32),
        ];
        host.launch_clean("sgemm64", [n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1], [256, 1, 1], 0, &args);
        let got = host.read_f32s(out, m * n);
        for i in 0..m {
            for j in 0..n {
                let want: f32 = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
                assert_eq!(got[i * n + j], want, "{m}x{n}x{k} at {i},{j}");
            }
        }
    }
}

#[test]
fn gemm_on_matrix_units() {
    for (checks, order) in [(true, Order::InOrder), (true, Order::Random(5)), (false, Order::Reverse)] {
        let mut host = Host::new(GEMM);
        (host.options.checks, host.options.warp_order, host.options.block_order) = (checks, order, order);
        for rounding in [MmaRounding::Sequential, MmaRounding::Block8Truncate] {
            host.options.mma_rounding = rounding;
            let (m, n, k) = (128, 64, 96);
            let mut random = Random(3);
            let a: Vec<f32> = (0..m * k).map(|_| random.integer(16) as f32).collect();
            let b: Vec<f32> = (0..n * k).map(|_| random.integer(16) as f32).collect();
            let out = host.empty(4 * m * n);
            let halves = |x: &[f32]| host.u16s(&x.iter().map(|&v| half(v)).collect::<Vec<_>>());
            let args = [
                Arg::U64(halves(&a)),
                Arg::U64(halves(&b)),
                Arg::U64(out),
                Arg::U32(m as u32),
                Arg::U32(n as u32),
                Arg::U32(k as u32),
            ];
            let outcome = host.outcome_clean("gemm_f16", [1, 2, 1], [128, 1, 1], 0, &args);
            let got = host.read_f32s(out, m * n);
            for i in 0..m {
                for j in 0..n {
                    let want: f32 = (0..k).map(|p| a[i * k + p] * b[j * k + p]).sum();
                    assert_eq!(got[i * n + j], want, "at {i},{j}");
                }
            }
            assert_eq!(outcome.counters.mma, (m / 16 * n / 8 * k / 16) as u64);
            assert!(outcome.counters.flops >= (2 * m * n * k) as u64);
        }
    }
}

/// The kernel's own words, in Rust.
fn diverge(v: i32) -> i32 {
    let mut r = 0i32;
    for j in 0..v {
        if j & 1 != 0 {
            if v > 10 {
                r += 3;
            } else {
                r += 5;
                if j > 7 {
                    break;
                }
            }
        } else if r > 100 {
            return -r;
        }
        r += j;
    }
    match v & 3 {
        0 => r ^ 0x55,
        1 => r.wrapping_mul(7),
        2 => r - 11,
        _ => !r,
    }
}

#[test]
fn lanes_part_and_meet() {
    let host = Host::new(BASIC);
    let n = 300;
    let mut random = Random(77);
    let x: Vec<u32> = (0..n).map(|_| random.integer(40) as u32).collect();
    let out = host.empty(4 * n);
    let outcome =
        host.outcome_clean("diverge", [3, 1, 1], [128, 1, 1], 0, &[Arg::U64(host.u32s(&x)), Arg::U64(out), Arg::U32(n as u32)]);
    let want: Vec<u32> = x.iter().map(|&v| diverge(v as i32) as u32).collect();
    assert_eq!(host.read_u32s(out, n), want);
    assert!(outcome.counters.divergent_branches > 0 && outcome.counters.lane_efficiency() < 1.0);
}

#[test]
fn structs_constants_locals_and_atomics() {
    let host = Host::new(BASIC);
    let taps = [3u8, 1, 4, 1, 5];
    let mut window = Vec::new();
    window.extend(7i32.to_le_bytes());
    window.extend(9i32.to_le_bytes());
    window.extend(0.25f32.to_le_bytes());
    window.extend([0; 4]);
    window.extend(16i64.to_le_bytes());
    window.extend(taps);
    window.extend([0; 3]);
    let threads = 64;
    let (out, count) = (host.empty(4 * (16 + threads)), host.u32s(&[100]));
    let args = [Arg::Bytes(window, 8), Arg::U64(out), Arg::U64(count)];
    host.launch_clean("pieces", [1, 1, 1], [threads as u32, 1, 1], 4 * threads as u32, &args);
    let table = [0.5f32, 1.5, -2.0, 8.0];
    let value = |t: usize| (t * (t * 3 & 7)) as f32 * 0.25 + table[t & 3] + f32::from(taps[t % 5]) + 63.0;
    let want: Vec<f32> = (0..threads).map(|t| value(threads - 1 - t)).collect();
    assert_eq!(host.read_f32s(out + 64, threads), want);
    assert_eq!(host.read_u32s(count, 1), [100 + 7 * threads as u32]);
}

#[test]
fn mathematics() {
    let host = Host::new(BASIC);
    let x: Vec<f32> = (0..256).map(|i| (i as f32 - 128.0) * 0.11 + 0.003).collect();
    let n = x.len();
    let out = host.empty(4 * 11 * n);
    host.launch_clean("maths", [2, 1, 1], [128, 1, 1], 0, &[Arg::U64(host.f32s(&x)), Arg::U64(out), Arg::U32(n as u32)]);
    let got = host.read_f32s(out, 11 * n);
    for (i, &x) in x.iter().enumerate() {
        let v = f64::from(x);
        let rounded = f64::from(x.floor() + (x * 0.5).ceil() + (x * 3.0).round_ties_even() + (x * 7.0).trunc());
        let want = [
            v.exp(),
            (v.abs() + 1.0).ln(),
            v.abs().sqrt(),
            v / (v * v + 3.0),
            1.0 / (v.abs() + 0.1).sqrt(),
            rounded,
            v.exp() + v.sin() + v.cos(),
            v.tanh(),
            v * 3.0 + 1e-3,
            v.clamp(-1.0, 1.0),
            v.abs().powf(1.5),
        ];
        for (row, want) in want.into_iter().enumerate() {
            let got = f64::from(got[row * n + i]);
            // Library functions promise a few units in the last place of f32.
            assert!((got - want).abs() <= 2e-6 * want.abs().max(1.0), "row {row}, x {x}: {got}, expected {want}");
        }
    }
}

#[test]
fn integer_functions() {
    let host = Host::new(BASIC);
    let mut random = Random(5);
    let mut x: Vec<i32> = vec![0, 1, -1, i32::MIN, i32::MAX, 0x8000, -0x8000, 255];
    let mut z: Vec<i32> = vec![0, -1, i32::MIN, -1, i32::MAX, 0x7fff, 3, -255];
    for _ in 0..120 {
        x.push(random.next() as i32 >> (random.next() % 31));
        z.push(random.next() as i32 >> (random.next() % 31));
    }
    let n = x.len();
    let bits = |v: &[i32]| v.iter().map(|&v| v as u32).collect::<Vec<_>>();
    let out = host.empty(8 * 15 * n);
    let args = [Arg::U64(host.u32s(&bits(&x))), Arg::U64(host.u32s(&bits(&z))), Arg::U64(out), Arg::U32(n as u32)];
    host.launch_clean("integers", [1, 1, 1], [128, 1, 1], 0, &args);
    let got = host.read_u64s(out, 15 * n);
    for i in 0..n {
        let (a, b) = (x[i], z[i]);
        let (ua, ub) = (a as u32, b as u32);
        let (wide_a, wide_b) = (i64::from(a), i64::from(b));
        let bytes: Vec<u8> = ua.to_le_bytes().into_iter().chain(ub.to_le_bytes()).collect();
        let permuted = u32::from_le_bytes([bytes[5], bytes[1], bytes[7], bytes[3]]);
        let dot: i32 =
            (0..4).map(|k| i32::from(ua.to_le_bytes()[k] as i8) * i32::from(ub.to_le_bytes()[k] as i8)).sum::<i32>() + 5;
        let first_set = if a == 0 { 0 } else { a.trailing_zeros() as i32 + 1 };
        let want: [i64; 15] = [
            i64::from(a.wrapping_div(b | 1)),
            i64::from(a.wrapping_rem(b | 1)),
            i64::from(ua / (ub | 1)),
            wide_a * wide_b,
            i64::from((wide_a * wide_b >> 32) as i32),
            i64::from(ua.count_ones() as i32 + ua.leading_zeros() as i32 * 64 + first_set * 4096),
            i64::from(ua.reverse_bits()),
            i64::from(permuted),
            i64::from((ub << 5) | (ua >> 27)),
            (wide_a << 20) / (wide_b.wrapping_mul(wide_b).wrapping_add(1)),
            i64::from(i32::from(a as i16) * i32::from(b as i16)),
            i64::from(i32::from(a as u8) + i32::from(b as i8)),
            i64::from(a.max(b).wrapping_sub(a.min(b))),
            i64::from(dot),
            i64::from(ua.abs_diff(ub).wrapping_add(3)),
        ];
        for (row, want) in want.into_iter().enumerate() {
            assert_eq!(got[row * n + i] as i64, want, "row {row}, a {a}, b {b}");
        }
    }
}
