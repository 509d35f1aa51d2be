//! Progress bars on stderr, where it is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Inputs below which a bar is more noise than help.
const MANY: usize = 10;

/// A bar over `inputs` images; hidden for a few, or where stderr is no terminal.
pub fn images(inputs: usize) -> ProgressBar {
    let target = if inputs < MANY { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = "{bar:32} {pos}/{len} images  {per_sec}  {eta} left  {msg}";
    ProgressBar::with_draw_target(Some(inputs as u64), target).with_style(style_of(style))
}

/// A bar over the bytes of a download.
pub fn download() -> ProgressBar {
    let style = "{msg}  {bar:32} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style_of(style))
}

fn style_of(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
