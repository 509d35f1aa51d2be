//! Pointers that a program passes in.

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::driver::code::{Code, Result};

/// Where a result goes.
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// # Errors
    /// `InvalidValue` if the pointer is null.
    pub(crate) fn put(&self, value: T) -> Result {
        if self.0.is_null() {
            return Err(Code::InvalidValue);
        }
        // SAFETY: not null; that it points to room for a `T` is what the caller of the exported function promises. No alignment needed.
        unsafe { self.0.write_unaligned(value) };
        Ok(())
    }

    /// As [`Out::put`], for results that the program may not want.
    pub(crate) fn put_if_wanted(&self, value: T) -> Result {
        if self.0.is_null() { Ok(()) } else { self.put(value) }
    }

    /// Writes `count` values from here on.
    pub(crate) fn put_all(&self, values: &[T]) -> Result
    where
        T: Copy,
    {
        if self.0.is_null() {
            return Err(Code::InvalidValue);
        }
        // SAFETY: as in `put`, for as many values as the caller said there is room for; `values` is no longer than that.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.0, values.len()) };
        Ok(())
    }
}

/// A text that ends with a zero byte.
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    /// # Errors
    /// `InvalidValue` if the pointer is null.
    pub(crate) fn bytes(&self) -> Result<&[u8]> {
        if self.0.is_null() {
            return Err(Code::InvalidValue);
        }
        // SAFETY: not null; the caller of the exported function promises a text that ends with zero and stays for the call.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_bytes())
    }

    /// As [`Text::bytes`], decoded.
    pub(crate) fn str(&self) -> Result<&str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Code::InvalidValue)
    }
}

/// Reads memory of this process that may not be there; `None` if it is not.
///
/// A list of parameters has no length, so a list that is too short makes the reader run over its end. The system call answers with
/// an error where reading directly would end the process.
pub(crate) fn read_own(address: usize, bytes: usize) -> Option<Vec<u8>> {
    let mut out = vec![0u8; bytes];
    if address == 0 {
        return None;
    }
    #[cfg(target_os = "linux")]
    {
        const EFAULT: i32 = 14;
        #[repr(C)]
        struct IoVec {
            base: *mut c_void,
            len: usize,
        }
        unsafe extern "C" {
            fn process_vm_readv(
                pid: c_int,
                to: *const IoVec,
                to_count: usize,
                from: *const IoVec,
                from_count: usize,
                flags: usize,
            ) -> isize;
        }
        let to = IoVec { base: out.as_mut_ptr().cast(), len: bytes };
        let from = IoVec { base: address as *mut c_void, len: bytes };
        // SAFETY: the kernel checks both ranges; it writes only to `out`, which has `bytes` bytes.
        let read = unsafe { process_vm_readv(std::process::id() as c_int, &to, 1, &from, 1, 0) };
        if read == bytes as isize {
            return Some(out);
        }
        if read >= 0 || std::io::Error::last_os_error().raw_os_error() == Some(EFAULT) {
            return None;
        }
    }
    // SAFETY: reached where the system call does not exist or is not allowed: the caller of the exported function promises that its
    // pointers are valid.
    unsafe { std::ptr::copy_nonoverlapping(address as *const u8, out.as_mut_ptr(), bytes) };
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_not_there_is_noticed() {
        let here = [1u8, 2, 3];
        assert_eq!(read_own(here.as_ptr() as usize, 3), Some(vec![1, 2, 3]));
        assert_eq!(read_own(0, 3), None);
        #[cfg(target_os = "linux")]
        assert_eq!(read_own(0x10, 8), None);
    }
}
