//! Barriers, divergence, launch limits and faults.

#![allow(clippy::precedence, clippy::type_complexity, reason = "formulas and tables as the manual writes them")]

mod common;

use common::{Arg, Host};
use cuda_emu::exec::{Fault, Order};
use cuda_emu::report::FindingKind;

/// A kernel with a pointer: `%r0` is the thread, `%r1` the block, `%l2` the thread's output word.
fn kernel(code: &str) -> String {
    format!(
        ".version 8.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 k_0)\n{{\n\
         .reg .pred %p<8>; .reg .b32 %r<20>; .reg .b64 %l<10>; .shared .align 4 .b8 tile[1024];\n\
         ld.param.u64 %l1, [k_0]; mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mul.wide.u32 %l3, %r0, 4; add.s64 %l2, %l1, %l3;\n\
         .loc 1 7 1\n{code}\nret;\n}}\n.file 1 \"k.cu\"\n"
    )
}

#[test]
fn barrier_reductions_and_named_barriers() {
    let code = "setp.lt.u32 %p1, %r0, 40; bar.red.popc.u32 %r2, 0, %p1; bar.red.and.pred %p2, 0, %p1; bar.red.or.pred %p3, 1, %p1;\n\
                bar.red.or.pred %p4, 2, 64, !%p1; selp.u32 %r3, 100, 0, %p2; selp.u32 %r4, 1000, 0, %p3; selp.u32 %r5, 10000, 0, %p4;\n\
                add.u32 %r2, %r2, %r3; add.u32 %r2, %r2, %r4; add.u32 %r2, %r2, %r5; st.global.u32 [%l2], %r2;";
    for order in [Order::InOrder, Order::Reverse, Order::Random(3)] {
        let mut host = Host::new(&kernel(code));
        host.options.warp_order = order;
        let out = host.empty(256);
        host.launch_clean("k", [1, 1, 1], [64, 1, 1], 0, &[Arg::U64(out)]);
        assert_eq!(host.read_u32s(out, 64), [40 + 1000 + 10000; 64]);
    }
    // A producer warp arrives, a consumer warp waits: 64 threads in all.
    let code = "setp.lt.u32 %p1, %r0, 32; @!%p1 bra CONSUMER; shl.b32 %r4, %r0, 2; mov.u32 %r5, tile; add.u32 %r5, %r5, %r4; st.shared.u32 [%r5], %r0;\n\
                bar.arrive 3, 64; bra.uni DONE; CONSUMER: bar.sync 3, 64; sub.u32 %r6, 63, %r0; shl.b32 %r4, %r6, 2; mov.u32 %r5, tile;\n\
                add.u32 %r5, %r5, %r4; ld.shared.u32 %r7, [%r5]; st.global.u32 [%l2], %r7; DONE:";
    for order in [Order::InOrder, Order::Reverse] {
        let mut host = Host::new(&kernel(code));
        host.options.warp_order = order;
        let out = host.empty(256);
        host.launch_clean("k", [1, 1, 1], [64, 1, 1], 0, &[Arg::U64(out)]);
        assert_eq!(host.read_u32s(out + 128, 32), (0..32).rev().collect::<Vec<_>>());
    }
}

#[test]
fn each_sin_is_named() {
    let cases: [(&str, FindingKind, Option<Fault>); 12] = [
        ("setp.lt.u32 %p1, %r0, 5; @%p1 bra A; bar.sync 0; A:", FindingKind::DivergentBarrier, Some(Fault::LaunchFailed)),
        ("setp.lt.u32 %p1, %r0, 32; @%p1 bra A; bar.sync 0; ret; A: bar.sync 1;", FindingKind::Deadlock, Some(Fault::Timeout)),
        (
            "setp.lt.u32 %p1, %r0, 32; @%p1 bra A; bar.sync 0, 64; ret; A: bar.sync 0;",
            FindingKind::BarrierMismatch,
            Some(Fault::LaunchFailed),
        ),
        ("bar.sync 0, 40;", FindingKind::BarrierMismatch, Some(Fault::LaunchFailed)),
        ("bar.sync 16;", FindingKind::BarrierMismatch, Some(Fault::LaunchFailed)),
        ("setp.gt.u32 %p1, %r0, 50; @%p1 ret; bar.sync 0;", FindingKind::ExitBeforeBarrier, None),
        ("A: bra.uni A;", FindingKind::TimeLimit, Some(Fault::Timeout)),
        ("trap;", FindingKind::Trap, Some(Fault::LaunchFailed)),
        ("mov.u32 %r2, 1024; ld.shared.u32 %r3, [%r2];", FindingKind::OutOfBounds, Some(Fault::IllegalAddress)),
        ("ld.shared.u32 %r3, [tile+2];", FindingKind::Misaligned, Some(Fault::MisalignedAddress)),
        ("mov.u64 %l4, 0; st.global.u32 [%l4], %r0;", FindingKind::NullAddress, Some(Fault::IllegalAddress)),
        ("ld.shared.u32 %r3, [tile];", FindingKind::UninitialisedShared, None),
    ];
    for (code, kind, fault) in cases {
        let mut host = Host::new(&kernel(code));
        host.options.max_iterations = 10_000;
        let outcome = host.launch("k", [2, 1, 1], [64, 1, 1], 0, &[Arg::U64(host.empty(256))]);
        let finding = outcome.findings.first().unwrap_or_else(|| panic!("nothing found in {code}"));
        assert_eq!((finding.kind, outcome.fault), (kind, fault), "{code}");
        assert_eq!(finding.source, Some(("k.cu".to_owned(), 7)), "{code}");
        assert_eq!(finding.kernel, "k");
    }
}

