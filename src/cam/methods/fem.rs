//! FEM: how often a channel stands out from itself.

use super::super::Evidence;

/// Standard deviations above the mean from which on a position counts.
const DEVIATIONS: f64 = 2.0;

/// The share of positions above the channel's mean + 2 standard deviations.
pub(super) fn row(evidence: &Evidence<'_>) -> Vec<f64> {
    let (means, cells) = (evidence.means(), evidence.cells());
    let channels = means.len().max(1);
    let mut squares = vec![0.0; means.len()];
    for cell in evidence.features().chunks_exact(channels) {
        for ((square, mean), &value) in squares.iter_mut().zip(means).zip(cell) {
            *square += (f64::from(value) - mean).powi(2);
        }
    }
    let bounds = means.iter().zip(squares).map(|(mean, square)| mean + DEVIATIONS * (square / cells).sqrt());
    let bounds: Vec<f64> = bounds.collect();
    let mut counts = vec![0.0; means.len()];
    for cell in evidence.features().chunks_exact(channels) {
        for ((count, bound), &value) in counts.iter_mut().zip(&bounds).zip(cell) {
            *count += f64::from(u8::from(f64::from(value) > *bound));
        }
    }
    counts.into_iter().map(|count| count / cells).collect()
}
