//! A multigrid cycle: in a few sweeps nearly the inverse of a Laplacian, whatever the holes that it is over.

use std::ops::{Add, Mul, Sub};

use pulp::{Simd, WithSimd};

/// Entries of a symmetric matrix that couples each cell of an `h` x `w` grid with its eight neighbours, and zeros for cells that are
/// no unknowns. A frame of such cells lies round the grid, so that every cell has eight neighbours in memory.
pub(super) struct Level {
    h: usize,
    w: usize,
    diagonal: Vec<f32>,
    /// Entries for the neighbours at right, below on the left, below, below on the right, by [`Level::steps`].
    links: [Vec<f32>; 4],
    /// What a sweep multiplies residuals by; 0 for no unknown.
    damped: Vec<f32>,
}

/// What a sweep's matrix may have as largest eigenvalue: below 2 it converges, and the more the better it smooths.
const BOUND: f32 = 1.9;
/// Rows and columns of the coarsest grid, and sweeps there.
const COARSEST: (usize, usize) = (3, 32);

/// `f32`, or `f64` where it matters.
pub(super) trait Number: Copy + From<f32> + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {}

impl Number for f32 {}
impl Number for f64 {}

impl Level {
    /// Zeros.
    pub fn new(h: usize, w: usize) -> Self {
        let zeros = vec![0.0; (h + 2) * (w + 2)];
        Self { h, w, diagonal: zeros.clone(), links: std::array::from_fn(|_| zeros.clone()), damped: zeros }
    }

    /// Cells in memory, with the frame.
    pub fn len(&self) -> usize {
        self.diagonal.len()
    }

    fn stride(&self) -> usize {
        self.w + 2
    }

    /// Where cell `(y, x)` is; the frame begins one below and ends one beyond.
    pub fn at(&self, y: usize, x: usize) -> usize {
        (y + 1) * self.stride() + x + 1
    }

    /// How far the neighbours of [`Level::links`] are.
    fn steps(&self) -> [usize; 4] {
        [1, self.stride() - 1, self.stride(), self.stride() + 1]
    }

    /// Whether cell `at` is an unknown.
    pub fn is_unknown(&self, at: usize) -> bool {
        self.damped[at] > 0.0
    }

    /// Adds `entry`, which is not positive, for the neighbour `at` + step of link `link`, if `unknown` says that both are unknowns;
    /// what it is less goes onto the diagonal of those that are, so that a constant has the residual of what is known.
    pub fn couple(&mut self, at: usize, link: usize, entry: f32, unknown: [bool; 2]) {
        let other = at + self.steps()[link];
        for (at, _) in [at, other].into_iter().zip(unknown).filter(|(_, unknown)| *unknown) {
            self.diagonal[at] -= entry;
        }
        if unknown == [true, true] {
            self.links[link][at] += entry;
        }
    }

    /// The sweeps: Jacobi's, by the diagonal, or by as much of the row's sum of magnitudes as keeps eigenvalues below the bound.
    pub fn damp(mut self) -> Self {
        let steps = self.steps();
        for i in self.at(0, 0)..self.at(self.h, 0) {
            let links = self.links.iter().zip(steps).map(|(links, step)| links[i].abs() + links[i - step].abs());
            let divisor = self.diagonal[i].max((self.diagonal[i] + links.sum::<f32>()) / BOUND);
            self.damped[i] = if divisor > 0.0 { divisor.recip() } else { 0.0 };
        }
        self
    }

    /// `r = b - A x`; all of them are 0 in the frame.
    pub fn residual<T: Number>(&self, b: &[T], x: &[T], r: &mut [T]) {
        pulp::Arch::new().dispatch(Residual { level: self, b, x, r });
    }

