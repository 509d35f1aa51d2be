//! What becomes of a score when the image is changed.

use std::borrow::Cow;

use crate::Error;
use crate::cam::{Score, Target};
use crate::engine::{Engine, Explanation};
use crate::input::CropTransform;

/// An image and a score of it, by default the probability of a class, under examination.
pub struct Probe<'a> {
    engine: &'a Engine,
    /// `[h, w, 3]`, normalised.
    image: Cow<'a, [f32]>,
    transform: &'a CropTransform,
    target: Target,
    intact: f64,
}

/// Changed copies of an image, made where the network reads them.
pub(super) trait Trial: Sync {
    /// How many.
    fn count(&self) -> usize;

    /// Makes copy `number` of `image`, `[h, w, 3]`; `out` holds what was there before.
    fn make(&self, number: usize, image: &[f32], out: &mut [f32]);
}

impl<'a> Probe<'a> {
    /// The image that `explanation` is of, and the probability of `class`.
    ///
    /// # Panics
    /// If the network has no such class.
    pub fn new(engine: &'a Engine, explanation: &'a Explanation, class: usize) -> Self {
        Self::of_target(engine, explanation, Target::of_class(class).with_score(Score::Probability))
    }

    /// As [`Probe::new`], for any score. The papers' measures are of probabilities.
    ///
    /// # Panics
    /// If the target names a class that the network does not have.
    pub fn of_target(engine: &'a Engine, explanation: &'a Explanation, target: Target) -> Self {
        let input = &explanation.input;
        let mut logits = vec![0.0; explanation.predictions.len()];
        explanation.predictions.iter().for_each(|prediction| logits[prediction.class] = prediction.logit);
        let intact = target.value(&logits);
        Self { engine, image: input.tensor(), transform: input.transform(), target, intact }
    }

    /// The score of the image as it is.
    pub fn intact(&self) -> f64 {
        self.intact
    }

    /// Rows and columns of the image.
    pub fn size(&self) -> (usize, usize) {
        (self.transform.crop.1 as usize, self.transform.crop.0 as usize)
    }

    /// The way from the original picture to the image.
    pub fn transform(&self) -> &CropTransform {
        self.transform
    }

    /// The image, `[h, w, 3]`, as the network reads it.
    pub fn image(&self) -> &[f32] {
        &self.image
    }

    /// The scores of all copies, trial by trial, in batches that go across trials; the engine holds one batch at a time.
    pub(super) fn scores(&self, trials: &[&dyn Trial]) -> Result<Vec<Vec<f64>>, Error> {
        let owners: Vec<(usize, usize)> = trials
            .iter()
            .enumerate()
            .flat_map(|(trial, changes)| (0..changes.count()).map(move |number| (trial, number)))
            .collect();
        let mut scores: Vec<Vec<f64>> = trials.iter().map(|trial| Vec::with_capacity(trial.count())).collect();
        let (h, w) = self.size();
        self.engine.score_made(
            [owners.len(), h, w],
            |at, out| {
                let (trial, number) = owners[at];
                trials[trial].make(number, &self.image, out);
            },
            |at, logits| scores[owners[at].0].push(self.target.value(logits)),
        )?;
        Ok(scores)
    }
}
