//! The bytes of one allocation and what is known of each.

use std::alloc::{Layout, alloc_zeroed};
use std::fmt;
use std::ops::Deref;
use std::ptr::slice_from_raw_parts_mut;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// What an allocation is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllocKind {
    /// Asked for by the host.
    Device,
    /// Page-locked memory of the host that kernels may reach.
    Host,
    /// A module's variable. Not a leak.
    Global(Arc<str>),
    /// A module's constant; kernels may not write it. Not a leak.
    Constant(Arc<str>),
}

/// The name of an allocation in reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocLabel {
    /// Running number, from 1.
    pub sequence: u64,
    /// What it is for.
    pub kind: AllocKind,
}

impl fmt::Display for AllocLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            AllocKind::Device => write!(f, "allocation #{}", self.sequence),
            AllocKind::Host => f.write_str("page-locked host memory"),
            AllocKind::Global(name) => write!(f, "module variable `{name}`"),
            AllocKind::Constant(name) => write!(f, "module constant `{name}`"),
        }
    }
}

/// One allocation. All access is atomic, in words of eight bytes, so that racing kernels cannot corrupt the emulator.
#[derive(Debug)]
pub(crate) struct Block {
    pub start: u64,
    pub bytes: u64,
    pub label: AllocLabel,
    pub freed: AtomicBool,
    words: Words,
    /// One bit per byte: written.
    written: Box<[AtomicU64]>,
}

/// Where the bytes are.
#[derive(Debug)]
enum Words {
    Own(Box<[AtomicU64]>),
    /// The host's, which keeps them until the allocation is marked as freed.
    Host(&'static [AtomicU64]),
}

impl Deref for Words {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        match self {
            Words::Own(words) => words,
            Words::Host(words) => words,
        }
    }
}

/// Zeroed words, which cost host memory only when touched; `None` when the host has no room.
fn zeroed(count: usize) -> Option<Box<[AtomicU64]>> {
    let count = count.max(1);
    let layout = Layout::array::<AtomicU64>(count).ok()?;
    // SAFETY: the layout is not empty, `count` is at least 1.
    let pointer = unsafe { alloc_zeroed(layout) }.cast::<AtomicU64>();
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the pointer comes from the global allocator with the layout of `[AtomicU64; count]`, which is the layout that the box
    // will free it with; all bits zero is a valid `AtomicU64`, which has the validity of `u64`; nobody else has the pointer.
    Some(unsafe { Box::from_raw(slice_from_raw_parts_mut(pointer, count)) })
}

impl Block {
    pub fn new(start: u64, bytes: u64, label: AllocLabel) -> Option<Self> {
        let words = Words::Own(zeroed(usize::try_from(bytes.div_ceil(8)).ok()?)?);
        let written = zeroed(usize::try_from(bytes.div_ceil(64)).ok()?)?;
        Some(Block { start, bytes, label, freed: AtomicBool::new(false), words, written })
    }

    /// Page-locked memory of the host, which it names by the same address; all of it counts as written.
    ///
    /// # Safety
    /// `bytes` bytes, rounded up to whole words of eight, are at this address, a multiple of eight, until `freed` is set.
    pub unsafe fn of_host(address: u64, bytes: u64, label: AllocLabel) -> Option<Self> {
        let count = usize::try_from(bytes.div_ceil(8)).ok()?;
        let written = zeroed(usize::try_from(bytes.div_ceil(64)).ok()?)?;
        // SAFETY: the caller vouches for the memory and its alignment; any bits are a valid `AtomicU64`, and who does not touch it
        // through atomics (the program) must wait for the device first, as on hardware. After `freed` nobody follows the reference.
        let words = Words::Host(unsafe { slice::from_raw_parts(address as *const AtomicU64, count) });
        let block = Block { start: address, bytes, label, freed: AtomicBool::new(false), words, written };
        block.mark(0, usize::try_from(bytes).ok()?);
        Some(block)
    }

