//! Boxes round what a map marks.

use std::cmp::Ordering;

use camshaft::cam::{BoxRule, FoundBox, Keep, Map, PAPER_THRESHOLD};
use camshaft::input::Input;
use camshaft::output::Boxes;
use camshaft::render::Mark;
use clap::Args;

use super::args::choice;

/// Weakly supervised localisation.
#[derive(Args)]
#[command(next_help_heading = "Boxes")]
pub struct BoxOptions {
    /// Find boxes round what each map marks, for the manifest and --json, in pixels of the crop and of the original: round the
    /// largest region, or all
    #[arg(long, value_name = "WHICH", num_args = 0..=1, require_equals = true, default_missing_value = "largest",
        value_parser = choice(Keep::ALL, Keep::name))]
    boxes: Option<Keep>,
    /// What a region consists of: pixels above this share of the map's greatest value; several with commas between them. Default:
    /// 0.2, as in the CAM paper
    #[arg(long, value_name = "SHARE", value_delimiter = ',', value_parser = share)]
    box_threshold: Vec<f32>,
    /// Draw the boxes on overlays and contact sheets
    #[arg(long)]
    draw_boxes: bool,
}

impl BoxOptions {
    /// What is asked for, if anything is; each of the options asks.
    pub fn boxes(&self) -> Option<Boxes> {
        if self.boxes.is_none() && self.box_threshold.is_empty() && !self.draw_boxes {
            return None;
        }
        let mut thresholds = self.box_threshold.clone();
        if thresholds.is_empty() {
            thresholds.push(PAPER_THRESHOLD);
        }
        thresholds.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal)); // there is no NaN among them
        thresholds.dedup();
        Some(Boxes { rule: BoxRule { keep: self.boxes.unwrap_or_default(), thresholds }, drawn: self.draw_boxes })
    }
}

fn share(text: &str) -> Result<f32, String> {
    let share = text.trim().parse().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to below 1, such as 0.2".to_owned())
}

/// The boxes of a map that has the size of the crop.
pub fn find(boxes: &Boxes, map: &Map, input: &Input) -> anyhow::Result<Vec<FoundBox>> {
    Ok(boxes.rule.find(map, input.transform())?)
}

/// The boxes as they are drawn. The first of each threshold has a label: what the map is of, and the threshold where there are
/// several.
pub fn marks(boxes: &Boxes, found: &[FoundBox], label: &str) -> Vec<Mark> {
    let several = boxes.rule.thresholds.len() > 1;
    let mut before = None;
    let mark = |found: &FoundBox| {
        let first = before.replace(found.threshold) != Some(found.threshold);
        let words = match (first, several) {
            (false, _) => String::new(),
            (true, false) => label.to_owned(),
            (true, true) => format!("{label} > {:.0} %", 100.0 * found.threshold),
        };
        Mark { bounds: found.crop, words }
    };
    found.iter().map(mark).collect()
}

/// The first box for a table: corners in pixels of the original.
pub fn in_table(found: &[FoundBox]) -> String {
    let Some(FoundBox { original: Some(b), .. }) = found.first() else { return "none".to_owned() };
    [b.x0, b.y0, b.x1, b.y1].map(|edge| format!("{edge:.0}")).join(",")
}
