//! Findings and counters.
//!
//! A [`Finding`] is one thing that went wrong, with its place; [`Findings`] collects them and folds repetitions together.
//! [`Counters`] is what a launch did, [`Report`] the launches of a run, as JSON or as a table.

mod coalescing;
mod counters;
mod finding;
mod findings;
mod launches;
mod occupancy;
mod table;

pub use coalescing::{Wavefronts, ideal_sectors, ldmatrix_wavefronts, sectors, shared_wavefronts};
pub use counters::{BankTraffic, ClassCounts, Counters, InstructionClass, SectorTraffic};
pub use finding::{Finding, FindingKind, Issue, Site};
pub use findings::Findings;
pub(crate) use launches::per_kernel;
pub use launches::{LaunchReport, Report};
pub use occupancy::{LimitedBy, MultiprocessorLimits, Occupancy, OccupancyRequest};
