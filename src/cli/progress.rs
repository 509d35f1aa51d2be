//! Progress bars on stderr, where it is a terminal.

use std::fmt;
use std::sync::LazyLock;
use std::time::Instant;

use camshaft::engine::MaskedPasses;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::stderr;

/// Inputs below which a bar is more noise than help.
const MANY: usize = 10;

/// Bars that may be there at the same time.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A bar over images, with their rate.
pub struct Images {
    bar: ProgressBar,
    inputs: usize,
    start: Instant,
}

impl Images {
    /// Hidden for a few images, or where stderr is no terminal.
    pub fn new(inputs: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(inputs as u64), ProgressDrawTarget::hidden());
        let bar = if inputs < MANY { bar } else { BARS.add(bar) };
        bar.set_style(rated("{bar:32} {pos}/{len} images  {rate} images/s  {eta} left  {msg}"));
        Self { bar, inputs, start: Instant::now() }
    }

    /// Tells of an image that failed.
    pub fn error(&self, message: &str) {
        self.suspend(|| stderr::line(format_args!("error: {message}")));
    }

    /// One image more is done; `failed` of all so far were in vain.
    pub fn advance(&self, failed: usize) {
        if failed > 0 {
            self.bar.set_message(format!("{failed} failed"));
        }
        self.bar.inc(1);
    }

    /// Runs `print` with the bar out of the way.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        BARS.suspend(print)
    }

    /// Takes the bar away; of many images that are `done`, says how long they took.
    pub fn finish(&self, done: Option<usize>) {
        self.bar.finish_and_clear();
        let seconds = self.start.elapsed().as_secs_f64();
        if let Some(done) = done.filter(|_| self.inputs >= MANY) {
            stderr::line(format_args!("{done} images in {seconds:.1} s, {:.1} images/s", done as f64 / seconds));
        }
    }
}

/// Shows how far the work on one picture's masked images is, on a bar of its own.
pub fn masks() -> impl Fn(MaskedPasses) + Send + Sync + 'static {
    let bar = LazyLock::new(|| {
        let bar = BARS.add(ProgressBar::new(0));
        bar.set_style(rated("{bar:32} {pos}/{len} masks of a picture  {rate} masks/s  {eta} left"));
        bar
    });
    move |MaskedPasses { done, of }| {
        if done == 1 {
            bar.reset();
            bar.set_length(of as u64);
        }
        bar.set_position(done as u64);
        if done == of {
            bar.finish_and_clear();
        }
    }
}

/// A style with a rate.
fn rated(template: &str) -> ProgressStyle {
    style_of(template).with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = write!(out, "{:.1}", state.per_sec()); // a bar that cannot be drawn is none
    })
}

/// A bar over the bytes of a download.
pub fn download() -> ProgressBar {
    let style = "{msg}  {bar:32} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style_of(style))
}

fn style_of(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
