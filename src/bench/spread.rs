//! Timings in three numbers.

use serde::Serialize;

/// Median and tenth and ninetieth percentile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the values are at most this.
    pub median: f64,
    /// A tenth of the values are at most this.
    pub p10: f64,
    /// Nine tenths of the values are at most this.
    pub p90: f64,
}

impl Spread {
    /// The spread of `values`, in their unit; `None` without any. Between two values the percentile is interpolated, as numpy
    /// does by default.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |fraction: f64| {
            let place = fraction * last as f64;
            let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            low + (high - low) * place.fract()
        };
        Some(Self { median: at(0.5), p10: at(0.1), p90: at(0.9) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_numpy() {
        // numpy.percentile([5, 1, 4, 2, 10], [50, 10, 90])
        let spread = Spread::of(&[5.0, 1.0, 4.0, 2.0, 10.0]).unwrap();
        assert_eq!((spread.median, spread.p10), (4.0, 1.4));
        assert!((spread.p90 - 8.0).abs() < 1e-12);
        assert_eq!(Spread::of(&[3.0]), Some(Spread { median: 3.0, p10: 3.0, p90: 3.0 }));
        assert_eq!(Spread::of(&[]), None);
    }
}