    /// Address after the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.bytes
    }

    /// Copies bytes out. The caller has checked the range, here and below.
    #[inline]
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        let (mut word, head) = (offset / 8, offset % 8);
        let mut out = out;
        if head + out.len() <= 8 {
            let bytes = (self.words[word].load(Relaxed) >> (8 * head as u32)).to_le_bytes();
            return match out.len() {
                4 => out.copy_from_slice(&bytes[..4]),
                length => out.copy_from_slice(&bytes[..length]),
            };
        }
        if head != 0 {
            let count = out.len().min(8 - head);
            let (first, rest) = out.split_at_mut(count);
            first.copy_from_slice(&self.words[word].load(Relaxed).to_le_bytes()[head..head + count]);
            (out, word) = (rest, word + 1);
        }
        let words = &self.words[word.min(self.words.len())..];
        let mut chunks = out.chunks_exact_mut(8);
        let whole = chunks.len();
        for (chunk, word) in (&mut chunks).zip(words) {
            chunk.copy_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        let tail = chunks.into_remainder();
        if !tail.is_empty() {
            tail.copy_from_slice(&words[whole].load(Relaxed).to_le_bytes()[..tail.len()]);
        }
    }

    /// Copies bytes in; does not mark them written.
    #[inline]
    pub fn write(&self, offset: usize, data: &[u8]) {
        let (mut word, head) = (offset / 8, offset % 8);
        let mut data = data;
        if head != 0 {
            let (first, rest) = data.split_at(data.len().min(8 - head));
            self.merge(word, head, first);
            (data, word) = (rest, word + 1);
        }
        let words = &self.words[word.min(self.words.len())..];
        let chunks = data.chunks_exact(8);
        let (whole, tail) = (chunks.len(), chunks.remainder());
        for (chunk, word) in chunks.zip(words) {
            word.store(u64::from_le_bytes(chunk.try_into().unwrap_or_default()), Relaxed);
        }
        if !tail.is_empty() {
            self.merge(word + whole, 0, tail);
        }
    }

    /// Replaces some bytes of a word and leaves the others as they are, whoever writes them meanwhile.
    fn merge(&self, word: usize, at: usize, data: &[u8]) {
        let (mut value, mut mask) = ([0u8; 8], [0u8; 8]);
        value[at..at + data.len()].copy_from_slice(data);
        mask[at..at + data.len()].fill(0xFF);
        let (value, mask) = (u64::from_le_bytes(value), u64::from_le_bytes(mask));
        let merged = self.words[word].fetch_update(Relaxed, Relaxed, |old| Some(old & !mask | value));
        debug_assert!(merged.is_ok());
    }

    /// Replaces the naturally aligned value of 1, 2, 4 or 8 bytes at `offset` by `update` of it, as one step; returns the old value.
    /// `update` may be called more than once.
    #[inline]
    pub fn update(&self, offset: usize, bytes: u32, mut update: impl FnMut(u64) -> u64) -> u64 {
        let shift = (offset % 8) as u32 * 8;
        let mask = if bytes >= 8 { u64::MAX } else { (1u64 << (8 * bytes)) - 1 };
        let word = &self.words[offset / 8];
        let mut old = word.load(SeqCst);
        loop {
            let new = old & !(mask << shift) | (update(old >> shift & mask) & mask) << shift;
            match word.compare_exchange_weak(old, new, SeqCst, SeqCst) {
                Ok(_) => return old >> shift & mask,
                Err(seen) => old = seen,
            }
        }
    }

    /// Whether a few bytes that share a word of marks are all written; `false` also where it takes a closer look.
    #[inline]
    fn is_written_within_word(&self, offset: usize, bytes: usize) -> bool {
        let low = offset % 64;
        if bytes == 0 || low + bytes > 64 {
            return false;
        }
        let mask = (u64::MAX >> (64 - bytes)) << low;
        self.written[offset / 64].load(Relaxed) & mask == mask
    }

    /// Marks bytes as written.
    #[inline]
    pub fn mark(&self, offset: usize, bytes: usize) {
        if self.is_written_within_word(offset, bytes) {
            return;
        }
        for (word, mask) in bits(offset, bytes) {
            let word = &self.written[word];
            if word.load(Relaxed) & mask != mask {
                word.fetch_or(mask, Relaxed);
            }
        }
    }

    /// Forgets that bytes were written.
    pub fn unmark(&self, offset: usize, bytes: usize) {
        for (word, mask) in bits(offset, bytes) {
            self.written[word].fetch_and(!mask, Relaxed);
        }
    }

    /// Offset of the first byte of the range that was never written.
    #[inline]
    pub fn first_unwritten(&self, offset: usize, bytes: usize) -> Option<usize> {
        if self.is_written_within_word(offset, bytes) {
            return None;
        }
        bits(offset, bytes).find_map(|(word, mask)| {
            let missing = mask & !self.written[word].load(Relaxed);
            (missing != 0).then(|| word * 64 + missing.trailing_zeros() as usize)
        })
    }
}

