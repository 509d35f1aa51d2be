//! Copies.

use std::ffi::c_void;

use super::driver_calls;
use crate::driver::code::{Code, Result};
use crate::driver::host::HostSpan;
use crate::driver::op::Op;
use crate::driver::state::{Driver, thread};
use crate::memory::Access;

/// Copies that read or write pageable memory when a graph runs would use memory that may be gone by then.
fn pageable_in_capture(driver: &Driver) -> Result {
    let message = "a copy between the device and pageable memory was captured: a graph must use page-locked memory";
    driver.misuse(Code::CaptureUnsupported, message.into())
}

fn to_device(driver: &mut Driver, dst: u64, src: *const c_void, bytes: usize, stream: u64, wait: bool) -> Result {
    let src = HostSpan::new(src as usize, bytes)?;
    let pinned = driver.is_pinned(&src);
    let (context, stream) = driver.stream(stream)?;
    if wait {
        context.unsafe_call(thread(), "a synchronous copy")?;
    }
    context.check_range(Access::Write, dst, bytes as u64)?;
    if bytes == 0 {
        return Ok(());
    }
    if !pinned && context.captures.of(stream).is_some() {
        context.captures.invalidate_stream(stream);
        return pageable_in_capture(driver);
    }
    let op = if pinned { Op::WritePinned { dst, src } } else { Op::Write { dst, data: src.to_vec().into() } };
    context.submit(stream, op)?;
    if wait { context.synchronize_stream(stream) } else { Ok(()) }
}

fn to_host(driver: &mut Driver, dst: *mut c_void, src: u64, bytes: usize, stream: u64, wait: bool) -> Result {
    let dst = HostSpan::new(dst as usize, bytes)?;
    let pinned = driver.is_pinned(&dst);
    let (context, stream) = driver.stream(stream)?;
    if wait {
        context.unsafe_call(thread(), "a synchronous copy")?;
    }
    context.check_range(Access::Read, src, bytes as u64)?;
    if bytes == 0 {
        return Ok(());
    }
    if !pinned && context.captures.of(stream).is_some() {
        context.captures.invalidate_stream(stream);
        return pageable_in_capture(driver);
    }
    context.submit(stream, Op::Read { dst, src })?;
    // A copy into pageable memory has happened when the call returns; clients read the bytes without waiting.
    if wait || !pinned { context.synchronize_stream(stream) } else { Ok(()) }
}

fn on_device(driver: &mut Driver, dst: u64, src: u64, bytes: usize, stream: u64, wait: bool) -> Result {
    let (context, stream) = driver.stream(stream)?;
    if wait {
        context.unsafe_call(thread(), "a synchronous copy")?;
    }
    let bytes = bytes as u64;
    context.check_range(Access::Read, src, bytes)?;
    context.check_range(Access::Write, dst, bytes)?;
    if bytes == 0 {
        return Ok(());
    }
    context.submit(stream, Op::Copy { dst, src, bytes })?;
    if wait { context.synchronize_stream(stream) } else { Ok(()) }
}

driver_calls! {
    /// Copies to the device and waits.
    fn cuMemcpyHtoD_v2(dst: u64, src: *const c_void, bytes: usize) |driver| { to_device(driver, dst, src, bytes, 0, true) }

    /// Copies to the device: pageable memory is read now, page-locked memory when the copy runs.
    fn cuMemcpyHtoDAsync_v2(dst: u64, src: *const c_void, bytes: usize, stream: u64) |driver| {
        to_device(driver, dst, src, bytes, stream, false)
    }

    /// Copies to the host and waits.
    fn cuMemcpyDtoH_v2(dst: *mut c_void, src: u64, bytes: usize) |driver| { to_host(driver, dst, src, bytes, 0, true) }

    /// Copies to the host; for pageable memory the call returns when it is done.
    fn cuMemcpyDtoHAsync_v2(dst: *mut c_void, src: u64, bytes: usize, stream: u64) |driver| {
        to_host(driver, dst, src, bytes, stream, false)
    }

    /// Copies on the device, in the legacy stream. The host need not wait for it.
    fn cuMemcpyDtoD_v2(dst: u64, src: u64, bytes: usize) |driver| { on_device(driver, dst, src, bytes, 0, false) }

    /// Copies on the device.
    fn cuMemcpyDtoDAsync_v2(dst: u64, src: u64, bytes: usize, stream: u64) |driver| {
        on_device(driver, dst, src, bytes, stream, false)
    }

    /// Copies between contexts, at once, after all work of both: each context keeps the order of its own work only.
    fn cuMemcpyPeerAsync(dst: u64, dst_context: u64, src: u64, src_context: u64, bytes: usize, stream: u64) |driver| {
        if dst_context == src_context {
            return on_device(driver, dst, src, bytes, stream, false);
        }
        // Not in the stream: clients name one of either context, or the null stream of whichever is current.
        driver.stream(stream)?.0.unsafe_call(thread(), "a copy between contexts")?;
        let source = driver.context(src_context)?;
        source.check_range(Access::Read, src, bytes as u64)?;
        source.synchronize_all()?;
        let mut data = vec![0; bytes];
        source.memory.read(src, &mut data).map_err(|_| Code::InvalidValue)?;
        let destination = driver.context(dst_context)?;
        destination.check_range(Access::Write, dst, bytes as u64)?;
        destination.synchronize_all()?;
        destination.memory.write(dst, &data).map_err(|_| Code::InvalidValue)
    }
}
