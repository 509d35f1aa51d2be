//! A part of the inputs, for one of several machines.

use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Part `index` of `count`, counted from 1; written `index/count`.
///
/// Whether a file belongs to it depends on nothing but the file's path, as the caller gives it: the same file is in the same part
/// on every machine, whatever files are beside it. The parts are about equal where there are many files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    index: u32,
    count: u32,
}

/// A text that names no part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no part: expected I/N, such as 1/8 for the first of eight parts, with I from 1 to N")]
pub struct BadShard(String);

impl Shard {
    /// Which part, from 1.
    pub fn index(self) -> u32 {
        self.index
    }

    /// How many parts there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Whether the file of that path belongs to this part: the first eight bytes of the SHA-256 of its names, joined by slashes, as
    /// a big-endian number, modulo the number of parts. A leading `./` does not count.
    pub fn holds(self, path: &Path) -> bool {
        let mut hasher = Sha256::new();
        let names = path.components().filter(|component| !matches!(component, Component::CurDir));
        for (place, name) in names.enumerate() {
            if place > 0 {
                hasher.update(b"/");
            }
            hasher.update(name.as_os_str().as_encoded_bytes());
        }
        let hash = hasher.finalize();
        let number = hash.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte));
        number % u64::from(self.count) == u64::from(self.index - 1)
    }

    /// The folder, within that of all results, for those of this part.
    pub fn folder(self) -> String {
        format!("shard-{}-of-{}", self.index, self.count)
    }

    /// The part that a [`Shard::folder`] is for.
    pub fn of_folder(name: &str) -> Option<Self> {
        let (index, count) = name.strip_prefix("shard-")?.split_once("-of-")?;
        format!("{index}/{count}").parse().ok()
    }
}

impl FromStr for Shard {
    type Err = BadShard;

    fn from_str(text: &str) -> Result<Self, BadShard> {
        let number = |digits: &str| digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
        let parts = text.split_once('/').and_then(|(index, count)| Some(Self { index: number(index)?, count: number(count)? }));
        parts.filter(|part| (1..=part.count).contains(&part.index)).ok_or_else(|| BadShard(text.to_owned()))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for good in ["1/1", "1/8", "8/8", "1000/4000000000"] {
            let shard: Shard = good.parse().unwrap();
            assert_eq!(shard.to_string(), good);
            assert_eq!(Shard::of_folder(&shard.folder()), Some(shard));
        }
        for bad in ["", "1", "0/8", "9/8", "0/0", "1/0", "-1/8", "+1/8", "1/8/2", "a/b", "1/9999999999"] {
            assert!(bad.parse::<Shard>().unwrap_err().to_string().contains("expected I/N"), "{bad}");
        }
        for other in ["shard", "shard-1", "shard-0-of-2", "shard-1-of-2-old", "my-shard-1-of-2"] {
            assert_eq!(Shard::of_folder(other), None);
        }
    }

    /// Parts as `printf a/b.jpg | sha256sum` gives them: fixed for ever, or runs that were spread would not fit together.
    #[test]
    fn a_path_stays_in_its_part() {
        for (path, of_8) in PARTS {
            let holding: Vec<u32> = (1..=8).filter(|&index| Shard { index, count: 8 }.holds(Path::new(path))).collect();
            assert_eq!(holding, [of_8], "{path}");
            assert!(Shard { index: of_8, count: 8 }.holds(&Path::new(".").join(path)), "./{path}");
        }
        let many: Vec<String> = (0..8000).map(|i| format!("folder/{i}.jpg")).collect();
        for index in 1..=8 {
            let part = many.iter().filter(|path| Shard { index, count: 8 }.holds(Path::new(path))).count();
            assert!((880..=1120).contains(&part), "part {index} has {part} of 8000");
        }
    }

    const PARTS: [(&str, u32); 4] = [("a/b.jpg", 1), ("cat.jpg", 5), ("holiday/2024/IMG_0001.JPG", 8), ("写真.jpg", 7)];
}
