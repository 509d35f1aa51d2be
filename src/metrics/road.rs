//! ROAD: remove and debias.

use super::impute::Imputer;
use super::order::Order;
use super::probe::Trial;
use crate::cam::noise;

/// Scores of images from which pixels were removed and imputed (Rong et al., ICML 2022), one for each share.
#[derive(Clone, Debug, PartialEq)]
pub struct Road {
    /// The most relevant pixels removed.
    pub most: Vec<f64>,
    /// The least relevant ones removed.
    pub least: Vec<f64>,
}

impl Road {
    /// Half of the difference between both means, as pytorch-grad-cam combines them: above 0 where it matters more to lose what the
    /// map calls relevant. Higher is better, -0.5 to 0.5 for probabilities.
    pub fn combined(&self) -> f64 {
        let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        0.5 * (mean(&self.least) - mean(&self.most))
    }
}

/// Images with the most relevant share of pixels imputed, then those with the least relevant one, share by share.
pub(super) struct Removals<'a> {
    pub order: &'a Order,
    pub size: (usize, usize),
    /// In percent, each above 0 and below 100.
    pub percents: &'a [f64],
    pub noise: f32,
    pub seed: u64,
}

impl Removals<'_> {
    /// Pixels that are left when `percent` of them are removed: those below numpy's percentile `100 - percent`, where all values
    /// differ. At least one, so that there is something to impute from.
    fn kept(&self, percent: f64) -> usize {
        let last = self.order.len().saturating_sub(1);
        ((last as f64 * (100.0 - percent) / 100.0).ceil() as usize).clamp(1, last.max(1))
    }

    /// The scores in the order of [`Trial::make`].
    pub fn road(&self, scores: &[f64]) -> Road {
        let (most, least) = scores.split_at(self.percents.len());
        Road { most: most.to_vec(), least: least.to_vec() }
    }
}

impl Trial for Removals<'_> {
    fn count(&self) -> usize {
        2 * self.percents.len()
    }

    fn make(&self, number: usize, image: &[f32], out: &mut [f32]) {
        let most = number < self.percents.len();
        let kept = self.kept(self.percents[number % self.percents.len()]);
        let gone = self.order.len().saturating_sub(kept);
        let removed: Vec<bool> =
            self.order.ranks().iter().map(|&rank| if most { (rank as usize) < gone } else { rank as usize >= kept }).collect();
        out.copy_from_slice(image);
        Imputer { noise: self.noise, stream: noise::stream(self.seed, 0, number as u64) }.fill(self.size, &removed, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cam::Map;

    #[test]
    fn as_many_are_removed_as_lie_above_a_percentile() {
        let values: Vec<f32> = (0..100).map(|i| ((i * 37) % 101) as f32).collect();
        let map = Map::new(10, 10, values.clone());
        let order = Order::new(&map).unwrap();
        let percents = [1.0, 10.0, 33.0, 50.0, 90.0, 99.9];
        let removals = Removals { order: &order, size: (10, 10), percents: &percents, noise: 0.0, seed: 1 };
        let mut sorted = values.clone();
        sorted.sort_by(f32::total_cmp);
        for (at, percent) in percents.iter().enumerate() {
            // numpy.percentile's default: between the two nearest values.
            let place = 99.0 * (100.0 - percent) / 100.0;
            let (low, share) = (place.floor() as usize, place.fract());
            let limit = f64::from(sorted[low]) * (1.0 - share) + f64::from(sorted[(low + 1).min(99)]) * share;
            let gone: Vec<bool> = values.iter().map(|&v| f64::from(v) >= limit).collect();
            // What is removed changes: no two pixels are alike, and none is the mean of its neighbours.
            let image: Vec<f32> = (0..300).map(|i| ((i * 7919 + i * i * 31) % 1009) as f32).collect();
            let mut out = vec![0.0; 300];
            removals.make(at, &image, &mut out);
            let kept = |i: usize| out[3 * i..3 * i + 3] == image[3 * i..3 * i + 3];
            assert_eq!((0..100).filter(|&i| !kept(i)).count(), gone.iter().filter(|gone| **gone).count(), "{percent} %");
            assert!((0..100).all(|i| kept(i) != gone[i]), "{percent} %");
            removals.make(percents.len() + at, &image, &mut out);
            let kept = |i: usize| out[3 * i..3 * i + 3] == image[3 * i..3 * i + 3];
            assert_eq!((0..100).filter(|&i| !kept(i)).count(), gone.iter().filter(|gone| **gone).count(), "{percent} %, least");
            assert!(kept(values.iter().position(|v| *v == sorted[99]).unwrap()), "the most relevant stays");
        }
        assert_eq!(Road { most: vec![0.1, 0.3], least: vec![0.9, 0.7] }.combined(), 0.5 * (0.8 - 0.2));
    }
}
