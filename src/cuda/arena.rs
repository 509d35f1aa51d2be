//! One allocation, divided.

use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaSlice, CudaStream, CudaView, CudaViewMut, DevicePtr, DriverError, result};

use super::{CudaError, Span, SpanMut, device};

/// Every part starts at a multiple of this, which suits any access and keeps parts out of each other's cache lines.
pub(super) const ALIGNMENT: usize = 256;

/// A part of an arena, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    offset: usize,
    bytes: usize,
}

impl Region {
    /// The first `bytes` of it, for a tenant that is smaller than the largest one.
    pub(super) fn first(self, bytes: usize) -> Self {
        debug_assert!(bytes <= self.bytes);
        Self { bytes, ..self }
    }

    /// From the start of `self` to the end of `last`.
    pub(super) fn through(self, last: Self) -> Self {
        Self { offset: self.offset, bytes: last.offset + last.bytes - self.offset }
    }

    /// Part `index` of equal ones of so many bytes.
    pub(super) fn part(self, index: usize, bytes: usize) -> Self {
        debug_assert!((index + 1) * bytes <= self.bytes);
        Self { offset: self.offset + index * bytes, bytes }
    }

    /// `count` parts from `first` on, of equal ones of so many bytes.
    pub(super) fn run(self, first: usize, count: usize, bytes: usize) -> Self {
        debug_assert!((first + count) * bytes <= self.bytes);
        Self { offset: self.offset + first * bytes, bytes: count * bytes }
    }

    /// The same length where no memory is.
    #[cfg(test)]
    pub(super) fn astray(self) -> Self {
        Self { offset: 1 << 40, ..self }
    }

    /// Where `self` lies in `outer`, in bytes.
    pub(super) fn within(self, outer: Self) -> std::ops::Range<usize> {
        let start = self.offset - outer.offset;
        start..start + self.bytes
    }

    /// Length in bytes.
    pub(super) fn bytes(self) -> usize {
        self.bytes
    }
}

/// Hands out parts one after the other, before there is any memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    bytes: usize,
}

impl Layout {
    /// Room for `count` elements of `T`.
    pub(super) fn place<T>(&mut self, count: usize) -> Region {
        self.place_bytes(count * size_of::<T>())
    }

    /// Room for `bytes` bytes.
    pub(super) fn place_bytes(&mut self, bytes: usize) -> Region {
        let offset = self.bytes.next_multiple_of(ALIGNMENT);
        self.bytes = offset + bytes;
        Region { offset, bytes }
    }

    /// Everything that has been placed.
    pub(super) fn whole(&self) -> Region {
        Region { offset: 0, bytes: self.bytes }
    }

    /// Length of the whole in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The memory of a layout, for use on one stream.
pub(super) struct Arena {
    memory: CudaSlice<u8>,
    address: u64,
    stream: Arc<CudaStream>,
}

impl Arena {
    /// Allocates; nothing in it has a value.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], which says for `what` it was.
    pub(super) fn new(stream: &Arc<CudaStream>, layout: &Layout, what: &'static str) -> Result<Self, CudaError> {
        // SAFETY: kernels and copies write every part before they read it, which the software device checks.
        #[allow(unsafe_code)]
        let memory = unsafe { stream.alloc::<u8>(layout.bytes().max(1)) };
        let memory = memory.map_err(|source| match source {
            DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => {
                CudaError::OutOfMemory { what, needed: layout.bytes() as u64, free: device::free_bytes(stream) }
            }
            source => source.into(),
        })?;
        let (address, _) = memory.device_ptr(stream);
        Ok(Self { memory, address, stream: stream.clone() })
    }

    /// The elements of a part, for reading on the arena's stream.
    pub(super) fn span<T>(&self, region: Region) -> Span<'_, T> {
        // SAFETY: the region is inside the allocation, which lives as long as the borrow; its start is a multiple of 256. The
        // arena is used on one stream, which orders this read after the launches that wrote.
        #[allow(unsafe_code)]
        unsafe {
            Span::from_raw(self.address + region.offset as u64, region.bytes / size_of::<T>())
        }
    }

