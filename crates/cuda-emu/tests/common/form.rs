//! One instruction on many operands: builds a kernel round it and returns the results.

use super::{Arg, Host};

/// Kinds of register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reg {
    P,
    H,
    W,
    L,
}

/// Runs `text`, in which `{d}` is the result and `{a}`, `{b}`, `{c}`, `{e}` are the operands, for each row of operands.
pub fn results(text: &str, sources: &[Reg], d: Reg, rows: &[Vec<u64>]) -> Vec<u64> {
    let mut body = String::new();
    let mut code = text.to_owned();
    for (i, (kind, name)) in sources.iter().zip(["{a}", "{b}", "{c}", "{e}"]).enumerate() {
        let at = 8 * i;
        let register = match kind {
            Reg::H => {
                body += &format!("ld.global.b16 %h{i}, [%l9+{at}];\n");
                format!("%h{i}")
            }
            Reg::W => {
                body += &format!("ld.global.b32 %r{i}, [%l9+{at}];\n");
                format!("%r{i}")
            }
            Reg::L => {
                body += &format!("ld.global.b64 %l{i}, [%l9+{at}];\n");
                format!("%l{i}")
            }
            Reg::P => {
                body += &format!("ld.global.b32 %r{i}, [%l9+{at}];\nsetp.ne.u32 %p{i}, %r{i}, 0;\n");
                format!("%p{i}")
            }
        };
        code = code.replace(name, &register);
    }
    let (register, store) = match d {
        Reg::H => ("%h7", "cvt.u64.u16 %l7, %h7;"),
        Reg::W => ("%r7", "cvt.u64.u32 %l7, %r7;"),
        Reg::L => ("%l7", ""),
        Reg::P => ("%p7", "selp.b64 %l7, 1, 0, %p7;"),
    };
    let code = code.replace("{d}", register);
    let width = 8 * sources.len();
    let ptx = format!(
        ".version 8.8\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 k_0, .param .u64 k_1, .param .u32 k_2)\n{{\n\
         .reg .pred %p<10>; .reg .b16 %h<10>; .reg .b32 %r<12>; .reg .b64 %l<12>;\n\
         mov.u32 %r9, %tid.x; mov.u32 %r10, %ctaid.x; mad.lo.s32 %r9, %r10, 64, %r9; ld.param.u32 %r10, [k_2];\n\
         setp.ge.u32 %p9, %r9, %r10; @%p9 bra DONE;\n\
         ld.param.u64 %l9, [k_0]; mul.wide.u32 %l10, %r9, {width}; add.s64 %l9, %l9, %l10;\n\
         ld.param.u64 %l8, [k_1]; mul.wide.u32 %l10, %r9, 8; add.s64 %l8, %l8, %l10;\n\
         {body}{code}\n{store}\nst.global.b64 [%l8], %l7;\nDONE: ret;\n}}\n"
    );
    let host = Host::new(&ptx);
    let input: Vec<u64> = rows.iter().flatten().copied().collect();
    assert_eq!(input.len(), rows.len() * sources.len(), "{text}");
    let out = host.empty(8 * rows.len());
    let args = [Arg::U64(host.u64s(&input)), Arg::U64(out), Arg::U32(rows.len() as u32)];
    host.launch_clean("k", [rows.len().div_ceil(64) as u32, 1, 1], [64, 1, 1], 0, &args);
    host.read_u64s(out, rows.len())
}

/// Demands that the results are those of `want`.
pub fn check(text: &str, sources: &[Reg], d: Reg, rows: &[Vec<u64>], want: impl Fn(&[u64]) -> u64) {
    for (row, got) in rows.iter().zip(results(text, sources, d, rows)) {
        let want = want(row);
        assert_eq!(got, want, "{text} of {row:#x?}: got {got:#x}, expected {want:#x}");
    }
}

/// All combinations of the values, one per operand.
pub fn combinations(values: &[u64], operands: usize) -> Vec<Vec<u64>> {
    (0..values.len().pow(operands as u32))
        .map(|mut index| {
            (0..operands)
                .map(|_| {
                    let value = values[index % values.len()];
                    index /= values.len();
                    value
                })
                .collect()
        })
        .collect()
}
