//! What the tests in `tests/` share: seeded networks, weight files of every kind, goldens, comparison.

#![allow(dead_code, reason = "every test binary includes this folder and uses its own part of it")]

pub mod compare;
#[cfg(feature = "cuda")]
pub mod counted;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod goldens;
#[cfg(feature = "cuda")]
pub mod methods;
pub mod pth;
pub mod safetensors_file;
pub mod seeded;
#[cfg(feature = "cuda")]
pub mod software;
pub mod watchdog;
