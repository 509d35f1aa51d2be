//! What the launches of a run did.

use serde::Serialize;

use super::{Counters, Finding, Occupancy};

/// One launch, or the sum of a kernel's launches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LaunchReport {
    /// Kernel name.
    pub kernel: String,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads per block along x, y and z.
    pub block: [u32; 3],
    /// Registers per thread.
    pub registers: u32,
    /// Whether `registers` is an estimate from the PTX instead of the assembler's number.
    pub registers_estimated: bool,
    /// Whether it may begin before the kernel before it in its stream or graph has ended.
    pub programmatic: bool,
    /// Static plus dynamic shared memory of a block in bytes.
    pub shared: u32,
    /// How many blocks fit on a multiprocessor.
    pub occupancy: Option<Occupancy>,
    /// What it did.
    pub counters: Counters,
}

/// Launches summed per kernel and shape of launch, in order of first launch.
pub(crate) fn per_kernel<'a>(launches: impl IntoIterator<Item = &'a LaunchReport>) -> Vec<LaunchReport> {
    let mut kernels: Vec<LaunchReport> = Vec::new();
    for launch in launches {
        let same = |k: &&mut LaunchReport| (&k.kernel, k.block, k.shared) == (&launch.kernel, launch.block, launch.shared);
        match kernels.iter_mut().find(same) {
            Some(sum) => sum.counters.merge(&launch.counters),
            None => kernels.push(launch.clone()),
        }
    }
    kernels
}

/// The launches and findings of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Name of the device.
    pub device: String,
    /// Launches in order.
    pub launches: Vec<LaunchReport>,
    /// What went wrong.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The launches summed per kernel and shape of launch, in order of first launch.
    pub fn per_kernel(&self) -> Vec<LaunchReport> {
        per_kernel(&self.launches)
    }

    /// The report as JSON: `device`, `launches`, `kernels` (summed) and `findings`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "device": self.device,
            "launches": self.launches,
            "kernels": self.per_kernel(),
            "findings": self.findings,
        })
    }
}
