//! The linear system of an imputation: conjugate gradients, preconditioned by a multigrid cycle.
//!
//! The system is the Laplacian of a grid whose pixels have eight neighbours, with the known pixels as boundary: symmetric and
//! positive definite. Conjugate gradients alone would take some hundred steps across a large hole. One cycle over coarser grids,
//! each of which has a cell for 2 x 2 of the finer one's, makes that about ten, whatever the hole, in memory of a few images;
//! a sparse factorisation would take tens of times as much.

use super::impute::{CORNER, LANES, SIDE};

/// Values of a pixel, one lane a channel.
type Lanes = [f64; LANES];

/// By how much the preconditioned residual has to fall: errors are then some millionths of the values, far below the noise.
const TOLERANCE: f64 = 1e-6;
/// Steps of which there are never so many; what is there by then is taken.
const STEPS: usize = 300;
/// Coarse corrections are enlarged by this: constant over 2 x 2 cells, they would be too small (Braess 1995).
const OVER: f64 = 1.8;
/// Cells of the coarsest grid.
const COARSEST: usize = 4;

/// The system on one grid: `diagonal x - sum of links to neighbours = right-hand side` for the unknown cells. Rows follow each other
/// with a border before and behind, so that every cell has eight neighbours in memory; links over an edge are 0.
struct Level {
    h: usize,
    w: usize,
    /// 0 where a cell is known.
    diagonal: Vec<f64>,
    /// 1 / `diagonal`, or 0.
    inverse: Vec<f64>,
    /// Weights to the neighbours at right, below on the left, below, below on the right, by [`Level::steps`].
    links: [Vec<f64>; 4],
}

/// The system for an image and the removed pixels of it.
pub(super) struct Grid {
    levels: Vec<Level>,
}

/// Right-hand side and solution of a level.
#[derive(Clone)]
struct Work {
    b: Vec<Lanes>,
    x: Vec<Lanes>,
}

impl Level {
    fn empty(h: usize, w: usize) -> Self {
        let zeros = vec![0.0; h * w + 2 * (w + 1)];
        Self { h, w, diagonal: zeros.clone(), inverse: zeros.clone(), links: std::array::from_fn(|_| zeros.clone()) }
    }

    fn border(&self) -> usize {
        self.w + 1
    }

    /// Where cell `(y, x)` is.
    fn at(&self, y: usize, x: usize) -> usize {
        self.border() + y * self.w + x
    }

    /// How far the neighbours of [`Level::links`] are.
    fn steps(&self) -> [usize; 4] {
        [1, self.w.saturating_sub(1), self.w, self.w + 1]
    }

    /// The cells of the grid.
    fn cells(&self) -> std::ops::Range<usize> {
        self.border()..self.border() + self.h * self.w
    }

    fn invert(mut self) -> Self {
        self.inverse = self.diagonal.iter().map(|&d| if d > 0.0 { 1.0 / d } else { 0.0 }).collect();
        self
    }

    /// What the neighbours of cell `i` add up to by their links.
    fn neighbours(&self, i: usize, x: &[Lanes]) -> Lanes {
        let mut sum = [0.0; LANES];
        for (links, step) in self.links.iter().zip(self.steps()) {
            add(&mut sum, links[i], &x[i + step]);
            add(&mut sum, links[i - step], &x[i - step]);
        }
        sum
    }

    /// One Gauss-Seidel sweep, forwards or backwards.
    fn smooth(&self, b: &[Lanes], x: &mut [Lanes], forwards: bool) {
        let mut visit = |i: usize| {
            if self.inverse[i] > 0.0 {
                let sum = self.neighbours(i, x);
                x[i] = std::array::from_fn(|c| (b[i][c] + sum[c]) * self.inverse[i]);
            }
        };
        if forwards { self.cells().for_each(&mut visit) } else { self.cells().rev().for_each(&mut visit) }
    }

