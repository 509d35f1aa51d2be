//! Files that appear whole or not at all.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::OutputError;

/// Writes `path` by way of a temporary file in the same folder, which takes its place only when `write` and the last flush have
/// succeeded. Until then `path` is absent, or what it was. With `force` false an existing file is kept, even one that appears
/// while `write` runs. On failure, and if `write` panics, the temporary file is removed.
///
/// The data is not forced to the disk: this guards against failing programs and full disks, not against a power cut.
///
/// # Errors
/// If the file exists and `force` is false, or it cannot be written; the error names `path`.
pub fn write_atomically(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), OutputError> {
    check_free(path, force)?;
    let failed = |source| OutputError::Write { path: path.to_owned(), source };
    let file = temporary_beside(path).map_err(failed)?;
    // The file itself, not tempfile's wrapper, which would put the temporary name into every error.
    let mut buffered = BufWriter::with_capacity(1 << 16, file.as_file());
    write(&mut buffered).and_then(|()| buffered.flush()).map_err(failed)?;
    drop(buffered);
    let persisted = if force { file.persist(path) } else { file.persist_noclobber(path) };
    persisted.map(drop).map_err(|e| match e.error.kind() {
        io::ErrorKind::AlreadyExists if !force => OutputError::Exists { path: path.to_owned() },
        _ => failed(e.error),
    })
}

/// Whether `path` may be written: lets a run fail before its work instead of after it.
///
/// # Errors
/// If `path` exists (a dangling link counts) and `force` is false.
pub fn check_free(path: &Path, force: bool) -> Result<(), OutputError> {
    if !force && path.symlink_metadata().is_ok() {
        return Err(OutputError::Exists { path: path.to_owned() });
    }
    Ok(())
}

/// Creates `folder` and those above it where they are missing, and tries that it takes a file: a run that cannot write should end
/// before its work.
///
/// # Errors
/// If that is impossible, for instance because a file has the name, or without permission.
pub fn create_folder(folder: &Path) -> Result<(), OutputError> {
    let tried = std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    tried.map(drop).map_err(|source| OutputError::Folder { path: folder.to_owned(), source })
}

fn temporary_beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Opened here because tempfile would make the file private (this one is for others to read) and would put the temporary
    // name into the error, where the user knows only the final one.
    let open = |path: &Path| std::fs::File::options().write(true).create_new(true).open(path);
    tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).make_in(folder, open)
}

const PREFIX: &str = ".camshaft-";
const SUFFIX: &str = ".part";

/// Removes temporary files that a killed run left in `folder`. The caller knows that no other run is writing there. What cannot be
/// removed does no harm.
pub(super) fn remove_temporaries(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
