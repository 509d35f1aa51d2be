//! What the driver says of a device.

use cudarc::driver::sys::CUdevice_attribute;
use cudarc::driver::{CudaContext, DriverError};

use super::device;
use crate::bench::GpuFacts;

/// Facts about the device of `context`. What a driver does not tell, as newer ones do not tell clocks, is 0.
///
/// # Errors
/// If the driver does not answer at all.
pub(super) fn of(context: &CudaContext, capability: u32) -> Result<GpuFacts, DriverError> {
    let attribute = |attribute| context.attribute(attribute).ok().and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
    Ok(GpuFacts {
        name: context.name()?,
        capability,
        sms: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
        clock_khz: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
        memory_clock_khz: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE),
        bus_bits: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH),
        l2_bytes: u64::from(attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)),
        shared_bytes: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
        driver: device::version()?,
    })
}
