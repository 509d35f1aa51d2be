//! The exported functions, by the names that the driver interface gives them.
//!
//! Each runs inside `with_driver`, which locks, catches panics and turns the result into a code. Handles and sizes are
//! checked before anything happens. Pointers to results are checked for null; that they point to room for the result is the
//! caller's promise, as it is with the real library, and the reason why these functions are unsafe.

#![allow(non_snake_case)]

mod context;
mod control;
mod copy;
mod device;
mod event;
mod graph;
mod launch;
mod memory;
mod module;
mod occupancy;
mod pointer;
mod stream;
mod unsupported;

/// Exports functions: `fn name(arguments) |driver| body`, where the body is a `Result`.
macro_rules! driver_calls {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) |$driver:ident| $body:block)*) => {
        $(
            $(#[$meta])*
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $type),*) -> u32 {
                $crate::driver::state::with_driver(stringify!($name), |$driver| $body)
            }
        )*
    };
}
use driver_calls;
