//! What the engine found in one picture.

use image::RgbImage;
use serde::Serialize;

use crate::cam::{Enlarged, Map, Method, Target, ranking};
use crate::input::Input;
use crate::labels::Labels;

/// One class and how sure the network is of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// Row of the classifier.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// Score before the softmax.
    pub logit: f32,
    /// Softmax over all classes.
    pub probability: f32,
}

/// The map of one class, or of classes weighed against each other.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassMap {
    /// The class; of several, the one named first.
    pub prediction: Prediction,
    /// What is explained.
    pub target: Target,
    /// The target in words: the class's name, or names with signs.
    pub label: String,
    /// The target's value: the logit, unless something else was asked for.
    pub value: f64,
    /// How it is explained.
    pub method: Method,
    /// The map, raw and signed, `[h, w]` of `layer4` (7 x 7 for a 224 x 224 crop).
    pub map: Map,
    /// The maps that it is the mean of, where [`crate::cam::Smoothing::augment`] asks for several; else nothing.
    pub parts: Vec<Map>,
    /// The map at the size of the crop, if the request asked for it.
    pub enlarged: Option<Enlarged>,
    /// The map drawn over the crop, if the request asked for it.
    pub overlay: Option<RgbImage>,
}

/// One picture, explained.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What the network saw, and where that lies in the picture.
    pub input: Input,
    /// Every class, most probable first; equal ones by index.
    pub predictions: Vec<Prediction>,
    /// One map for each target and method, in the order of the request: all methods of the first target first.
    pub maps: Vec<ClassMap>,
    /// Images that the network saw for it: 1, and variants and masked images where methods ask for them.
    pub forwards: usize,
}

/// All classes by falling logit. The softmax is computed in f64 from the largest logit down, so it cannot overflow.
pub(super) fn rank(logits: &[f32], labels: &Labels) -> Vec<Prediction> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp = |logit: f32| (f64::from(logit) - f64::from(largest)).exp();
    let total: f64 = logits.iter().map(|&logit| exp(logit)).sum();
    let prediction = |class: usize| Prediction {
        class,
        label: labels.get(class).unwrap_or_default().to_owned(),
        logit: logits[class],
        probability: (exp(logits[class]) / total) as f32,
    };
    ranking(logits).into_iter().map(prediction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_normalises() {
        let ranked = rank(&[1.0, 3.0, 1.0, 1000.0], &Labels::numbered(4));
        assert_eq!(ranked.iter().map(|p| p.class).collect::<Vec<_>>(), [3, 1, 0, 2]);
        assert_eq!(ranked[0].probability, 1.0);
        let ranked = rank(&[0.0, 2f32.ln()], &Labels::numbered(2));
        assert!((ranked[0].probability - 2.0 / 3.0).abs() < 1e-6, "{ranked:?}");
        assert_eq!(ranked[0].label, "class 1");
    }
}
