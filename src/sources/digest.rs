//! SHA-256 of a file's bytes, in hexadecimal.

use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Bytes read at a time.
pub(super) const BLOCK: usize = 256 << 10;

/// Feeds up to `len` bytes of `file` to `hasher`; returns how many there were.
pub(super) fn feed(hasher: &mut Sha256, file: &mut File, len: u64) -> io::Result<u64> {
    let (mut block, mut done, mut rest) = (vec![0; BLOCK], 0, file.take(len));
    loop {
        match rest.read(&mut block) {
            Ok(0) => return Ok(done),
            Ok(n) => {
                hasher.update(&block[..n]);
                done += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The hash as 64 lower-case digits.
pub(super) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
