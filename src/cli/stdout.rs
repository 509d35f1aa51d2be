//! Results on stdout, where a closed pipe is no failure.

use std::io::{ErrorKind, Write};

/// Writes `text` and a line end.
pub fn line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Writes `value` as one line of JSON.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Whether stdout is still read, after the attempt to write to it that gave `result`: for a command with more to do than print.
pub fn unless_closed(result: anyhow::Result<()>) -> anyhow::Result<bool> {
    match result {
        Err(error) if is_closed_pipe(&error) => Ok(false),
        result => result.map(|()| true),
    }
}

/// Whether stdout's reader has gone.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
