//! Runs kernels: warps, divergence, barriers, instructions.
//!
//! [`run`] executes a [`Launch`]. Blocks are spread over threads; within a block, one warp at a time runs to its next barrier. Lanes
//! that part at a branch run one side after the other and meet again at the branch's immediate post-dominator.

#![allow(clippy::needless_range_loop, reason = "a lane's number indexes several planes at once")]

mod access;
mod alu;
mod atomic;
mod block;
mod collective;
mod copy_async;
mod cta;
mod launch;
mod local;
mod matrix;
mod mma;
mod options;
mod order;
mod regs;
mod shared;
mod step;
mod unwritten;
mod warp;

pub use launch::run;
pub use options::{Fault, Launch, MmaRounding, Options, Order, Outcome};

pub(crate) use access::{LOCAL_WINDOW, SHARED_WINDOW};
pub(crate) use alu::*;
pub(crate) use launch::run_beside;
pub(crate) use options::Overlap;
