//! Warp-wide, matrix, asynchronous-copy and atomic instructions against formulas from the PTX manual.

#![allow(clippy::precedence, clippy::type_complexity, reason = "formulas and tables as the manual writes them")]

mod common;

use common::{Arg, Host, Random};
use cuda_emu::exec::MmaRounding;
use cuda_emu::report::FindingKind;

/// A kernel of one warp: `%r0` is the lane, `%r1` an input word of the lane, `%r2` the result; `%l1` and `%l2` point at input and output.
fn warp_kernel(code: &str) -> String {
    format!(
        ".version 8.8\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 k_0, .param .u64 k_1)\n{{\n\
         .reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<40>; .reg .b64 %l<10>; .shared .align 16 .b8 tile[2048];\n\
         ld.param.u64 %l1, [k_0]; ld.param.u64 %l2, [k_1]; mov.u32 %r0, %tid.x;\n\
         mul.wide.u32 %l3, %r0, 4; add.s64 %l4, %l1, %l3; add.s64 %l5, %l2, %l3; ld.global.u32 %r1, [%l4];\n\
         {code}\nst.global.u32 [%l5], %r2;\nret;\n}}\n"
    )
}

fn run_warp(code: &str, input: &[u32]) -> Vec<u32> {
    let host = Host::new(&warp_kernel(code));
    let out = host.empty(128);
    host.launch_clean("k", [1, 1, 1], [32, 1, 1], 0, &[Arg::U64(host.u32s(input)), Arg::U64(out)]);
    host.read_u32s(out, 32)
}

fn words() -> Vec<u32> {
    (0..32).map(|i| (i * 2_654_435_761u64 >> 3) as u32).collect()
}

#[test]
fn shuffles() {
    let x = words();
    // Segments of 32, 16 and 8 lanes: the mask of the segment stands in bits 8 to 12.
    for width in [32i32, 16, 8] {
        let segment = ((32 - width) as u32) << 8;
        for n in [0i32, 1, 3, 7, 16, 31] {
            let first = |lane: i32| lane / width * width;
            let cases: [(&str, u32, Box<dyn Fn(i32) -> i32>); 4] = [
                ("up", segment, Box::new(move |l| l - n)),
                ("down", segment | 31, Box::new(move |l| l + n)),
                ("bfly", segment | 31, Box::new(move |l| l ^ n)),
                ("idx", segment | 31, Box::new(move |l| first(l) + n % width)),
            ];
            for (mode, control, source) in cases {
                let code = format!("shfl.sync.{mode}.b32 %r2|%p1, %r1, {n}, {control}, -1;");
                let got = run_warp(&code, &x);
                let flags = run_warp(&format!("{code} selp.u32 %r2, 1, 0, %p1;"), &x);
                for lane in 0..32 {
                    let from = source(lane);
                    let inside = match mode {
                        "up" => from >= first(lane),
                        // A butterfly may reach down into earlier segments, not up into later ones.
                        "bfly" | "down" => from < first(lane) + width,
                        _ => true,
                    };
                    let want = if inside { x[from as usize] } else { x[lane as usize] };
                    assert_eq!(
                        (got[lane as usize], flags[lane as usize]),
                        (want, u32::from(inside)),
                        "{mode} {n} of {width}, lane {lane}"
                    );
                }
            }
        }
    }
}

