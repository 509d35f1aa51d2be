//! Opening a device, and saying why not.

use std::sync::Arc;

use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};

use super::{CudaError, compiler};

/// The oldest driver whose functions this crate calls (CUDA 11.4, for graphs). A driver of this age runs machine code only; the
/// intermediate code asks for one as new as the compiler.
const OLDEST_DRIVER: i32 = 11_040;

/// For the library's own tests that use the software device: one after the other, because they share its settings and its faults.
#[cfg(test)]
pub(super) fn for_one_test() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Opens device `ordinal`, counted as the driver counts.
///
/// # Errors
/// Without kernels in this build, without a driver, without that device, or if the driver refuses.
pub(super) fn open(ordinal: usize) -> Result<Arc<CudaContext>, CudaError> {
    compiler()?;
    // SAFETY: loading runs the library's initialisers: the driver's, from where the system's loader trusts. Asked first because
    // cudarc panics where there is none.
    #[allow(unsafe_code)]
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    let version = version()?;
    if version < OLDEST_DRIVER {
        return Err(CudaError::OldDriver { found: shown(version), needed: shown(OLDEST_DRIVER) });
    }
    let count = match CudaContext::device_count() {
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => 0,
        count => usize::try_from(count?).unwrap_or(0),
    };
    if ordinal >= count {
        return Err(CudaError::NoDevice { ordinal, count });
    }
    let context = CudaContext::new(ordinal)?;
    // SAFETY: cudarc's events order slices that several streams share. A pipeline uses its memory on its own stream alone, and
    // what it frees it has waited for; waiting for an event recorded outside would end the recording of a graph.
    #[allow(unsafe_code)]
    unsafe {
        context.disable_event_tracking();
    }
    Ok(context)
}

/// The newest CUDA version that the driver serves, as `1000 * major + 10 * minor`.
pub(super) fn version() -> Result<i32, DriverError> {
    let mut version = 0;
    // SAFETY: the pointer is to a live integer, and the library is there.
    #[allow(unsafe_code)]
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    Ok(version)
}

fn shown(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// Bytes that the device has free, once what was freed on `stream` has come back. Not on all streams: another thread may be recording
/// on one, which waiting for the whole device would spoil.
pub(super) fn free_bytes(stream: &CudaStream) -> u64 {
    let free = stream.synchronize().and_then(|()| result::mem_get_info());
    free.map_or(0, |(free, _)| free as u64)
}
