//! The transforms of Winograd's minimal filtering `F(MxM, 3x3)` (Lavin and Gray 2016): `N*N` products instead of `9*M*M` for the
//! `M*M` outputs of a tile, `N = M + 2`.

use pulp::Simd;

/// Filters that are transformed together.
pub(super) const TOGETHER: usize = 8;

/// One dimension of `F(M, 3)`.
pub(super) trait Lines<const M: usize, const N: usize> {
    /// `G`: taps to points.
    const FILTER: [[f64; 3]; N];
    /// `B^T d`.
    fn input<S: Simd>(simd: S, d: [S::f32s; N]) -> [S::f32s; N];
    /// `A^T m`.
    fn output<S: Simd>(simd: S, m: [S::f32s; N]) -> [S::f32s; M];
}

/// The tiles that there are.
pub(super) struct Minimal;

/// Points 0, 1, -1: 16 products for the 36 of four outputs.
impl Lines<2, 4> for Minimal {
    const FILTER: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

    #[inline(always)]
    fn input<S: Simd>(simd: S, [d0, d1, d2, d3]: [S::f32s; 4]) -> [S::f32s; 4] {
        [simd.sub_f32s(d0, d2), simd.add_f32s(d1, d2), simd.sub_f32s(d2, d1), simd.sub_f32s(d1, d3)]
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, [m0, m1, m2, m3]: [S::f32s; 4]) -> [S::f32s; 2] {
        let (sum, difference) = (simd.add_f32s(m1, m2), simd.sub_f32s(m1, m2));
        [simd.add_f32s(m0, sum), simd.sub_f32s(difference, m3)]
    }
}

/// Points 0, 1, -1, 2, -2 (section 4.3): 36 products for the 144 of sixteen outputs.
impl Lines<4, 6> for Minimal {
    const FILTER: [[f64; 3]; 6] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    fn input<S: Simd>(simd: S, [d0, d1, d2, d3, d4, d5]: [S::f32s; 6]) -> [S::f32s; 6] {
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

    #[inline(always)]
    fn output<S: Simd>(simd: S, [m0, m1, m2, m3, m4, m5]: [S::f32s; 6]) -> [S::f32s; 4] {
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
}

/// `G g G^T` of the 3x3 planes of some filters; in f64, because it is done once. Plain loops over the filters, which the compiler
/// vectorises.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
pub(super) fn filter<const M: usize, const N: usize>(taps: &[[f64; TOGETHER]; 9]) -> [[[f32; TOGETHER]; N]; N]
where
    Minimal: Lines<M, N>,
{
    let mut half = [[[0f64; TOGETHER]; 3]; N];
    let mut points = [[[0f32; TOGETHER]; N]; N];
    for i in 0..N {
        let g = Minimal::FILTER[i];
        for s in 0..3 {
            for f in 0..TOGETHER {
                half[i][s][f] = g[0] * taps[s][f] + g[1] * taps[3 + s][f] + g[2] * taps[6 + s][f];
            }
        }
        for j in 0..N {
            let g = Minimal::FILTER[j];
            for f in 0..TOGETHER {
                points[i][j][f] = (g[0] * half[i][0][f] + g[1] * half[i][1][f] + g[2] * half[i][2][f]) as f32;
            }
        }
    }
    points
}

/// `B^T d B`, of and to where the functions say.
#[inline(always)]
pub(super) fn input<S: Simd, const M: usize, const N: usize>(
    simd: S,
    load: impl Fn(usize, usize) -> S::f32s,
    mut store: impl FnMut(usize, usize, S::f32s),
) where
    Minimal: Lines<M, N>,
{
    let mut half = [[simd.splat_f32s(0.0); N]; N];
    for (i, half) in half.iter_mut().enumerate() {
        let mut row = *half;
        for (j, d) in row.iter_mut().enumerate() {
            *d = load(i, j);
        }
        *half = Minimal::input(simd, row);
    }
    for j in 0..N {
        let mut column = half[0];
        for i in 0..N {
            column[i] = half[i][j];
        }
        for (i, value) in Minimal::input(simd, column).into_iter().enumerate() {
            store(i, j, value);
        }
    }
}

/// `A^T m A`, of where the function says.
#[inline(always)]
pub(super) fn output<S: Simd, const M: usize, const N: usize>(
    simd: S,
    load: impl Fn(usize, usize) -> S::f32s,
) -> [[S::f32s; M]; M]
where
    Minimal: Lines<M, N>,
{
    let zero = simd.splat_f32s(0.0);
    let mut half = [[zero; M]; N];
    for (i, half) in half.iter_mut().enumerate() {
        let mut row = [zero; N];
        for (j, m) in row.iter_mut().enumerate() {
            *m = load(i, j);
        }
        *half = Minimal::output(simd, row);
    }
    let mut outputs = [[zero; M]; M];
    for j in 0..M {
        let mut column = [zero; N];
        for i in 0..N {
            column[i] = half[i][j];
        }
        let column = Minimal::output(simd, column);
        for i in 0..M {
            outputs[i][j] = column[i];
        }
    }
    outputs
}
