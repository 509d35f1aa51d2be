//! The CUDA driver interface: the functions that clients such as cudarc look up in libcuda.
//!
//! The library `libcuda_emu.so` exports them. Nothing finds it by accident: `install` (on Linux) makes the process take it for
//! `libcuda.so`, and a child process does with `LD_PRELOAD` set to the path that `library` returns. The README lists the settings.

mod api;
mod attributes;
mod capture;
mod code;
mod context;
mod handle;
mod host;
#[cfg(target_os = "linux")]
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
mod tail;

pub use code::Code;
#[cfg(target_os = "linux")]
pub use install::{InstallError, Installed, install, library};
pub use settings::{Check, Settings, SettingsError, Streams};
