//! How a backend runs the network, for reports.

use serde::Serialize;

/// One step of a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// Layer of the table (several, joined by `, `, where one kernel runs them), batch norm where it is a step of its own, or `top-k`,
    /// `cam`.
    pub layer: String,
    /// What runs it.
    pub kernel: String,
}

/// How a pass over images of one shape runs, and the memory that it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// Steps in their order.
    pub steps: Vec<PlannedStep>,
    /// Bytes of the parameters, which all passes share.
    pub parameters: u64,
    /// Bytes of images, activations and results. Activations share memory as soon as their last reader is done, so that this
    /// is the peak.
    pub activations: u64,
}