    #[inline(always)]
    fn residual_by_vectors<T: Number>(&self, b: &[T], x: &[T], r: &mut [T]) {
        // From the first cell to the last, over what the frame has in between.
        let (first, n) = (self.at(0, 0), self.h * self.stride() - 2);
        let [right, below_left, below, below_right] = &self.links;
        let [s_right, s_below_left, s_below, s_below_right] = self.steps();
        let after = |links, step: usize, x| Neighbours { links: cut(links, first, n), x: cut(x, first + step, n) };
        let before = |links, step: usize, x| Neighbours { links: cut(links, first - step, n), x: cut(x, first - step, n) };
        let all = [
            after(right, s_right, x),
            before(right, s_right, x),
            after(below_left, s_below_left, x),
            before(below_left, s_below_left, x),
            after(below, s_below, x),
            before(below, s_below, x),
            after(below_right, s_below_right, x),
            before(below_right, s_below_right, x),
        ];
        let (diagonal, x, b, r) = (cut(&self.diagonal, first, n), cut(x, first, n), cut(b, first, n), &mut r[first..][..n]);
        for i in 0..n {
            let mut sum = T::from(diagonal[i]) * x[i];
            for neighbours in &all {
                sum = sum + T::from(neighbours.links[i]) * neighbours.x[i];
            }
            r[i] = b[i] - sum;
        }
    }

    /// The system for corrections that are linear between every other row and column (Galerkin's `P^T A P`, one axis at a time).
    /// Where cells are no unknowns, corrections are cut off.
    fn coarser(&self) -> Self {
        self.coarser_columns().coarser_rows().damp()
    }

    fn coarser_columns(&self) -> Self {
        let mut coarse = Self::new(self.h, self.w / 2 + 1);
        let (d, [e, sw, s, se]) = (&self.diagonal, &self.links);
        for (y, x) in (0..coarse.h).flat_map(|y| (0..coarse.w).map(move |x| (y, x))) {
            let (i, o) = (self.at(y, 2 * x), coarse.at(y, x)); // perhaps in the frame
            coarse.diagonal[o] = 0.25 * (d[i - 1] + d[i + 1]) + d[i] + e[i - 1] + e[i];
            coarse.links[0][o] = 0.25 * d[i + 1] + 0.5 * (e[i] + e[i + 1]);
            coarse.links[1][o] = 0.25 * s[i - 1] + 0.5 * (sw[i] + sw[i - 1]);
            coarse.links[2][o] = 0.25 * (s[i - 1] + s[i + 1]) + s[i] + 0.5 * (se[i - 1] + sw[i] + se[i] + sw[i + 1]);
            coarse.links[3][o] = 0.25 * s[i + 1] + 0.5 * (se[i] + se[i + 1]);
        }
        coarse
    }

    fn coarser_rows(&self) -> Self {
        let mut coarse = Self::new(self.h / 2 + 1, self.w);
        let (d, [e, sw, s, se]) = (&self.diagonal, &self.links);
        for (y, x) in (0..coarse.h).flat_map(|y| (0..coarse.w).map(move |x| (y, x))) {
            let (i, o) = (self.at(2 * y, x), coarse.at(y, x)); // perhaps in the frame
            let (above, below) = (i - self.stride(), self.at((2 * y + 1).min(self.h), x));
            coarse.diagonal[o] = 0.25 * (d[above] + d[below]) + d[i] + s[above] + s[i];
            coarse.links[0][o] = 0.25 * (e[above] + e[below]) + e[i] + 0.5 * (se[above] + sw[above + 1] + se[i] + sw[i + 1]);
            coarse.links[1][o] = 0.25 * e[below - 1] + 0.5 * (sw[i] + sw[below]);
            coarse.links[2][o] = 0.25 * d[below] + 0.5 * (s[i] + s[below]);
            coarse.links[3][o] = 0.25 * e[below] + 0.5 * (se[i] + se[below]);
        }
        coarse
    }

