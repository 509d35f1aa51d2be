//! Occupancy.

use std::ffi::{c_int, c_uint};
use std::sync::Arc;

use super::driver_calls;
use super::pointer::Out;
use crate::driver::code::{Code, Result};
use crate::driver::handle::Kind;
use crate::driver::launch;
use crate::driver::state::Driver;
use crate::profile::Profile;
use crate::ptx::Kernel;

/// Shared memory as a function of the block size.
type SharedOf = unsafe extern "C" fn(c_int) -> usize;

fn kernel(driver: &mut Driver, function: u64) -> Result<Arc<Kernel>> {
    let (context, function) = driver.object(function, Kind::Function)?;
    context.functions.get(&function).map(|function| function.kernel.clone()).ok_or(Code::InvalidHandle)
}

fn blocks(driver: &mut Driver, function: u64, threads: c_int, shared: usize) -> Result<c_int> {
    let kernel = kernel(driver, function)?;
    let threads = u32::try_from(threads).ok().filter(|&threads| threads > 0).ok_or(Code::InvalidValue)?;
    if threads > launch::max_threads(&kernel) {
        return Ok(0);
    }
    let shared = u32::try_from(shared).map_err(|_| Code::InvalidValue)?;
    Ok(launch::occupancy(&kernel, threads, shared, driver.settings.profile).blocks as c_int)
}

struct Search {
    shared_of: Option<SharedOf>,
    shared: usize,
    limit: c_int,
}

/// Block size with the most resident threads (the largest of equals), and the grid that fills the device with it.
fn potential(driver: &mut Driver, function: u64, search: &Search) -> Result<(c_int, c_int)> {
    let kernel = kernel(driver, function)?;
    let profile = driver.settings.profile;
    let limit = match u32::try_from(search.limit).map_err(|_| Code::InvalidValue)? {
        0 => launch::max_threads(&kernel),
        limit => limit.min(launch::max_threads(&kernel)),
    };
    let mut best = (0, 0, 0);
    for threads in (Profile::WARP..=limit.max(Profile::WARP)).step_by(Profile::WARP as usize) {
        // SAFETY: the program handed the function over for this call, with a block size as its argument.
        let shared = search.shared_of.map_or(search.shared, |shared_of| unsafe { shared_of(threads as c_int) });
        let Ok(shared) = u32::try_from(shared) else { continue };
        let blocks = launch::occupancy(&kernel, threads, shared, profile).blocks;
        best = best.max((blocks * threads, threads, blocks));
    }
    Ok(((best.2 * profile.sm_count) as c_int, best.1 as c_int))
}

fn put_potential(driver: &mut Driver, function: u64, search: &Search, grid: &Out<c_int>, block: &Out<c_int>) -> Result {
    let (found_grid, found_block) = potential(driver, function, search)?;
    grid.put(found_grid)?;
    block.put(found_block)
}

driver_calls! {
    /// Blocks that a multiprocessor holds. Registers are estimated from the PTX.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(count: Out<c_int>, function: u64, threads: c_int, shared: usize) |driver| {
        count.put(blocks(driver, function, threads, shared)?)
    }

    /// As without flags; they change nothing.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        count: Out<c_int>, function: u64, threads: c_int, shared: usize, _flags: c_uint,
    ) |driver| {
        count.put(blocks(driver, function, threads, shared)?)
    }

    /// The block size with the most resident threads.
    fn cuOccupancyMaxPotentialBlockSize(
        grid: Out<c_int>, block: Out<c_int>, function: u64, shared_of: Option<SharedOf>, shared: usize, limit: c_int,
    ) |driver| {
        put_potential(driver, function, &Search { shared_of, shared, limit }, &grid, &block)
    }

    /// As without flags; they change nothing.
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        grid: Out<c_int>, block: Out<c_int>, function: u64, shared_of: Option<SharedOf>, shared: usize, limit: c_int, _flags: c_uint,
    ) |driver| {
        put_potential(driver, function, &Search { shared_of, shared, limit }, &grid, &block)
    }

    /// Dynamic shared memory that so many blocks of a multiprocessor can each have.
    fn cuOccupancyAvailableDynamicSMemPerBlock(bytes: Out<usize>, function: u64, blocks: c_int, _threads: c_int) |driver| {
        let kernel = kernel(driver, function)?;
        let profile = driver.settings.profile;
        let blocks = u32::try_from(blocks).ok().filter(|&blocks| blocks > 0).ok_or(Code::InvalidValue)?;
        let share = (profile.shared_per_sm / blocks / 128 * 128).saturating_sub(profile.shared_reserved);
        bytes.put(share.min(profile.shared_optin).saturating_sub(kernel.static_shared) as usize)
    }
}
