//! The parser: what it takes, and how it refuses the rest.

use cuda_emu::ptx::Module;
use proptest::prelude::*;

fn module(body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{\n.reg .pred %p<4>; .reg .b16 %h<4>; .reg .b32 %r<9>; .reg .b64 %l<9>;\n{body}\n}}\n"
    )
}

#[test]
fn declarations_are_kept() {
    let text = ".version 8.8\n.target sm_90a, debug\n.address_size 64\n.const .align 4 .b8 table[8] = {1, 2, 3};\n.global .u32 ticket = 7;\n\
                .global .align 8 .f32 pair[2] = {0f3F800000, 0f40000000};\n.extern .shared .align 16 .b8 dynamic[];\n.shared .align 4 .b8 unused[64];\n\
                .extern .func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b);\n\
                .visible .entry first(.param .u8 a, .param .align 16 .b8 b[20], .param .u64 .ptr .global .align 16 c)\n.maxntid 128, 2, 1\n.minnctapersm 2\n\
                {\n.reg .b32 %r<3>;.reg.b16 %rs1;\n.shared .align 8 .b8 own[12];\n.loc 1 3 5\nmov.u32 %r1, dynamic;\n.loc 1 4 9, function_name $L1, inlined_at 1 3 5\nret;\n}\n\
                .entry second() { ret; }\n.file 1 \"dir/a.cu\"\n.section .debug_str { $L1: .b8 1, 2 }\n";
    let module = Module::parse(text).unwrap();
    assert_eq!((module.version(), module.target(), module.kernels().count()), ((8, 8), "sm_90a", 2));
    let names: Vec<_> = module.globals().iter().map(|g| (g.name.as_str(), g.bytes, g.constant)).collect();
    assert_eq!(names, [("table", 8, true), ("ticket", 4, false), ("pair", 8, false)]);
    assert_eq!(module.globals()[0].init, [1, 2, 3, 0, 0, 0, 0, 0]);
    assert_eq!(module.globals()[2].init, [0, 0, 128, 63, 0, 0, 0, 64]);
    let kernel = module.kernel("first").unwrap();
    let params: Vec<_> = kernel.params.iter().map(|p| (p.offset, p.bytes, p.align)).collect();
    assert_eq!(params, [(0, 1, 1), (16, 20, 16), (40, 8, 8)]);
    assert_eq!((kernel.param_bytes, kernel.static_shared, kernel.max_threads), (48, 12, Some([128, 2, 1])));
    assert_eq!((kernel.source(0), kernel.source(1), kernel.source(2)), (Some(("dir/a.cu", 3)), Some(("dir/a.cu", 4)), None));
    assert!(module.kernel("third").is_none());
}

#[test]
fn inner_scopes_hide_outer_names_and_labels() {
    let body = "{ .reg .b32 %r1; .reg .pred %p1; setp.eq.u32 %p1, %r1, 0; @%p1 bra HERE; HERE: mov.u32 %r1, 1; }\n\
                { .reg .b64 %r1; HERE: mov.u64 %r1, 1; bra HERE; }\nmov.u32 %r1, 2; ret;";
    Module::parse(&module(body)).unwrap();
}

#[test]
fn what_is_unknown_is_refused_with_its_line() {
    for (body, token) in [
        ("frob.u32 %r1, %r2;", "frob.u32"),
        ("add.frob.u32 %r1, %r2, %r3;", "add.frob.u32"),
        ("wgmma.fence.sync.aligned;", "wgmma.fence.sync.aligned"),
        ("cvt.f16.f32 %h1, %r1;", "cvt.f16.f32"),
        ("cvt.s32.f32 %r1, %r2;", "cvt.s32.f32"),
        (
            "mma.sync.aligned.m16n8k16.row.row.f32.f16.f16.f32 %r1, %r1, %r1, %r1;",
            "mma.sync.aligned.m16n8k16.row.row.f32.f16.f16.f32",
        ),
        ("cp.async.cg.shared.global [%r1], [%l1], 8;", "cp.async.cg.shared.global"),
        ("ld.global.v4.f64 {%l1, %l2, %l3, %l4}, [%l1];", "ld.global.v4.f64"),
        ("st.const.u32 [%l1], %r1;", "st.const.u32"),
        ("add.u32 %r1, %r2;", "add.u32"),
        ("add.u32 %r1, %r2, %l3;", "add.u32"),
        ("add.u32 %r1, %r2, 0x100000000;", "add.u32"),
        ("mov.u32 %r1, %r99;", "%r99"),
        ("bra NOWHERE;", "NOWHERE"),
        ("@%r1 ret;", "%r1"),
        (".frob 7;", ".frob"),
        (".reg .b128 %q<2>;", ".b128"),
        ("HERE: HERE: ret;", "HERE"),
        ("ld.shared.u32 %r1, [nothing];", "nothing"),
        ("call.uni helper, ();", "("),
        ("lop3.b32 %r1, %r2, %r3, %r4, 256;", "lop3.b32"),
        ("rcp.f32 %r1, %r2;", "rcp.f32"),
    ] {
        let error = Module::parse(&module(body)).unwrap_err();
        assert_eq!((error.line, error.token.as_str()), (7, token), "{body}: {error}");
    }
    for text in [
        "",
        "int main() {}",
        ".version 8.0\n.target sm_80\n.address_size 32\n",
        ".version 8.0\n.func f() { ret; }",
        ".version 8.0\n.frob\n",
    ] {
        Module::parse(text).unwrap_err();
    }
}

const SAMPLE: &str = include_str!("kernels/gemm_f16.ptx");

proptest! {
    #[test]
    fn no_text_brings_the_parser_down(cut in 0..SAMPLE.len(), at in 0..SAMPLE.len(), noise in "[ -~\n]{0,12}") {
        let _ = Module::parse(&SAMPLE[..cut]);
        let mut text = SAMPLE.to_owned();
        text.insert_str(at, &noise);
        let _ = Module::parse(&text);
        let _ = Module::parse(&noise);
    }
}