/// The words and masks of a range of bits.
#[inline]
fn bits(offset: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = offset + count;
    let words = if count == 0 { 0..0 } else { offset / 64..end.div_ceil(64) };
    words.map(move |word| {
        let low = offset.saturating_sub(word * 64);
        let high = (end - word * 64).min(64);
        (word, (u64::MAX >> (64 - (high - low))) << low)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(bytes: u64) -> Block {
        Block::new(1 << 20, bytes, AllocLabel { sequence: 1, kind: AllocKind::Device }).unwrap()
    }

    proptest! {
        #[test]
        fn bytes_and_marks_follow_a_plain_array(steps in prop::collection::vec((0usize..100, 0usize..40, any::<u8>()), 1..30)) {
            let block = block(101);
            let (mut bytes, mut written) = ([0u8; 101], [false; 101]);
            for (at, count, value) in steps {
                let count = count.min(101 - at);
                let data: Vec<u8> = (0..count).map(|i| value.wrapping_add(i as u8)).collect();
                block.write(at, &data);
                block.mark(at, count);
                bytes[at..at + count].copy_from_slice(&data);
                written[at..at + count].fill(true);
            }
            for at in 0..101 {
                let count = (101 - at).min(at % 37);
                let mut got = vec![0; count];
                block.read(at, &mut got);
                prop_assert_eq!(&got, &bytes[at..at + count]);
                let want = (at..at + count).find(|&i| !written[i]);
                prop_assert_eq!(block.first_unwritten(at, count), want);
            }
        }
    }

    #[test]
    fn updates_from_several_threads_all_count() {
        let block = block(16);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        block.update(4, 4, |old| old + 1);
                        block.update(2, 2, |old| old + 1);
                        block.update(8, 8, |old| old + 1);
                    }
                });
            }
        });
        let mut out = [0; 16];
        block.read(0, &mut out);
        assert_eq!(out[0..2], [0; 2]);
        assert_eq!(u16::from_le_bytes([out[2], out[3]]), 40_000);
        assert_eq!(u32::from_le_bytes(out[4..8].try_into().unwrap()), 40_000);
        assert_eq!(u64::from_le_bytes(out[8..].try_into().unwrap()), 40_000);
    }

    #[test]
    fn neighbouring_bytes_written_by_several_threads_do_not_disturb_each_other() {
        let block = block(8);
        std::thread::scope(|scope| {
            for byte in 0..4u8 {
                let block = &block;
                scope.spawn(move || (0..=255).for_each(|value| block.write(2 * usize::from(byte), &[value, byte])));
            }
        });
        let mut out = [0; 8];
        block.read(0, &mut out);
        assert_eq!(out, [255, 0, 255, 1, 255, 2, 255, 3]);
    }
}
