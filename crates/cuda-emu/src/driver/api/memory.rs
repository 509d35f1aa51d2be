//! Allocating and filling memory.

use std::ffi::{c_uchar, c_uint, c_ushort, c_void};

use super::driver_calls;
use super::pointer::Out;
use crate::driver::code::{Code, Result};
use crate::driver::op::Op;
use crate::driver::state::{Driver, thread};
use crate::memory::{Access, AllocKind};

/// Allocates and hands the address out, or takes the memory back if there is nowhere to put it.
fn alloc(driver: &mut Driver, address: Out<u64>, bytes: usize, call: &str) -> Result {
    let (_, context) = driver.current()?;
    context.unsafe_call(thread(), call)?;
    let found = context.alloc(bytes as u64)?;
    address.put(found).or_else(|code| context.free(found).and(Err(code)))
}

struct Fill {
    dst: u64,
    value: u32,
    width: u32,
    count: usize,
}

fn set(driver: &mut Driver, fill: &Fill, stream: u64, wait: bool) -> Result {
    let &Fill { dst, value, width, count } = fill;
    let (context, stream) = driver.stream(stream)?;
    if wait {
        context.unsafe_call(thread(), "a synchronous fill")?;
    }
    let bytes = (count as u64).checked_mul(u64::from(width)).ok_or(Code::InvalidValue)?;
    context.check_range(Access::Write, dst, bytes)?;
    if !dst.is_multiple_of(u64::from(width)) {
        return Err(Code::InvalidValue);
    }
    if count == 0 {
        return Ok(());
    }
    context.submit(stream, Op::Set { dst, value, width, count: count as u64 })?;
    if wait { context.synchronize_stream(stream) } else { Ok(()) }
}

driver_calls! {
    /// Allocates device memory.
    fn cuMemAlloc_v2(address: Out<u64>, bytes: usize) |driver| { alloc(driver, address, bytes, "cuMemAlloc") }

    /// Frees device memory, at once: what is still queued for it will be reported.
    fn cuMemFree_v2(address: u64) |driver| {
        let (_, context) = driver.current()?;
        if address == 0 {
            return Ok(());
        }
        context.unsafe_call(thread(), "cuMemFree")?;
        context.free(address)
    }

    /// Allocates at once; `stream` must be valid.
    fn cuMemAllocAsync(address: Out<u64>, bytes: usize, stream: u64) |driver| {
        let (context, stream) = driver.stream(stream)?;
        if context.captures.of(stream).is_some() {
            context.captures.invalidate_stream(stream);
            return driver.misuse(Code::NotSupported, "allocations in a captured graph are not supported".into());
        }
        alloc(driver, address, bytes, "cuMemAllocAsync")
    }

    /// Frees in stream order.
    fn cuMemFreeAsync(address: u64, stream: u64) |driver| {
        let (context, stream) = driver.stream(stream)?;
        if context.captures.of(stream).is_some() {
            context.captures.invalidate_stream(stream);
            return driver.misuse(Code::NotSupported, "freeing in a captured graph is not supported".into());
        }
        if context.memory.find(address).is_none_or(|found| found.address != address) {
            return driver.misuse(Code::InvalidValue, format!("{address:#x} is not the start of a live allocation"));
        }
        context.submit(stream, Op::Free { address })
    }

    /// Free and total bytes.
    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) |driver| {
        let (free_bytes, total_bytes) = driver.current()?.1.memory.info();
        free.put(free_bytes as usize)?;
        total.put(total_bytes as usize)
    }

    /// Allocates page-locked host memory. Kernels reach it if the flags say so.
    fn cuMemHostAlloc(address: Out<*mut c_void>, bytes: usize, flags: c_uint) |driver| {
        driver.current()?.1.unsafe_call(thread(), "cuMemHostAlloc")?;
        if flags & !7 != 0 {
            return Err(Code::InvalidValue);
        }
        let found = driver.alloc_pinned(bytes, flags & 2 != 0)?;
        address.put(found as *mut c_void).or_else(|code| driver.free_pinned(found).and(Err(code)))
    }

    /// The address by which kernels reach page-locked memory.
    fn cuMemHostGetDevicePointer_v2(device: Out<u64>, address: *mut c_void, flags: c_uint) |driver| {
        if flags != 0 {
            return Err(Code::InvalidValue);
        }
        let address = address as u64;
        let found = driver.current()?.1.memory.find(address);
        if found.is_none_or(|found| found.label.kind != AllocKind::Host) {
            return driver.misuse(Code::InvalidValue, format!("{address:#x} is no page-locked memory that was allocated for kernels, too"));
        }
        device.put(address)
    }

    /// Frees page-locked host memory.
    fn cuMemFreeHost(address: *mut c_void) |driver| {
        driver.current()?.1.unsafe_call(thread(), "cuMemFreeHost")?;
        driver.free_pinned(address as usize)
    }

    /// Fills with a byte and waits.
    fn cuMemsetD8_v2(dst: u64, value: c_uchar, count: usize) |driver| {
        set(driver, &Fill { dst, value: value.into(), width: 1, count }, 0, true)
    }

    /// Fills with two bytes and waits.
    fn cuMemsetD16_v2(dst: u64, value: c_ushort, count: usize) |driver| {
        set(driver, &Fill { dst, value: value.into(), width: 2, count }, 0, true)
    }

    /// Fills with four bytes and waits.
    fn cuMemsetD32_v2(dst: u64, value: c_uint, count: usize) |driver| {
        set(driver, &Fill { dst, value, width: 4, count }, 0, true)
    }

    /// Fills with a byte.
    fn cuMemsetD8Async(dst: u64, value: c_uchar, count: usize, stream: u64) |driver| {
        set(driver, &Fill { dst, value: value.into(), width: 1, count }, stream, false)
    }

    /// Fills with two bytes.
    fn cuMemsetD16Async(dst: u64, value: c_ushort, count: usize, stream: u64) |driver| {
        set(driver, &Fill { dst, value: value.into(), width: 2, count }, stream, false)
    }

    /// Fills with four bytes.
    fn cuMemsetD32Async(dst: u64, value: c_uint, count: usize, stream: u64) |driver| {
        set(driver, &Fill { dst, value, width: 4, count }, stream, false)
    }
}