    /// The elements of a part, for writing on the arena's stream. Parts that are used in one launch do not overlap: a layout
    /// gives each its own room, and `Slots` shares room only between activations that never meet, and between a sum and its
    /// residual, each element of which the kernels read in the thread that then writes it.
    pub(super) fn span_mut<T>(&self, region: Region) -> SpanMut<'_, T> {
        // SAFETY: as in `span`; and see above for the overlap.
        #[allow(unsafe_code)]
        unsafe {
            SpanMut::from_raw(self.address + region.offset as u64, region.bytes / size_of::<T>())
        }
    }

    /// Copies `values` to the start of a part. Returns when they may change again.
    ///
    /// # Errors
    /// If the driver refuses.
    pub(super) fn write<T: Pod>(&mut self, region: Region, values: &[T]) -> Result<(), CudaError> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let mut target = self.memory.slice_mut(region.offset..region.offset + bytes.len());
        Ok(self.stream.memcpy_htod(bytes, &mut target)?)
    }

    /// Enqueues a copy of `source`, which memory on the same stream holds, to a part of the same length.
    ///
    /// # Errors
    /// If the driver refuses.
    pub(super) fn copy(&mut self, region: Region, source: &CudaView<'_, u8>) -> Result<(), CudaError> {
        let mut target = self.memory.slice_mut(region.offset..region.offset + region.bytes);
        Ok(self.stream.memcpy_dtod(source, &mut target)?)
    }

    /// Waits for all earlier work on the stream and copies a part to the host.
    ///
    /// # Errors
    /// If the driver refuses, or earlier work failed.
    pub(super) fn read<T: Pod>(&self, region: Region) -> Result<Vec<T>, CudaError> {
        self.stream.synchronize()?;
        let mut values = vec![T::zeroed(); region.bytes / size_of::<T>()];
        let source = self.memory.slice(region.offset..region.offset + region.bytes);
        self.stream.memcpy_dtoh(&source, bytemuck::cast_slice_mut::<T, u8>(&mut values))?;
        self.stream.synchronize()?;
        Ok(values)
    }

    /// Frees the memory under every user's feet.
    #[cfg(test)]
    pub(super) fn take_memory_away(&self) {
        self.stream.synchronize().unwrap();
        // SAFETY: none: it is the fault that a test is about.
        #[allow(unsafe_code)]
        unsafe { result::free_sync(self.address) }.unwrap();
    }

    /// Fills a part with one byte: 0xff makes no number, so that what a kernel forgets to write shows.
    ///
    /// # Errors
    /// If the driver refuses.
    pub(super) fn fill(&mut self, region: Region, byte: u8) -> Result<(), CudaError> {
        if region.bytes == 0 {
            return Ok(());
        }
        let address = self.address + region.offset as u64;
        // SAFETY: the region is inside the allocation, and the stream is the one that all its users are on.
        #[allow(unsafe_code)]
        unsafe { result::memset_d8_async(address, byte, region.bytes, self.stream.cu_stream()) }?;
        Ok(())
    }

    /// The bytes of a part, for copies.
    pub(super) fn bytes(&self, region: Region) -> CudaView<'_, u8> {
        self.memory.slice(region.offset..region.offset + region.bytes)
    }

    /// The bytes of a part, to be copied to.
    pub(super) fn bytes_mut(&mut self, region: Region) -> CudaViewMut<'_, u8> {
        self.memory.slice_mut(region.offset..region.offset + region.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_aligned_and_apart() {
        let mut layout = Layout::default();
        let sizes = [1, 256, 257, 0, 4, 1000];
        let regions: Vec<Region> = sizes.iter().map(|&bytes| layout.place_bytes(bytes)).collect();
        for (region, &bytes) in regions.iter().zip(&sizes) {
            assert_eq!((region.offset % ALIGNMENT, region.bytes), (0, bytes));
        }
        assert!(regions.windows(2).all(|pair| pair[0].offset + pair[0].bytes <= pair[1].offset), "{regions:?}");
        assert_eq!(layout.bytes(), regions[5].offset + 1000);
        let all = regions[1].through(regions[2]);
        assert_eq!((all.offset, all.bytes), (256, 256 + 257));
        assert_eq!(regions[2].within(all), 256..513);
    }
}
