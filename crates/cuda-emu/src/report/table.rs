//! The report as text.

use std::fmt;

use super::{LaunchReport, Report};

const HEADINGS: [&str; 16] = [
    "kernel", "launches", "grid", "block", "regs", "smem", "occ", "instr", "lanes", "mma", "GFLOP", "read", "written", "sectors",
    "banks", "diverg",
];

/// One line per kernel and shape of launch. `lanes`: active lanes per instruction; `read`, `written`: different bytes of global memory;
/// `sectors`: sectors over the ideal; `banks`: wavefronts of shared memory over the ideal; `diverg`: divergent branches.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernels = self.per_kernel();
        let mut rows = vec![HEADINGS.map(str::to_owned)];
        rows.extend(kernels.iter().map(row));
        let mut widths = [0; HEADINGS.len()];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        writeln!(
            f,
            "{}: {} launches of {} kernels, {} findings",
            self.device,
            self.launches.len(),
            kernels.len(),
            self.findings.len()
        )?;
        for row in rows {
            let mut line = format!("{:<1$}", row[0], widths[0]);
            for (cell, width) in row.iter().zip(widths).skip(1) {
                line += &format!("  {cell:>width$}");
            }
            writeln!(f, "{line}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}

fn row(launch: &LaunchReport) -> [String; HEADINGS.len()] {
    let counters = &launch.counters;
    let dimensions = |[x, y, z]: [u32; 3]| if (y, z) == (1, 1) { x.to_string() } else { format!("{x}x{y}x{z}") };
    let (load, store) = (counters.global_load, counters.global_store);
    let banks = [counters.shared_load, counters.shared_store, counters.shared_atomic];
    let over = |actual: u64, ideal: u64| if ideal == 0 { "-".into() } else { format!("{:.2}", actual as f64 / ideal as f64) };
    [
        launch.kernel.clone(),
        counters.launches.to_string(),
        dimensions(launch.grid),
        dimensions(launch.block),
        format!("{}{}", if launch.registers_estimated { "~" } else { "" }, launch.registers),
        bytes(u64::from(launch.shared)),
        launch.occupancy.map_or("-".into(), |occupancy| format!("{:.0}%", 100.0 * occupancy.fraction())),
        count(counters.instructions.total()),
        format!("{:.0}%", 100.0 * counters.lane_efficiency()),
        count(counters.mma),
        format!("{:.3}", counters.flops as f64 / 1e9),
        bytes(counters.unique_read_bytes),
        bytes(counters.unique_written_bytes),
        over(load.sectors + store.sectors, load.ideal_sectors + store.ideal_sectors),
        over(banks.iter().map(|b| b.wavefronts).sum(), banks.iter().map(|b| b.ideal_wavefronts).sum()),
        count(counters.divergent_branches),
    ]
}

fn count(number: u64) -> String {
    scaled(number, 1000.0, ["", " k", " M", " G"])
}

fn bytes(number: u64) -> String {
    scaled(number, 1024.0, [" B", " KiB", " MiB", " GiB"])
}

fn scaled(number: u64, step: f64, units: [&str; 4]) -> String {
    let mut value = number as f64;
    let mut unit = 0;
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    if unit == 0 { format!("{number}{}", units[0]) } else { format!("{value:.1}{}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::super::{BankTraffic, Counters, Finding, FindingKind, InstructionClass, LaunchReport, Report, SectorTraffic};

    fn report() -> Report {
        let mut counters = Counters { launches: 1, flops: 2_000_000_000, unique_read_bytes: 3 << 20, ..Counters::default() };
        counters.count(InstructionClass::Mma, 16);
        counters.global_load = SectorTraffic { requests: 1, sectors: 8, ideal_sectors: 4, bytes: 128 };
        counters.shared_store = BankTraffic { requests: 1, wavefronts: 3, ideal_wavefronts: 2, bytes: 256 };
        let launch = |kernel: &str, grid| LaunchReport {
            kernel: kernel.into(),
            grid,
            block: [128, 1, 1],
            registers: 40,
            registers_estimated: true,
            programmatic: false,
            shared: 24_576,
            occupancy: None,
            counters,
        };
        let findings = vec![Finding::host(FindingKind::Leak, Some(512), "allocation #1 of 8 bytes".into())];
        Report {
            device: "test".into(),
            launches: vec![launch("conv", [2, 1, 1]), launch("pool", [3, 1, 1]), launch("conv", [2, 1, 1])],
            findings,
        }
    }

    #[test]
    fn launches_of_one_kernel_are_summed() {
        let kernels = report().per_kernel();
        assert_eq!(
            kernels.iter().map(|k| (k.kernel.as_str(), k.counters.launches)).collect::<Vec<_>>(),
            [("conv", 2), ("pool", 1)]
        );
        let json = report().to_json();
        assert_eq!((json["launches"].as_array().unwrap().len(), json["kernels"].as_array().unwrap().len()), (3, 2));
        assert_eq!(json["kernels"][0]["counters"]["global_load"]["sectors"], 16);
        assert_eq!(json["findings"][0]["kind"], "leak");
    }

    #[test]
    fn the_table_lines_up() {
        let text = report().to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "test: 3 launches of 2 kernels, 1 findings");
        assert!(lines[1..4].iter().all(|line| line.len() == lines[1].len()), "{text}");
        assert!(lines[4].contains("Leaked allocation"));
        let conv: Vec<_> = lines[2].split_whitespace().collect();
        assert_eq!(conv, "conv 2 2 128 ~40 24.0 KiB - 2 50% 0 4.000 6.0 MiB 0 B 2.00 1.50 0".split(' ').collect::<Vec<_>>());
    }
}
