//! PTX text to checked, decoded kernels.
//!
//! [`Module::parse`] reads the text, resolves names and decodes each instruction once: registers become planes, constants become
//! planes, branches know where their lanes meet again. What it does not know it refuses, with line and opcode.

mod body;
mod cfg;
mod cursor;
mod decode;
mod error;
mod ir;
mod kernel;
mod lexer;
mod module;
mod operand;
mod syntax;
mod variable;

pub use error::LoadError;
pub use kernel::{Kernel, Param};
pub use module::{GlobalVar, Module};

pub(crate) use decode::{Merge, Uses, Watch};
pub(crate) use ir::*;
pub(crate) use syntax::{Reg, Slot, Special};
