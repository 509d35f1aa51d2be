//! Scores of many images that exist only where the network reads them.

use std::ops::ControlFlow;

use super::Engine;
use crate::Error;
use crate::tensor::Nhwc;

impl Engine {
    /// Logits of `count` normalised images `[h, w, 3]` that `make` writes: the masked, blurred or perturbed kin of an image. At
    /// most [`Engine::batch`] of them are in memory at a time. `make` is given an image's number and what an earlier one left in
    /// its place, on the threads of the forward pass, and must not wait for a pool whose threads wait for this; `each` is given a number
    /// and the logits `[K]`, in order, on this one.
    ///
    /// ```
    /// # use camshaft::{Engine, input::Picture};
    /// let engine = Engine::builder().build()?;
    /// let input = engine.prepare(&Picture::open("assets/demo/meadow.jpg".as_ref())?)?;
    /// let (image, mut best) = (input.tensor(), Vec::new());
    /// let darker = |number, out: &mut [f32]| {
    ///     let keep = 1.0 - number as f32 / 4.0;
    ///     out.iter_mut().zip(image.iter()).for_each(|(out, value)| *out = keep * value);
    /// };
    /// engine.score_made([3, input.h(), input.w()], darker, |_, logits| {
    ///     best.push(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    /// })?;
    /// assert_eq!(best.len(), 3);
    /// # Ok::<(), camshaft::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the network cannot take images of that size, a score that is not finite, and faults of the device.
    pub fn score_made(
        &self,
        [count, h, w]: [usize; 3],
        make: impl Fn(usize, &mut [f32]) + Sync,
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        self.score_until([count, h, w], make, |at, logits| {
            each(at, logits);
            ControlFlow::Continue(())
        })
    }

    /// As [`Engine::score_made`], until `each` has had enough.
    pub(crate) fn score_until(
        &self,
        [count, h, w]: [usize; 3],
        make: impl Fn(usize, &mut [f32]) + Sync,
        mut each: impl FnMut(usize, &[f32]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.model.network().shapes(self.batch.min(count.max(1)), h, w)?; // before anything is allocated for it
        let mut images = Nhwc::new([0, h, w, 3], Vec::new());
        for first in (0..count).step_by(self.batch) {
            let n = self.batch.min(count - first);
            if images.shape()[0] != n {
                let mut values = images.into_data();
                values.resize(n * h * w * 3, 0.0);
                images = Nhwc::new([n, h, w, 3], values);
            }
            let logits = self.backend.score_made(&mut images, &|at, out: &mut [f32]| make(first + at, out))?;
            for (at, logits) in logits.iter().enumerate() {
                finite(logits)?;
                if each(first + at, logits).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// # Errors
/// [`Error::NotFinite`] for the first of `logits` that is none.
pub(super) fn finite(logits: &[f32]) -> Result<(), Error> {
    match logits.iter().position(|logit| !logit.is_finite()) {
        Some(class) => Err(Error::NotFinite { class, value: logits[class] }),
        None => Ok(()),
    }
}
