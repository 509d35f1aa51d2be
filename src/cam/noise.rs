//! Normal noise for masks.

use std::sync::LazyLock;

use super::splitmix::{GAMMA, mix};

/// Levels that noise has, all equally probable. They end at 3.7 standard deviations.
const LEVELS: usize = 4096;

/// Segments of the levels' formula, and the coefficients of each.
pub(crate) const SEGMENTS: [usize; 2] = [32, 4];

/// The levels: in their order, of which the second half is the first with the other sign.
static TABLE: LazyLock<[f32; LEVELS]> = LazyLock::new(|| std::array::from_fn(level));

/// The levels that the noise of masks takes, all equally often: within 3e-5 the quantiles of the standard normal distribution at
/// `(i + 0.5) / 4096`. `[32, 4]`, the coefficients of the polynomials that they are.
///
/// Level `i` of the lower half has `u = 2 i + 1` of 8192 parts of the distribution below it and is `-(c0 + u (c1 + u (c2 + u c3)))`, each
/// operation rounded to f32; level `4095 - i` is the same without the sign. The row of coefficients is that whose number is `u`'s
/// exponent and the uppermost bit of its mantissa, modulo 32.
pub fn segments() -> &'static [f32] {
    COEFFICIENTS.as_flattened()
}

/// Level `i` of [`LEVELS`].
fn level(i: usize) -> f32 {
    let is_upper = i >= LEVELS / 2;
    let share = (2 * (if is_upper { LEVELS - 1 - i } else { i }) + 1) as f32;
    let [c0, c1, c2, c3] = COEFFICIENTS[(share.to_bits() >> 22) as usize % COEFFICIENTS.len()];
    let magnitude = c0 + share * (c1 + share * (c2 + share * c3));
    if is_upper { magnitude } else { -magnitude }
}

/// Of each segment the polynomial whose largest error at the segment's levels is least (by Lawson's iteration); through all of them where
/// they are no more than four. A row of zeros has no level.
const COEFFICIENTS: [[f32; SEGMENTS[1]]; SEGMENTS[0]] = [
    [0.0, 0.0, 0.0, 0.0],
    [3.377_146, 0.0, 0.0, 0.0],
    [3.233_998, 0.0, 0.0, 0.0],
    [3.136_635_5, 0.0, 0.0, 0.0],
    [3.334_773_5, -0.030_287_47, 0.0, 0.0],
    [3.239_573, -0.022_245_571, 0.0, 0.0],
    [3.377_730_4, -0.044_965_617, 0.001_077_030_1, -1.182_113_4e-5],
    [3.283_319_5, -0.032_899_58, 5.597_256e-4, -4.383_398_4e-6],
    [3.185_648_7, -0.023_980_746, 2.865_073_6e-4, -1.575_314_1e-6],
    [3.085_563, -0.017_563_883, 1.485_917_5e-4, -5.819_551e-7],
    [2.982_547_3, -0.012_847_445, 7.61952e-5, -2.093_358_4e-7],
    [2.876_393_8, -0.009_440_495, 3.955_820_6e-5, -7.737_363_5e-8],
    [2.767_162_3, -0.006_937_414, 2.033_474_6e-5, -2.788_875_6e-8],
    [2.654_187, -0.005_123_984, 1.058_453_6e-5, -1.033_479_7e-8],
    [2.537_807, -0.003_789_966_2, 5.460_891_3e-6, -3.740_208_6e-9],
    [2.416_866_5, -0.002_819_116_7, 2.850_748_2e-6, -1.390_801_5e-9],
    [2.291_928_3, -0.002_102_901_2, 1.475_186_5e-6, -5.055_593e-10],
    [2.161_549_3, -0.001_579_564_6, 7.717_014e-7, -1.889_829_3e-10],
    [2.026_448_7, -0.001_192_303_1, 3.998_112_8e-7, -6.932_334_6e-11],
    [1.885_211_7, -9.088_147e-4, 2.092_629_8e-7, -2.644_812_5e-11],
    [1.740_810_4, -7.016_464e-4, 1.096_953_8e-7, -1.041_532_7e-11],
    [1.608_977_6, -5.680_867_5e-4, 6.440_714e-8, -5.277_552_7e-12],
    [0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0],
    [3.668_329_2, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0],
];

/// A stream of noise for each pair of numbers under each seed.
pub(crate) fn stream(seed: u64, major: u64, minor: u64) -> u64 {
    mix(mix(mix(seed.wrapping_add(GAMMA)).wrapping_add(major)).wrapping_add(minor))
}

/// Adds noise to `values`, which are those from position `first` on: four positions share one number of the stream.
pub(crate) fn add(stream: u64, deviation: f32, first: usize, values: &mut [f32]) {
    let table: &[f32; LEVELS] = &TABLE;
    for (at, value) in (first..).zip(values) {
        let word = mix(stream.wrapping_add(((at / 4) as u64 + 1).wrapping_mul(GAMMA)));
        let level = (word >> (16 * (at % 4) + 4)) as usize % LEVELS;
        *value += deviation * table[level];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the standard normal distribution function is `p`, by bisection.
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

    #[test]
    fn levels_are_quantiles() {
        // Published: the quantiles of 0.975, 0.9 and 0.999.
        for (p, want) in [(0.975, 1.959_963_984_540_054), (0.9, 1.281_551_565_544_600_4), (0.999, 3.090_232_306_167_813_5)] {
            assert!((quantile(p) - want).abs() < 1e-12 && (quantile(1.0 - p) + want).abs() < 1e-12, "{p}: {}", quantile(p));
        }
        for (i, &level) in TABLE.iter().enumerate() {
            let want = quantile((i as f64 + 0.5) / LEVELS as f64);
            assert!((f64::from(level) - want).abs() < 3e-5, "level {i}: {level}, expected {want}");
        }
        assert!(TABLE.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn levels_have_the_moments_of_a_normal_distribution() {
        assert!(TABLE.iter().zip(TABLE.iter().rev()).all(|(a, b)| *a == -b), "all odd moments are 0");
        let moment = |power| TABLE.iter().map(|&v| f64::from(v).powi(power)).sum::<f64>() / LEVELS as f64;
        // Cut off at 3.7 standard deviations, they are a little less than 1, 3 and 15.
        let found = [2, 4, 6].map(moment);
        for (found, want) in found.into_iter().zip([1.0, 3.0, 15.0]) {
            assert!(found < want && found > 0.95 * want, "{found}, expected {want}");
        }
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