#[test]
fn launches_that_break_a_limit_do_not_start() {
    let ptx = kernel("").replace("k_0)\n{", "k_0)\n.maxntid 64, 1, 1\n{");
    let host = Host::new(&ptx);
    let arg = || [Arg::U64(0)];
    for (grid, block, shared) in [
        ([0, 1, 1], [1, 1, 1], 0),
        ([1, 1, 1], [1, 1, 65], 0),
        ([1, 1, 1], [96, 1, 1], 0),
        ([1, 70_000, 1], [1, 1, 1], 0),
        ([1, 1, 1], [1, 1, 1], 1 << 20),
    ] {
        let outcome = host.launch("k", grid, block, shared, &arg());
        assert_eq!(
            (outcome.findings[0].kind, outcome.fault),
            (FindingKind::InvalidLaunch, Some(Fault::InvalidLaunch)),
            "{grid:?} {block:?} {shared}"
        );
    }
    assert_eq!(host.launch("k", [1, 1, 1], [1, 1, 1], 0, &[]).fault, Some(Fault::InvalidLaunch));
    assert_eq!(host.launch("k", [1, 1, 1], [64, 1, 1], 0, &arg()).fault, None);
}

#[test]
fn special_registers() {
    let names = [
        "%tid.x",
        "%tid.y",
        "%tid.z",
        "%ntid.y",
        "%ctaid.y",
        "%nctaid.x",
        "%laneid",
        "%warpid",
        "%nwarpid",
        "%lanemask_lt",
        "%lanemask_ge",
    ];
    for (i, name) in names.iter().enumerate() {
        let code = format!(
            "mov.u32 %r2, %tid.y; mov.u32 %r3, %ntid.x; mad.lo.u32 %r0, %r2, %r3, %r0; mov.u32 %r2, %tid.z; mul.lo.u32 %r2, %r2, 20; add.u32 %r0, %r0, %r2;\n\
             mov.u32 %r4, %ctaid.y; mul.lo.u32 %r4, %r4, 40; add.u32 %r0, %r0, %r4; mul.wide.u32 %l3, %r0, 4; add.s64 %l2, %l1, %l3;\n\
             mov.u32 %r2, {name}; st.global.u32 [%l2], %r2;"
        );
        let host = Host::new(&kernel(&code));
        let out = host.empty(4 * 80);
        host.launch_clean("k", [1, 2, 1], [5, 4, 2], 0, &[Arg::U64(out)]);
        let got = host.read_u32s(out, 80);
        for (at, &got) in got.iter().enumerate() {
            let t = at as u32 % 40;
            let lane = t % 32;
            let want = [t % 5, t / 5 % 4, t / 20, 4, at as u32 / 40, 1, lane, t / 32, 2, (1 << lane) - 1, u32::MAX << lane][i];
            assert_eq!(got, want, "{name} of thread {t}");
        }
    }
}

#[test]
fn vector_and_narrow_accesses() {
    let code = "mov.u32 %r2, 0x80ff7f01; mov.u32 %r3, 0x11223344; mov.u32 %r4, tile; shl.b32 %r5, %r0, 4; add.u32 %r4, %r4, %r5;\n\
                st.shared.v4.b32 [%r4], {%r2, %r3, %r2, %r0}; ld.shared.s8 %r6, [%r4+3]; ld.shared.u8 %r7, [%r4+2]; ld.shared.s16 %r8, [%r4+2];\n\
                ld.shared.v2.u32 {%r9, %r10}, [%r4+8]; ld.shared.b64 %l4, [%r4]; add.u32 %r11, %r6, %r7; add.u32 %r11, %r11, %r8;\n\
                add.u32 %r11, %r11, %r10; cvt.u32.u64 %r12, %l4; sub.u32 %r12, %r12, %r9; add.u32 %r11, %r11, %r12;\n\
                st.global.u8 [%l2], %r11; st.global.u8 [%l2+1], 7; st.global.u16 [%l2+2], %r3;";
    let host = Host::new(&kernel(code));
    let out = host.empty(256);
    host.launch_clean("k", [1, 1, 1], [64, 1, 1], 0, &[Arg::U64(out)]);
    for (t, got) in host.read_u32s(out, 64).into_iter().enumerate() {
        let sum = (-128i32 + 255 + (0x80ff_u16 as i16 as i32) + t as i32) as u8;
        assert_eq!(got, u32::from(sum) | 7 << 8 | 0x3344 << 16);
    }
}
