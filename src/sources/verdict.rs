//! Hashes that are remembered, so that a file is not read whole at every start.
//!
//! A hash is remembered together with what the system says of the file: path, length, inode, and the times of its last write and
//! of its last change of any kind. The last of these no program can set, so a file that was overwritten, replaced or given back
//! its old date does not match and is hashed again. A change within the clock's grain of the hashing would not show; therefore
//! the hash of a file that changed in the last seconds is not remembered. Systems without inodes remember nothing.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::digest::{feed, hex};
use crate::output::write_atomically;

/// How long a file must have been left alone. Times are no coarser than this on any file system in use (FAT: two seconds).
const SETTLED: Duration = Duration::from_secs(3);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Verdict {
    path: String,
    len: u64,
    device: u64,
    inode: u64,
    /// Seconds and nanoseconds of the last write and of the last change.
    times: [(i64, i64); 2],
    sha256: String,
}

/// SHA-256 of the file at `path` as 64 lower-case digits, from `memory` if that knows it, else computed, and kept there.
pub(super) fn sha256(path: &Path, memory: Option<&Path>) -> io::Result<String> {
    sha256_if_settled(path, memory, SETTLED)
}

fn sha256_if_settled(path: &Path, memory: Option<&Path>, settled: Duration) -> io::Result<String> {
    let now = SystemTime::now();
    let mut file = File::open(path)?;
    let before = Verdict::of(path, &file.metadata()?);
    let remembered = || serde_json::from_slice::<Verdict>(&std::fs::read(memory?).ok()?).ok();
    if let (Some(before), Some(remembered)) = (&before, remembered()) {
        let sha256 = before.sha256.clone();
        if (Verdict { sha256, ..remembered }) == *before && is_hash(&remembered.sha256) {
            return Ok(remembered.sha256);
        }
    }
    let mut hasher = Sha256::new();
    feed(&mut hasher, &mut file, u64::MAX)?;
    let sha256 = hex(hasher);
    let after = Verdict::of(path, &file.metadata()?);
    if let (Some(before), Some(memory)) = (before, memory)
        && after.as_ref() == Some(&before)
        && before.settled(now, settled)
    {
        // Only a help for the next start: where the cache cannot be written, that start hashes again.
        let keep = || -> Option<()> {
            std::fs::create_dir_all(memory.parent()?).ok()?;
            let verdict = Verdict { sha256: sha256.clone(), ..before };
            write_atomically(memory, true, |w| Ok(serde_json::to_writer(w, &verdict)?)).ok()
        };
        let _ = keep();
    }
    Ok(sha256)
}

impl Verdict {
    /// What is known of a file before it is hashed; `None` where the system tells too little.
    #[cfg(unix)]
    fn of(path: &Path, metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(Self {
            path: path.canonicalize().ok()?.to_str()?.to_owned(),
            len: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
            times: [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())],
            sha256: String::new(),
        })
    }

    #[cfg(not(unix))]
    fn of(_: &Path, _: &Metadata) -> Option<Self> {
        None
    }

    /// Whether the file was left alone for `settled` before `now`. A time that lies in the future is no proof of that.
    fn settled(&self, now: SystemTime, settled: Duration) -> bool {
        self.times.iter().all(|&(seconds, nanoseconds)| {
            let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else { return false };
            let time = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
            now.duration_since(time).is_ok_and(|age| age >= settled)
        })
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Of `b"weights"`, by coreutils' `sha256sum`.
    const WEIGHTS: &str = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c";

    fn hash(path: &Path, memory: &Path) -> String {
        sha256_if_settled(path, Some(memory), Duration::ZERO).unwrap()
    }

    /// A remembered hash is used: shown by a false one, which no hashing would give. Then any change of the file shows.
    #[test]
    fn remembered_until_anything_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, memory) = (folder.path().join("w.pth"), folder.path().join("cache").join("w.json"));
        std::fs::write(&path, "weights").unwrap();
        assert_eq!(hash(&path, &memory), WEIGHTS);
        let forge = || {
            let text = std::fs::read_to_string(&memory).unwrap();
            let sha256 = serde_json::from_str::<Verdict>(&text).unwrap().sha256;
            std::fs::write(&memory, text.replace(&sha256, &"0".repeat(64))).unwrap();
            assert_eq!(hash(&path, &memory), "0".repeat(64));
            std::thread::sleep(Duration::from_millis(50)); // beyond the clock's grain
        };
        forge();
        let date = path.metadata().unwrap().modified().unwrap();
        let dated_back = || File::options().write(true).open(&path).unwrap().set_modified(date).unwrap();
        // Overwritten in place with as many bytes, its date given back.
        std::fs::write(&path, "w3ights").unwrap();
        dated_back();
        let other = hash(&path, &memory);
        assert_ne!((other.as_str(), other.as_str()), (WEIGHTS, &*"0".repeat(64)));
        // Replaced by another file of that length and date.
        forge();
        std::fs::write(folder.path().join("new"), "weights").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        dated_back();
        assert_eq!(hash(&path, &memory), WEIGHTS);
        // Longer; touched; another file under the same memory.
        forge();
        std::fs::write(&path, "weights, and more").unwrap();
        assert_ne!(hash(&path, &memory), "0".repeat(64));
        std::fs::write(&path, "weights").unwrap();
        let copy = folder.path().join("copy.pth");
        std::fs::copy(&path, &copy).unwrap();
        assert_eq!(hash(&path, &memory), WEIGHTS);
        forge();
        assert_eq!(hash(&copy, &memory), WEIGHTS);
    }

    #[test]
    fn a_fresh_file_is_hashed_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, memory) = (folder.path().join("w.pth"), folder.path().join("w.json"));
        std::fs::write(&path, "weights").unwrap();
        assert_eq!(sha256(&path, Some(&memory)).unwrap(), WEIGHTS);
        assert!(!memory.exists(), "a change in the same instant would not show");
        // Dated back, it still changed just now; dated ahead, nothing is known.
        for date in [UNIX_EPOCH + Duration::from_secs(1_000_000_000), SystemTime::now() + Duration::from_secs(3600)] {
            File::options().write(true).open(&path).unwrap().set_modified(date).unwrap();
            assert_eq!(sha256(&path, Some(&memory)).unwrap(), WEIGHTS);
            assert!(!memory.exists());
        }
    }

    #[test]
    fn a_damaged_memory_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, memory) = (folder.path().join("w.pth"), folder.path().join("w.json"));
        std::fs::write(&path, "weights").unwrap();
        for damage in ["", "{}", "[1, 2", "null"] {
            std::fs::write(&memory, damage).unwrap();
            assert_eq!(hash(&path, &memory), WEIGHTS, "{damage}");
            assert_eq!(serde_json::from_slice::<Verdict>(&std::fs::read(&memory).unwrap()).unwrap().sha256, WEIGHTS);
        }
        let cut = std::fs::read_to_string(&memory).unwrap().replace(WEIGHTS, "abc");
        std::fs::write(&memory, cut).unwrap();
        assert_eq!(hash(&path, &memory), WEIGHTS, "no hash is that short");
        // Nowhere to write, or nothing to remember with: the hash is right all the same.
        assert_eq!(hash(&path, &path.join("below/a/file.json")), WEIGHTS);
        assert_eq!(sha256_if_settled(&path, None, Duration::ZERO).unwrap(), WEIGHTS);
    }
}
