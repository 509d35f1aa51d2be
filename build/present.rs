//! Compute capabilities of the GPUs in this machine.

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::process::Command;

use libloading::Library;

/// By the driver library; where it cannot be asked, by the driver's tool. As `10 * major + minor`, each once; none is no error.
pub fn capabilities() -> Vec<u32> {
    let mut found = by_driver().unwrap_or_else(by_tool);
    found.sort_unstable();
    found.dedup();
    found
}

/// The driver's names, in the order in which the program looks for them, too.
const DRIVERS: &[&str] = if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so", "libcuda.so.1"] };

const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;

/// `None` without a driver, or if it does not answer.
pub fn by_driver() -> Option<Vec<u32>> {
    // SAFETY: loading runs the initialisers of the driver, from where the system's loader trusts. The types are those of cuda.h.
    unsafe {
        // A driver that is unloaded while its threads run takes the process with it, so it stays, also where it does not answer.
        let library = ManuallyDrop::new(DRIVERS.iter().find_map(|name| Library::new(*name).ok())?);
        let init = library.get::<unsafe extern "C" fn(u32) -> c_int>(b"cuInit").ok()?;
        let count_devices = library.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(b"cuDeviceGetCount").ok()?;
        let get_device = library.get::<unsafe extern "C" fn(*mut c_int, c_int) -> c_int>(b"cuDeviceGet").ok()?;
        let get_attribute =
            library.get::<unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int>(b"cuDeviceGetAttribute").ok()?;
        if init(0) != 0 {
            return None;
        }
        let mut count = 0;
        if count_devices(&mut count) != 0 {
            return None;
        }
        let mut found = Vec::new();
        for ordinal in 0..count {
            let (mut device, mut major, mut minor) = (0, 0, 0);
            let failed = get_device(&mut device, ordinal) != 0
                || get_attribute(&mut major, CAPABILITY_MAJOR, device) != 0
                || get_attribute(&mut minor, CAPABILITY_MINOR, device) != 0;
            if failed {
                return None;
            }
            found.extend(u32::try_from(10 * major + minor));
        }
        Some(found)
    }
}

fn by_tool() -> Vec<u32> {
    let output = Command::new("nvidia-smi").args(["--query-gpu=compute_cap", "--format=csv,noheader"]).output();
    let Ok(output) = output else { return Vec::new() };
    if output.status.success() { parse(&String::from_utf8_lossy(&output.stdout)) } else { Vec::new() }
}

/// One capability such as `8.6` a line. An answer such as `[N/A]` is none.
pub fn parse(answer: &str) -> Vec<u32> {
    answer.lines().filter_map(|line| line.trim().replace('.', "").parse().ok()).collect()
}
