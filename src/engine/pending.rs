//! Work that an engine has accepted.

use super::backend::{Running, Show};
use super::{Engine, Explanation, Request, several};
use crate::Error;
use crate::cam::{Asked, Found, Score, Selection, Targets};
use crate::input::Input;

/// Pictures on their way through the network. Made by [`Engine::submit`]; dropped, its results are lost and nothing else.
pub struct Pending<'e> {
    engine: &'e Engine,
    request: Request,
    asked: Asked,
    /// The classes, if every target is one class's logit.
    classes: Option<Vec<usize>>,
    batches: Vec<Batch>,
    /// Why there are no further batches.
    error: Option<Error>,
}

struct Batch {
    inputs: Vec<Input>,
    /// `None` where features are needed first, see [`several`]: the work begins when it is collected.
    running: Option<Running>,
}

impl<'e> Pending<'e> {
    pub(super) fn new(engine: &'e Engine, request: Request, asked: Asked) -> Self {
        let classes = asked.plain_classes();
        Self { engine, request, asked, classes, batches: Vec::new(), error: None }
    }

    /// Adds inputs of one size and one kind, unless those before them could not be started.
    pub(super) fn start(&mut self, inputs: &[&Input]) {
        let (Some(first), None) = (inputs.first(), &self.error) else { return };
        if self.asked.by_host() {
            let inputs = inputs.iter().map(|&input| input.clone()).collect();
            return self.batches.push(Batch { inputs, running: None });
        }
        // By the first method; what others have of their own is in `asked`.
        let method = self.asked.methods[0];
        let show = Show { enlarge: self.request.enlarge(method, first.h(), first.w()), overlay: self.request.style(method) };
        match self.engine.backend.submit(inputs, self.selection(), show) {
            Ok(running) => {
                let inputs = inputs.iter().map(|&input| input.clone()).collect();
                self.batches.push(Batch { inputs, running: Some(running) });
            }
            Err(error) => self.error = Some(error),
        }
    }

    pub(super) fn selection(&self) -> Selection<'_> {
        if self.asked.by_host() {
            return Selection::Top(0); // a pass without maps of its own
        }
        // Class activation maps by themselves have a shorter way.
        match (&self.asked.targets, &self.classes) {
            (Targets::Top(k, Score::Logit), _) if self.asked.is_plain() => Selection::Top(*k),
            (_, Some(classes)) if self.asked.is_plain() => Selection::Classes(classes),
            _ => Selection::Asked(&self.asked),
        }
    }

    /// Waits for the results, in the order of the inputs.
    ///
    /// # Errors
    /// As [`Engine::explain`].
    pub fn collect(self) -> Result<Vec<Explanation>, Error> {
        let mut explanations = Vec::new();
        self.collect_into(&mut explanations)?;
        Ok(explanations)
    }

    /// As [`Pending::collect`], adding to `explanations` one after the other, so that those that were finished before an error are
    /// there after it.
    ///
    /// # Errors
    /// As [`Engine::explain`], and faults of the device.
    pub fn collect_into(mut self, explanations: &mut Vec<Explanation>) -> Result<(), Error> {
        for Batch { inputs, running } in std::mem::take(&mut self.batches) {
            let Some(running) = running else {
                let read = several::read(self.engine, &inputs, &self.asked)?;
                for (at, input) in inputs.iter().enumerate() {
                    let found = read.explain(self.engine, at, &self.asked)?;
                    explanations.push(self.engine.explanation(input, &self.request, &self.asked, found)?);
                }
                continue;
            };
            let mut found = Found::default();
            let borrowed: Vec<&Input> = inputs.iter().collect();
            let done = self.engine.backend.collect(running, &borrowed, self.selection(), &mut found);
            for (input, found) in inputs.iter().zip(found.into_images()) {
                explanations.push(self.engine.explanation(input, &self.request, &self.asked, found)?);
            }
            done?;
        }
        self.error.map_or(Ok(()), Err)
    }
}
