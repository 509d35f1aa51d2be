//! Insertion and deletion.

use super::order::Order;
use super::probe::Trial;
use crate::cam::choice::impl_choice;

/// What stands in for pixels that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Baseline {
    /// 0 in the network's input: the mean colour.
    Zero,
    /// The image blurred, so that no new edges come up.
    Blur,
}

impl_choice!(Baseline, "baseline");

impl Baseline {
    /// Every choice, in the order shown to users.
    pub const ALL: &'static [Self] = &[Self::Zero, Self::Blur];

    /// The spelling on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Blur => "blur",
        }
    }

    /// The baseline of `image` `[h, w, 3]`.
    pub(super) fn of(self, image: &[f32], (h, w): (usize, usize)) -> Vec<f32> {
        match self {
            Self::Zero => vec![0.0; image.len()],
            Self::Blur => super::blur::blur(image, h, w),
        }
    }
}

/// A curve of scores over the share of pixels that were deleted or inserted, from the most relevant on (Petsiuk et al., BMVC 2018,
/// section 4.2 and algorithm 1).
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Shares of pixels, from 0 to 1.
    pub shares: Vec<f64>,
    /// Scores there.
    pub scores: Vec<f64>,
}

impl Curve {
    /// The area under it, by trapezoids.
    pub fn area(&self) -> f64 {
        let (shares, scores) = (self.shares.windows(2), self.scores.windows(2));
        shares.zip(scores).map(|(share, score)| (share[1] - share[0]) * 0.5 * (score[0] + score[1])).sum()
    }
}

/// Which way pixels go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the baseline to the image.
    Insertion,
    /// From the image to the baseline.
    Deletion,
}

/// The images of a curve between its ends, which are the intact one and the baseline.
pub(super) struct Steps<'a> {
    pub way: Way,
    pub order: &'a Order,
    /// `[h, w, 3]`.
    pub baseline: &'a [f32],
    /// Steps at most.
    pub steps: usize,
}

impl Steps<'_> {
    /// Pixels that have changed places after each step, from 0 to all: equal steps but for the last, which may be smaller.
    fn counts(&self) -> Vec<usize> {
        let pixels = self.order.len();
        let step = pixels.div_ceil(self.steps.max(1)).max(1);
        (0..pixels).step_by(step).chain([pixels]).collect()
    }

    /// The curve, with the scores of the intact image and of the baseline at its ends.
    pub fn curve(&self, intact: f64, blank: f64, scores: &[f64]) -> Curve {
        let pixels = self.order.len() as f64;
        let shares = self.counts().into_iter().map(|count| count as f64 / pixels).collect();
        let scores = match self.way {
            Way::Insertion => [&[blank], scores, &[intact]].concat(),
            Way::Deletion => [&[intact], scores, &[blank]].concat(),
        };
        Curve { shares, scores }
    }
}

impl Trial for Steps<'_> {
    fn count(&self) -> usize {
        self.counts().len().saturating_sub(2)
    }

    fn make(&self, number: usize, image: &[f32], out: &mut [f32]) {
        let moved = self.counts()[number + 1];
        let (from, to) = match self.way {
            Way::Insertion => (self.baseline, image),
            Way::Deletion => (image, self.baseline),
        };
        let pixels = out.as_chunks_mut::<3>().0.iter_mut().zip(from.as_chunks::<3>().0.iter().zip(to.as_chunks::<3>().0));
        for ((out, (from, to)), &rank) in pixels.zip(self.order.ranks()) {
            *out = if (rank as usize) < moved { *to } else { *from };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cam::Map;

    #[test]
    fn areas_by_hand() {
        let curve = Curve { shares: vec![0.0, 0.4, 0.8, 1.0], scores: vec![1.0, 0.5, 0.0, 0.0] };
        assert!((curve.area() - (0.4 * 0.75 + 0.4 * 0.25)).abs() < 1e-12);
    }

    #[test]
    fn pixels_change_places_in_the_map_s_order() {
        let order = Order::new(&Map::new(1, 5, vec![3.0, 5.0, 1.0, 4.0, 2.0])).unwrap();
        let image: Vec<f32> = (1..=5).flat_map(|v| [v as f32; 3]).collect();
        let baseline = [0.0; 15];
        for (way, want) in
            [(Way::Deletion, [[1, 0, 3, 0, 5], [0, 0, 3, 0, 0]]), (Way::Insertion, [[0, 2, 0, 4, 0], [1, 2, 0, 4, 5]])]
        {
            let steps = Steps { way, order: &order, baseline: &baseline, steps: 3 };
            assert_eq!(steps.count(), 2);
            for (number, want) in want.iter().enumerate() {
                let mut out = vec![9.0; 15];
                steps.make(number, &image, &mut out);
                assert_eq!(out, want.iter().flat_map(|&v| [v as f32; 3]).collect::<Vec<_>>(), "{way:?} {number}");
            }
            let curve = steps.curve(0.5, 0.3, &[0.1, 0.2]);
            assert_eq!(curve.shares, [0.0, 0.4, 0.8, 1.0]);
            let want = if way == Way::Deletion { [0.5, 0.1, 0.2, 0.3] } else { [0.3, 0.1, 0.2, 0.5] };
            assert_eq!(curve.scores, want);
        }
        // More steps than pixels: one pixel a step. One step: the ends alone.
        let steps = |steps| Steps { way: Way::Deletion, order: &order, baseline: &baseline, steps };
        assert_eq!((steps(99).count(), steps(1).count()), (4, 0));
    }
}
