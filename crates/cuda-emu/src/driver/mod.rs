//! The CUDA driver interface: the functions that clients such as cudarc look up in libcuda.
//!
//! The library `libcuda_emu.so` exports them. Nothing finds it by accident: [`install`] makes the process take it for `libcuda`.
//! The README lists the settings.

mod api;
mod attributes;
mod capture;
mod code;
mod context;
mod handle;
mod host;
mod install;
mod journal;
mod launch;
mod module;
mod op;
mod queue;
mod random;
mod run;
mod settings;
mod state;

pub use code::Code;
pub use install::{InstallError, Installed, install};
pub use settings::{Check, Settings, SettingsError, Streams};
