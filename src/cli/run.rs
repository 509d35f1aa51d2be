//! A run over many inputs, through the library's pipeline; bad inputs are named and passed.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use camshaft::Error;
use camshaft::engine::{Engine, Request};
use camshaft::input::Picture;
use camshaft::pipeline::Explained;
use serde::Serialize;

use super::inputs::{Inputs, Missing};
use super::{interrupt, progress, stderr};

/// The bundled picture that stands in when no input is given: a name and a JPEG.
const BUNDLED: (&str, &[u8]) = ("meadow.jpg", include_bytes!("../../assets/demo/meadow.jpg"));

/// What became of one input, or a message that names it.
pub type Outcome = Result<Explained, String>;

/// What a command made of one outcome, and the fault that it is to be counted with, if any.
pub struct Finished<T> {
    /// To be shown.
    pub shown: T,
    /// A message that names the input.
    pub fault: Option<String>,
}

/// What `--json` prints of one input, where it prints nothing else.
#[derive(Serialize)]
pub struct Entry<T> {
    file: String,
    #[serde(flatten)]
    status: Status<T>,
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Status<T> {
    Ok(T),
    Error { message: String },
}

impl<T> Entry<T> {
    /// Of an input and what was found, or a message that names it.
    pub fn finished(file: &str, found: Result<T, String>) -> Finished<Self> {
        let fault = found.as_ref().err().cloned();
        let status = found.map_or_else(|message| Status::Error { message }, Status::Ok);
        Finished { shown: Self { file: file.to_owned(), status }, fault }
    }

    /// The input.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What was found, if all went well.
    pub fn found(&self) -> Option<&T> {
        match &self.status {
            Status::Ok(found) => Some(found),
            Status::Error { .. } => None,
        }
    }
}

/// The inputs of a run.
pub struct Run<'a> {
    engine: &'a Engine,
    inputs: Vec<Item>,
    workers: Option<usize>,
}

enum Item {
    Bundled,
    File(PathBuf),
    Missing(Missing),
}

impl<'a> Run<'a> {
    /// The images that the arguments mean, or the bundled picture. Those in the folder `results` are left out, see
    /// [`Inputs::expand`]. `workers`: threads that decode and draw.
    pub fn new(engine: &'a Engine, arguments: &Inputs, results: Option<&Path>, workers: Option<usize>) -> anyhow::Result<Self> {
        let inputs = if arguments.is_empty() {
            vec![Item::Bundled]
        } else {
            let found = arguments.expand(results)?;
            found.into_iter().map(|found| found.map_or_else(Item::Missing, Item::File)).collect()
        };
        Ok(Self { engine, inputs, workers })
    }

    /// These files.
    pub fn of_files(engine: &'a Engine, files: Vec<PathBuf>, workers: Option<usize>) -> Self {
        Self { engine, inputs: files.into_iter().map(Item::File).collect(), workers }
    }

    /// The inputs' names, in order, as they are told to `finish`.
    pub fn names(&self) -> Vec<String> {
        self.inputs.iter().map(ToString::to_string).collect()
    }

    /// Explains every input that is not to be skipped, calls `finish` with its place, its name and what became of it, on several
    /// threads, and shows `visit` the place and what that returned, in order, on this thread. With `photos` the pictures themselves
    /// are kept until then. Faults are named on stderr. After Ctrl-C no further input is taken; an input for which `finish` then
    /// returns `None` counts as not taken.
    pub fn each<T: Send>(
        &self,
        request: &Request,
        photos: bool,
        skip: impl Fn(usize) -> bool + Sync,
        finish: impl Fn(usize, &str, Outcome) -> Option<Finished<T>> + Sync,
        mut visit: impl FnMut(usize, T) -> anyhow::Result<()>,
    ) -> anyhow::Result<Tally> {
        interrupt::watch();
        let skipped = (0..self.inputs.len()).filter(|&place| skip(place)).count();
        let bar = progress::Images::new(self.inputs.len() - skipped);
        let (mut done, mut failed, mut stopped) = (0, 0, None);
        let mut pipeline = self.engine.pipeline(request).photos(photos);
        if let Some(workers) = self.workers {
            pipeline = pipeline.workers(workers);
        }
        let inputs = self.inputs.iter().enumerate().filter(|(place, _)| !skip(*place));
        pipeline.run(
            inputs.take_while(|_| !interrupt::requested()),
            |(_, item), room| item.read(room),
            |(place, item), explained| {
                let name = item.to_string();
                let outcome = explained.map_err(|fault| fault.of(&name));
                (place, finish(place, &name, outcome))
            },
            |(place, finished)| {
                let Some(Finished { shown, fault }) = finished else { return ControlFlow::Continue(()) };
                done += 1;
                if let Some(message) = &fault {
                    failed += 1;
                    bar.error(message);
                }
                bar.advance(failed);
                match bar.suspend(|| visit(place, shown)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        stopped = Some(error);
                        ControlFlow::Break(())
                    }
                }
            },
        )?;
        bar.finish(stopped.is_none().then_some(done));
        match stopped {
            None => Ok(Tally { inputs: self.inputs.len(), skipped, done, failed }),
            Some(error) => Err(error),
        }
    }
}

/// What became of the inputs of a run.
pub struct Tally {
    /// All there were.
    inputs: usize,
    /// Done by an earlier run.
    skipped: usize,
    /// Done by this one, for better or worse.
    done: usize,
    /// Those of them that failed.
    pub failed: usize,
}

impl Tally {
    /// Inputs that this run has done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Whether no input is left, as after an interruption.
    pub fn is_complete(&self) -> bool {
        self.skipped + self.done == self.inputs
    }

    /// The run's exit code; what did not go well is told on stderr. `resume`: how to go on after an interruption.
    pub fn exit_code(&self, resume: &str) -> ExitCode {
        if self.skipped > 0 {
            stderr::line(format_args!("{} of {} inputs were done already", self.skipped, self.inputs));
        }
        let code = exit_code(self.failed, self.skipped + self.done);
        if self.is_complete() {
            return code;
        }
        stderr::line(format_args!("interrupted after {} of {} inputs{resume}", self.skipped + self.done, self.inputs));
        ExitCode::from(interrupt::EXIT_CODE)
    }
}

/// Why there is no explanation.
enum Fault {
    Missing(String),
    Failed(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Fault {
    /// A message that names the input.
    fn of(self, name: &str) -> String {
        match self {
            Self::Missing(reason) => format!("{name}: {reason}"),
            Self::Failed(Error::Input(error)) => error.to_string(), // these have the name
            Self::Failed(error) => format!("{name}: {error}"),
        }
    }
}

impl Item {
    fn read(&self, room: &mut dyn FnMut(u64)) -> Result<Picture, Fault> {
        let picture = match self {
            Self::Bundled => Picture::decode(BUNDLED.0, BUNDLED.1),
            Self::File(path) => Picture::open_within(path, room),
            Self::Missing(missing) => return Err(Fault::Missing(missing.reason.clone())),
        };
        picture.map_err(|error| Fault::Failed(error.into()))
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled => f.write_str(BUNDLED.0),
            Self::File(path) => path.display().fmt(f),
            Self::Missing(missing) => f.write_str(&missing.name),
        }
    }
}

/// 0 if all went well, 1 if some inputs failed, which are counted on stderr.
pub fn exit_code(failed: usize, inputs: usize) -> ExitCode {
    if failed == 0 {
        return ExitCode::SUCCESS;
    }
    if inputs > 1 {
        stderr::line(format_args!("{failed} of {inputs} inputs failed"));
    }
    ExitCode::FAILURE
}
