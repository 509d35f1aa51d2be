//! One of the streams that take turns, with what is used on it alone.

use std::sync::Arc;

use cudarc::driver::CudaStream;

use super::CudaError;
use super::blueprint::Key;
use super::pipeline::Slot;
use super::plan::Plan;
use super::staging::Staging;
use crate::cam::{Asked, Selection};

/// Plans that keep their memory and graph; the one that was not used for longest makes room.
const MOST_PLANS: usize = 4;

pub(super) struct Lane {
    /// The pass that is under way.
    pub flight: Option<Flight>,
    pub staging: Staging,
    /// When its last pass began, counted in passes.
    pub turn: u64,
    plans: Vec<Plan>, // used last at the end
    stream: Arc<CudaStream>,
}

/// A pass that was started, and where its results go.
pub(super) struct Flight {
    pub plan: Plan,
    pub chosen: Chosen,
    pub slot: Slot,
}

/// A [`Selection`] that is kept.
pub(super) enum Chosen {
    Top(usize),
    Classes(Vec<usize>),
    Asked(Asked),
}

impl From<Selection<'_>> for Chosen {
    fn from(selection: Selection<'_>) -> Self {
        match selection {
            Selection::Top(k) => Self::Top(k),
            Selection::Classes(classes) => Self::Classes(classes.to_vec()),
            Selection::Asked(asked) => Self::Asked(asked.clone()),
        }
    }
}

impl Chosen {
    pub(super) fn selection(&self) -> Selection<'_> {
        match self {
            Self::Top(k) => Selection::Top(*k),
            Self::Classes(classes) => Selection::Classes(classes),
            Self::Asked(asked) => Selection::Asked(asked),
        }
    }
}

impl Lane {
    pub(super) fn new(stream: Arc<CudaStream>) -> Self {
        Self { flight: None, staging: Staging::default(), turn: 0, plans: Vec::new(), stream }
    }

    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// The plan of `key`, if it is among the last ones; else there is room for one more.
    pub(super) fn take(&mut self, key: Key) -> Option<Plan> {
        if let Some(at) = self.plans.iter().position(|plan| plan.blueprint.key == key) {
            return Some(self.plans.remove(at));
        }
        while self.plans.len() >= MOST_PLANS {
            self.plans.remove(0);
        }
        None
    }

    pub(super) fn keep(&mut self, plan: Plan) {
        self.plans.push(plan);
    }

    /// The plan that was used last.
    #[cfg(test)]
    pub(super) fn last(&mut self) -> Option<&mut Plan> {
        self.plans.last_mut()
    }

    /// Gives all memory back and says whether there was any.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn clear(&mut self) -> Result<bool, CudaError> {
        let any = !self.plans.is_empty() || !self.staging.is_empty();
        self.plans.clear();
        self.staging = Staging::default();
        self.stream.synchronize()?; // what is freed in stream order is free after this
        Ok(any)
    }
}
