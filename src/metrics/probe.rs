//! What becomes of a score when the image is changed.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::MetricsError;
use crate::Error;
use crate::cam::{MethodError, Score, Target};
use crate::engine::{Engine, Explanation};
use crate::input::CropTransform;

/// An image and a score of it, by default the probability of a class, under examination.
pub struct Probe<'a> {
    engine: &'a Engine,
    /// `[h, w, 3]`, normalised.
    image: Cow<'a, [f32]>,
    transform: &'a CropTransform,
    target: Target,
    logits: Vec<f32>,
    stop: Option<&'a (dyn Fn() -> bool + Sync)>,
}

/// Changed copies of an image, made where the network reads them.
pub(super) trait Trial: Sync {
    /// How many.
    fn count(&self) -> usize;

    /// Makes copy `number` of `image`, `[h, w, 3]`; `out` holds what was there before.
    fn make(&self, number: usize, image: &[f32], out: &mut [f32]);
}

/// Copies, and the scores that are asked of each.
pub(super) struct Asked<'a> {
    pub trial: &'a dyn Trial,
    pub scores: &'a [&'a Target],
}

impl<'a> Probe<'a> {
    /// The image that `explanation` is of, and the probability of `class`.
    pub fn new(engine: &'a Engine, explanation: &'a Explanation, class: usize) -> Self {
        Self::of_target(engine, explanation, Target::of_class(class).with_score(Score::Probability))
    }

    /// As [`Probe::new`], for any score. The papers' measures are of probabilities.
    pub fn of_target(engine: &'a Engine, explanation: &'a Explanation, target: Target) -> Self {
        let input = &explanation.input;
        let mut logits = vec![0.0; explanation.predictions.len()];
        explanation.predictions.iter().for_each(|prediction| logits[prediction.class] = prediction.logit);
        Self { engine, image: input.tensor(), transform: input.transform(), target, logits, stop: None }
    }

    /// Asks `stop` now and then whether to stop: a measurement then ends with [`MetricsError::Stopped`].
    pub fn stop_when(mut self, stop: &'a (dyn Fn() -> bool + Sync)) -> Self {
        self.stop = Some(stop);
        self
    }

    /// The score.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The score of the image as it is.
    ///
    /// # Panics
    /// If it names a class that the network does not have.
    pub fn intact(&self) -> f64 {
        self.intact_of(&self.target)
    }

    /// Another score of the image as it is.
    ///
    /// # Panics
    /// As [`Probe::intact`].
    pub fn intact_of(&self, target: &Target) -> f64 {
        target.value(&self.logits)
    }

    /// # Errors
    /// [`MethodError::NoSuchClass`] if the network does not have a class of `target`.
    pub(super) fn has(&self, target: &Target) -> Result<(), MethodError> {
        let classes = self.logits.len();
        match target.terms().iter().map(|term| term.class).find(|class| *class >= classes) {
            Some(class) => Err(MethodError::NoSuchClass { class, classes }),
            None => Ok(()),
        }
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

    /// The scores of all copies: for each trial, for each of its scores, one number a copy. Batches go across trials; the engine
    /// holds one at a time.
    ///
    /// # Errors
    /// As [`Engine::score_made`], and [`MetricsError::Stopped`].
    pub(super) fn scores(&self, asked: &[Asked<'_>]) -> Result<Vec<Vec<Vec<f64>>>, Error> {
        let copies = |(at, asked): (usize, &Asked<'_>)| (0..asked.trial.count()).map(move |number| (at, number));
        let owners: Vec<(usize, usize)> = asked.iter().enumerate().flat_map(copies).collect();
        let mut scores: Vec<Vec<Vec<f64>>> = asked.iter().map(|asked| vec![Vec::new(); asked.scores.len()]).collect();
        let (h, w) = self.size();
        let make = |at: usize, out: &mut [f32]| {
            let (trial, number) = owners[at];
            asked[trial].trial.make(number, &self.image, out);
        };
        let mut stopped = false;
        self.engine.score_until([owners.len(), h, w], make, |at, logits| {
            let trial = owners[at].0;
            let values = asked[trial].scores.iter().map(|score| score.value(logits));
            scores[trial].iter_mut().zip(values).for_each(|(scores, value)| scores.push(value));
            stopped = self.stop.is_some_and(|stop| stop());
            if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if stopped { Err(MetricsError::Stopped.into()) } else { Ok(scores) }
    }
}
