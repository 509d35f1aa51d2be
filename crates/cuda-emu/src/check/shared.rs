//! Shared memory of one block: what is initialised, who touched what, which asynchronous copies are in flight.

use crate::memory::{LaneBytes, WarpAccess};
use crate::report::{FindingKind, Issue};

/// Checks that shared addresses are multiples of the access size and below `size`, the bytes that the launch asked for.
pub fn shared_bounds(access: &WarpAccess<'_, u32>, size: u32) -> Option<Issue> {
    let bytes = access.bytes;
    for (lane, &address) in access.addresses.iter().enumerate() {
        let kind = if access.mask & (1 << lane) == 0 {
            continue;
        } else if u64::from(address) + u64::from(bytes) > u64::from(size) {
            FindingKind::OutOfBounds
        } else if !address.is_multiple_of(bytes) {
            FindingKind::Misaligned
        } else {
            continue;
        };
        let message = format!("{bytes} bytes at offset {address} of {size} bytes of shared memory");
        return Some(Issue { kind, lane: lane as u32, address: Some(u64::from(address)), message });
    }
    None
}

/// The shadow of one block's shared memory. One worker uses it for one block after the other.
#[derive(Debug, Default)]
pub struct SharedShadow {}

impl SharedShadow {
    /// An empty shadow.
    pub fn new() -> Self {
        Self::default()
    }
    /// Starts a block.
    pub fn start_block(&mut self, _bytes: u32, _warps: u32) {}
    /// Loads.
    pub fn read(&mut self, _warp: u32, _access: &WarpAccess<'_, u32>) -> Option<Issue> {
        None
    }
    /// `ldmatrix`: rows of 16 bytes.
    pub fn read_rows(&mut self, _warp: u32, _rows: &[u32]) -> Option<Issue> {
        None
    }
    /// Stores.
    pub fn write(&mut self, _warp: u32, _access: &WarpAccess<'_, u32>, _data: &LaneBytes) -> Option<Issue> {
        None
    }
    /// Atomics.
    pub fn atomic(&mut self, _warp: u32, _access: &WarpAccess<'_, u32>) -> Option<Issue> {
        None
    }
    /// A warp reaches a barrier (`bar.sync`, `bar.arrive`, `bar.red`).
    pub fn arrive(&mut self, _warp: u32, _barrier: u32) {}
    /// A barrier completes, `waiters` is a mask of the warps that go on.
    pub fn complete(&mut self, _barrier: u32, _waiters: u32) {}
    /// `bar.warp.sync` of the lanes in `mask`; `live` are the lanes that have not ended.
    pub fn warp_sync(&mut self, _warp: u32, _mask: u32, _live: u32) {}
    /// `cp.async`; the addresses are destinations, `data` what will arrive.
    pub fn copy_issue(
        &mut self,
        _warp: u32,
        _access: &WarpAccess<'_, u32>,
        _data: &LaneBytes,
        _shared: &mut [u8],
    ) -> Option<Issue> {
        None
    }
    /// `cp.async.commit_group`.
    pub fn copy_commit(&mut self, _warp: u32, _mask: u32) {}
    /// `cp.async.wait_group` with `Some(groups)`, `wait_all` with `None`.
    pub fn copy_wait(&mut self, _warp: u32, _mask: u32, _groups: Option<u32>, _shared: &mut [u8]) {}
    /// Lanes end.
    pub fn exit(&mut self, _warp: u32, _mask: u32) -> Option<Issue> {
        None
    }
}
