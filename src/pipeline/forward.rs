//! The stage that runs the network.

use super::{Explained, Prepared};
use crate::Error;
use crate::engine::{Engine, Pending, Request};

pub(super) struct Forward<'e> {
    pub engine: &'e Engine,
    pub request: &'e Request,
}

/// A batch at the network.
pub(super) struct UnderWay<'e, I, E> {
    batch: Vec<(I, Result<Prepared, E>)>,
    pending: Option<Pending<'e>>,
}

impl Forward<'_> {
    /// Starts one pass for all pictures of a batch. Inputs that failed earlier pass through.
    pub(super) fn submit<I, E>(&self, batch: Vec<(I, Result<Prepared, E>)>) -> UnderWay<'_, I, E> {
        let inputs: Vec<_> = batch.iter().filter_map(|(_, prepared)| prepared.as_ref().ok()).map(|one| &one.input).collect();
        // An error shows again below, beside the picture that it belongs to.
        let pending = self.engine.submit(&inputs, self.request).ok();
        UnderWay { batch, pending }
    }

    /// Waits for the pass of a batch; if it fails, one each for those that were not finished, so that the picture at fault
    /// fails alone. Returns the batch in its order.
    pub(super) fn collect<I, E: From<Error>>(&self, under_way: UnderWay<'_, I, E>) -> Vec<(I, Result<Explained, E>)> {
        let UnderWay { batch, pending } = under_way;
        let mut explanations = Vec::with_capacity(batch.len());
        pending.map(|pending| pending.collect_into(&mut explanations).ok());
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
