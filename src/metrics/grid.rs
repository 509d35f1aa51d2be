//! The linear system of an imputation: conjugate gradients, preconditioned by a multigrid cycle.
//!
//! The system is the Laplacian of a grid whose pixels have eight neighbours, with the known pixels as boundary: symmetric and
//! positive definite. Conjugate gradients alone would take some hundred steps across a large hole. With one multigrid cycle for
//! each step they take about seven, whatever the hole, in memory of a few images; a sparse factorisation takes tens of times as much.
//! Steps are in f64, so that only the tolerance decides what they lead to; the cycle is in f32, for speed.

use super::impute::{CORNER, SIDE};
use super::multigrid::{Level, Multigrid};

/// By how much the residual has to fall, measured by the cycle: errors are then some millionths of the values, far below the noise.
const TOLERANCE: f64 = 1e-6;
/// Steps of which there are never so many; what is there by then is taken.
const STEPS: usize = 300;
/// Neighbours of a pixel that come after it, with their weights.
const AFTER: [((usize, isize), f32); 4] = [((0, 1), SIDE), ((1, -1), CORNER), ((1, 0), SIDE), ((1, 1), CORNER)];

/// The system for an image and the removed pixels of it, for one channel after the other.
pub(super) struct Grid {
    h: usize,
    w: usize,
    multigrid: Multigrid,
}

impl Grid {
    /// The system for the `removed` pixels of an `h` x `w` image, at least one of which is not.
    pub fn new(h: usize, w: usize, removed: &[bool]) -> Self {
        let mut level = Level::new(h, w);
        for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
            for (link, (dy, dx), weight) in AFTER.into_iter().enumerate().map(|(link, (step, weight))| (link, step, weight)) {
                let (ny, nx) = (y + dy, x.wrapping_add_signed(dx));
                if ny < h && nx < w {
                    level.couple(level.at(y, x), link, -weight, [removed[y * w + x], removed[ny * w + nx]]);
                }
            }
        }
        Self { h, w, multigrid: Multigrid::new(level.damp()) }
    }

    /// Fills the removed pixels of a channel `[h, w]` in; what it has there is not read.
    pub fn fill(&mut self, channel: &mut [f64]) {
        let solution = self.solve(self.right_hand_side(channel));
        let level = self.multigrid.finest();
        for (y, row) in channel.chunks_exact_mut(self.w.max(1)).enumerate() {
            for (x, pixel) in row.iter_mut().enumerate().filter(|(x, _)| level.is_unknown(level.at(y, *x))) {
                *pixel = solution[level.at(y, x)];
            }
        }
    }

    /// What the known neighbours of each removed pixel add up to.
    fn right_hand_side(&self, channel: &[f64]) -> Vec<f64> {
        let (h, w, level) = (self.h, self.w, self.multigrid.finest());
        let mut b = vec![0.0; level.len()];
        for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
            for ((dy, dx), weight) in AFTER {
                let (ny, nx) = (y + dy, x.wrapping_add_signed(dx));
                if ny >= h || nx >= w {
                    continue;
                }
                let (here, there) = (level.at(y, x), level.at(ny, nx));
                match (level.is_unknown(here), level.is_unknown(there)) {
                    (true, false) => b[here] += f64::from(weight) * channel[ny * w + nx],
                    (false, true) => b[there] += f64::from(weight) * channel[y * w + x],
                    _ => {}
                }
            }
        }
        b
    }

    /// The solution of `A x = b`.
    fn solve(&mut self, b: Vec<f64>) -> Vec<f64> {
        let zeros = vec![0.0; b.len()];
        let (mut x, mut r, mut z, mut q) = (zeros.clone(), b, zeros.clone(), zeros.clone());
        self.multigrid.cycle(&r, &mut z);
        let mut p = z.clone();
        let mut rz = dot(&r, &z);
        let enough = rz * TOLERANCE * TOLERANCE;
        for _ in 0..STEPS {
            if rz <= enough {
                break;
            }
            self.multigrid.finest().residual(&zeros, &p, &mut q); // -A p
            let alpha = -rz / dot(&p, &q);
            add(&mut x, alpha, &p);
            add(&mut r, alpha, &q);
            self.multigrid.cycle(&r, &mut z);
            let before = std::mem::replace(&mut rz, dot(&r, &z));
            let beta = rz / before;
            p.iter_mut().zip(&z).for_each(|(p, z)| *p = z + beta * *p);
        }
        x
    }
}

/// `y += factor x`.
fn add(y: &mut [f64], factor: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
}

/// The sum of products, some of them side by side.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0; 16];
    a.iter().zip(b).for_each(|(a, b)| (0..16).for_each(|i| sums[i] += a[i] * b[i]));
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}
