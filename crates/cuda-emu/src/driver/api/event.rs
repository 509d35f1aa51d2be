//! Events.

use std::ffi::c_uint;

use super::driver_calls;
use super::pointer::Out;
use crate::driver::code::{Code, Result};
use crate::driver::context::Event;
use crate::driver::handle::{Handle, Kind};
use crate::driver::state::{Driver, thread};

const DISABLE_TIMING: c_uint = 2;

fn elapsed(driver: &mut Driver, milliseconds: Out<f32>, start: u64, end: u64) -> Result {
    let (_, start_serial) = driver.object(start, Kind::Event)?;
    let (context, end_serial) = driver.object(end, Kind::Event)?;
    if Handle::from_raw(start, Kind::Event).map(|h| h.context) != Handle::from_raw(end, Kind::Event).map(|h| h.context) {
        return Err(Code::InvalidHandle);
    }
    context.alive()?;
    milliseconds.put(context.elapsed(start_serial, end_serial)?)
}

driver_calls! {
    /// Makes an event. Flags: 1 blocking wait, 2 no timing.
    fn cuEventCreate(event: Out<u64>, flags: c_uint) |driver| {
        if flags > 7 {
            return Err(Code::InvalidValue);
        }
        let (number, context) = driver.current()?;
        let serial = context.serial();
        context.events.insert(serial, Event { timing: flags & DISABLE_TIMING == 0, mark: None, at: None, captured: None });
        event.put(Handle { kind: Kind::Event, context: number, serial }.to_raw())
    }

    /// Destroys an event. What waits for it still does.
    fn cuEventDestroy_v2(event: u64) |driver| {
        let (context, event) = driver.object(event, Kind::Event)?;
        context.events.remove(&event);
        Ok(())
    }

    /// Marks the present end of a stream.
    fn cuEventRecord(event: u64, stream: u64) |driver| {
        let (_, serial) = driver.object(event, Kind::Event)?;
        let home = Handle::from_raw(event, Kind::Event).map(|handle| handle.context);
        let place = match Handle::from_raw(stream, Kind::Stream) {
            Some(handle) => handle.context,
            None => driver.current()?.0,
        };
        if home != Some(place) {
            return driver.misuse(Code::InvalidHandle, "an event is recorded in a stream of another context".into());
        }
        let (context, stream) = driver.stream(stream)?;
        context.record(serial, stream)
    }

    /// Waits until the mark is reached.
    fn cuEventSynchronize(event: u64) |driver| {
        let (context, event) = driver.object(event, Kind::Event)?;
        context.alive()?;
        context.synchronize_event(event, thread())
    }

    /// Whether the mark is reached.
    fn cuEventQuery(event: u64) |driver| {
        let (context, event) = driver.object(event, Kind::Event)?;
        context.alive()?;
        context.query_event(event, thread())
    }

    /// Milliseconds of this computer between two events: above zero, and no measure of any GPU.
    fn cuEventElapsedTime(milliseconds: Out<f32>, start: u64, end: u64) |driver| { elapsed(driver, milliseconds, start, end) }

    /// As `cuEventElapsedTime`.
    fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: u64, end: u64) |driver| { elapsed(driver, milliseconds, start, end) }
}
