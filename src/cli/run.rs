//! A run over many inputs: a batch is decoded on all threads, explained in one pass, handed on; bad inputs are named and passed.

use std::path::PathBuf;
use std::process::ExitCode;

use camshaft::engine::{Engine, Explanation, Request};
use camshaft::input::{Input, Picture};
use rayon::prelude::*;

use super::{inputs, progress};

/// The bundled picture that stands in when no input is given: a name and a JPEG.
const BUNDLED: (&str, &[u8]) = ("picnic.jpg", include_bytes!("../../assets/demo/picnic.jpg"));

/// What became of one input.
pub type Outcome<'a> = Result<&'a Explanation, &'a str>;

/// The inputs of a run.
pub struct Run<'a> {
    engine: &'a Engine,
    inputs: Vec<Item>,
}

enum Item {
    Bundled,
    File(PathBuf),
    /// No image, and why.
    Nothing(String),
}

impl<'a> Run<'a> {
    /// The images that the arguments mean, or the bundled picture.
    pub fn new(engine: &'a Engine, arguments: &[PathBuf]) -> Self {
        let inputs = if arguments.is_empty() {
            vec![Item::Bundled]
        } else {
            inputs::expand(arguments).into_iter().map(|found| found.map_or_else(Item::Nothing, Item::File)).collect()
        };
        Self { engine, inputs }
    }

    /// Inputs, good and bad.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// The inputs' names, in order, as they are told to `each`'s visitor.
    pub fn names(&self) -> Vec<String> {
        self.inputs.iter().map(Item::name).collect()
    }

    /// Explains every input and shows `visit` its name, its photograph (where there is one) and what became of it, in order.
    /// Failures are also named on stderr. Returns how many there were.
    pub fn each(
        &self,
        request: &Request,
        mut visit: impl FnMut(&str, Option<&Picture>, Outcome) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let bar = progress::images(self.inputs.len());
        let mut failed = 0;
        for items in self.inputs.chunks(self.engine.batch()) {
            let read: Vec<Result<(Picture, Input), String>> = items.par_iter().map(|item| self.read(item)).collect();
            let mut explained = self.explain(&read, request).into_iter();
            for (item, read) in items.iter().zip(&read) {
                let outcome = match read {
                    Ok(_) => explained.next().unwrap_or_else(|| Err("the engine returned too little".to_owned())),
                    Err(message) => Err(message.clone()),
                };
                if let Err(message) = &outcome {
                    failed += 1;
                    bar.suspend(|| eprintln!("error: {message}"));
                    bar.set_message(format!("{failed} failed"));
                }
                visit(&item.name(), read.as_ref().ok().map(|(picture, _)| picture), outcome.as_ref().map_err(String::as_str))?;
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(failed)
    }

    fn read(&self, item: &Item) -> Result<(Picture, Input), String> {
        let picture = match item {
            Item::Bundled => Picture::decode(BUNDLED.0, BUNDLED.1),
            Item::File(path) => Picture::open(path),
            Item::Nothing(reason) => return Err(reason.clone()),
        };
        let picture = picture.map_err(|error| error.to_string())?;
        let input = self.engine.recipe().apply(&picture).map_err(|error| error.to_string())?;
        Ok((picture, input))
    }

    /// One pass for all of them; if it fails, one each, so that the image at fault fails alone.
    fn explain(&self, read: &[Result<(Picture, Input), String>], request: &Request) -> Vec<Result<Explanation, String>> {
        let inputs: Vec<&Input> = read.iter().flatten().map(|(_, input)| input).collect();
        if let Ok(all) = self.engine.explain_inputs(&inputs, request) {
            return all.into_iter().map(Ok).collect();
        }
        let one = |(picture, input): &(Picture, Input)| match self.engine.explain_inputs(&[input], request) {
            Ok(mut explanations) => explanations.pop().ok_or_else(|| format!("{}: no explanation", picture.name)),
            Err(error) => Err(format!("{}: {error}", picture.name)),
        };
        read.iter().flatten().map(one).collect()
    }
}

impl Item {
    fn name(&self) -> String {
        match self {
            Item::Bundled => BUNDLED.0.to_owned(),
            Item::File(path) => path.display().to_string(),
            Item::Nothing(reason) => reason.split(": ").next().unwrap_or(reason).to_owned(),
        }
    }
}

/// 0 if all went well, 1 if some inputs failed, which are counted on stderr.
pub fn exit_code(failed: usize, inputs: usize) -> ExitCode {
    if failed == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("{failed} of {inputs} inputs failed");
    ExitCode::FAILURE
}
