//! The unsafe calls: mapping a file into memory, and letting parts of it go.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps `file` read-only.
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is private to this process, read-only and lives as long as the `Mmap`, which owns it and hands out
    // slices bounded by its own borrow, so no slice outlives it. What no caller can rule out is that another process writes to
    // or truncates the file meanwhile. Two things limit what that can do. First, every offset, shape and stride is copied into
    // owned values and checked against the mapped length before use, and never read from the map again, so changed bytes
    // change numbers but not bounds; the mapped bytes are read as integers and floats only, for which any bit pattern is
    // valid. Second, a truncated file ends the process with a signal (SIGBUS) rather than reading foreign memory. The
    // documentation of `WeightFile::open` states this, and `OpenOptions { mmap: false }` reads the file instead.
    unsafe { Mmap::map(file) }
}

/// Lets the pages of `bytes` go; reading them again takes them from the file again. A wish: where it fails, they stay.
#[cfg(unix)]
pub(super) fn release(map: &Mmap, bytes: std::ops::Range<usize>) {
    // SAFETY: what makes this advice dangerous is that changed pages lose their changes. These are pages of a read-only mapping of
    // a file, which nobody can have changed: read again, during this call or after it, they are the same bytes of the file, under
    // the conditions that `map` states. The range was checked against the mapping's length when the tensor was read off the
    // directory, and slicing it here checks it again.
    let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, map[bytes].len()) };
}

/// Elsewhere the system finds out by itself what is not read.
#[cfg(not(unix))]
pub(super) fn release(_: &Mmap, _: std::ops::Range<usize>) {}
