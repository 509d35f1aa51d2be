//! Which maps are computed: methods, scores, whose formulas.

use camshaft::Error;
use camshaft::cam::{Library, Masking, Method, MethodError, Score, Smoothing, Target};
use camshaft::engine::{Engine, Request};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::Usage;
use super::args::choice;

/// How classes are explained. All of it comes from one forward pass, unless it says otherwise.
#[derive(Args)]
#[command(next_help_heading = "Method")]
pub struct MethodOptions {
    /// Methods, with commas between them; see docs/methods.md. Default: cam. The last three take a forward pass for each channel
    /// (512 in ResNet-18), or 35 (sscam) or 10 (iscam)
    #[arg(short, long = "method", value_name = "METHOD", value_delimiter = ',', value_parser = choice(Method::ALL, Method::name))]
    methods: Vec<Method>,
    /// These methods, or all that one forward pass is enough for, side by side
    #[arg(long, value_name = "METHODS", value_delimiter = ',', conflicts_with = "methods", value_parser = compared())]
    compare: Vec<Compared>,
    /// What of a class is explained: its logit, its probability, or their sum in logarithms (rest)
    #[arg(long, default_value_t, value_parser = choice(Score::ALL, Score::name))]
    pub score: Score,
    /// Reproduce the maps and pictures of torchcam 0.5.0 or grad-cam 1.5.7, defects included; on the crop only
    #[arg(long, value_name = "LIBRARY", value_parser = choice(Library::ALL, Library::name))]
    pub compat: Option<Library>,
    /// Average the maps of the image and its mirror image, each in three strengths (0.9, 1, 1.1): six times the forward passes
    #[arg(long)]
    pub aug_smooth: bool,
    /// Draw the first principal component of the weighted features instead of their sum
    #[arg(long)]
    pub eigen_smooth: bool,
    /// Masked images of each channel for sscam and iscam. Default: 35 and 10
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    samples: Option<u32>,
    /// Standard deviation of the noise that sscam adds to masks
    #[arg(long, value_name = "STD", default_value = "2", value_parser = deviation)]
    noise: f32,
    /// Which noise
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
}

fn deviation(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|noise: &f32| noise.is_finite() && *noise >= 0.0);
    number.ok_or_else(|| "expected a number that is not negative".to_owned())
}

/// What the engine is asked for.
pub struct Work {
    /// All of it.
    pub request: Request,
    /// Each once, at least one.
    pub methods: Vec<Method>,
    /// `None` where the classes are the most probable ones.
    pub targets: Option<Vec<Target>>,
}

#[derive(Clone, Copy)]
enum Compared {
    All,
    One(Method),
}

fn compared() -> impl TypedValueParser<Value = Compared> {
    let names = std::iter::once("all").chain(Method::ALL.iter().map(|method| method.name()));
    PossibleValuesParser::new(names)
        .try_map(|name| if name == "all" { Ok(Compared::All) } else { name.parse().map(Compared::One) })
}

impl MethodOptions {
    /// Whether methods are to be drawn side by side.
    pub fn compares(&self) -> bool {
        !self.compare.is_empty()
    }

    /// Whether something else than class activation maps of logits by the paper is asked for.
    pub fn is_special(&self) -> bool {
        let smoothed = self.smoothing() != Smoothing::default();
        self.compares() || !self.methods.is_empty() || self.score != Score::Logit || self.compat.is_some() || smoothed
    }

    /// How maps are smoothed.
    pub fn smoothing(&self) -> Smoothing {
        Smoothing { eigen: self.eigen_smooth, augment: self.aug_smooth }
    }

    /// How images are masked.
    pub fn masking(&self) -> Masking {
        Masking { samples: self.samples.map(|samples| samples as usize), deviation: self.noise, seed: self.seed }
    }

    /// `request` with these options, checked against the engine's classes.
    pub fn apply(&self, request: Request, engine: &Engine) -> Result<Work, Usage> {
        let mut request = request.score(self.score).smoothing(self.smoothing()).masking(self.masking());
        if let Some(library) = self.compat {
            request = request.library(library);
        }
        let mut methods = self.methods.clone();
        for compared in &self.compare {
            match compared {
                Compared::One(method) => methods.push(*method),
                // All that can answer: not every method tells two classes apart, or is in every library. Those that take hundreds of
                // passes are there by name only.
                Compared::All => methods.extend(
                    Method::ONE_PASS
                        .iter()
                        .copied()
                        .filter(|&method| !matches!(engine.resolve(&request.clone().methods([method])), Err(Error::Method(_)))),
                ),
            }
        }
        if methods.is_empty() {
            methods.push(Method::default());
        }
        let mut once = Vec::new();
        methods.into_iter().for_each(|method| {
            if !once.contains(&method) {
                once.push(method)
            }
        });
        let request = request.methods(once.iter().copied());
        let targets = engine.resolve(&request).map_err(|error| match error {
            Error::Method(MethodError::EigenTwice { .. }) => Usage(format!("--eigen-smooth: {error}")),
            Error::Method(MethodError::NotSmoothed { .. }) => Usage(format!("--compat: {error}")),
            Error::Method(_) => Usage(format!("--method: {error}")),
            error => Usage(format!("--class: {error}; `camshaft labels` lists the names")),
        })?;
        Ok(Work { request, methods: once, targets })
    }
}
