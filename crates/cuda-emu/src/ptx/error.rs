//! Why a module could not be loaded.

use thiserror::Error;

/// A PTX text that this device cannot run: broken, or outside what it implements. Nothing is ever skipped silently.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("PTX line {line}: `{token}`: {message}")]
pub struct LoadError {
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// The directive, opcode or word at fault.
    pub token: String,
    /// What is wrong with it.
    pub message: String,
}

impl LoadError {
    pub(crate) fn new(line: u32, token: impl Into<String>, message: impl Into<String>) -> Self {
        LoadError { line, token: token.into(), message: message.into() }
    }
}
