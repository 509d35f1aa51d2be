//! Runs of elements in device memory, as kernels' arguments.

use std::marker::PhantomData;

use cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut};
use half::{bf16, f16};

use super::CudaError;

/// What activations and filters are made of.
pub trait Element: Copy + private::Sealed {
    /// How kernels' names spell it.
    const NAME: &'static str;
}

impl Element for f32 {
    const NAME: &'static str = "f32";
}

impl Element for f16 {
    const NAME: &'static str = "f16";
}

impl Element for bf16 {
    const NAME: &'static str = "bf16";
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}

/// `len` elements in device memory, for reading.
///
/// cudarc's slices order the streams that share them; a span does not, so that an arena may hand out neighbouring spans of
/// one buffer. All spans of one pipeline are used on one stream.
#[derive(Debug)]
pub struct Span<'a, T> {
    pub(super) address: u64,
    len: usize,
    memory: PhantomData<&'a [T]>,
}

impl<T> Clone for Span<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Span<'_, T> {}

/// `len` elements in device memory, for writing; no other span of them exists.
#[derive(Debug)]
pub struct SpanMut<'a, T> {
    pub(super) address: u64,
    len: usize,
    memory: PhantomData<&'a mut [T]>,
}

impl<'a, T> Span<'a, T> {
    /// All of a slice or view, for use on `stream`.
    pub fn of(slice: &'a impl DevicePtr<T>, stream: &CudaStream) -> Self {
        let (address, _) = slice.device_ptr(stream);
        Self { address, len: slice.len(), memory: PhantomData }
    }

    /// `len` elements at an address, for arenas.
    ///
    /// # Safety
    /// They are allocated and aligned for all of `'a`, and nothing writes them during `'a` but work that the stream of this
    /// span's launches has put in order.
    #[allow(unsafe_code)]
    pub unsafe fn from_raw(address: u64, len: usize) -> Self {
        Self { address, len, memory: PhantomData }
    }

    /// Where the first element is on the device.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<'a, T> SpanMut<'a, T> {
    /// All of a slice or view, for use on `stream`.
    pub fn of(slice: &'a mut impl DevicePtrMut<T>, stream: &CudaStream) -> Self {
        let len = slice.len();
        let (address, _) = slice.device_ptr_mut(stream);
        Self { address, len, memory: PhantomData }
    }

    /// `len` elements at an address, for arenas.
    ///
    /// # Safety
    /// As [`Span::from_raw`]; and in each launch no other span overlaps this one, unless the kernel allows it.
    #[allow(unsafe_code)]
    pub unsafe fn from_raw(address: u64, len: usize) -> Self {
        Self { address, len, memory: PhantomData }
    }

    /// Where the first element is on the device.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The same elements, for reading while the borrow lasts.
    pub fn as_span(&self) -> Span<'_, T> {
        Span { address: self.address, len: self.len, memory: PhantomData }
    }

    /// The same elements, for one launch.
    pub fn reborrow(&mut self) -> SpanMut<'_, T> {
        SpanMut { address: self.address, len: self.len, memory: PhantomData }
    }
}

/// Checks one argument of `kernel`: exactly `expected` elements, at an address that is a multiple of `alignment`.
pub(super) fn check(
    kernel: &'static str,
    buffer: &'static str,
    (address, found): (u64, usize),
    expected: usize,
    alignment: u64,
) -> Result<(), CudaError> {
    if found != expected {
        return Err(CudaError::Length { kernel, buffer, expected, found });
    }
    if !address.is_multiple_of(alignment) {
        return Err(CudaError::Alignment { kernel, buffer, address, alignment });
    }
    Ok(())
}

impl<T> Span<'_, T> {
    /// Checks the span as argument `buffer` of `kernel`.
    pub(super) fn check(
        &self,
        kernel: &'static str,
        buffer: &'static str,
        expected: usize,
        alignment: u64,
    ) -> Result<(), CudaError> {
        check(kernel, buffer, (self.address, self.len), expected, alignment)
    }
}

impl<T> SpanMut<'_, T> {
    /// Checks the span as argument `buffer` of `kernel`.
    pub(super) fn check(
        &self,
        kernel: &'static str,
        buffer: &'static str,
        expected: usize,
        alignment: u64,
    ) -> Result<(), CudaError> {
        check(kernel, buffer, (self.address, self.len), expected, alignment)
    }
}