    /// `P^T r`: onto every other row and column, half of each neighbour with it.
    fn restrict(&self, r: &[f32], coarse: &Self, b: &mut [f32]) {
        let mut row = vec![0.0; self.stride() + 1]; // an even width's last column lies in the frame, its neighbour beyond
        for y in 0..coarse.h {
            let line = |y: usize| &r[y * self.stride()..][..self.stride()];
            let (above, at, below) = (line(2 * y), line((2 * y + 1).min(self.h + 1)), line((2 * y + 2).min(self.h + 1)));
            let sums = above.iter().zip(at).zip(below).map(|((above, at), below)| at + 0.5 * (above + below));
            row.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum);
            for (out, three) in b[coarse.at(y, 0)..][..coarse.w].iter_mut().zip(row.windows(3).step_by(2)) {
                *out = three[1] + 0.5 * (three[0] + three[2]);
            }
        }
    }

    /// `x += P coarse_x`.
    fn add_correction(&self, coarse: &Self, coarse_x: &[f32], x: &mut [f32]) {
        let mut row = vec![0.0; coarse.w + 1]; // an odd width's last column has none beside it
        for y in 0..self.h {
            let line = |y: usize| &coarse_x[coarse.at(y, 0)..][..coarse.w];
            let (above, below) = (line(y / 2), line(y.div_ceil(2)));
            row.iter_mut().zip(above.iter().zip(below)).for_each(|(out, (above, below))| *out = 0.5 * (above + below));
            let (out, damped) = (&mut x[self.at(y, 0)..][..self.w], &self.damped[self.at(y, 0)..][..self.w]);
            for ((out, damped), two) in out.chunks_mut(2).zip(damped.chunks(2)).zip(row.windows(2)) {
                let corrections = [two[0], 0.5 * (two[0] + two[1])];
                for ((out, damped), correction) in out.iter_mut().zip(damped).zip(corrections) {
                    *out += if *damped > 0.0 { correction } else { 0.0 };
                }
            }
        }
    }
}

/// The arguments of [`Level::residual`], for the vectors that this machine has: only what is inlined here is compiled for them.
struct Residual<'a, T> {
    level: &'a Level,
    b: &'a [T],
    x: &'a [T],
    r: &'a mut [T],
}

impl<T: Number> WithSimd for Residual<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.level.residual_by_vectors(self.b, self.x, self.r);
    }
}

/// One of the neighbours of all cells.
struct Neighbours<'a, T> {
    links: &'a [f32],
    x: &'a [T],
}

#[inline(always)]
fn cut<T>(values: &[T], first: usize, n: usize) -> &[T] {
    &values[first..][..n]
}

/// Right-hand side, solution and residual on a level.
struct Work {
    b: Vec<f32>,
    x: Vec<f32>,
    r: Vec<f32>,
}

/// A system on finer and coarser grids.
pub(super) struct Multigrid {
    /// Finest first; at least one.
    levels: Vec<(Level, Work)>,
}

impl Multigrid {
    pub fn new(finest: Level) -> Self {
        let mut levels = Vec::new();
        let mut next = Some(finest);
        while let Some(level) = next {
            next = (level.h.max(level.w) > COARSEST.0).then(|| level.coarser());
            let zeros = vec![0.0; level.len()];
            levels.push((level, Work { b: zeros.clone(), x: zeros.clone(), r: zeros }));
        }
        Self { levels }
    }

    /// The system itself.
    pub fn finest(&self) -> &Level {
        &self.levels[0].0
    }

    /// About `A^-1 r`, by a symmetric positive definite matrix: one sweep before and one after each coarser correction.
    pub fn cycle(&mut self, r: &[f64], z: &mut [f64]) {
        let narrow = |(to, from): (&mut f32, &f64)| *to = *from as f32;
        self.levels[0].1.b.iter_mut().zip(r).for_each(narrow);
        cycle(&mut self.levels);
        z.iter_mut().zip(&self.levels[0].1.x).for_each(|(to, from)| *to = f64::from(*from));
    }
}