#[test]
fn votes_matches_and_reductions() {
    let x = words();
    let odd: u32 = x.iter().enumerate().map(|(i, v)| (v & 1) << i).sum();
    let parity = "and.b32 %r3, %r1, 1; setp.eq.u32 %p1, %r3, 1;";
    assert_eq!(run_warp(&format!("{parity} vote.sync.ballot.b32 %r2, %p1, -1;"), &x), [odd; 32]);
    assert_eq!(run_warp(&format!("{parity} vote.sync.ballot.b32 %r2, !%p1, -1;"), &x), [!odd; 32]);
    for (mode, want) in [("any", 1), ("all", 0), ("uni", 0)] {
        assert_eq!(
            run_warp(&format!("{parity} vote.sync.{mode}.pred %p2, %p1, -1; selp.u32 %r2, 1, 0, %p2;"), &x),
            [want; 32],
            "{mode}"
        );
    }
    let groups: Vec<u32> = (0..32).map(|i| i % 5).collect();
    let want: Vec<u32> = (0..32).map(|i| (0..32).filter(|j| j % 5 == i % 5).map(|j| 1 << j).sum()).collect();
    assert_eq!(run_warp("match.any.sync.b32 %r2, %r1, -1;", &groups), want);
    assert_eq!(run_warp("match.all.sync.b32 %r2|%p1, %r1, -1;", &groups), [0; 32]);
    assert_eq!(run_warp("match.all.sync.b32 %r2|%p1, %r1, -1; @!%p1 mov.u32 %r2, 7;", &[4; 32]), [u32::MAX; 32]);
    type Fold = fn(u32, u32) -> u32;
    let folds: [(&str, Fold); 8] = [
        ("add.u32", |a, b| a.wrapping_add(b)),
        ("min.u32", |a, b| a.min(b)),
        ("max.u32", |a, b| a.max(b)),
        ("min.s32", |a, b| (a as i32).min(b as i32) as u32),
        ("max.s32", |a, b| (a as i32).max(b as i32) as u32),
        ("and.b32", |a, b| a & b),
        ("or.b32", |a, b| a | b),
        ("xor.b32", |a, b| a ^ b),
    ];
    for (kind, fold) in folds {
        let want = x.iter().copied().reduce(fold).unwrap();
        assert_eq!(run_warp(&format!("redux.sync.{kind} %r2, %r1, -1;"), &x), [want; 32], "{kind}");
    }
    // In a diverged part only its lanes are active.
    let got =
        run_warp("setp.lt.u32 %p1, %r0, 12; @%p1 bra LOW; activemask.b32 %r2; bra.uni MEET; LOW: activemask.b32 %r2; MEET:", &x);
    assert_eq!(got, [[0xfff; 12].as_slice(), &[0xffff_f000; 20]].concat());
}

#[test]
fn member_masks_must_fit() {
    if common::needs_software("member_masks_must_fit") {
        return;
    }
    for code in ["shfl.sync.idx.b32 %r2, %r1, 0, 31, 0xffff;", "setp.lt.u32 %p1, %r0, 4; @%p1 vote.sync.ballot.b32 %r2, %p1, -1;"]
    {
        let host = Host::new(&warp_kernel(code));
        let args = [Arg::U64(host.u32s(&words())), Arg::U64(host.empty(128))];
        let outcome = host.launch("k", [1, 1, 1], [32, 1, 1], 0, &args);
        assert_eq!(outcome.findings[0].kind, FindingKind::InvalidMask, "{code}");
    }
}

#[test]
fn matrix_loads() {
    let x: Vec<u32> = (0..32).map(|i| i | 0x100 + i << 16).collect();
    // Lane l fills 16 bytes of row l with its number and a column number.
    let fill: String = (0..4)
        .map(|w| {
            format!(
                "mul.lo.u32 %r4, %r0, 8; add.u32 %r4, %r4, {}; add.u32 %r5, %r4, 1; shl.b32 %r5, %r5, 16; or.b32 %r{}, %r4, %r5;",
                2 * w,
                10 + w
            )
        })
        .collect();
    let prologue = format!(
        "{fill} mov.u32 %r6, tile; shl.b32 %r7, %r0, 4; add.u32 %r6, %r6, %r7; st.shared.v4.b32 [%r6], {{%r10, %r11, %r12, %r13}}; bar.warp.sync -1;"
    );
    // The element at row r, column c of matrix i is 8 * (8i + r) + c.
    let element = |matrix: u32, row: u32, column: u32| 8 * (8 * matrix + row) + column;
    for (count, registers) in [(1u32, "{%r20}"), (2, "{%r20, %r21}"), (4, "{%r20, %r21, %r22, %r23}")] {
        for trans in [false, true] {
            let suffix = if trans { ".trans" } else { "" };
            for matrix in 0..count {
                let code = format!(
                    "{prologue} ldmatrix.sync.aligned.m8n8.x{count}{suffix}.shared.b16 {registers}, [%r6]; mov.b32 %r2, %r{};",
                    20 + matrix
                );
                let want: Vec<u32> = (0..32)
                    .map(|lane| {
                        let (g, t) = (lane / 4, lane % 4);
                        let at = |k: u32| if trans { element(matrix, 2 * t + k, g) } else { element(matrix, g, 2 * t + k) };
                        at(0) | at(1) << 16
                    })
                    .collect();
                assert_eq!(run_warp(&code, &x), want, "x{count} {trans} matrix {matrix}");
            }
        }
    }
}

