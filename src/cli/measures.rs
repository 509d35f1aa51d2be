//! Which measures `camshaft evaluate` takes.

use camshaft::cam::Library;
use camshaft::metrics::{Baseline, Metric, Options};
use clap::Args;

use super::Usage;
use super::args::choice;
use super::truths::Truths;

/// What is measured.
#[derive(Args)]
#[command(next_help_heading = "Measures")]
pub struct MeasureOptions {
    /// Measures, with commas between them. Default: the first five; with annotations all that these allow
    #[arg(long, value_name = "METRICS", value_delimiter = ',', value_parser = choice(Metric::ALL, Metric::name))]
    metrics: Vec<Metric>,
    /// Steps of the insertion and deletion curves
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: u32,
    /// What stands in for pixels that are not there. Default: blur for insertion, zero for deletion, as in the paper
    #[arg(long, value_parser = choice(Baseline::ALL, Baseline::name))]
    baseline: Option<Baseline>,
    /// Shares of pixels that road removes, in percent. Default: 10,20,...,90
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', value_parser = percent)]
    removed: Vec<f64>,
    /// Pixels of the original image by which pointing may miss
    #[arg(long, default_value = "15", value_name = "PIXELS", value_parser = pixels)]
    tolerance: f64,
}

impl MeasureOptions {
    /// What the measures leave open, for maps as `library` shows them if one is named.
    pub fn options(&self, library: Option<Library>) -> Options {
        let mut options = Options::default();
        options.library = library;
        options.steps = self.steps as usize;
        options.tolerance = self.tolerance;
        if let Some(baseline) = self.baseline {
            (options.insertion, options.deletion) = (baseline, baseline);
        }
        if !self.removed.is_empty() {
            options.removed = self.removed.clone();
        }
        options
    }

    /// Each once, in the order of [`Metric::ALL`].
    pub fn metrics(&self, truths: Option<&Truths>) -> Result<Vec<Metric>, Usage> {
        if let (Some(metric), None) = (self.metrics.iter().find(|metric| metric.needs_truth()), truths) {
            return Err(Usage(format!("--metrics: `{metric}` asks where objects are; name a file with --annotations")));
        }
        let by_default = |metric: Metric| match truths {
            None => !metric.needs_truth(),
            Some(truths) => metric != Metric::MaskIou || truths.have_masks(),
        };
        let asked = |metric: &Metric| if self.metrics.is_empty() { by_default(*metric) } else { self.metrics.contains(metric) };
        Ok(Metric::ALL.iter().copied().filter(asked).collect())
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim().parse().ok().filter(|percent| *percent > 0.0 && *percent < 100.0);
    percent.ok_or_else(|| "expected a share of the pixels, more than 0 and less than 100 percent".to_owned())
}

fn pixels(text: &str) -> Result<f64, String> {
    let pixels = text.parse().ok().filter(|pixels| (0.0..1e9).contains(pixels));
    pixels.ok_or_else(|| "expected a number of pixels, 0 or more".to_owned())
}
