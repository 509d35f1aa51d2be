//! What a launch may ask for.

use std::sync::Arc;

use crate::profile::Profile;
use crate::ptx::Kernel;
use crate::report::{Occupancy, OccupancyRequest};

use super::code::Code;
use super::module::{Function, LoadedModule, Refusal};

/// A launch with everything it needs, parameters copied.
#[derive(Debug)]
pub(crate) struct KernelLaunch {
    pub loaded: Arc<LoadedModule>,
    pub kernel: Arc<Kernel>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub params: Vec<u8>,
    /// Whether it may begin before the kernel before it in its stream has ended.
    pub programmatic: bool,
}

/// The shape of a launch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
}

/// Checks `shape` against the limits of the device and of the kernel.
pub(crate) fn check(function: &Function, shape: &Shape, profile: &Profile) -> Result<(), Refusal> {
    let Shape { grid, block, dynamic_shared } = *shape;
    let kernel = &function.kernel;
    let invalid = |what: String| Err((Code::InvalidValue, what));
    if grid.contains(&0) || grid.iter().zip(Profile::GRID_DIM).any(|(&n, max)| n > max) {
        return invalid(format!("grid {grid:?}: each must be at least 1 and at most {:?}", Profile::GRID_DIM));
    }
    if block.contains(&0) || block.iter().zip(Profile::BLOCK_DIM).any(|(&n, max)| n > max) {
        return invalid(format!("block {block:?}: each must be at least 1 and at most {:?}", Profile::BLOCK_DIM));
    }
    let threads: u32 = block.iter().product();
    if threads > Profile::THREADS_PER_BLOCK {
        return invalid(format!("{threads} threads in a block: at most {}", Profile::THREADS_PER_BLOCK));
    }
    if let Some(max) = kernel.max_threads
        && threads > max.iter().product()
    {
        return invalid(format!("{threads} threads in a block: the kernel was compiled for at most {max:?}"));
    }
    let shared = kernel.static_shared.saturating_add(dynamic_shared);
    if shared > profile.shared_optin {
        let optin = profile.shared_optin;
        return invalid(format!("{shared} bytes of shared memory (static and dynamic): the device has {optin} for a block"));
    }
    if dynamic_shared > function.max_dynamic_shared {
        let max = function.max_dynamic_shared;
        return invalid(format!(
            "{dynamic_shared} bytes of dynamic shared memory: {max} allowed; more needs the attribute MAX_DYNAMIC_SHARED_SIZE_BYTES"
        ));
    }
    Ok(())
}

/// Blocks that a multiprocessor holds.
pub(crate) fn occupancy(kernel: &Kernel, threads: u32, dynamic_shared: u32, profile: &Profile) -> Occupancy {
    let shared = kernel.static_shared.saturating_add(dynamic_shared);
    Occupancy::of(&OccupancyRequest { threads, registers: kernel.registers_estimate, shared }, &profile.limits())
}

/// The most threads that a launch of `kernel` may have.
pub(crate) fn max_threads(kernel: &Kernel) -> u32 {
    let bound = kernel.max_threads.map_or(Profile::THREADS_PER_BLOCK, |max| max.iter().product());
    let by_registers = Profile::REGISTERS / kernel.registers_estimate.clamp(1, Profile::REGISTERS_PER_THREAD) / 32 * 32;
    bound.min(Profile::THREADS_PER_BLOCK).min(by_registers.max(32))
}
