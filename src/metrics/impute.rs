//! Noisy linear imputation: removed pixels become means of their neighbours, so that a network cannot tell where they were.

use super::grid::Grid;
use crate::cam::noise;

/// Weight of a neighbour by a side, and of one by a corner, in twelfths: a pixel inside the image has weights of 1 in all.
pub(super) const SIDE: f32 = 2.0;
pub(super) const CORNER: f32 = 1.0;

/// Channels of an image.
const CHANNELS: usize = 3;

/// Noisy linear imputation (Rong et al. 2022, section 4.2): every removed pixel of an `h` x `w` image is the mean of its eight
/// neighbours inside the image, those by a side weighing 1/6 and those by a corner 1/12, which is one linear system for all of them;
/// then normal noise is added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Imputer {
    /// Standard deviation of the noise, in the units of the network's input.
    pub noise: f32,
    /// Which noise.
    pub stream: u64,
}

impl Imputer {
    /// Fills the pixels of `image` `[h, w, 3]` that are `removed` in from the others. If nothing is left, there is nothing to fill in
    /// from, and the values are 0: the mean of the network's inputs.
    pub fn fill(&self, (h, w): (usize, usize), removed: &[bool], image: &mut [f32]) {
        let mut grid = removed.contains(&false).then(|| Grid::new(h, w, removed));
        for c in 0..CHANNELS {
            let mut channel: Vec<f64> = image.iter().skip(c).step_by(CHANNELS).map(|&value| value.into()).collect();
            match &mut grid {
                Some(grid) => grid.fill(&mut channel),
                None => channel.fill(0.0),
            }
            image.iter_mut().skip(c).step_by(CHANNELS).zip(channel).for_each(|(value, filled)| *value = filled as f32);
        }
        for (i, pixel) in image.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate().filter(|(i, _)| removed[*i]) {
            noise::add(self.stream, self.noise, CHANNELS * i, pixel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: Gaussian elimination with every removed pixel's equation written out.
    fn by_elimination((h, w): (usize, usize), removed: &[bool], image: &[f32]) -> Vec<f64> {
        let unknown: Vec<usize> = (0..h * w).filter(|&i| removed[i]).collect();
        let n = unknown.len();
        let mut rows = vec![vec![0.0; n + CHANNELS]; n];
        for (row, &i) in unknown.iter().enumerate() {
            let (y, x) = ((i / w) as isize, (i % w) as isize);
            for (dy, dx) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dy, dx))).filter(|&at| at != (0, 0)) {
                let (ny, nx) = (y + dy, x + dx);
                if ny < 0 || nx < 0 || ny >= h as isize || nx >= w as isize {
                    continue;
                }
                let weight = if dy == 0 || dx == 0 { 1.0 / 6.0 } else { 1.0 / 12.0 };
                let j = ny as usize * w + nx as usize;
                rows[row][row] += weight;
                match unknown.iter().position(|&other| other == j) {
                    Some(column) => rows[row][column] -= weight,
                    None => (0..CHANNELS).for_each(|c| rows[row][n + c] += weight * f64::from(image[CHANNELS * j + c])),
                }
            }
        }
        for pivot in 0..n {
            let best = (pivot..n).max_by(|&a, &b| rows[a][pivot].abs().total_cmp(&rows[b][pivot].abs())).unwrap();
            rows.swap(pivot, best);
            let source = rows[pivot].clone();
            for row in (0..n).filter(|&row| row != pivot) {
                let factor = rows[row][pivot] / source[pivot];
                rows[row].iter_mut().zip(&source).for_each(|(value, source)| *value -= factor * source);
            }
        }
        let mut out: Vec<f64> = image.iter().map(|&v| f64::from(v)).collect();
        for (row, &i) in unknown.iter().enumerate() {
            (0..CHANNELS).for_each(|c| out[CHANNELS * i + c] = rows[row][n + c] / rows[row][row]);
        }
        out
    }