    /// `A x` at cell `i`; 0 at a known one.
    fn apply(&self, i: usize, x: &[Lanes]) -> Lanes {
        if self.inverse[i] == 0.0 {
            return [0.0; LANES];
        }
        let sum = self.neighbours(i, x);
        std::array::from_fn(|c| self.diagonal[i] * x[i][c] - sum[c])
    }

    /// The system for corrections that are constant over 2 x 2 cells (Galerkin's): links within a cell go out of its diagonal, those
    /// between two cells add up.
    fn coarser(&self) -> Self {
        let mut coarse = Self::empty(self.h.div_ceil(2), self.w.div_ceil(2));
        for (y, x) in (0..self.h).flat_map(|y| (0..self.w).map(move |x| (y, x))) {
            let i = self.at(y, x);
            let here = coarse.at(y / 2, x / 2);
            coarse.diagonal[here] += self.diagonal[i];
            // Right, below on the left, below, below on the right.
            for (link, (dy, dx)) in [(0, 1), (1, -1), (1, 0), (1, 1)].into_iter().enumerate() {
                let weight = self.links[link][i];
                if weight == 0.0 {
                    continue;
                }
                let (ny, nx) = (y + dy, x.wrapping_add_signed(dx));
                let there = coarse.at(ny / 2, nx / 2);
                if here == there {
                    coarse.diagonal[here] -= 2.0 * weight;
                    continue;
                }
                // By the offset of the coarse cells, which may run the other way.
                let (dy, dx) = (ny / 2 - y / 2, (nx / 2) as isize - (x / 2) as isize);
                match (dy, dx) {
                    (0, 1) => coarse.links[0][here] += weight,
                    (0, _) => coarse.links[0][there] += weight,
                    (_, -1) => coarse.links[1][here] += weight,
                    (_, 0) => coarse.links[2][here] += weight,
                    _ => coarse.links[3][here] += weight,
                }
            }
        }
        coarse.invert()
    }

    fn work(&self) -> Work {
        let zeros = vec![[0.0; LANES]; self.diagonal.len()];
        Work { b: zeros.clone(), x: zeros }
    }
}

