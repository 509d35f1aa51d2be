//! The device of the CUDA tests: software, unless `CAMSHAFT_TEST_DEVICE=gpu`.

use cuda_emu::driver::{Installed, install};

/// Puts the software device in the place of a driver, for this process. `None` on hardware. Work runs as late as the interface
/// allows, unless `CUDA_EMU_STREAMS` says otherwise, so that what the host forgets to wait for shows.
pub fn device(settings: &[(&str, &str)]) -> Option<Installed> {
    if std::env::var("CAMSHAFT_TEST_DEVICE").is_ok_and(|device| device == "gpu") {
        return None;
    }
    let late = [("CUDA_EMU_STREAMS", "lazy")];
    let late = if std::env::var_os("CUDA_EMU_STREAMS").is_none() { &late[..] } else { &[] };
    Some(install(&[late, settings].concat()).unwrap_or_else(|error| panic!("{error}")))
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
