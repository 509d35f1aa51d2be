//! Weight files: what loads, with which numbers, and the error for every defect.

mod build;
mod files;
mod goldens;
mod hostile;
mod pickle;
mod pth;
mod safetensors;

#[path = "../../fuzz/checks/weights.rs"]
mod check;

use std::path::PathBuf;

/// The folder of files that PyTorch made (`tests/goldens/make_pth.py`).
fn goldens_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/pth")
}

/// The error that opening a golden gives.
fn golden_error(name: &str) -> camshaft::weights::WeightsError {
    camshaft::weights::WeightFile::open(goldens_folder().join(name)).expect_err(name)
}

/// Asserts that a result is the error of this pattern, and that its message holds each text.
macro_rules! assert_error {
    ($result:expr, $pattern:pat, $($text:expr),+ $(,)?) => {{
        let error = $result.expect_err("an error");
        assert!(matches!(&error, $pattern), "{error:?}");
        let message = error.to_string();
        $(assert!(message.contains($text), "{:?} is not in: {message}", $text);)+
    }};
}
use assert_error;