/// Small numbers in a format's bits.
fn encode(kind: &str, v: i64) -> u32 {
    match kind {
        "f16" => u32::from(half::f16::from_f32(v as f32).to_bits()),
        "bf16" => u32::from(half::bf16::from_f32(v as f32).to_bits()),
        _ => (v as f32).to_bits(),
    }
}

#[test]
fn matrix_products() {
    let shapes = [
        ("f16", 8, "f32"),
        ("f16", 16, "f32"),
        ("f16", 8, "f16"),
        ("f16", 16, "f16"),
        ("bf16", 8, "f32"),
        ("bf16", 16, "f32"),
        ("tf32", 4, "f32"),
        ("tf32", 8, "f32"),
    ];
    for (kind, k, sum) in shapes {
        for rounding in [MmaRounding::Sequential, MmaRounding::Block8Truncate] {
            let mut random = Random(k as u64);
            let mut matrix = |rows: usize, columns: usize| -> Vec<Vec<i64>> {
                (0..rows).map(|_| (0..columns).map(|_| random.integer(7)).collect()).collect()
            };
            let (a, b, c) = (matrix(16, k), matrix(k, 8), matrix(16, 8));
            let tf32 = kind == "tf32";
            let per_word = if tf32 { 1 } else { 2 };
            let a_words = 16 * k / 32 / per_word;
            let c_words = if sum == "f16" { 2 } else { 4 };
            // Fragments as the manual draws them: element i of lane l.
            let a_at = |lane: usize, i: usize| {
                let (g, t) = (lane / 4, lane % 4);
                if tf32 { (g + 8 * (i % 2), t + 4 * (i / 2)) } else { (g + 8 * (i / 2 % 2), 2 * t + i % 2 + 8 * (i / 4)) }
            };
            let b_at = |lane: usize, i: usize| {
                let (g, t) = (lane / 4, lane % 4);
                if tf32 { (t + 4 * i, g) } else { (2 * t + i % 2 + 8 * (i / 2), g) }
            };
            let c_at = |lane: usize, i: usize| (lane / 4 + 8 * (i / 2), lane % 4 * 2 + i % 2);
            let mut input = vec![0u32; 32 * 16];
            let word =
                |elements: &[u32]| elements.iter().rev().fold(0u32, |w, &e| (if elements.len() == 2 { w << 16 } else { 0 }) | e);
            for lane in 0..32 {
                let mut put = |slot: usize, value: u32| input[lane * 16 + slot] = value;
                for w in 0..a_words {
                    let parts: Vec<u32> =
                        (0..per_word).map(|e| a_at(lane, w * per_word + e)).map(|(r, col)| encode(kind, a[r][col])).collect();
                    put(w, word(&parts));
                }
                for w in 0..a_words / 2 {
                    let parts: Vec<u32> =
                        (0..per_word).map(|e| b_at(lane, w * per_word + e)).map(|(r, col)| encode(kind, b[r][col])).collect();
                    put(4 + w, word(&parts));
                }
                let per_sum = 4 / c_words;
                for w in 0..c_words {
                    let parts: Vec<u32> =
                        (0..per_sum).map(|e| c_at(lane, w * per_sum + e)).map(|(r, col)| encode(sum, c[r][col])).collect();
                    put(8 + w, word(&parts));
                }
            }
            let list = |first: usize, count: usize| {
                format!("{{{}}}", (first..first + count).map(|r| format!("%r{r}")).collect::<Vec<_>>().join(", "))
            };
            let loads: String = (0..12).map(|i| format!("ld.global.b32 %r{}, [%l4+{}];\n", 10 + i, 4 * i)).collect();
            let stores: String = (0..c_words).map(|i| format!("st.global.b32 [%l5+{}], %r{};\n", 4 * i, 30 + i)).collect();
            let ptx = format!(
                ".version 8.8\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 k_0, .param .u64 k_1)\n{{\n\
                 .reg .b32 %r<40>; .reg .b64 %l<10>; ld.param.u64 %l1, [k_0]; ld.param.u64 %l2, [k_1]; mov.u32 %r0, %tid.x;\n\
                 mul.wide.u32 %l3, %r0, 64; add.s64 %l4, %l1, %l3; mul.wide.u32 %l3, %r0, 16; add.s64 %l5, %l2, %l3;\n{loads}\
                 mma.sync.aligned.m16n8k{k}.row.col.{sum}.{kind}.{kind}.{sum} {}, {}, {}, {};\n{stores}ret;\n}}\n",
                list(30, c_words),
                list(10, a_words),
                list(14, a_words / 2),
                list(18, c_words)
            );
            let mut host = Host::new(&ptx);
            host.options.mma_rounding = rounding;
            let out = host.empty(32 * 16);
            host.launch_clean("k", [1, 1, 1], [32, 1, 1], 0, &[Arg::U64(host.u32s(&input)), Arg::U64(out)]);
            for lane in 0..32 {
                let got = host.read_u32s(out + 16 * lane as u64, c_words);
                for i in 0..4 {
                    let (row, column) = c_at(lane, i);
                    let want = (0..k).map(|p| a[row][p] * b[p][column]).sum::<i64>() + c[row][column];
                    let bits = if sum == "f16" { got[i / 2] >> (16 * (i % 2)) & 0xffff } else { got[i] };
                    assert_eq!(bits, encode(sum, want), "{kind} k{k} {sum} lane {lane} element {i}");
                }
            }
        }
    }
}

