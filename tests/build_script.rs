//! Parts of the build script that ask the machine: the GPUs present.

#![cfg(feature = "cuda")]

#[path = "../build/present.rs"]
mod present;

/// The software device stands in for a driver.
#[test]
fn the_driver_is_asked_first() {
    if std::env::var_os("CAMSHAFT_TEST_DEVICE").is_some_and(|device| device == "gpu") {
        return assert!(present::by_driver().is_some_and(|found| !found.is_empty()));
    }
    cuda_emu::driver::install(&[("CUDA_EMU_DEVICE", "L4")]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(present::by_driver(), Some(vec![89]));
    assert_eq!(present::capabilities(), [89]);
}

#[test]
fn answers_of_the_tool() {
    assert_eq!(present::parse("8.6\n9.0\n"), [86, 90]);
    assert_eq!(present::parse("[N/A]\n 12.0 \n\n"), [120]);
    assert!(present::parse("").is_empty());
}
