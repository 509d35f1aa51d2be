//! One file from an address to a checked `.part` file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;

use sha2::{Digest, Sha256};

use super::digest;
use super::error::SourceError;
use super::http::{Attempt, Client, ContentRange, header, is_busy};
use super::options::{Options, Progress, Stage, Token};

/// Largest file taken, in bytes; the largest ResNet has a quarter of a gigabyte. Keeps a wrong address from filling the disk.
const MAX_BYTES: u64 = 4 << 30;
/// Redirects followed.
const REDIRECTS: u32 = 5;

/// Why there is no file after all attempts.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server cannot be reached, and why; the caller knows what to advise.
    Unreachable(String),
    /// Anything else.
    Source(SourceError),
}

impl From<SourceError> for Failure {
    fn from(e: SourceError) -> Self {
        Self::Source(e)
    }
}

/// `path` with `.` and `suffix` appended to its file name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(".");
    text.push(suffix);
    text.into()
}

/// Runs `attempt` until it succeeds, fails for good, or `options.attempts` are used up; waits longer each time. A server that was
/// never reached is not asked again if the way to it is closed: without network the answer should come at once.
pub(super) fn with_retries<T>(options: &Options, mut attempt: impl FnMut() -> Result<T, Attempt>) -> Result<T, Attempt> {
    let mut reached = false;
    let mut tried = 0;
    loop {
        let failure = match attempt() {
            Err(Attempt::NoRoute(reason)) if !reached => return Err(Attempt::NoRoute(reason)),
            Err(failure @ (Attempt::NoRoute(_) | Attempt::Broken(_) | Attempt::Busy(_))) => failure,
            done_or_fatal => return done_or_fatal,
        };
        reached = true;
        tried += 1;
        if tried >= options.attempts {
            return Err(failure);
        }
        sleep(options.retry_delay.saturating_mul(1 << (tried - 1).min(6)));
    }
}

/// A file to download.
pub(super) struct Download<'a> {
    /// Where from.
    pub(super) url: &'a str,
    /// For the `Authorization` header.
    pub(super) token: Option<&'a Token>,
    /// Where to; what is there already is taken for the file's beginning. The caller holds the lock.
    pub(super) part: &'a Path,
    /// Length in bytes, if known beforehand.
    pub(super) len: Option<u64>,
    /// Leading hexadecimal digits of the SHA-256, if known beforehand.
    pub(super) sha256: Option<&'a str>,
    /// What a status means at this server, given the status and its `X-Error-Code`.
    pub(super) hint: &'a dyn Fn(u16, &str) -> String,
}

/// The partial file and what is known of it.
struct Part {
    file: File,
    done: u64,
    total: Option<u64>,
    hasher: Sha256,
}

