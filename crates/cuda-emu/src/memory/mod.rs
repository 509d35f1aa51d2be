//! Device memory: allocations, bounds, what has been written.
//!
//! [`Memory`] is all of a device's global memory. Device addresses lie in a range of their own that no process maps, start at multiples of
//! 512, keep at least 512 unused bytes between allocations and are never handed out twice, so that a stray access hits nothing and
//! a late one is named. Each byte knows whether it has been written.
//!
//! A launch works on a [`LaunchView`], a snapshot of the table of allocations; each block takes a [`Cursor`] of it, through which
//! warps load, store and do atomics, 32 lanes at a time. Bytes live in atomics, so kernels that race are reported, not undefined.

mod arena;
mod beside;
mod block;
mod cursor;
mod fault;
mod lanes;
mod view;

pub use arena::{Allocation, Memory};
pub use block::{AllocKind, AllocLabel};
pub use cursor::{By, Cursor, LaneFault};
pub use fault::{Access, FaultKind, MemoryFault, Neighbour, OutOfMemory, Position};
pub use lanes::{LaneBytes, WarpAccess};
pub use view::{LaunchView, ViewOptions};

pub(crate) use beside::{Beside, Footprint};
pub(crate) use lanes::Run;

#[cfg(test)]
mod cursor_tests;
