//! Commands. Results go to stdout, everything else to stderr; exit code 0 done, 1 something failed, 2 wrong usage, 130
//! interrupted.

mod args;
mod bench;
mod boxes;
mod cam;
mod classify;
mod draw;
mod evaluate;
mod fetch;
mod info;
mod inputs;
mod interrupt;
mod labels;
mod measures;
mod merge;
mod methods;
mod options;
mod progress;
mod run;
mod shell;
mod stderr;
mod stdout;
mod table;
mod truths;

use std::process::ExitCode;

use clap::Parser;

/// A mistake in the command line that only shows once the model is there, such as an unknown class: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Parses the command line and runs the command.
pub fn run() -> anyhow::Result<ExitCode> {
    match args::Cli::parse().command {
        args::Command::Cam(args) => cam::run(&args),
        args::Command::Classify(args) => classify::run(&args),
        args::Command::Evaluate(args) => evaluate::run(&args),
        args::Command::Merge(args) => merge::run(&args),
        args::Command::Info(args) => info::run(&args),
        args::Command::Bench(args) => bench::run(&args),
        args::Command::Fetch(args) => fetch::run(&args),
        args::Command::Labels(args) => labels::run(&args),
        args::Command::Completions(args) => shell::completions(args.shell),
        args::Command::Man(args) => shell::man(args.folder.as_deref()),
    }
}

/// Prints the error that ended the program; a reader who closed the pipe has seen enough, which is none.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if stdout::is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    stderr::line(format_args!("error: {error}")); // messages hold their causes
    if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}
