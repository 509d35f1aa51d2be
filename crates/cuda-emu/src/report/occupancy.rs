//! How many blocks of a kernel fit on a multiprocessor.

use serde::Serialize;

/// Limits of one multiprocessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultiprocessorLimits {
    /// Resident threads.
    pub threads: u32,
    /// Resident blocks.
    pub blocks: u32,
    /// 32-bit registers.
    pub registers: u32,
    /// Bytes of shared memory, the reserved ones included.
    pub shared: u32,
    /// Bytes of shared memory that the system takes for each block.
    pub reserved_shared: u32,
}

/// What a launch asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OccupancyRequest {
    /// Threads per block.
    pub threads: u32,
    /// Registers per thread.
    pub registers: u32,
    /// Static plus dynamic shared memory of a block in bytes.
    pub shared: u32,
}

/// The resource that runs out first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LimitedBy {
    /// Resident threads.
    Threads,
    /// Resident blocks.
    Blocks,
    /// Registers.
    Registers,
    /// Shared memory.
    Shared,
}

/// Blocks and warps that a multiprocessor holds at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Occupancy {
    /// Resident blocks; 0 when not even one fits.
    pub blocks: u32,
    /// Resident warps.
    pub warps: u32,
    /// Warps that the multiprocessor could hold.
    pub max_warps: u32,
    /// What runs out first.
    pub limited_by: LimitedBy,
}

/// Registers are handed to a warp in units of this many.
const REGISTER_UNIT: u32 = 256;
/// Shared memory is handed to a block in units of this many bytes.
const SHARED_UNIT: u32 = 128;
const WARP: u32 = 32;
/// A multiprocessor has four schedulers, each with a quarter of the registers.
const SCHEDULERS: u32 = 4;

impl Occupancy {
    /// The occupancy of `request`: the least that threads, blocks, registers (per warp, in units of 256, a quarter of them at each
    /// of four schedulers) and shared memory (in units of 128 bytes, with the reserved bytes) allow.
    pub fn of(request: &OccupancyRequest, limits: &MultiprocessorLimits) -> Self {
        let warps = request.threads.div_ceil(WARP).max(1);
        let max_warps = limits.threads / WARP;
        let per_warp = request.registers.max(1).saturating_mul(WARP).div_ceil(REGISTER_UNIT).saturating_mul(REGISTER_UNIT);
        let by_registers = (limits.registers / SCHEDULERS / per_warp) * SCHEDULERS / warps;
        let shared = request.shared.saturating_add(limits.reserved_shared);
        let by_shared = limits.shared.checked_div(shared.div_ceil(SHARED_UNIT).saturating_mul(SHARED_UNIT)).unwrap_or(u32::MAX);
        // Of equal limits the earlier in this list is named.
        let bounds = [
            (max_warps / warps, LimitedBy::Threads),
            (limits.blocks, LimitedBy::Blocks),
            (by_registers, LimitedBy::Registers),
            (by_shared, LimitedBy::Shared),
        ];
        let (blocks, limited_by) = bounds.into_iter().min_by_key(|&(blocks, _)| blocks).unwrap_or((0, LimitedBy::Blocks));
        Occupancy { blocks, warps: blocks * warps, max_warps, limited_by }
    }

    /// Resident warps over those possible, 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.max_warps == 0 { 0.0 } else { f64::from(self.warps) / f64::from(self.max_warps) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SM_80: MultiprocessorLimits =
        MultiprocessorLimits { threads: 2048, blocks: 32, registers: 65536, shared: 167_936, reserved_shared: 1024 };
    const SM_86: MultiprocessorLimits =
        MultiprocessorLimits { threads: 1536, blocks: 16, registers: 65536, shared: 102_400, reserved_shared: 1024 };
    const SM_75: MultiprocessorLimits =
        MultiprocessorLimits { threads: 1024, blocks: 16, registers: 65536, shared: 65536, reserved_shared: 0 };

    #[test]
    fn values_worked_out_by_hand() {
        let cases = [
            // threads, registers, shared, limits, blocks, warps, what limits
            (256, 32, 0, SM_80, 8, 64, LimitedBy::Threads),
            (32, 32, 0, SM_80, 32, 32, LimitedBy::Blocks),
            (256, 33, 0, SM_80, 6, 48, LimitedBy::Registers), // 33 -> 1280 per warp, 12 warps a scheduler, 48 in all
            (128, 76, 24_576, SM_80, 6, 24, LimitedBy::Registers), // 2560 per warp, 6 a scheduler, 24 warps
            (128, 64, 24_576, SM_80, 6, 24, LimitedBy::Shared), // 25,600 bytes a block
            (128, 96, 24_576, SM_86, 4, 16, LimitedBy::Shared),
            (1024, 64, 0, SM_80, 1, 32, LimitedBy::Registers),
            (1024, 65, 0, SM_80, 0, 0, LimitedBy::Registers),
            (256, 32, 49_152, SM_75, 1, 8, LimitedBy::Shared),
            (1, 255, 0, SM_80, 8, 8, LimitedBy::Registers), // 8192 per warp, 2 a scheduler
            (64, 32, 200_000, SM_80, 0, 0, LimitedBy::Shared),
        ];
        for (threads, registers, shared, limits, blocks, warps, limited_by) in cases {
            let got = Occupancy::of(&OccupancyRequest { threads, registers, shared }, &limits);
            assert_eq!((got.blocks, got.warps, got.limited_by), (blocks, warps, limited_by), "{threads} {registers} {shared}");
        }
    }

    #[test]
    fn fraction_is_warps_over_those_possible() {
        let got = Occupancy::of(&OccupancyRequest { threads: 256, registers: 33, shared: 0 }, &SM_80);
        assert_eq!(got.fraction(), 0.75);
    }
}
