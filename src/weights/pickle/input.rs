//! The bytes of a pickle, taken from the front.

use super::error::PickleFault;

/// What is left of a pickle, with checked reads.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes taken so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], PickleFault> {
        let taken = self.bytes[self.at..].get(..n).ok_or(PickleFault::End)?;
        self.at += n;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleFault> {
        let (taken, _) = self.bytes[self.at..].split_first_chunk().ok_or(PickleFault::End)?;
        self.at += N;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, PickleFault> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, PickleFault> {
        self.array().map(u32::from_le_bytes)
    }

    /// Bytes after their length, which has `N` bytes itself.
    pub(super) fn prefixed<const N: usize>(&mut self) -> Result<&'a [u8], PickleFault> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&self.array::<N>()?);
        let length = usize::try_from(u64::from_le_bytes(wide)).map_err(|_| PickleFault::End)?;
        self.take(length)
    }

    /// Text up to the end of the line, which is taken too.
    pub(super) fn line(&mut self) -> Result<&'a str, PickleFault> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or(PickleFault::End)?;
        self.at += length + 1;
        text(&rest[..length])
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, PickleFault> {
    std::str::from_utf8(bytes).map_err(|_| PickleFault::Malformed("text: not UTF-8"))
}