impl Grid {
    /// The system for the `removed` pixels of an `h` x `w` image, at least one of which is not.
    pub fn new(h: usize, w: usize, removed: &[bool]) -> Self {
        let mut finest = Level::empty(h, w);
        for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
            let i = finest.at(y, x);
            for (link, (dy, dx)) in [(0, 1), (1, -1), (1, 0), (1, 1)].into_iter().enumerate() {
                let (ny, nx) = (y + dy, x.wrapping_add_signed(dx));
                if ny >= h || nx >= w {
                    continue;
                }
                let weight = if dy == 0 || dx == 0 { SIDE } else { CORNER };
                let (here, there) = (removed[y * w + x], removed[ny * w + nx]);
                let j = finest.at(ny, nx);
                finest.diagonal[i] += if here { weight } else { 0.0 };
                finest.diagonal[j] += if there { weight } else { 0.0 };
                if here && there {
                    finest.links[link][i] = weight;
                }
            }
        }
        let mut levels = vec![finest.invert()];
        while let Some(last) = levels.last().filter(|last| last.h * last.w > COARSEST) {
            levels.push(last.coarser());
        }
        Self { levels }
    }

    /// The values of all pixels: the `known` ones, and the solution where they were removed (what `known` has there is not read).
    pub fn solve(&self, known: &[Lanes]) -> Vec<Lanes> {
        let level = &self.levels[0];
        let mut works: Vec<Work> = self.levels.iter().map(Level::work).collect();
        let mut x = works[0].x.clone();
        let mut r = self.right_hand_side(known);
        let mut z = self.precondition(&r, &mut works);
        let (mut p, mut q) = (z.clone(), x.clone());
        let mut rz = dot(&r, &z);
        let enough = rz.map(|rz| rz * TOLERANCE * TOLERANCE);
        for _ in 0..STEPS {
            if rz.iter().zip(&enough).all(|(rz, enough)| rz <= enough) {
                break;
            }
            level.cells().for_each(|i| q[i] = level.apply(i, &p));
            let pq = dot(&p, &q);
            let alpha: Lanes = std::array::from_fn(|c| quotient(rz[c], pq[c]));
            for i in level.cells() {
                for c in 0..LANES {
                    x[i][c] += alpha[c] * p[i][c];
                    r[i][c] -= alpha[c] * q[i][c];
                }
            }
            z = self.precondition(&r, &mut works);
            let before = std::mem::replace(&mut rz, dot(&r, &z));
            let beta: Lanes = std::array::from_fn(|c| quotient(rz[c], before[c]));
            level.cells().for_each(|i| p[i] = std::array::from_fn(|c| z[i][c] + beta[c] * p[i][c]));
        }
        let solved = |(i, known): (usize, &Lanes)| {
            let at = level.border() + i;
            if level.inverse[at] > 0.0 { x[at] } else { *known }
        };
        known.iter().enumerate().map(solved).collect()
    }

    /// What the known neighbours of each removed pixel add up to.
    fn right_hand_side(&self, known: &[Lanes]) -> Vec<Lanes> {
        let level = &self.levels[0];
        let (h, w) = (level.h, level.w);
        let mut b = vec![[0.0; LANES]; level.diagonal.len()];
        for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
            let i = level.at(y, x);
            if level.inverse[i] == 0.0 {
                continue;
            }
            for ny in y.saturating_sub(1)..(y + 2).min(h) {
                for nx in x.saturating_sub(1)..(x + 2).min(w) {
                    if level.inverse[level.at(ny, nx)] == 0.0 {
                        let weight = if ny == y || nx == x { SIDE } else { CORNER };
                        add(&mut b[i], weight, &known[ny * w + nx]);
                    }
                }
            }
        }
        b
    }

    /// One symmetric cycle over all levels: an approximate solution for the residual `r`.
    fn precondition(&self, r: &[Lanes], works: &mut [Work]) -> Vec<Lanes> {
        works[0].b.copy_from_slice(r);
        self.cycle(0, works);
        works[0].x.clone()
    }

    fn cycle(&self, depth: usize, works: &mut [Work]) {
        let level = &self.levels[depth];
        let Some((work, below)) = works.split_first_mut() else { return };
        work.x.fill([0.0; LANES]);
        let Some(coarse) = self.levels.get(depth + 1) else {
            for _ in 0..COARSEST {
                level.smooth(&work.b, &mut work.x, true);
                level.smooth(&work.b, &mut work.x, false);
            }
            return;
        };
        level.smooth(&work.b, &mut work.x, true);
        below[0].b.fill([0.0; LANES]);
        for (y, x) in (0..level.h).flat_map(|y| (0..level.w).map(move |x| (y, x))) {
            let i = level.at(y, x);
            let ax = level.apply(i, &work.x);
            let parent = coarse.at(y / 2, x / 2);
            if level.inverse[i] > 0.0 {
                (0..LANES).for_each(|c| below[0].b[parent][c] += work.b[i][c] - ax[c]);
            }
        }
        self.cycle(depth + 1, below);
        for (y, x) in (0..level.h).flat_map(|y| (0..level.w).map(move |x| (y, x))) {
            let i = level.at(y, x);
            if level.inverse[i] > 0.0 {
                add(&mut work.x[i], OVER, &below[0].x[coarse.at(y / 2, x / 2)]);
            }
        }
        level.smooth(&work.b, &mut work.x, false);
    }
}

fn add(sum: &mut Lanes, factor: f64, value: &Lanes) {
    (0..LANES).for_each(|c| sum[c] += factor * value[c]);
}

fn dot(a: &[Lanes], b: &[Lanes]) -> Lanes {
    let mut sum = [0.0; LANES];
    a.iter().zip(b).for_each(|(a, b)| (0..LANES).for_each(|c| sum[c] += a[c] * b[c]));
    sum
}

/// `a / b`, and 0 where there is nothing left to do.
fn quotient(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}
