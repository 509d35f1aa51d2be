//! The device of the CUDA tests: software, unless `CAMSHAFT_TEST_DEVICE=gpu`.

use cuda_emu::driver::{Installed, install};

/// Puts the software device in the place of a driver, for this process. `None` on hardware.
pub fn device(settings: &[(&str, &str)]) -> Option<Installed> {
    if std::env::var("CAMSHAFT_TEST_DEVICE").is_ok_and(|device| device == "gpu") {
        return None;
    }
    Some(install(settings).unwrap_or_else(|error| panic!("{error}")))
}

/// Fails if the software device found anything since the last call.
#[track_caller]
pub fn assert_no_findings(device: Option<Installed>) {
    if let Some(device) = device {
        let report = device.take_report();
        let findings = report["findings"].as_array().map_or(0, Vec::len);
        assert_eq!(findings, 0, "{:#}", report["findings"]);
    }
}
