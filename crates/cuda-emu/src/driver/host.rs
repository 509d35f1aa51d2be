//! Memory of the host, as programs name it.

use super::code::{Code, Result};

/// Bytes of the calling program. Kept as a number: what is queued may run in another thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostSpan {
    address: usize,
    bytes: usize,
}

impl HostSpan {
    /// # Errors
    /// `InvalidValue` for a null pointer, unless there is nothing to touch.
    pub fn new(address: usize, bytes: usize) -> Result<Self> {
        let valid = bytes == 0 || (address != 0 && address.checked_add(bytes).is_some_and(|end| end <= isize::MAX as usize));
        if valid { Ok(HostSpan { address, bytes }) } else { Err(Code::InvalidValue) }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn address(&self) -> usize {
        self.address
    }

    /// Whether the two share a byte.
    pub fn overlaps(&self, other: &HostSpan) -> bool {
        self.address < other.address + other.bytes && other.address < self.address + self.bytes
    }

    /// Whether `other` lies inside.
    pub fn contains(&self, other: &HostSpan) -> bool {
        self.address <= other.address && other.address + other.bytes <= self.address + self.bytes
    }

    /// A copy of the bytes.
    pub fn to_vec(self) -> Vec<u8> {
        let mut out = vec![0; self.bytes];
        // SAFETY: the caller of the driver interface vouches for the span (`new` refused null and wrapping ones); pinned spans are
        // allocations of ours, kept until no queued work names them. `out` is as long and does not overlap.
        unsafe { std::ptr::copy_nonoverlapping(self.address as *const u8, out.as_mut_ptr(), self.bytes) };
        out
    }

    /// Writes `data`, which is as long as the span or shorter.
    pub fn fill_from(self, data: &[u8]) {
        let bytes = data.len().min(self.bytes);
        // SAFETY: as in `to_vec`, with the span as destination.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.address as *mut u8, bytes) };
    }
}
