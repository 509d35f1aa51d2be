//! Why a pickle is refused.

// every variant is documented; its fields say by their names what they hold
#![allow(missing_docs)]

use thiserror::Error;

/// What stopped the reader, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("byte {offset}: {fault}")]
#[non_exhaustive]
pub struct PickleError {
    /// Position of the opcode: in `data.pkl` for the zip form, in the file for the legacy form.
    pub offset: usize,
    /// What it did.
    pub fault: PickleFault,
}

/// What the opcode did that cannot or must not be followed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PickleFault {
    /// The bytes end before the pickle does.
    #[error("the pickle ends early; the file is truncated or corrupted, so fetch it again")]
    End,
    /// An opcode that state dicts do not need.
    #[error(
        "opcode 0x{0:02x} is not one that torch.save writes for tensors; if you trust the file, load it in Python and torch.save(model.state_dict(), \"weights.pth\")"
    )]
    Opcode(u8),
    /// A protocol other than 2 to 5.
    #[error("pickle protocol {0}, expected 2 to 5")]
    Protocol(u8),
    /// A Python function or class outside the fixed list; the file may be an attack, or just a whole model.
    #[error(
        "global `{module}.{name}` is not allowed in a weight file, and was not run; if you trust the file, load it in Python and torch.save(model.state_dict(), \"weights.pth\")"
    )]
    Global { module: String, name: String },
    /// A call, or a reference to outside data, with arguments that `torch.save` does not write.
    #[error("{called} with unexpected arguments: {reason}")]
    Arguments { called: &'static str, reason: &'static str },
    /// An operation on a value of the wrong kind.
    #[error("{found}, expected {expected}")]
    Type { expected: &'static str, found: &'static str },
    /// More values taken than were put.
    #[error("the stack is empty")]
    Stack,
    /// A list or dictionary closed that was not begun.
    #[error("no mark on the stack")]
    Mark,
    /// A memo entry read that was not written.
    #[error("memo entry {0} was never stored")]
    Memo(u32),
    /// Bytes that are not UTF-8, or a number that is not one.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// More than any state dict needs.
    #[error("more than {limit} {what}, which no state dict needs")]
    Limit { what: &'static str, limit: usize },
}
