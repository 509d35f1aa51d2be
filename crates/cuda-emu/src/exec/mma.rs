//! Matrix products on fragments.
//!
//! With `g = lane / 4` and `t = lane % 4`, a 16-bit A register holds row `g` or `g + 8` and columns `2t, 2t+1` (or 8 further); so its
//! plane, read as 64 halves, is an 8x8 block in row-major order. B registers are such blocks of the transposed matrix: plane
//! order is column by column. C and D hold row `g` (or `g + 8`), columns `2t` and `2t + 1`, one a plane.

use crate::ptx::{Mma, MmaKind};

use super::MmaRounding;
#[cfg(target_arch = "x86_64")]
use super::alu::wide;
use super::alu::{bfloat_to_single, half_to_single, single_to_half};
use super::regs::{LANES, Regs};

type Plane = [u32; LANES];

/// The operands in full: `a[m][k]`, `b[k][n]`, `c[m][n]`.
struct Matrices {
    a: [[f32; 16]; 16],
    b: [[f32; 8]; 16],
    c: [[f32; 8]; 16],
}

/// Executes `mma` for a whole warp.
pub(crate) fn mma(regs: &mut Regs, op: &Mma, rounding: MmaRounding) {
    #[cfg(target_arch = "x86_64")]
    if wide() {
        // SAFETY: the processor was just asked for AVX2, FMA and F16C.
        return unsafe { mma_wide(regs, op, rounding) };
    }
    body(regs, op, rounding);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn mma_wide(regs: &mut Regs, op: &Mma, rounding: MmaRounding) {
    body(regs, op, rounding);
}

#[inline(always)]
fn body(regs: &mut Regs, op: &Mma, rounding: MmaRounding) {
    let k = usize::from(op.k);
    let mut m = Matrices { a: [[0.0; 16]; 16], b: [[0.0; 8]; 16], c: [[0.0; 8]; 16] };
    match op.kind {
        MmaKind::F16 => unpack_halves(regs, op, &mut m, half_to_single),
        MmaKind::Bf16 => unpack_halves(regs, op, &mut m, bfloat_to_single),
        MmaKind::Tf32 => unpack_tf32(regs, op, &mut m),
    }
    unpack_sums(regs, op, &mut m.c);
    match rounding {
        MmaRounding::Sequential if op.k == 16 => sequential::<16>(&mut m),
        MmaRounding::Sequential if op.k == 8 => sequential::<8>(&mut m),
        MmaRounding::Sequential => sequential::<4>(&mut m),
        MmaRounding::Block8Truncate => truncating(&mut m, k),
    }
    pack_sums(regs, op, &m.c);
}

#[inline(always)]
fn unpack_halves(regs: &Regs, op: &Mma, m: &mut Matrices, single: impl Fn(u16) -> f32) {
    let blocks = usize::from(op.k) / 8;
    // A registers in order: rows 0-7 then 8-15 of columns 0-7, then the same of columns 8-15.
    for register in 0..2 * blocks {
        let plane = regs.word(op.a[register]);
        let values = halves(plane, &single);
        let (row0, column0) = (register % 2 * 8, register / 2 * 8);
        for row in 0..8 {
            m.a[row0 + row][column0..column0 + 8].copy_from_slice(&values[8 * row..8 * row + 8]);
        }
    }
    for register in 0..blocks {
        let values = halves(regs.word(op.b[register]), &single);
        for k in 0..8 {
            for n in 0..8 {
                m.b[8 * register + k][n] = values[8 * n + k];
            }
        }
    }
}

#[inline(always)]
fn halves(plane: &Plane, single: &impl Fn(u16) -> f32) -> [f32; 64] {
    let mut bits = [0u16; 64];
    for lane in 0..LANES {
        bits[2 * lane] = plane[lane] as u16;
        bits[2 * lane + 1] = (plane[lane] >> 16) as u16;
    }
    let mut out = [0.0; 64];
    for i in 0..64 {
        out[i] = single(bits[i]);
    }
    out
}

/// tf32: one element a register, columns `t` (and `t + 4`); the 13 low bits are not part of the format.
fn unpack_tf32(regs: &Regs, op: &Mma, m: &mut Matrices) {
    let value = |bits: u32| f32::from_bits(bits & !0x1fff);
    let blocks = usize::from(op.k) / 4;
    for lane in 0..LANES {
        let (g, t) = (lane / 4, lane % 4);
        for block in 0..blocks {
            m.a[g][t + 4 * block] = value(regs.word(op.a[2 * block])[lane]);
            m.a[g + 8][t + 4 * block] = value(regs.word(op.a[2 * block + 1])[lane]);
            m.b[t + 4 * block][g] = value(regs.word(op.b[block])[lane]);
        }
    }
}

#[inline(always)]
fn unpack_sums(regs: &Regs, op: &Mma, c: &mut [[f32; 8]; 16]) {
    for half in 0..2 {
        if op.half_sum {
            let plane = regs.word(op.c[half]);
            for lane in 0..LANES {
                let row = &mut c[lane / 4 + 8 * half];
                row[lane % 4 * 2] = half_to_single(plane[lane] as u16);
                row[lane % 4 * 2 + 1] = half_to_single((plane[lane] >> 16) as u16);
            }
        } else {
            let (even, odd) = (regs.word(op.c[2 * half]), regs.word(op.c[2 * half + 1]));
            for g in 0..8 {
                for t in 0..4 {
                    c[g + 8 * half][2 * t] = f32::from_bits(even[4 * g + t]);
                    c[g + 8 * half][2 * t + 1] = f32::from_bits(odd[4 * g + t]);
                }
            }
        }
    }
}

#[inline(always)]
fn pack_sums(regs: &mut Regs, op: &Mma, c: &[[f32; 8]; 16]) {
    for half in 0..2 {
        let (mut even, mut odd) = ([0u32; LANES], [0u32; LANES]);
        for g in 0..8 {
            for t in 0..4 {
                even[4 * g + t] = c[g + 8 * half][2 * t].to_bits();
                odd[4 * g + t] = c[g + 8 * half][2 * t + 1].to_bits();
            }
        }
        if op.half_sum {
            for lane in 0..LANES {
                let pair = [even[lane], odd[lane]].map(|bits| u32::from(single_to_half(f32::from_bits(bits))));
                even[lane] = pair[0] | pair[1] << 16;
            }
            regs.set_word(op.d[half], &even, u32::MAX);
        } else {
            regs.set_word(op.d[2 * half], &even, u32::MAX);
            regs.set_word(op.d[2 * half + 1], &odd, u32::MAX);
        }
    }
}

/// Adds one product after the other. Products of 11-bit numbers are exact in f32, so a fused step rounds just the sum.
#[inline(always)]
fn sequential<const K: usize>(m: &mut Matrices) {
    for rows in 0..4 {
        let mut sums: [[f32; 8]; 4] = std::array::from_fn(|i| m.c[4 * rows + i]);
        for k in 0..K {
            let b = &m.b[k];
            for i in 0..4 {
                let a = m.a[4 * rows + i][k];
                for n in 0..8 {
                    sums[i][n] = a.mul_add(b[n], sums[i][n]);
                }
            }
        }
        for i in 0..4 {
            m.c[4 * rows + i] = sums[i];
        }
    }
}

/// Bits kept below the largest term's leading bit when terms are aligned.
const ALIGNED_BITS: i32 = 24;

/// Adds eight products and the running sum at a time: all are cut to multiples of the largest one's last place, summed
/// exactly, and the sum is cut to f32.
fn truncating(m: &mut Matrices, k: usize) {
    for row in 0..16 {
        for n in 0..8 {
            let mut sum = m.c[row][n];
            for block in (0..k).step_by(8) {
                let mut terms = [0f64; 9];
                for (i, term) in terms.iter_mut().take(8.min(k - block)).enumerate() {
                    *term = f64::from(m.a[row][block + i]) * f64::from(m.b[block + i][n]);
                }
                terms[8] = f64::from(sum);
                sum = truncated_sum(&terms);
            }
            m.c[row][n] = sum;
        }
    }
}

fn truncated_sum(terms: &[f64; 9]) -> f32 {
    let largest = terms.iter().fold(0f64, |max, term| max.max(term.abs()));
    if !terms.iter().all(|term| term.is_finite()) || largest == 0.0 {
        return terms.iter().sum::<f64>() as f32;
    }
    // Scaling by powers of two is exact: products of f32 are far from the limits of f64.
    let exponent = (largest.to_bits() >> 52) as i32 - 1023;
    let unit = 2f64.powi((exponent - ALIGNED_BITS + 1).max(-1000));
    let sum: f64 = terms.iter().map(|term| (term / unit).trunc()).sum::<f64>() * unit;
    let near = sum as f32;
    if f64::from(near).abs() <= sum.abs() {
        near
    } else if sum > 0.0 {
        near.next_down()
    } else {
        near.next_up()
    }
}
