//! `camshaft fetch`.

use std::process::ExitCode;

use camshaft::Error;
use camshaft::sources::{self, Options, Progress};

use super::args::FetchArgs;
use super::{progress, stdout};

/// Downloads each source and prints where it lies.
pub fn run(args: &FetchArgs) -> anyhow::Result<ExitCode> {
    for source in &args.sources {
        let path = with_bar(|progress| Ok(sources::fetch(source, &Options::from_env(), progress)?))?;
        stdout::line(&path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Calls `work` with a progress bar that appears with the first bytes.
pub fn with_bar<T>(work: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<T, Error>) -> Result<T, Error> {
    let mut bar: Option<indicatif::ProgressBar> = None;
    let result = work(&mut |progress: Progress| {
        let bar = bar.get_or_insert_with(progress::download);
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.done);
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    result
}