/// Where a lane copies to (`%r6`, 16 bytes each) and from (`%l6`).
const COPY_PLACES: &str =
    "mov.u32 %r6, tile; shl.b32 %r7, %r0, 4; add.u32 %r6, %r6, %r7; mul.wide.u32 %l3, %r0, 12; add.s64 %l6, %l4, %l3;";

#[test]
fn asynchronous_copies() {
    let x: Vec<u32> = (0..256).map(|i| i + 1).collect();
    let prologue = COPY_PLACES;
    let wait = "cp.async.commit_group; cp.async.wait_group 0;";
    for checks in [true, false] {
        let run = |code: &str| {
            let mut host = Host::new(&warp_kernel(code));
            host.options.checks = checks;
            let out = host.empty(128);
            host.launch_clean("k", [1, 1, 1], [32, 1, 1], 0, &[Arg::U64(host.u32s(&x)), Arg::U64(out)]);
            host.read_u32s(out, 32)
        };
        // Word w of lane l is 4l + w + 1; a short source leaves zeros.
        for (size, words) in [("", 4), (", 0", 0), (", 8", 2), (", 16", 4)] {
            for w in 0..4 {
                let code = format!(
                    "{prologue} cp.async.cg.shared.global [%r6], [%l6], 16{size}; {wait} ld.shared.u32 %r2, [%r6+{}];",
                    4 * w
                );
                let want: Vec<u32> = (0..32).map(|l| if w < words { 4 * l + w + 1 } else { 0 }).collect();
                assert_eq!(run(&code), want, "source {size}, word {w}, checks {checks}");
            }
        }
        for bytes in [4, 8, 16] {
            let code = format!(
                "{prologue} cp.async.ca.shared.global.L2::128B [%r6], [%l6], {bytes}; cp.async.wait_all; ld.shared.u32 %r2, [%r6];"
            );
            assert_eq!(run(&code), (0..32).map(|l| 4 * l + 1).collect::<Vec<_>>());
        }
        // Two groups: with one still allowed in flight, the first has landed.
        let code = format!(
            "{prologue} cp.async.ca.shared.global [%r6], [%l6], 4; cp.async.commit_group; cp.async.ca.shared.global [%r6+4], [%l6], 4; \
             cp.async.commit_group; cp.async.wait_group 1; ld.shared.u32 %r2, [%r6]; cp.async.wait_group 0;"
        );
        assert_eq!(run(&code), (0..32).map(|l| 4 * l + 1).collect::<Vec<_>>());
    }
}

#[test]
fn copies_are_not_there_before_the_wait() {
    if common::needs_software("copies_are_not_there_before_the_wait") {
        return;
    }
    let x: Vec<u32> = (0..256).map(|i| i + 1).collect();
    let code = format!(
        "{COPY_PLACES} cp.async.ca.shared.global [%r6], [%l6], 4; cp.async.commit_group; ld.shared.u32 %r2, [%r6]; cp.async.wait_all;"
    );
    let mut host = Host::new(&warp_kernel(&code));
    let out = host.empty(128);
    let args = [Arg::U64(host.u32s(&x)), Arg::U64(out)];
    let outcome = host.launch("k", [1, 1, 1], [32, 1, 1], 0, &args);
    assert_eq!(outcome.findings[0].kind, FindingKind::PendingCopyTouched);
    host.options.checks = false;
    host.launch_clean("k", [1, 1, 1], [32, 1, 1], 0, &args);
    assert!(host.read_u32s(out, 32).iter().all(|&v| v == u32::MAX));
}

