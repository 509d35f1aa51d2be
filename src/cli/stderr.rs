//! Words for people on stderr. Where nobody listens any more they are lost, and nothing else: `eprintln` would panic.

use std::fmt::Display;
use std::io::Write;

/// Writes `text` and a line end.
pub fn line(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
