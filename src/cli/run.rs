//! A run over many inputs: a batch is decoded on all threads, explained in one pass, handed on; bad inputs are named and passed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use camshaft::engine::{Engine, Explanation, Request};
use camshaft::input::{Input, Picture};
use rayon::prelude::*;

use super::inputs::{self, Missing};
use super::progress;

/// The bundled picture that stands in when no input is given: a name and a JPEG.
const BUNDLED: (&str, &[u8]) = ("meadow.jpg", include_bytes!("../../assets/demo/meadow.jpg"));

/// What became of one input: its photograph and what was found in it, or a message that names it.
pub type Outcome<'a> = Result<(&'a Picture, &'a Explanation), &'a str>;

/// The inputs of a run.
pub struct Run<'a> {
    engine: &'a Engine,
    inputs: Vec<Item>,
}

/// A picture and what the network is to read of it, or a message that names the input.
type Read = Result<(Picture, Input), String>;

enum Item {
    Bundled,
    File(PathBuf),
    Missing(Missing),
}

impl<'a> Run<'a> {
    /// The images that the arguments mean, or the bundled picture. Those in the folder `results` are left out, see
    /// [`inputs::expand`].
    pub fn new(engine: &'a Engine, arguments: &[PathBuf], results: Option<&Path>) -> Self {
        let inputs = if arguments.is_empty() {
            vec![Item::Bundled]
        } else {
            inputs::expand(arguments, results).into_iter().map(|found| found.map_or_else(Item::Missing, Item::File)).collect()
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

    /// Explains every input and shows `visit` its name and what became of it, in order. `visit` may find a fault of its own with
    /// a good input, and says what. Faults of both kinds are named on stderr. Returns how many there were.
    pub fn each(
        &self,
        request: &Request,
        mut visit: impl FnMut(&str, Outcome) -> anyhow::Result<Result<(), String>>,
    ) -> anyhow::Result<usize> {
        let bar = progress::images(self.inputs.len());
        let mut failed = 0;
        for items in self.inputs.chunks(self.engine.batch()) {
            let read = items.par_iter().map(|item| self.read(item)).collect();
            for (item, outcome) in items.iter().zip(self.explain(read, request)) {
                let shown = outcome.as_ref().map(|(picture, explanation)| (picture, explanation)).map_err(String::as_str);
                let own_fault = visit(&item.name(), shown)?;
                if let Err(message) = outcome.map(drop).and(own_fault) {
                    failed += 1;
                    bar.suspend(|| eprintln!("error: {message}"));
                    bar.set_message(format!("{failed} failed"));
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(failed)
    }

    fn read(&self, item: &Item) -> Read {
        let picture = match item {
            Item::Bundled => Picture::decode(BUNDLED.0, BUNDLED.1),
            // The decoders are other people's code and see whatever is on a disk: should one panic, only its picture is lost.
            Item::File(path) => catch_unwind(AssertUnwindSafe(|| Picture::open(path)))
                .map_err(|_| format!("{}: the decoder gave up on this picture", path.display()))?,
            Item::Missing(Missing { name, reason }) => return Err(format!("{name}: {reason}")),
        };
        let picture = picture.map_err(|error| error.to_string())?;
        let input = self.engine.prepare(&picture).map_err(|error| error.to_string())?;
        Ok((picture, input))
    }

    /// One pass for all of them; if it fails, one each for those that were not finished, so that the image at fault fails alone.
    fn explain(&self, read: Vec<Read>, request: &Request) -> Vec<Result<(Picture, Explanation), String>> {
        let inputs: Vec<&Input> = read.iter().flatten().map(|(_, input)| input).collect();
        let mut finished = Vec::with_capacity(inputs.len());
        // The error shows again below, beside the image that it belongs to.
        self.engine.explain_into(&inputs, request, &mut finished).ok();
        let mut finished = finished.into_iter();
        let one = |read: Read| {
            let (picture, input) = read?;
            let explained = match finished.next() {
                Some(explanation) => Ok(Some(explanation)),
                None => self.engine.explain_inputs(&[&input], request).map(|mut alone| alone.pop()),
            };
            match explained {
                Ok(Some(explanation)) => Ok((picture, explanation)),
                Ok(None) => Err(format!("{}: no explanation", picture.name)),
                Err(error) => Err(format!("{}: {error}", picture.name)),
            }
        };
        read.into_iter().map(one).collect()
    }
}

impl Item {
    fn name(&self) -> String {
        match self {
            Item::Bundled => BUNDLED.0.to_owned(),
            Item::File(path) => path.display().to_string(),
            Item::Missing(missing) => missing.name.clone(),
        }
    }
}

/// 0 if all went well, 1 if some inputs failed, which are counted on stderr.
pub fn exit_code(failed: usize, inputs: usize) -> ExitCode {
    if failed == 0 {
        return ExitCode::SUCCESS;
    }
    if inputs > 1 {
        eprintln!("{failed} of {inputs} inputs failed");
    }
    ExitCode::FAILURE
}
