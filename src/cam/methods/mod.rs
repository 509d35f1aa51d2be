//! The formulas, a file for each that takes more than a line. [`Method`] states them with their sources.

mod ablation;
mod eigen;
mod fem;
mod finer;
mod gradient;
mod random;

use super::{Evidence, Library, Method, MethodError, Target};
pub(in crate::cam) use eigen::first_component;

/// A map before the features are looked at.
pub(super) enum Form {
    /// Weights of the channels, `[C]`: the map is the features' weighted sum.
    Row(Vec<f32>),
    /// The map itself, `[h, w]`.
    Cells(Vec<f32>),
}

/// What `method` makes of `evidence` for `target`, by `library`'s formulas where they differ from the paper's.
///
/// # Errors
/// [`MethodError::Masks`] and [`MethodError::NoSuchClass`].
pub(super) fn form(
    evidence: &Evidence<'_>,
    method: Method,
    target: &Target,
    library: Option<Library>,
) -> Result<Form, MethodError> {
    target.terms().iter().try_for_each(|term| evidence.head().has(term.class))?;
    let row = match method {
        Method::Cam => gradient::by_means(evidence, target),
        // The gradient's mean; its product with the features position by position; and its mean weighted by the features: all the
        // same where the gradient is constant.
        Method::GradCam | Method::HiResCam => gradient::gradient(evidence, target),
        Method::XGradCam => gradient::weighted_mean(evidence, target, library),
        Method::GradCamPlusPlus => gradient::plus_plus(evidence, target, library),
        // Where features are never negative, the positive part of a product is the product with the positive part.
        Method::LayerCam | Method::GradCamElementWise => gradient::positive(evidence, target),
        Method::ShapleyCam => gradient::shapley(evidence, target),
        Method::AblationCam => ablation::row(evidence, target),
        Method::FinerCam => finer::row(evidence, target, library),
        Method::Fem => fem::row(evidence),
        Method::RandomCam => random::row(evidence.head().channels()),
        Method::ScoreCam | Method::SsCam | Method::IsCam => {
            return Err(MethodError::Masks { method });
        }
        Method::EigenCam => {
            let ones = vec![1.0; evidence.head().channels()];
            return Ok(Form::Cells(first_component(evidence, &ones, &gradient::by_means(evidence, target))));
        }
        Method::EigenGradCam => {
            let gradient = gradient::gradient(evidence, target);
            return Ok(Form::Cells(first_component(evidence, &gradient, &gradient)));
        }
    };
    Ok(Form::Row(row.into_iter().map(|weight| weight as f32).collect()))
}
