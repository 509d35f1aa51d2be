//! Rows made of the target's gradient, which is the same at every position: `g = r / (h w)`.

use super::super::{Evidence, Library, Target};

/// `r`: the target's derivative by the channels' means.
pub(super) fn by_means(evidence: &Evidence<'_>, target: &Target) -> Vec<f64> {
    evidence.row_of(&target.gradient(evidence.softmax()))
}

/// `g`.
pub(super) fn gradient(evidence: &Evidence<'_>, target: &Target) -> Vec<f64> {
    let cells = evidence.cells();
    by_means(evidence, target).into_iter().map(|r| r / cells).collect()
}

/// `[g]`.
pub(super) fn positive(evidence: &Evidence<'_>, target: &Target) -> Vec<f64> {
    gradient(evidence, target).into_iter().map(|g| g.max(0.0)).collect()
}

/// XGrad-CAM: the gradient's mean weighted by the features, `g S / S`. Both libraries add something to the divisor against 0/0,
/// which takes a little from channels that are nearly off; those that are off altogether have nothing to weigh.
pub(super) fn weighted_mean(evidence: &Evidence<'_>, target: &Target, library: Option<Library>) -> Vec<f64> {
    let (row, cells) = (gradient(evidence, target), evidence.cells());
    let Some(library) = library else { return row };
    let guard = library.xgrad_guard();
    row.into_iter().zip(evidence.means()).map(|(g, mean)| g * (mean * cells) / (mean * cells + guard)).collect()
}

/// Grad-CAM++, eq. 19 with the gradient's powers for the higher derivatives: at each position `g^2 / (2 g^2 + S g^3)`, times
/// `[g]`, summed over positions.
pub(super) fn plus_plus(evidence: &Evidence<'_>, target: &Target, library: Option<Library>) -> Vec<f64> {
    let cells = evidence.cells();
    let weight = |(r, &mean): (f64, &f64)| {
        let g = r / cells;
        match library {
            // The powers cancel: h w [g] / (2 + S g).
            None if r > 0.0 => r / (2.0 + mean * r),
            None => 0.0,
            Some(Library::GradCam) if g > 0.0 => cells * g * g.powi(2) / (2.0 * g.powi(2) + mean * cells * g.powi(3) + 1e-6),
            Some(Library::GradCam) => 0.0,
            // The library divides a copy, so that the quotient's numerator is all that is left.
            Some(Library::TorchCam) => cells * g.max(0.0).powi(3),
        }
    };
    by_means(evidence, target).into_iter().zip(evidence.means()).map(weight).collect()
}

/// ShapleyCAM: `g - H A / 2`. Scaling the features up moves the logits along `y - bias`, and the gradient by the target's second
/// derivative in that direction.
pub(super) fn shapley(evidence: &Evidence<'_>, target: &Target) -> Vec<f64> {
    let curvature = evidence.row_of(&target.curvature(evidence.softmax()));
    let cells = evidence.cells();
    by_means(evidence, target).into_iter().zip(curvature).map(|(r, bend)| (r - 0.5 * bend) / cells).collect()
}
