//! A run over many inputs, through the library's pipeline; bad inputs are named and passed.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use camshaft::Error;
use camshaft::engine::{Engine, Request};
use camshaft::input::Picture;
use camshaft::pipeline::Explained;

use super::inputs::{self, Missing};
use super::progress;

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
    /// [`inputs::expand`]. `workers`: threads that decode and draw.
    pub fn new(engine: &'a Engine, arguments: &[PathBuf], results: Option<&Path>, workers: Option<usize>) -> Self {
        let inputs = if arguments.is_empty() {
            vec![Item::Bundled]
        } else {
            inputs::expand(arguments, results).into_iter().map(|found| found.map_or_else(Item::Missing, Item::File)).collect()
        };
        Self { engine, inputs, workers }
    }

    /// Inputs, good and bad.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// The inputs' names, in order, as they are told to `finish`.
    pub fn names(&self) -> Vec<String> {
        self.inputs.iter().map(ToString::to_string).collect()
    }

    /// Explains every input, calls `finish` with its place, its name and what became of it, on several threads, and shows `visit`
    /// what that returned, in order, on this thread. With `photos` the pictures themselves are kept until then. Faults are named
    /// on stderr. Returns how many there were.
    pub fn each<T: Send>(
        &self,
        request: &Request,
        photos: bool,
        finish: impl Fn(usize, &str, Outcome) -> Finished<T> + Sync,
        mut visit: impl FnMut(T) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let bar = progress::images(self.inputs.len());
        let (mut failed, mut stopped) = (0, None);
        let mut pipeline = self.engine.pipeline(request).photos(photos);
        if let Some(workers) = self.workers {
            pipeline = pipeline.workers(workers);
        }
        pipeline.run(
            self.inputs.iter().enumerate(),
            |(_, item), room| item.read(room),
            |(place, item), explained| {
                let name = item.to_string();
                let outcome = explained.map_err(|fault| fault.of(&name));
                finish(place, &name, outcome)
            },
            |Finished { shown, fault }| {
                if let Some(message) = fault {
                    failed += 1;
                    bar.suspend(|| eprintln!("error: {message}"));
                    bar.set_message(format!("{failed} failed"));
                }
                bar.inc(1);
                match bar.suspend(|| visit(shown)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        stopped = Some(error);
                        ControlFlow::Break(())
                    }
                }
            },
        )?;
        bar.finish_and_clear();
        stopped.map_or(Ok(failed), Err)
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
        eprintln!("{failed} of {inputs} inputs failed");
    }
    ExitCode::FAILURE
}
