//! A reader for the pickles in `.pth` files that executes nothing.
//!
//! Python's unpickler is a stack machine whose programs may import any module and call any function. This one knows the
//! opcodes that `torch.save` writes in protocols 2 to 5 and a fixed list of names (`globals.rs`), whose "calls" only describe
//! tensors. Anything else ends the reading with an error that names it and its byte.
//!
//! Values live in one flat list and refer to each other by index. So a structure that mentions a list a billion times through
//! the memo costs a billionth of what it spells out, cycles do no harm, and nothing here recurses.

mod call;
mod error;
mod globals;
mod input;
mod machine;
mod value;

pub use self::error::{PickleError, PickleFault};
pub(super) use self::machine::{Pickle, read};
pub(super) use self::value::{Id, Storage, Tensor, Value};
