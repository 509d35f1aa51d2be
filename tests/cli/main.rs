//! The program, driven as a user does: arguments in; files, output and exit codes out.

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "download")]
#[path = "../sources/server.rs"]
#[allow(dead_code, reason = "the tests of the sources use the rest of it")]
mod server;

mod bad_pictures;
mod boxes;
mod cam;
mod commands;
mod disk;
mod evaluate;
mod fetch;
#[cfg(feature = "cuda")]
mod forecast;
mod hardship;
mod inputs;
mod methods;
mod pictures;
mod preparing;
mod program;
mod resume;
mod shards;
mod usage;
mod weights;
