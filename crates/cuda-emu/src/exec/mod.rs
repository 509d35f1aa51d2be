//! Runs kernels: warps, divergence, barriers, instructions.

#![allow(missing_docs)]

use crate::memory::Memory;
use crate::profile::Profile;
use crate::ptx::Kernel;
use crate::report::{Counters, Finding};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    #[default]
    InOrder,
    Reverse,
    Random(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MmaRounding {
    #[default]
    Sequential,
    Block8Truncate,
}

#[derive(Debug, Clone, Default)]
pub struct Options {
    pub warp_order: Order,
    pub block_order: Order,
    pub mma_rounding: MmaRounding,
    pub checks: bool,
    pub workers: usize,
    pub max_iterations: u64,
}

pub struct Launch<'a> {
    pub kernel: &'a Kernel,
    pub module_globals: &'a dyn Fn(&str) -> Option<u64>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub params: &'a [u8],
    pub profile: &'a Profile,
    pub options: &'a Options,
}

pub struct Outcome {
    pub counters: Counters,
    pub findings: Vec<Finding>,
    pub fault: Option<()>,
}

pub fn run(_launch: &Launch<'_>, _memory: &Memory) -> Outcome {
    Outcome { counters: Counters::default(), findings: Vec::new(), fault: None }
}
