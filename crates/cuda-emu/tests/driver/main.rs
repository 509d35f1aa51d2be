//! The driver interface, called by cudarc.

#![cfg(target_os = "linux")]

mod basics;
mod harness;
mod launch;
mod misuse;
mod order;
mod overlap;
mod programs;
