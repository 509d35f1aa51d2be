//! A CUDA device and guarded buffers for tests.

use std::sync::Arc;

use camshaft::cuda::{Modules, Span, SpanMut};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DeviceRepr};
use half::f16;

/// The device of the tests, with the kernels of this build.
pub struct Device {
    pub stream: Arc<CudaStream>,
    pub modules: Modules,
}

impl Device {
    /// The first device of the CUDA driver that the loader finds.
    pub fn open() -> Self {
        let context = CudaContext::new(0).unwrap_or_else(|error| panic!("these tests need a CUDA device: {error}"));
        // SAFETY: one stream does all the work, so that no event is needed to order it.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().expect("a stream");
        let modules = Modules::new(context).unwrap_or_else(|error| panic!("{error}"));
        Self { stream, modules }
    }
}

/// Elements that can tell whether they were touched.
pub trait Guarded: DeviceRepr + Copy + PartialEq + std::fmt::Debug {
    /// A NaN that no kernel makes.
    const GUARD: Self;
    /// Its bits, as NaN equals nothing.
    fn bits(self) -> u32;
    /// Exact for the small integers of the tests.
    fn from_f32(value: f32) -> Self;
    fn to_f32(self) -> f32;
}

impl Guarded for f32 {
    const GUARD: Self = f32::from_bits(0x7fab_cdef);
    fn bits(self) -> u32 {
        self.to_bits()
    }
    fn from_f32(value: f32) -> Self {
        value
    }
    fn to_f32(self) -> f32 {
        self
    }
}

impl Guarded for f16 {
    const GUARD: Self = f16::from_bits(0x7eab);
    fn bits(self) -> u32 {
        self.to_bits().into()
    }
    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

/// What lies round a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing: a software device notices the smallest step outside.
    Exact,
    /// Values that must not change, and that are NaN wherever they are read: notices on any device.
    Guarded,
}

/// Guard elements on either side: keeps 16-byte alignment.
const MARGIN: usize = 64;

/// Elements in device memory.
pub struct Buffer<T> {
    slice: CudaSlice<T>,
    margin: usize,
    len: usize,
}

impl<T: Guarded> Buffer<T> {
    /// Uploads `values`.
    pub fn new(device: &Device, values: &[f32], room: Room) -> Self {
        let margin = if room == Room::Guarded { MARGIN } else { 0 };
        let guard = vec![T::GUARD; margin];
        let host = [guard.clone(), values.iter().map(|&value| T::from_f32(value)).collect(), guard].concat();
        Self { slice: device.stream.clone_htod(&host).expect("device memory"), margin, len: values.len() }
    }

    /// `len` elements that a kernel is to overwrite: guards all of them.
    pub fn output(device: &Device, len: usize, room: Room) -> Self {
        let margin = if room == Room::Guarded { MARGIN } else { 0 };
        let host = vec![T::GUARD; len + 2 * margin];
        Self { slice: device.stream.clone_htod(&host).expect("device memory"), margin, len }
    }

    pub fn span(&self, device: &Device) -> Span<'_, T> {
        let all = Span::of(&self.slice, &device.stream);
        // SAFETY: a part of `all`, for as long.
        unsafe { Span::from_raw(all.address() + (self.margin * size_of::<T>()) as u64, self.len) }
    }

    pub fn span_mut(&mut self, device: &Device) -> SpanMut<'_, T> {
        let (margin, len) = (self.margin, self.len);
        let all = SpanMut::of(&mut self.slice, &device.stream);
        // SAFETY: a part of `all`, for as long; `all` is used no more.
        unsafe { SpanMut::from_raw(all.address() + (margin * size_of::<T>()) as u64, len) }
    }

    /// The values, after everything enqueued has run.
    ///
    /// # Panics
    /// If a guard was overwritten.
    pub fn values(&self, device: &Device) -> Vec<f32> {
        let host = device.stream.clone_dtoh(&self.slice).expect("a copy to the host");
        device.stream.synchronize().expect("all work done");
        let (before, rest) = host.split_at(self.margin);
        let (values, after) = rest.split_at(self.len);
        for (side, guards) in [("before", before), ("after", after)] {
            let touched = guards.iter().position(|guard| guard.bits() != T::GUARD.bits());
            assert_eq!(touched, None, "guard {side} {} elements was overwritten", self.len);
        }
        values.iter().map(|value| value.to_f32()).collect()
    }
}
