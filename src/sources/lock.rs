//! One download of a file at a time, across processes.

use std::fs::{File, OpenOptions, TryLockError, create_dir_all};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::error::SourceError;
use super::options::{Progress, Stage};

/// Pause between two looks at a lock that another process holds.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes the lock on the file `path`, made if need be with its folder; waits for as long as another process holds it. The lock
/// ends when the returned file is dropped.
pub(super) fn lock(path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<File, SourceError> {
    if let Some(folder) = path.parent() {
        create_dir_all(folder).map_err(SourceError::io(folder, "make the folder"))?;
    }
    let open = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = open.map_err(SourceError::io(path, "make the lock file"))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                progress(Progress::new(Stage::Waiting, 0, None));
                sleep(PAUSE);
            }
            Err(TryLockError::Error(e)) => return Err(SourceError::io(path, "lock it")(e)),
        }
    }
}
