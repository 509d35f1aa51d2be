//! Which step of a pass was the last to begin, told by the kernels themselves.

use std::sync::Arc;

use cudarc::driver::{CudaContext, DriverError, PinnedHostSlice, sys};

/// A word of host memory that kernels write: after a fault the device's memory cannot be read any more, and this can.
pub(super) struct Mark {
    /// Kept for its memory.
    _word: PinnedHostSlice<u32>,
    host: *mut u32,
    device: u64,
}

// SAFETY: the pointer is to memory that the slice owns, which belongs to no thread; it is read and written as a whole word.
#[allow(unsafe_code)]
unsafe impl Send for Mark {}

impl Mark {
    /// No step has begun.
    ///
    /// # Errors
    /// If the driver has no page-locked memory, or cannot let the device reach it.
    pub(super) fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        // SAFETY: written below, before anyone reads it; any bits are a number.
        #[allow(unsafe_code)]
        let mut word = unsafe { context.alloc_pinned_with_flags::<u32>(1, sys::CU_MEMHOSTALLOC_DEVICEMAP) }?;
        let host = word.as_mut_ptr()?;
        let mut device = 0;
        // SAFETY: `host` is the start of page-locked memory that was allocated for this.
        #[allow(unsafe_code)]
        unsafe { sys::cuMemHostGetDevicePointer_v2(&raw mut device, host.cast(), 0) }.result()?;
        let mark = Self { _word: word, host, device };
        mark.clear();
        Ok(mark)
    }

    /// Before a pass, while no kernel of an earlier one is left.
    pub(super) fn clear(&self) {
        // SAFETY: the slice's memory, a whole aligned word.
        #[allow(unsafe_code)]
        unsafe {
            self.host.write_volatile(0);
        }
    }

    /// The number of the last step that is known to have begun; 0 for none.
    pub(super) fn last(&self) -> u32 {
        // SAFETY: as in `clear`. Volatile, because the device writes it.
        #[allow(unsafe_code)]
        unsafe {
            self.host.read_volatile()
        }
    }

    /// Where the device writes it.
    pub(super) fn address(&self) -> u64 {
        self.device
    }
}
