//! The one unsafe call: mapping a file into memory.

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