fn cycle(levels: &mut [(Level, Work)]) {
    let Some(((level, work), coarser)) = levels.split_first_mut() else { return };
    let Work { b, x, r } = work;
    x.iter_mut().zip(&*b).zip(&level.damped).for_each(|((x, b), damped)| *x = damped * b);
    let sweep = |x: &mut [f32], r: &mut [f32]| {
        level.residual(b, x, r);
        x.iter_mut().zip(&*r).zip(&level.damped).for_each(|((x, r), damped)| *x += damped * r);
    };
    if coarser.is_empty() {
        (1..COARSEST.1).for_each(|_| sweep(x, r));
        return;
    }
    level.residual(b, x, r);
    level.restrict(r, &coarser[0].0, &mut coarser[0].1.b);
    cycle(coarser);
    level.add_correction(&coarser[0].0, &coarser[0].1.x, x);
    sweep(x, r);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Laplacian of whole numbers on an `h` x `w` grid, over the cells that `unknown` says are.
    fn laplacian(h: usize, w: usize, unknown: impl Fn(usize) -> bool) -> Level {
        let mut level = Level::new(h, w);
        for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
            for (link, (dy, dx)) in [(0, 1), (1, -1), (1, 0), (1, 1)].into_iter().enumerate() {
                let (ny, nx) = (y + dy, x.wrapping_add_signed(dx));
                if ny < h && nx < w {
                    let entry = -(((y * 5 + x * 3 + link) % 4 + 1) as f32);
                    level.couple(level.at(y, x), link, entry, [unknown(y * w + x), unknown(ny * w + nx)]);
                }
            }
        }
        level.damp()
    }

    /// All entries, by what a unit vector becomes.
    fn dense(level: &Level) -> Vec<Vec<f64>> {
        let cells: Vec<usize> =
            (0..level.h).flat_map(|y| (0..level.w).map(move |x| (y, x))).map(|(y, x)| level.at(y, x)).collect();
        let column = |&cell: &usize| {
            let (zeros, mut x, mut r) = (vec![0.0; level.len()], vec![0f64; level.len()], vec![0.0; level.len()]);
            x[cell] = -1.0;
            level.residual(&zeros, &x, &mut r);
            assert!(
                cells.iter().map(|&cell| r[cell].abs()).sum::<f64>() == r.iter().map(|r| r.abs()).sum::<f64>(),
                "nothing in the frame"
            );
            cells.iter().map(|&cell| r[cell]).collect()
        };
        cells.iter().map(column).collect()
    }

    const SIZES: [(usize, usize); 6] = [(1, 1), (1, 6), (5, 1), (4, 4), (5, 7), (6, 9)];

    #[test]
    fn residuals_are_of_the_laplacian() {
        for (h, w) in SIZES {
            let unknown = |i: usize| i % 7 != 3;
            let matrix = dense(&laplacian(h, w, unknown));
            for (i, row) in matrix.iter().enumerate() {
                for (j, &entry) in row.iter().enumerate() {
                    assert_eq!(entry, matrix[j][i]);
                    let (dy, dx) = ((i / w).abs_diff(j / w), (i % w).abs_diff(j % w));
                    let linked = i != j && dy <= 1 && dx <= 1 && unknown(i) && unknown(j);
                    assert!(if i == j { entry >= 0.0 } else { (entry < 0.0) == linked }, "{h}x{w}: {i} {j} {entry}");
                }
            }
            // Without known cells nothing acts on a constant.
            let closed = dense(&laplacian(h, w, |_| true));
            assert!(closed.iter().all(|row| row.iter().sum::<f64>() == 0.0));
        }
    }

    /// The share that coarse cell `coarse` has of fine cell `fine`, along one axis.
    fn share(coarse: usize, fine: usize) -> f64 {
        [1.0, 0.5, 0.0][(2 * coarse).abs_diff(fine).min(2)]
    }

    #[test]
    fn coarser_systems_and_the_ways_between_are_galerkins() {
        for (h, w) in SIZES {
            let level = laplacian(h, w, |i| i % 5 != 1);
            let coarse = level.coarser();
            let fine = dense(&level);
            let p = |i: usize, k: usize| share(k / coarse.w, i / w) * share(k % coarse.w, i % w);
            let count = coarse.h * coarse.w;
            for (k, row) in dense(&coarse).iter().enumerate() {
                for (l, &got) in row.iter().enumerate() {
                    let product =
                        |i: usize| (0..h * w).map(move |j| (i, j)).map(|(i, j)| p(i, k) * fine[i][j] * p(j, l)).sum::<f64>();
                    assert_eq!(got, (0..h * w).map(product).sum::<f64>(), "{h}x{w}: {k} {l}"); // sixteenths: exact
                }
            }
            // P^T r and P x, over unknowns.
            let (mut r, mut b) = (vec![0.0; level.len()], vec![0.0; coarse.len()]);
            let (mut x, mut coarse_x) = (vec![0.0; level.len()], vec![0.0; coarse.len()]);
            let unknown = |i: usize| level.is_unknown(level.at(i / w, i % w));
            let (value, coarse_value) = (|i: usize| ((i * 3) % 8) as f32, |k: usize| ((k * 5) % 16) as f32);
            (0..h * w).filter(|&i| unknown(i)).for_each(|i| r[level.at(i / w, i % w)] = value(i));
            (0..count).for_each(|k| coarse_x[coarse.at(k / coarse.w, k % coarse.w)] = coarse_value(k));
            level.restrict(&r, &coarse, &mut b);
            level.add_correction(&coarse, &coarse_x, &mut x);
            for k in 0..count {
                let want: f64 = (0..h * w).filter(|&i| unknown(i)).map(|i| p(i, k) * f64::from(value(i))).sum();
                assert_eq!(f64::from(b[coarse.at(k / coarse.w, k % coarse.w)]), want, "{h}x{w}: {k}");
            }
            for i in 0..h * w {
                let want: f64 = (0..count).map(|k| p(i, k) * f64::from(coarse_value(k))).sum();
                assert_eq!(f64::from(x[level.at(i / w, i % w)]), if unknown(i) { want } else { 0.0 }, "{h}x{w}: {i}");
            }
        }
    }

    /// What conjugate gradients ask of a preconditioner; and it is a good one.
    #[test]
    fn a_cycle_is_symmetric_and_nearly_the_inverse() {
        let (h, w) = (37, 50);
        let holes: [fn(usize) -> bool; 3] = [|i| i != 777, |i| i % 2 == 0, |i| (i / 50) % 9 > 0 && i % 50 < 45];
        for unknown in holes {
            let mut multigrid = Multigrid::new(laplacian(h, w, unknown));
            let len = multigrid.finest().len();
            let vector = |seed: usize, level: &Level| {
                let mut v = vec![0f64; len];
                for i in (0..h * w).filter(|&i| unknown(i)) {
                    v[level.at(i / w, i % w)] = ((i * seed + i * i / 7) % 23) as f64 - 11.0;
                }
                v
            };
            let (a, b) = (vector(5, multigrid.finest()), vector(31, multigrid.finest()));
            let (mut za, mut zb) = (vec![0.0; len], vec![0.0; len]);
            multigrid.cycle(&a, &mut za);
            multigrid.cycle(&b, &mut zb);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let size = (dot(&a, &za) * dot(&b, &zb)).sqrt();
            assert!((dot(&a, &zb) - dot(&b, &za)).abs() < 1e-5 * size && size > 0.0);
            // Of A a, most of a comes back: eigenvalues of the product lie near 1.
            let (mut product, mut back) = (vec![0.0; len], vec![0.0; len]);
            multigrid.finest().residual(&vec![0.0; len], &a.iter().map(|a| -a).collect::<Vec<_>>(), &mut product);
            multigrid.cycle(&product, &mut back);
            let energy = dot(&product, &a);
            let kept = dot(&product, &back) / energy;
            assert!((0.5..1.5).contains(&kept), "{kept}");
        }
    }
}
