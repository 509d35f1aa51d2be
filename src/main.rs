//! The `camshaft` program: parses, runs, prints one error.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => cli::report(&error),
    }
}
