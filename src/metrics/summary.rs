//! What many maps are worth together.

use super::{BoxAccuracy, Measured, Metric, Options};

/// Means over maps, as the papers give them.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Sum and number, in the order of [`Metric::ALL`].
    sums: Vec<(f64, u64)>,
    boxes: BoxAccuracy,
}

impl Summary {
    /// Adds a map.
    pub fn add(&mut self, measured: &Measured, options: &Options) {
        self.sums.resize(Metric::ALL.len(), (0.0, 0));
        for (sum, &metric) in self.sums.iter_mut().zip(Metric::ALL) {
            if let Some(value) = measured.value(metric) {
                *sum = (sum.0 + value, sum.1 + 1);
            }
        }
        if let Some(ious) = &measured.box_ious {
            self.boxes.add(ious, options.overlap);
        }
    }

    /// The mean of a measure over the maps that have it, and their number; `None` if none has. Shares are 0 to 1.
    pub fn value(&self, metric: Metric) -> Option<(f64, u64)> {
        if metric == Metric::MaxBoxAcc {
            return self.boxes.best().map(|(_, share)| (share, self.boxes.objects()));
        }
        let place = Metric::ALL.iter().position(|&other| other == metric)?;
        let &(sum, count) = self.sums.get(place)?;
        (count > 0).then(|| (sum / count as f64, count))
    }

    /// The threshold of MaxBoxAcc: that at which most boxes fit.
    pub fn box_threshold(&self) -> Option<f64> {
        self.boxes.best().map(|(threshold, _)| threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Confidence;

    #[test]
    fn means_are_over_the_maps_that_have_the_measure() {
        let options = Options::default();
        let mut summary = Summary::default();
        assert_eq!(summary.value(Metric::AverageDrop), None);
        for (intact, masked, pointing) in [(1.0, 0.5, Some(true)), (0.5, 0.6, None), (0.8, 0.8, Some(false))] {
            let box_ious = pointing.map(|hit| vec![0.1, if hit { 0.7 } else { 0.2 }]);
            let confidence = Some(Confidence { intact, masked });
            summary.add(&Measured { confidence, pointing, box_ious, ..Measured::default() }, &options);
        }
        assert_eq!(summary.value(Metric::AverageDrop), Some((0.5 / 3.0, 3)));
        assert_eq!(summary.value(Metric::Increase), Some((1.0 / 3.0, 3)));
        assert_eq!(summary.value(Metric::Pointing), Some((0.5, 2)));
        assert_eq!(summary.value(Metric::MaxBoxAcc), Some((0.5, 2)));
        assert_eq!(summary.box_threshold(), Some(0.5));
        assert_eq!(summary.value(Metric::Road), None);
    }
}
