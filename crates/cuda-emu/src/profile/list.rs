//! The table of devices.

use crate::report::MultiprocessorLimits;

/// A device: name, size and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// Short name, by which it is chosen.
    pub name: &'static str,
    /// Compute capability: major, minor.
    pub compute: (u32, u32),
    /// Multiprocessors.
    pub sm_count: u32,
    /// Bytes of device memory.
    pub memory_bytes: u64,
    /// Resident threads of a multiprocessor.
    pub threads_per_sm: u32,
    /// Resident blocks of a multiprocessor.
    pub blocks_per_sm: u32,
    /// Bytes of shared memory of a multiprocessor, those reserved for the system included.
    pub shared_per_sm: u32,
    /// Bytes of shared memory that a block may have after asking for it with the function attribute.
    pub shared_optin: u32,
    /// Bytes of shared memory that the system takes from each block.
    pub shared_reserved: u32,
    /// Bytes of level 2 cache.
    pub l2_bytes: u32,
    /// Boost clock in kHz.
    pub clock_khz: u32,
    /// Memory clock in kHz.
    pub memory_clock_khz: u32,
    /// Width of the memory bus in bits.
    pub bus_bits: u32,
}

const GIB: u64 = 1 << 30;
const MIB: u32 = 1 << 20;

impl Profile {
    /// Bytes of shared memory that a block may have without asking.
    pub const SHARED_DEFAULT: u32 = 48 << 10;
    /// Threads of a warp.
    pub const WARP: u32 = 32;
    /// Threads of a block.
    pub const THREADS_PER_BLOCK: u32 = 1024;
    /// Registers of a multiprocessor, and of a block.
    pub const REGISTERS: u32 = 65_536;
    /// Registers of a thread.
    pub const REGISTERS_PER_THREAD: u32 = 255;
    /// Threads of a block along x, y and z.
    pub const BLOCK_DIM: [u32; 3] = [1024, 1024, 64];
    /// Blocks of a grid along x, y and z.
    pub const GRID_DIM: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];

    /// Every device that can be played.
    pub const ALL: &'static [Profile] = &[
        Profile {
            name: "T4",
            compute: (7, 5),
            sm_count: 40,
            memory_bytes: 16 * GIB,
            threads_per_sm: 1024,
            blocks_per_sm: 16,
            shared_per_sm: 65_536,
            shared_optin: 65_536,
            shared_reserved: 0,
            l2_bytes: 4 * MIB,
            clock_khz: 1_590_000,
            memory_clock_khz: 5_001_000,
            bus_bits: 256,
        },
        Profile {
            name: "A100",
            compute: (8, 0),
            sm_count: 108,
            memory_bytes: 40 * GIB,
            threads_per_sm: 2048,
            blocks_per_sm: 32,
            shared_per_sm: 167_936,
            shared_optin: 166_912,
            shared_reserved: 1024,
            l2_bytes: 40 * MIB,
            clock_khz: 1_410_000,
            memory_clock_khz: 1_215_000,
            bus_bits: 5120,
        },
        Profile {
            name: "L4",
            compute: (8, 9),
            sm_count: 58,
            memory_bytes: 24 * GIB,
            threads_per_sm: 1536,
            blocks_per_sm: 24,
            shared_per_sm: 102_400,
            shared_optin: 101_376,
            shared_reserved: 1024,
            l2_bytes: 48 * MIB,
            clock_khz: 2_040_000,
            memory_clock_khz: 6_251_000,
            bus_bits: 192,
        },
        Profile {
            name: "RTX4090",
            compute: (8, 9),
            sm_count: 128,
            memory_bytes: 24 * GIB,
            threads_per_sm: 1536,
            blocks_per_sm: 24,
            shared_per_sm: 102_400,
            shared_optin: 101_376,
            shared_reserved: 1024,
            l2_bytes: 72 * MIB,
            clock_khz: 2_520_000,
            memory_clock_khz: 10_501_000,
            bus_bits: 384,
        },
        Profile {
            name: "H100",
            compute: (9, 0),
            sm_count: 132,
            memory_bytes: 80 * GIB,
            threads_per_sm: 2048,
            blocks_per_sm: 32,
            shared_per_sm: 233_472,
            shared_optin: 232_448,
            shared_reserved: 1024,
            l2_bytes: 50 * MIB,
            clock_khz: 1_980_000,
            memory_clock_khz: 2_619_000,
            bus_bits: 5120,
        },
    ];

    /// The device of this name; case, blanks, hyphens and underscores do not matter (`rtx-4090`, `RTX 4090`).
    pub fn by_name(name: &str) -> Option<&'static Profile> {
        let plain: String = name.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).collect();
        Self::ALL.iter().find(|profile| profile.name.eq_ignore_ascii_case(&plain))
    }

    /// The limits of one multiprocessor, for occupancy.
    pub fn limits(&self) -> MultiprocessorLimits {
        MultiprocessorLimits {
            threads: self.threads_per_sm,
            blocks: self.blocks_per_sm,
            registers: Self::REGISTERS,
            shared: self.shared_per_sm,
            reserved_shared: self.shared_reserved,
        }
    }

    /// The name that programs are told.
    pub fn device_name(&self) -> String {
        format!("software device ({} profile)", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_written() {
        for name in ["RTX4090", "rtx 4090", "RTX-4090", "rtx_4090"] {
            assert_eq!(Profile::by_name(name).map(|p| p.sm_count), Some(128), "{name}");
        }
        assert_eq!(Profile::by_name("GTX 480"), None);
    }

    #[test]
    fn limits_are_consistent() {
        for p in Profile::ALL {
            assert_eq!(p.shared_optin + p.shared_reserved, p.shared_per_sm, "{}", p.name);
            assert!(p.shared_optin > Profile::SHARED_DEFAULT, "{}", p.name);
            assert_eq!(p.threads_per_sm % Profile::WARP, 0, "{}", p.name);
            assert_eq!(Profile::by_name(p.name), Some(p));
        }
    }
}
