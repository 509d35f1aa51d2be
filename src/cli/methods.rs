//! Which maps are computed: methods, scores, whose formulas.

use camshaft::Error;
use camshaft::cam::{Library, Method, Score, Target};
use camshaft::engine::{Engine, Request};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::Usage;
use super::args::choice;

/// How classes are explained. All of it comes from one forward pass.
#[derive(Args)]
#[command(next_help_heading = "Method")]
pub struct MethodOptions {
    /// Methods, with commas between them; see docs/methods.md. Default: cam
    #[arg(short, long = "method", value_name = "METHOD", value_delimiter = ',', value_parser = choice(Method::ALL, Method::name))]
    methods: Vec<Method>,
    /// Compute these methods, or all, and draw them side by side (implies --grid)
    #[arg(long, value_name = "METHODS", value_delimiter = ',', conflicts_with = "methods", value_parser = compared())]
    compare: Vec<Compared>,
    /// What of a class is explained: its logit, its probability, or their sum in logarithms (rest)
    #[arg(long, default_value_t, value_parser = choice(Score::ALL, Score::name))]
    pub score: Score,
    /// Reproduce the maps and pictures of torchcam 0.5.0 or grad-cam 1.5.7, defects included; on the crop only
    #[arg(long, value_name = "LIBRARY", value_parser = choice(Library::ALL, Library::name))]
    pub compat: Option<Library>,
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
        self.compares() || !self.methods.is_empty() || self.score != Score::Logit || self.compat.is_some()
    }

    /// `request` with these options, checked against the engine's classes.
    pub fn apply(&self, request: Request, engine: &Engine) -> Result<Work, Usage> {
        let mut request = request.score(self.score);
        if let Some(library) = self.compat {
            request = request.library(library);
        }
        let mut methods = self.methods.clone();
        for compared in &self.compare {
            match compared {
                Compared::One(method) => methods.push(*method),
                // All that can answer: not every method tells two classes apart, or is in every library.
                Compared::All => methods.extend(
                    Method::ALL
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
            Error::Method(_) => Usage(format!("--method: {error}")),
            error => Usage(format!("--class: {error}; `camshaft labels` lists the names")),
        })?;
        Ok(Work { request, methods: once, targets })
    }
}