#[test]
fn atomics_in_both_memories() {
    let f = |v: f32| v.to_bits();
    // Start value, operand per lane, and what all lanes together leave.
    let cases: [(&str, u32, &str, u32); 12] = [
        ("add.u32", 5, "mov.u32 %r3, %r0;", 5 + 496),
        ("add.f32", f(0.5), "cvt.rn.f32.u32 %r3, %r0;", f(496.5)),
        ("add.noftz.f16x2", 0x3c00_0000, "mov.u32 %r3, 0x3c003c00;", 0x5020_5000),
        ("min.s32", 7, "sub.u32 %r3, 3, %r0;", (-28i32) as u32),
        ("max.s32", (-5i32) as u32, "sub.u32 %r3, 3, %r0;", 3),
        ("min.u32", 7, "add.u32 %r3, %r0, 2;", 2),
        ("max.u32", 7, "sub.u32 %r3, 0, %r0;", u32::MAX),
        ("and.b32", 0xff00_ff0f, "or.b32 %r3, %r0, 0xfff0;", 0xff00),
        ("or.b32", 0x100, "mov.u32 %r3, %r0;", 0x11f),
        ("xor.b32", 0x100, "mov.u32 %r3, %r0;", 0x100),
        ("inc.u32", 3, "mov.u32 %r3, 9;", 5),
        ("dec.u32", 3, "mov.u32 %r3, 9;", 1),
    ];
    for (op, start, operand, want) in cases {
        let setup =
            format!("mov.u32 %r4, {start}; setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [tile], %r4; bar.warp.sync -1; {operand}");
        let got = run_warp(
            &format!("{setup} atom.shared.{op} %r5, [tile], %r3; bar.warp.sync -1; ld.shared.u32 %r2, [tile];"),
            &words(),
        );
        assert_eq!(got, [want; 32], "shared {op}");
        let got =
            run_warp(&format!("{setup} red.shared.{op} [tile], %r3; bar.warp.sync -1; ld.shared.u32 %r2, [tile];"), &words());
        assert_eq!(got, [want; 32], "red {op}");
        let mut input = words();
        input[0] = start;
        let host = Host::new(&warp_kernel(&format!("{operand} atom.global.{op} %r2, [%l1], %r3;")));
        let (x, out) = (host.u32s(&input), host.empty(128));
        // The kernel also reads the word plainly in the same thread and block: no race.
        host.launch_clean("k", [1, 1, 1], [32, 1, 1], 0, &[Arg::U64(x), Arg::U64(out)]);
        assert_eq!(host.read_u32s(x, 1), [want], "global {op}");
        assert_eq!(host.read_u32s(out, 1), [start], "lane 0 goes first");
    }
    let got = run_warp(
        "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [tile], 0; bar.warp.sync -1; add.u32 %r3, %r0, 1; atom.shared.cas.b32 %r2, [tile], %r0, %r3;",
        &words(),
    );
    assert_eq!(got, (0..32).collect::<Vec<u32>>());
    let got = run_warp(
        "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [tile], 99; bar.warp.sync -1; atom.shared.exch.b32 %r2, [tile], %r0;",
        &words(),
    );
    assert_eq!(got, std::iter::once(99).chain(0..31).collect::<Vec<u32>>());
}

#[test]
fn generic_addresses_reach_each_space() {
    let code = ".local .align 4 .b8 own[16]; mov.u32 %r6, tile; shl.b32 %r7, %r0, 2; add.u32 %r6, %r6, %r7; cvt.u64.u32 %l6, %r6;\n\
                cvta.shared.u64 %l6, %l6; st.u32 [%l6], %r1; ld.shared.u32 %r10, [%r6];\n\
                mov.u64 %l7, own; cvta.local.u64 %l7, %l7; st.u32 [%l7+4], %r10; ld.local.u32 %r11, [own+4];\n\
                ld.u32 %r12, [%l4]; add.u32 %r2, %r11, %r12; cvta.to.shared.u64 %l8, %l6; ld.shared.u32 %r13, [%l8]; sub.u32 %r2, %r2, %r13;";
    assert_eq!(run_warp(code, &words()), words());
}
