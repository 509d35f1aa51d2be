//! The transforms of Winograd's minimal filtering `F(4x4, 3x3)` (Lavin and Gray 2016, section 4.3), with the points 0, 1, -1, 2,
//! -2: 36 products for the 144 of sixteen outputs.

use pulp::Simd;

/// Outputs of a tile in each direction.
pub(super) const M: usize = 4;

/// Inputs of a tile in each direction, and points.
pub(super) const N: usize = 6;

/// `G`: taps to points.
const FILTER: [[f64; 3]; N] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// `G g G^T` of one 3x3 plane of a filter; in f64, because it is done once.
pub(super) fn filter(taps: [[f64; 3]; 3]) -> [[f32; N]; N] {
    let half: [[f64; 3]; N] = FILTER.map(|g| std::array::from_fn(|s| (0..3).map(|r| g[r] * taps[r][s]).sum()));
    half.map(|row| FILTER.map(|g| (0..3).map(|s| row[s] * g[s]).sum::<f64>() as f32))
}

/// `B^T d`.
#[inline(always)]
fn input_line<S: Simd>(simd: S, [d0, d1, d2, d3, d4, d5]: [S::f32s; 6]) -> [S::f32s; 6] {
    let (two, four, five) = (simd.splat_f32s(2.0), simd.splat_f32s(4.0), simd.splat_f32s(-5.0));
    let (minus_two, minus_four) = (simd.splat_f32s(-2.0), simd.splat_f32s(-4.0));
    let even = simd.mul_add_f32s(minus_four, d2, d4); // d4 - 4 d2
    let odd = simd.mul_add_f32s(minus_four, d1, d3); // d3 - 4 d1
    let (outer, inner) = (simd.sub_f32s(d4, d2), simd.sub_f32s(d3, d1));
    [
        simd.mul_add_f32s(four, d0, simd.mul_add_f32s(five, d2, d4)),
        simd.add_f32s(even, odd),
        simd.sub_f32s(even, odd),
        simd.mul_add_f32s(two, inner, outer),
        simd.mul_add_f32s(minus_two, inner, outer),
        simd.mul_add_f32s(four, d1, simd.mul_add_f32s(five, d3, d5)),
    ]
}

/// `A^T m`.
#[inline(always)]
fn output_line<S: Simd>(simd: S, [m0, m1, m2, m3, m4, m5]: [S::f32s; 6]) -> [S::f32s; 4] {
    let (two, four, eight) = (simd.splat_f32s(2.0), simd.splat_f32s(4.0), simd.splat_f32s(8.0));
    let (near, near_apart) = (simd.add_f32s(m1, m2), simd.sub_f32s(m1, m2));
    let (far, far_apart) = (simd.add_f32s(m3, m4), simd.sub_f32s(m3, m4));
    [
        simd.add_f32s(simd.add_f32s(m0, near), far),
        simd.mul_add_f32s(two, far_apart, near_apart),
        simd.mul_add_f32s(four, far, near),
        simd.add_f32s(simd.mul_add_f32s(eight, far_apart, near_apart), m5),
    ]
}

/// `B^T d B`.
#[inline(always)]
pub(super) fn input<S: Simd>(simd: S, d: [[S::f32s; N]; N]) -> [[S::f32s; N]; N] {
    let mut half = d;
    for j in 0..N {
        let column = input_line(simd, std::array::from_fn(|i| d[i][j]));
        for i in 0..N {
            half[i][j] = column[i];
        }
    }
    half.map(|row| input_line(simd, row))
}

/// `A^T m A`.
#[inline(always)]
pub(super) fn output<S: Simd>(simd: S, m: [[S::f32s; N]; N]) -> [[S::f32s; M]; M] {
    let mut half = [[simd.splat_f32s(0.0); N]; M];
    for j in 0..N {
        let column = output_line(simd, std::array::from_fn(|i| m[i][j]));
        for i in 0..M {
            half[i][j] = column[i];
        }
    }
    half.map(|row| output_line(simd, row))
}
