//! Streams and functions called in stream order.

use std::ffi::{c_int, c_uint, c_void};

use super::driver_calls;
use super::pointer::Out;
use crate::driver::code::{Code, Result};
use crate::driver::handle::{Handle, Kind};
use crate::driver::op::{HostFunction, Op};
use crate::driver::queue::StreamKind;
use crate::driver::state::{Driver, thread};

fn create(driver: &mut Driver, out: Out<u64>, flags: c_uint) -> Result {
    let (number, context) = driver.current()?;
    let kind = match flags {
        0 => StreamKind::Blocking,
        1 => StreamKind::NonBlocking,
        _ => return Err(Code::InvalidValue),
    };
    let serial = context.add_stream(kind);
    out.put(Handle { kind: Kind::Stream, context: number, serial }.to_raw())
}

driver_calls! {
    /// Makes a stream; flag 1 frees it from the legacy stream's rules.
    fn cuStreamCreate(stream: Out<u64>, flags: c_uint) |driver| { create(driver, stream, flags) }

    /// As `cuStreamCreate`; the priority changes nothing.
    fn cuStreamCreateWithPriority(stream: Out<u64>, flags: c_uint, _priority: c_int) |driver| { create(driver, stream, flags) }

    /// Destroys a stream; its work still runs.
    fn cuStreamDestroy_v2(stream: u64) |driver| {
        let (context, stream) = driver.object(stream, Kind::Stream)?;
        context.captures.invalidate_stream(stream);
        context.queues.destroy(stream);
        Ok(())
    }

    /// Waits for the work of a stream.
    fn cuStreamSynchronize(stream: u64) |driver| {
        let (context, stream) = driver.stream(stream)?;
        if context.captures.of(stream).is_none() {
            context.unsafe_call(thread(), "cuStreamSynchronize")?;
        }
        context.synchronize_stream(stream)
    }

    /// Whether the work of a stream is done.
    fn cuStreamQuery(stream: u64) |driver| {
        let (context, stream) = driver.stream(stream)?;
        if context.captures.of(stream).is_none() {
            context.unsafe_call(thread(), "cuStreamQuery")?;
        }
        context.query_stream(stream)
    }

    /// Makes later work of a stream wait for an event.
    fn cuStreamWaitEvent(stream: u64, event: u64, flags: c_uint) |driver| {
        if flags > 1 {
            return Err(Code::InvalidValue);
        }
        driver.object(event, Kind::Event)?;
        let home = Handle::from_raw(event, Kind::Event).ok_or(Code::InvalidHandle)?;
        let here = driver.stream(stream)?.0.events.contains_key(&home.serial);
        let same = Handle::from_raw(stream, Kind::Stream).map(|handle| handle.context).unwrap_or(driver.current()?.0) == home.context;
        if here && same {
            let (context, stream) = driver.stream(stream)?;
            return context.wait(stream, home.serial);
        }
        // An event of another context: its work is done now, so that there is nothing left to wait for.
        let (context, serial) = driver.object(event, Kind::Event)?;
        context.synchronize_event(serial, thread())
    }

    /// Calls a function of the program in stream order. It must not call the driver.
    fn cuLaunchHostFunc(stream: u64, function: Option<HostFunction>, data: *mut c_void) |driver| {
        let (context, stream) = driver.stream(stream)?;
        context.submit(stream, Op::Call { function: function.ok_or(Code::InvalidValue)?, data: data as usize })
    }
}
