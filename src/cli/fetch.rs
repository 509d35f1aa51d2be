//! `camshaft fetch`.

use std::process::ExitCode;

use camshaft::sources::{self, Options, Progress};

use super::args::FetchArgs;
use super::run::exit_code;
use super::{progress, stderr, stdout};

/// Downloads each source and prints where it lies; one that fails is named and does not stop the others.
pub fn run(args: &FetchArgs) -> anyhow::Result<ExitCode> {
    let mut failed = 0;
    for source in &args.sources {
        match with_bar(|progress| sources::fetch(source, &Options::from_env(), progress)) {
            Ok(path) => stdout::line(&path.display().to_string())?,
            Err(error) => {
                failed += 1;
                stderr::line(format_args!("error: {error}"));
            }
        }
    }
    Ok(exit_code(failed, args.sources.len()))
}

/// Calls `work` with a progress bar that appears with the first bytes.
pub fn with_bar<T, E>(work: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<T, E>) -> Result<T, E> {
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
