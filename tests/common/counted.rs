//! What the software device counts of launches.

use serde_json::Value;

/// One launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub kernel: String,
    pub grid: [u64; 3],
    pub instructions: u64,
    pub mma: u64,
    /// Of loads and stores: those touched, and those that the same bytes would fill if they lay together.
    pub sectors: u64,
    pub ideal_sectors: u64,
    /// Wavefronts of shared memory beyond those without bank conflicts.
    pub conflicts: u64,
    /// Different bytes.
    pub read: u64,
    pub written: u64,
}

impl Counted {
    /// The launches of a report, in order.
    ///
    /// # Panics
    /// If that is no report.
    pub fn all(report: &Value) -> Vec<Self> {
        report["launches"].as_array().expect("a list of launches").iter().map(Self::of).collect()
    }

    fn of(launch: &Value) -> Self {
        let counters = &launch["counters"];
        let count = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{launch}"));
        let moved = |what: &str| count(&counters["global_load"][what]) + count(&counters["global_store"][what]);
        let conflicts = |access: &str| count(&counters[access]["wavefronts"]) - count(&counters[access]["ideal_wavefronts"]);
        let classes = counters["instructions"].as_object().expect("counts by class");
        Self {
            kernel: launch["kernel"].as_str().expect("a name").to_owned(),
            grid: [0, 1, 2].map(|axis| count(&launch["grid"][axis])),
            instructions: classes.values().map(count).sum(),
            mma: count(&counters["mma"]),
            sectors: moved("sectors"),
            ideal_sectors: moved("ideal_sectors"),
            conflicts: ["shared_load", "shared_store", "shared_atomic"].map(conflicts).iter().sum(),
            read: count(&counters["unique_read_bytes"]),
            written: count(&counters["unique_written_bytes"]),
        }
    }

    pub fn blocks(&self) -> u64 {
        self.grid.iter().product()
    }

    /// Ideal over touched sectors; 1 where nothing is moved.
    pub fn coalescing(&self) -> f64 {
        if self.sectors == 0 { 1.0 } else { self.ideal_sectors as f64 / self.sectors as f64 }
    }

    /// Bytes of partial sums and counters that the blocks of a convolution in several parts write, and read again. Larger
    /// batches, where no depth is shared, do without.
    pub fn workspace(&self) -> u64 {
        let [x, y, parts] = self.grid;
        let tile = self.kernel.rsplit('_').next().and_then(|tile| {
            let numbers: Vec<u64> = tile.split('x').map(str::parse).collect::<Result<_, _>>().ok()?;
            (numbers.len() == 3).then(|| numbers[0] * numbers[1])
        });
        match tile {
            Some(outputs) if parts > 1 => x * y * (parts * outputs * 4 + 4),
            _ => 0,
        }
    }
}
