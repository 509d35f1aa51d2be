//! The stage that runs the network.

use super::{Explained, Prepared};
use crate::Error;
use crate::engine::{Engine, Request};

pub(super) struct Forward<'e> {
    pub engine: &'e Engine,
    pub request: &'e Request,
}

impl Forward<'_> {
    /// One pass for all pictures of a batch; if it fails, one each for those that were not finished, so that the picture at fault
    /// fails alone. Inputs that failed earlier pass through. Returns the batch in its order.
    pub(super) fn run<I, E: From<Error>>(&self, batch: Vec<(I, Result<Prepared, E>)>) -> Vec<(I, Result<Explained, E>)> {
        let inputs: Vec<_> = batch.iter().filter_map(|(_, prepared)| prepared.as_ref().ok()).map(|one| &one.input).collect();
        let mut explanations = Vec::with_capacity(inputs.len());
        // The error shows again below, beside the picture that it belongs to.
        self.engine.explain_into(&inputs, self.request, &mut explanations).ok();
        let mut explanations = explanations.into_iter();
        let mut explain = |prepared: Prepared| {
            let explanation = match explanations.next() {
                Some(explanation) => explanation,
                None => self.engine.explain_inputs(&[&prepared.input], self.request)?.swap_remove(0), // one for one
            };
            Ok(Explained { photo: prepared.photo, explanation })
        };
        batch.into_iter().map(|(input, prepared)| (input, prepared.and_then(|one| explain(one).map_err(E::from)))).collect()
    }
}
