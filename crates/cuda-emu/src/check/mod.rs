//! What a kernel must not do: uninitialised reads, races, misused barriers and asynchronous copies.
//!
//! Plain data structures without knowledge of instructions: the executor tells them what happens and gets back an
//! [`Issue`](crate::report::Issue) when something is wrong.

mod causality;
mod cells;
mod clocks;
mod copies;
mod global;
mod knowledge;
mod ordered;
mod shared;

pub use causality::{Flags, MemoryOrder, Threads};
pub use global::{Conflict, GlobalAccess, GlobalRaces};
pub use ordered::Accessor;
pub use shared::{POISON, SharedShadow, shared_bounds};

#[cfg(test)]
mod shared_model;
#[cfg(test)]
mod shared_tests;
