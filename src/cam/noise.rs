//! Normal noise for masks.

use std::sync::LazyLock;

use super::splitmix::{GAMMA, mix};

/// Levels that noise has, all equally probable. They end at 3.7 standard deviations.
pub(crate) const LEVELS: usize = 4096;

/// The standard normal distribution's quantiles at `(i + 0.5) / LEVELS`.
static QUANTILES: LazyLock<Vec<f32>> =
    LazyLock::new(|| (0..LEVELS).map(|level| quantile((level as f64 + 0.5) / LEVELS as f64) as f32).collect());

/// The levels that the noise of masks takes, all equally often: the quantiles of the standard normal distribution at
/// `(i + 0.5) / 4096`.
pub fn quantiles() -> &'static [f32] {
    &QUANTILES
}

/// A stream of noise for each pair of numbers under each seed.
pub(crate) fn stream(seed: u64, major: u64, minor: u64) -> u64 {
    mix(mix(mix(seed.wrapping_add(GAMMA)).wrapping_add(major)).wrapping_add(minor))
}

/// Adds noise to `values`, which are those from position `first` on: four positions share one number of the stream.
pub(crate) fn add(stream: u64, deviation: f32, first: usize, values: &mut [f32]) {
    let table: &[f32; LEVELS] = match quantiles().try_into() {
        Ok(table) => table,
        Err(_) => return, // it has that length
    };
    for (at, value) in (first..).zip(values) {
        let word = mix(stream.wrapping_add(((at / 4) as u64 + 1).wrapping_mul(GAMMA)));
        let level = (word >> (16 * (at % 4) + 4)) as usize % LEVELS;
        *value += deviation * table[level];
    }
}

/// Where the standard normal distribution function is `p`, by bisection: what it takes is spent once.
fn quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-10.0, 10.0);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if below(middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The standard normal distribution function, by its series (Marsaglia, J. Stat. Soft. 2004): exact to 1e-15 or so.
fn below(x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (x, x, 1.0);
    for _ in 0..200 {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_quantiles() {
        // Published: the quantiles of 0.975, 0.9 and 0.999.
        for (p, want) in [(0.975, 1.959_963_984_540_054), (0.9, 1.281_551_565_544_600_4), (0.999, 3.090_232_306_167_813_5)] {
            assert!((quantile(p) - want).abs() < 1e-12 && (quantile(1.0 - p) + want).abs() < 1e-12, "{p}: {}", quantile(p));
        }
        assert!(quantiles().is_sorted() && quantiles()[LEVELS - 1] > 3.6);
    }

    #[test]
    fn noise_is_normal_and_depends_on_the_position_alone() {
        let mut values = vec![0.0; 100_000];
        add(stream(1, 2, 3), 2.0, 0, &mut values);
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64;
        // Five standard errors.
        assert!(mean.abs() < 5.0 * 2.0 / 316.0 && (variance - 4.0).abs() < 5.0 * 4.0 * 1.42 / 316.0, "{mean} {variance}");
        let mut part = vec![1.0; 7];
        add(stream(1, 2, 3), 2.0, 13, &mut part);
        assert!(part.iter().zip(&values[13..]).all(|(part, whole)| *part == 1.0 + whole));
        let neighbours = values.windows(2).map(|pair| f64::from(pair[0]) * f64::from(pair[1])).sum::<f64>() / 1e5;
        assert!(neighbours.abs() < 5.0 * 4.0 / 316.0, "{neighbours}");
        assert_ne!(stream(1, 2, 3), stream(1, 3, 2));
        assert_ne!(stream(1, 2, 3), stream(2, 2, 3));
    }
}