    fn image(h: usize, w: usize) -> Vec<f32> {
        (0..h * w * CHANNELS).map(|i| ((i * 37 + i * i % 11) % 23) as f32 / 5.0 - 2.0).collect()
    }

    #[test]
    fn every_shape_of_hole_is_filled_as_by_elimination() {
        type Hole = fn(usize, usize, usize) -> bool;
        let holes: [(&str, Hole); 6] = [
            ("nothing", |_, _, _| false),
            ("all but the first", |i, _, _| i > 0),
            ("a block", |_, y, x| (1..6).contains(&y) && (1..7).contains(&x)),
            ("a chequerboard", |_, y, x| (x + y) % 2 == 0),
            ("scattered", |i, _, _| (i * i + i / 3) % 5 < 3),
            ("two sides", |_, y, x| y < 2 || x > 4),
        ];
        for (h, w) in [(1, 1), (1, 9), (7, 1), (2, 2), (8, 8), (9, 13), (5, 16)] {
            for (name, hole) in &holes {
                let removed: Vec<bool> = (0..h * w).map(|i| hole(i, i / w, i % w)).collect();
                if removed.iter().all(|&gone| gone) {
                    continue;
                }
                let (mut got, from) = (image(h, w), image(h, w));
                Imputer { noise: 0.0, stream: 0 }.fill((h, w), &removed, &mut got);
                for (i, (got, want)) in got.iter().zip(by_elimination((h, w), &removed, &from)).enumerate() {
                    assert!((f64::from(*got) - want).abs() < 1e-4, "{name}, {h}x{w}, value {i}: {got}, expected {want}");
                }
            }
        }
    }

    #[test]
    fn a_ramp_goes_on_through_a_large_hole() {
        let (h, w) = (61, 90);
        let ramp: Vec<f32> = (0..h * w).flat_map(|i| [(i % w) as f32 / 45.0 - 1.0, (i / w) as f32 / 30.0 - 1.0, 0.25]).collect();
        // Linear values solve the equations where no neighbour is missing, so the hole keeps off the border.
        let removed: Vec<bool> = (0..h * w).map(|i| (1..h - 1).contains(&(i / w)) && (1..w - 1).contains(&(i % w))).collect();
        let mut got: Vec<f32> =
            ramp.chunks(3).zip(&removed).flat_map(|(p, &gone)| p.iter().map(move |&v| if gone { 9.0 } else { v })).collect();
        Imputer { noise: 0.0, stream: 0 }.fill((h, w), &removed, &mut got);
        let worst = got.iter().zip(&ramp).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{worst}");
    }

    #[test]
    fn noise_is_added_to_what_was_removed_and_nothing_is_made_of_nothing() {
        let (h, w) = (40, 50);
        let removed: Vec<bool> = (0..h * w).map(|i| i % w < 40).collect();
        let filled = |noise, stream| {
            let mut image = image(h, w);
            Imputer { noise, stream }.fill((h, w), &removed, &mut image);
            image
        };
        let (plain, noisy) = (filled(0.0, 1), filled(0.01, 1));
        let difference: Vec<f64> = noisy.iter().zip(&plain).map(|(a, b)| f64::from(a - b)).collect();
        let touched = difference.iter().filter(|d| **d != 0.0).count();
        assert!(touched <= 40 * 40 * 3 && touched > 40 * 40 * 3 - 50);
        assert!((0..h * w * 3).all(|i| removed[i / 3] || difference[i] == 0.0));
        let deviation = (difference.iter().map(|d| d * d).sum::<f64>() / (40.0 * 40.0 * 3.0)).sqrt();
        assert!((deviation - 0.01).abs() < 0.001, "{deviation}");
        assert_eq!(noisy, filled(0.01, 1));
        assert_ne!(noisy, filled(0.01, 2));
        let mut all = image(3, 4);
        Imputer { noise: 0.0, stream: 0 }.fill((3, 4), &[true; 12], &mut all);
        assert_eq!(all, [0.0; 36]);
    }
}
