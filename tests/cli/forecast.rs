//! `bench --forecast`, and the table of docs/performance.md that it wrote.

use std::path::Path;

use serde_json::Value;

use crate::common::safetensors_file;
use crate::common::seeded::{Dtype, Net};
use crate::program::Bench;

const MARKS: [&str; 2] = ["<!-- bench:forecast -->\n", "<!-- /bench:forecast -->"];

/// As the documentation shows it, of the full network in its default size.
fn table() -> String {
    let bench = Bench::new();
    safetensors_file::write(&bench.at("resnet18.safetensors"), &Net::resnet(18, 1000).tensors(), Dtype::F16);
    let ran = bench.run(["bench", "--forecast", "--json", "-w", "resnet18.safetensors"]).code(0);
    let mut table = String::from("| GPU | batch | ms | images/s | floor ms | of floor |\n|---|---|---|---|---|---|\n");
    for line in ran.stdout.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let number = |field: &str| row[field].as_f64().unwrap_or_else(|| panic!("{field} of {row}"));
        let (ms, floor) = (number("forecast_ms"), number("floor_ms"));
        table += &format!(
            "| {} | {} | {ms:.3} | {:.0} | {floor:.3} | {:.2} |\n",
            row["gpu"].as_str().unwrap(),
            row["batch"],
            number("images_per_second"),
            ms / floor,
        );
    }
    table
}

/// `CAMSHAFT_GATES=write cargo test --test cli forecast` writes it anew.
#[test]
fn the_documentation_has_the_programs_forecast() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(MARKS[0]).expect("where the table begins");
    let (recorded, after) = rest.split_once(MARKS[1]).expect("where it ends");
    let found = table();
    assert!(found.lines().count() > 2 + 4, "{found}");
    if std::env::var_os("CAMSHAFT_GATES").is_some_and(|mode| mode == "write") {
        std::fs::write(&path, [before, MARKS[0], &found, MARKS[1], after].concat()).unwrap();
    } else {
        assert_eq!(recorded, found, "write it anew: CAMSHAFT_GATES=write cargo test --test cli forecast");
    }
}
