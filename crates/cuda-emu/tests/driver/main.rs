//! The driver interface, called by cudarc.

mod basics;
mod harness;
mod launch;
mod misuse;
mod order;