impl Download<'_> {
    /// Downloads, resumes, checks length and hash, and flushes to disk. A wrong file is removed; a partial one stays.
    pub(super) fn run(&self, options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<(), Failure> {
        let client = Client::new(self.url, self.token, REDIRECTS, options)?;
        let mut part = self.open()?;
        let before = part.done;
        let outcome = with_retries(options, || self.attempt(&client, &mut part, progress));
        outcome.map_err(|failure| match failure {
            Attempt::Fatal(e) => Failure::Source(e),
            Attempt::Busy(status) => Failure::Source(self.status(status, "")),
            Attempt::NoRoute(reason) | Attempt::Broken(reason) if part.done == before && part.total.is_none() => {
                Failure::Unreachable(format!("the server cannot be reached ({reason})"))
            }
            Attempt::NoRoute(reason) | Attempt::Broken(reason) => Failure::Source(SourceError::Interrupted {
                url: self.url.to_owned(),
                done: part.done,
                total: part.total,
                part: self.part.to_owned(),
                reason,
            }),
        })?;
        part.file.sync_all().map_err(self.io("write the download"))?;
        let Part { hasher, .. } = part; // closes the file, which some systems want before it is removed or renamed
        Ok(self.check(&digest::hex(hasher))?)
    }

    fn io(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> SourceError + use<> {
        SourceError::io(self.part, action)
    }

    fn status(&self, status: u16, code: &str) -> SourceError {
        SourceError::Status { url: self.url.to_owned(), status, hint: (self.hint)(status, code) }
    }

    fn open(&self) -> Result<Part, SourceError> {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.part);
        let mut file = open.map_err(self.io("make the download"))?;
        let len = file.metadata().map_err(self.io("read the download"))?.len();
        let mut hasher = Sha256::new();
        let done = digest::feed(&mut hasher, &mut file, len).map_err(self.io("read the download"))?;
        Ok(Part { file, done, total: None, hasher })
    }

    fn restart(&self, part: &mut Part) -> Result<(), SourceError> {
        if part.done > 0 {
            part.file.set_len(0).and_then(|()| part.file.rewind()).map_err(self.io("start the download over"))?;
            (part.done, part.hasher) = (0, Sha256::new());
        }
        Ok(())
    }

    fn attempt(&self, client: &Client, part: &mut Part, progress: &mut dyn FnMut(Progress)) -> Result<(), Attempt> {
        let mut response = client.get(self.url, part.done)?;
        let range = header(&response, "content-range").and_then(ContentRange::parse);
        let total = match response.status().as_u16() {
            200 => {
                self.restart(part)?;
                response.body().content_length()
            }
            206 => match range {
                Some(range) if part.done > 0 && range.start == Some(part.done) => range.total,
                _ => {
                    self.restart(part)?;
                    return Err(Attempt::Broken("the server sent another range than was asked for".to_owned()));
                }
            },
            // Nothing beyond what is here: the last run got everything and ended before it could say so.
            416 if range.and_then(|r| r.total) == Some(part.done) && self.check_len(part.done).is_ok() => return Ok(()),
            416 if part.done > 0 => {
                self.restart(part)?;
                return Err(Attempt::Broken("the server does not have the range asked for".to_owned()));
            }
            status if is_busy(status) => return Err(Attempt::Busy(status)),
            status => return Err(self.status(status, header(&response, "x-error-code").unwrap_or_default()).into()),
        };
        if let Some(total) = total {
            self.check_len(total)?;
        }
        part.total = total.or(self.len);
        progress(Progress::new(Stage::Downloading, part.done, part.total));
        let mut body = response.body_mut().as_reader();
        let mut block = vec![0; digest::BLOCK];
        loop {
            let n = match body.read(&mut block) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Attempt::Broken(e.to_string())),
            };
            if part.done + n as u64 > part.total.unwrap_or(MAX_BYTES) {
                let e = self.wrong_len(part.done + n as u64);
                self.restart(part)?;
                return Err(e.into());
            }
            part.file.write_all(&block[..n]).map_err(self.io("write the download"))?;
            part.hasher.update(&block[..n]);
            part.done += n as u64;
            progress(Progress::new(Stage::Downloading, part.done, part.total));
        }
        match part.total {
            Some(total) if part.done < total => Err(Attempt::Broken("the connection was closed early".to_owned())),
            _ => Ok(()),
        }
    }

    fn wrong_len(&self, found: u64) -> SourceError {
        let expected = self.len.map_or(format!("at most {MAX_BYTES}"), |len| len.to_string());
        SourceError::WrongLength { url: self.url.to_owned(), expected, found }
    }

    fn check_len(&self, found: u64) -> Result<(), SourceError> {
        let right = self.len.map_or(found <= MAX_BYTES, |len| found == len && len <= MAX_BYTES);
        if right { Ok(()) } else { Err(self.wrong_len(found)) }
    }

    fn check(&self, found: &str) -> Result<(), SourceError> {
        let Some(expected) = self.sha256 else { return Ok(()) };
        if found.starts_with(expected) {
            return Ok(());
        }
        std::fs::remove_file(self.part).map_err(self.io("remove the wrong download"))?;
        let found = found.chars().take(expected.len()).collect();
        Err(SourceError::WrongDownload { url: self.url.to_owned(), expected: expected.to_owned(), found })
    }
}
