//! Finer-CAM: a class against those most like it.

use super::super::target::Derivative;
use super::super::{Evidence, Library, Target};

/// Classes to compare with; all others where there are fewer.
const REFERENCES: usize = 3;
/// How much of their mean score is taken off, in the paper and in torchcam.
const STRENGTH: f64 = 0.6;

/// The gradient of the target's class less the references'.
pub(super) fn row(evidence: &Evidence<'_>, target: &Target, library: Option<Library>) -> Vec<f64> {
    let class = target.terms()[0].class;
    let references = nearest(evidence.logits(), class);
    let derivative = match library {
        None | Some(Library::TorchCam) => {
            let share = -STRENGTH / references.len().max(1) as f64;
            let terms = references.into_iter().map(|reference| (reference, share));
            Derivative { terms: std::iter::once((class, 1.0)).chain(terms).collect(), ..Derivative::default() }
        }
        Some(Library::GradCam) => weighted(evidence, class, &references),
    };
    let cells = evidence.cells();
    evidence.row_of(&derivative).into_iter().map(|r| r / cells).collect()
}

/// The classes whose logits are nearest to that of `class`, equal ones by index.
fn nearest(logits: &[f32], class: usize) -> Vec<usize> {
    let distance = |other: usize| (f64::from(logits[other]) - f64::from(logits[class])).abs();
    let mut others: Vec<usize> = (0..logits.len()).filter(|&other| other != class).collect();
    others.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
    others.truncate(REFERENCES);
    others
}

/// pytorch-grad-cam's target: with `d[t] = y[c] - y[t]`, the mean of `d` weighted by the references' probabilities,
/// `T = sum p d / (sum p + 1e-9)`. Its gradient goes through the probabilities as well, whose own is `p[t] (e[t] - p)`.
fn weighted(evidence: &Evidence<'_>, class: usize, references: &[usize]) -> Derivative {
    let softmax = evidence.softmax();
    let (p, y) = (|t: usize| softmax.probability(t), |t: usize| f64::from(evidence.logits()[t]));
    let total: f64 = references.iter().map(|&t| p(t)).sum();
    let divisor = total + 1e-9;
    let value = references.iter().map(|&t| p(t) * (y(class) - y(t))).sum::<f64>() / divisor;
    let through = |t: usize| p(t) * (y(class) - y(t) - value) / divisor;
    let mut terms = vec![(class, total / divisor)];
    terms.extend(references.iter().map(|&t| (t, through(t) - p(t) / divisor)));
    Derivative { terms, softmax: -references.iter().map(|&t| through(t)).sum::<f64>(), slope: 0.0 }
}
