//! Devices: there is one.

use std::ffi::{c_char, c_int};

use super::driver_calls;
use super::pointer::Out;
use crate::driver::attributes;
use crate::driver::code::{Code, Result};

/// The version of the interface: 12.9.
const VERSION: c_int = 12_090;

fn only(device: c_int) -> Result {
    if device == 0 { Ok(()) } else { Err(Code::InvalidDevice) }
}

/// Symbol of a code.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(error: u32, name: Out<*const c_char>) -> u32 {
    error_text(error, name, |code| code.texts().0.as_ptr())
}

/// Description of a code.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(error: u32, text: Out<*const c_char>) -> u32 {
    error_text(error, text, |code| code.texts().1.as_ptr())
}

fn error_text(error: u32, out: Out<*const c_char>, text: impl Fn(Code) -> *const c_char) -> u32 {
    let known = Code::from_value(error);
    let put = out.put(known.map_or(std::ptr::null(), text));
    put.and(known.map(|_| ()).ok_or(Code::InvalidValue)).err().unwrap_or(Code::Success) as u32
}

/// Version of the driver interface, 1000 times the major plus 10 times the minor number. Works before `cuInit`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: Out<c_int>) -> u32 {
    version.put(VERSION).err().unwrap_or(Code::Success) as u32
}

driver_calls! {
    /// Number of devices.
    fn cuDeviceGetCount(count: Out<c_int>) |_driver| { count.put(1) }

    /// The device of an ordinal.
    fn cuDeviceGet(device: Out<c_int>, ordinal: c_int) |_driver| { only(ordinal)?; device.put(0) }

    /// Name, cut to `length` bytes with the zero at its end.
    fn cuDeviceGetName(name: Out<u8>, length: c_int, device: c_int) |driver| {
        only(device)?;
        let room = usize::try_from(length).ok().filter(|&room| room > 0).ok_or(Code::InvalidValue)?;
        let mut bytes = driver.settings.profile.device_name().into_bytes();
        bytes.truncate(room - 1);
        bytes.push(0);
        name.put_all(&bytes)
    }

    /// Sixteen bytes that tell devices apart.
    fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, device: c_int) |driver| {
        only(device)?;
        uuid.put(attributes::uuid(driver.settings.profile))
    }

    /// As `cuDeviceGetUuid`.
    fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, device: c_int) |driver| {
        only(device)?;
        uuid.put(attributes::uuid(driver.settings.profile))
    }

    /// Bytes of memory.
    fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: c_int) |driver| {
        only(device)?;
        bytes.put(driver.settings.memory_bytes() as usize)
    }

    /// An attribute, by its number.
    fn cuDeviceGetAttribute(value: Out<c_int>, attribute: c_int, device: c_int) |driver| {
        only(device)?;
        match attributes::device(driver.settings.profile, attribute) {
            Some(found) => value.put(found),
            None => driver.misuse(Code::InvalidValue, format!("device attribute {attribute} is not known")),
        }
    }

    /// Keeps the primary context of the device, and makes it if need be.
    fn cuDevicePrimaryCtxRetain(context: Out<u64>, device: c_int) |driver| {
        only(device)?;
        context.put(driver.retain_primary()?)
    }

    /// Lets go of the primary context; the last one to do so ends it.
    fn cuDevicePrimaryCtxRelease_v2(device: c_int) |driver| { only(device)?; driver.release_primary() }
}
