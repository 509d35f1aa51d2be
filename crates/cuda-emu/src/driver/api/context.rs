//! Contexts.

use std::ffi::{c_int, c_uint, c_void};

use super::driver_calls;
use super::pointer::Out;
use crate::driver::code::{Code, Result};
use crate::driver::state::{Driver, current_raw, set_current_raw};

/// The calling thread's context, null if it has none. Takes no lock: clients ask before nearly every other call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetCurrent(context: Out<u64>) -> u32 {
    context.put(current_raw()).err().unwrap_or(Code::Success) as u32
}

fn create(driver: &mut Driver, out: Out<u64>, device: c_int) -> Result {
    if device != 0 {
        return Err(Code::InvalidDevice);
    }
    let context = driver.create_context()?;
    set_current_raw(context);
    out.put(context)
}

/// Bytes of a limit, by number: stack, printf buffer, heap. Nothing here depends on them.
const LIMITS: [usize; 3] = [1024, 1 << 20, 8 << 20];

driver_calls! {
    /// Makes a context and makes it the thread's own.
    fn cuCtxCreate_v2(context: Out<u64>, _flags: c_uint, device: c_int) |driver| { create(driver, context, device) }

    /// As `cuCtxCreate_v2`; affinities are not supported.
    fn cuCtxCreate_v3(context: Out<u64>, _affinities: *mut c_void, count: c_int, _flags: c_uint, device: c_int) |driver| {
        if count != 0 {
            return driver.misuse(Code::NotSupported, "contexts with an execution affinity are not supported".into());
        }
        create(driver, context, device)
    }

    /// As `cuCtxCreate_v2`; parameters are not supported.
    fn cuCtxCreate_v4(context: Out<u64>, parameters: *mut c_void, _flags: c_uint, device: c_int) |driver| {
        if !parameters.is_null() {
            return driver.misuse(Code::NotSupported, "contexts with parameters are not supported".into());
        }
        create(driver, context, device)
    }

    /// Ends a context and reports what was left in it.
    fn cuCtxDestroy_v2(context: u64) |driver| {
        if driver.is_primary(context) {
            return driver.misuse(Code::InvalidContext, "the primary context is released, not destroyed".into());
        }
        driver.destroy_context(context)
    }

    /// Sets the thread's context; null for none.
    fn cuCtxSetCurrent(context: u64) |driver| {
        if context != 0 && !driver.exists(context) {
            return driver.misuse(Code::InvalidContext, format!("{context:#x} is no live context"));
        }
        set_current_raw(context);
        Ok(())
    }

    /// Waits for all work.
    fn cuCtxSynchronize() |driver| {
        let (_, context) = driver.current()?;
        context.context_wait("cuCtxSynchronize")?;
        context.synchronize_all()
    }

    /// The device of the thread's context.
    fn cuCtxGetDevice(device: Out<c_int>) |driver| { driver.current()?; device.put(0) }

    /// Accepts scheduling flags, which change nothing.
    fn cuCtxSetFlags(_flags: c_uint) |driver| { driver.current().map(|_| ()) }

    /// A limit.
    fn cuCtxGetLimit(value: Out<usize>, limit: c_uint) |driver| {
        driver.current()?;
        value.put(*LIMITS.get(limit as usize).ok_or(Code::UnsupportedLimit)?)
    }

    /// Accepts limits that are known; they change nothing.
    fn cuCtxSetLimit(limit: c_uint, _value: usize) |driver| {
        driver.current()?;
        if (limit as usize) < LIMITS.len() { Ok(()) } else { Err(Code::UnsupportedLimit) }
    }

    /// The preference between cache and shared memory: none.
    fn cuCtxGetCacheConfig(config: Out<c_uint>) |driver| { driver.current()?; config.put(0) }

    /// Accepts a preference, which changes nothing.
    fn cuCtxSetCacheConfig(config: c_uint) |driver| {
        driver.current()?;
        if config <= 3 { Ok(()) } else { Err(Code::InvalidValue) }
    }

    /// Stream priorities, lowest and highest. They change nothing.
    fn cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) |driver| {
        driver.current()?;
        least.put_if_wanted(0)?;
        greatest.put_if_wanted(-5)
    }
}
