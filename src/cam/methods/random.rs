//! Weights from a random number generator.

use super::super::splitmix::{GAMMA, mix};

/// Uniform in `-1..1`, the same in every run and for every image: splitmix64 (Steele et al., OOPSLA 2014) from 0 on.
pub(super) fn row(channels: usize) -> Vec<f64> {
    let number = |at: u64| (mix(at.wrapping_mul(GAMMA)) >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0;
    (1..=channels as u64).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn fills_the_range_evenly_and_always_alike() {
        let row = row(100_000);
        assert!(row.iter().all(|v| (-1.0..1.0).contains(v)));
        let share = |low: f64| row.iter().filter(|&&v| (low..low + 0.25).contains(&v)).count();
        // Of 100,000, an eighth falls into each part; five standard deviations are 523.
        assert!((0..8).all(|part| share(part as f64 * 0.25 - 1.0).abs_diff(12_500) < 523));
        // splitmix64 from 0 begins with e220a8397b1dcdaf.
        assert_eq!(row[0], (0xe220_a839_7b1d_cdaf_u64 >> 11) as f64 / (1u64 << 52) as f64 - 1.0);
    }
}
