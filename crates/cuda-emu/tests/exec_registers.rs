//! Registers that a thread reads without having written them.

mod common;

use common::{Arg, Host};
use cuda_emu::report::{Finding, FindingKind};

/// `%r0` is the thread, `%l2` its output word; `%p1` holds for threads below 5.
fn findings(code: &str, checks: bool) -> Vec<Finding> {
    let ptx = format!(
        ".version 8.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 k_0)\n{{\n\
         .reg .pred %p<8>; .reg .b32 %r<20>; .reg .b64 %l<10>; .reg .f32 sum; .shared .align 4 .b8 tile[256];\n\
         ld.param.u64 %l1, [k_0]; mov.u32 %r0, %tid.x; mul.wide.u32 %l3, %r0, 4; add.s64 %l2, %l1, %l3; setp.lt.u32 %p1, %r0, 5;\n\
         .loc 1 7 1\n{code}\nret;\n}}\n.file 1 \"k.cu\"\n"
    );
    let mut host = Host::new(&ptx);
    host.options.checks = checks;
    let outcome = host.launch("k", [1, 1, 1], [64, 1, 1], 0, &[Arg::U64(host.empty(256))]);
    outcome.findings
}

#[test]
fn a_register_that_nothing_wrote_is_named_where_it_shows() {
    let from_five = "@%p1 bra A; bra B; A: mov.u32 %r9, 1; B:";
    let cases = [
        ("st.global.u32 [%l2], %r9;", "%r9", 0),
        ("st.global.f32 [%l2], sum;", "sum", 0),
        ("add.u32 %r4, %r9, 1; mov.b32 %r5, %r4; st.global.u32 [%l2], %r5;", "%r5", 0),
        ("@%p1 mov.u32 %r9, 1; st.global.u32 [%l2], %r9;", "%r9", 5),
        ("@!%p1 mov.u32 %r9, 1; st.global.u32 [%l2], %r9;", "%r9", 0),
        (&format!("{from_five} st.global.u32 [%l2], %r9;"), "%r9", 5),
        (&format!("{from_five} setp.eq.u32 %p2, %r9, 7; @%p2 bra C; C:"), "%p2", 5),
        (
            &format!("{from_five} and.b32 %r9, %r9, 4; cvt.u64.u32 %l4, %r9; add.s64 %l4, %l1, %l4; st.global.u32 [%l4], 7;"),
            "%l4",
            5,
        ),
        ("@%p3 st.global.u32 [%l2], %r0;", "%p3", 0),
        ("selp.b32 %r4, %r0, %r9, %p1; st.global.u32 [%l2], %r4;", "%r4", 5),
        ("and.pred %p3, %p1, %p2; selp.b32 %r4, 1, 2, %p3; st.global.u32 [%l2], %r4;", "%r4", 0),
        ("or.pred %p3, %p1, %p2; selp.b32 %r4, 1, 2, %p3; st.global.u32 [%l2], %r4;", "%r4", 5),
        ("shfl.sync.bfly.b32 %r4, %r9, 1, 31, -1;", "%r9", 0),
        ("vote.sync.ballot.b32 %r4, %p4, -1;", "%p4", 0),
        ("st.shared.u32 [tile], 0; bar.sync 0; atom.shared.add.u32 %r4, [tile], %r9;", "%r9", 0),
        ("mov.b64 %l4, {%r0, %r9}; st.global.u32 [%l2], %l4;", "%l4", 0),
    ];
    for (code, name, thread) in cases {
        let found = findings(code, true);
        let found: Vec<&Finding> = found.iter().filter(|found| found.kind == FindingKind::UninitialisedRegister).collect();
        let first = found.first().unwrap_or_else(|| panic!("nothing found in {code}"));
        assert_eq!(first.message.split_once(' ').map(|(name, _)| name), Some(name), "{code}");
        assert_eq!((first.thread, first.kernel.as_str()), ([thread, 0, 0], "k"), "{code}");
        assert_eq!(first.source, Some(("k.cu".to_owned(), 7)), "{code}");
        assert!(!findings(code, false).iter().any(|found| found.kind == FindingKind::UninitialisedRegister), "unchecked: {code}");
    }
}

#[test]
fn what_does_not_show_is_silent() {
    let cases = [
        // Written and read by the same threads.
        "@%p1 bra A; bra B; A: mov.u32 %r9, 1; B: @%p1 st.global.u32 [%l2], %r9;",
        "@%p1 mov.u32 %r9, 1; @%p1 st.global.u32 [%l2], %r9;",
        "@%p1 mov.u32 %r9, 1; @!%p1 mov.u32 %r9, 2; st.global.u32 [%l2], %r9;",
        // Computed and not used, or not chosen.
        "add.u32 %r4, %r9, %r9; mov.b32 %r5, %r4; mov.u32 %r5, 3; st.global.u32 [%l2], %r5;",
        "@%p1 mov.u32 %r9, 1; selp.b32 %r4, %r9, 2, %p1; st.global.u32 [%l2], %r4;",
        "setp.lt.u32 %p2, %r0, 0; and.pred %p3, %p2, %p4; selp.b32 %r4, 1, 2, %p3; st.global.u32 [%l2], %r4;",
        "setp.ge.u32 %p2, %r0, 0; or.pred %p3, %p4, %p2; selp.b32 %r4, 1, 2, %p3; st.global.u32 [%l2], %r4;",
        // The first turn of a loop writes what the others read.
        "mov.u32 %r4, 0; L: setp.eq.u32 %p2, %r4, 0; @%p2 mov.u32 %r9, 5; add.u32 %r9, %r9, 1; add.u32 %r4, %r4, 1; setp.lt.u32 %p3, %r4, 3;\n\
         @%p3 bra L; st.global.u32 [%l2], %r9;",
    ];
    for code in cases {
        let found = findings(code, true);
        assert!(found.is_empty(), "{code}\n{}", found.iter().map(ToString::to_string).collect::<String>());
    }
}
