//! SHA-256 of a file, in hexadecimal.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

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

/// The hash of a whole file as 64 lower-case digits.
pub(super) fn sha256(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    feed(&mut hasher, &mut File::open(path)?, u64::MAX)?;
    Ok(hex(hasher))
}
