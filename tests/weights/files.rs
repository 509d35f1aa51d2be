//! Opening: mapped, read, embedded; and what is no weight file at all.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use camshaft::weights::{Format, OpenOptions, WeightFile, WeightsError};

use crate::assert_error;
use crate::build::{floats, open, safetensors};

/// A header whose data begins on a multiple of four bytes, and the same shifted by one byte.
fn sample(shift: usize) -> Vec<u8> {
    let header = r#"{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}"#;
    let width = (header.len() + 8).next_multiple_of(8) - 8 + shift;
    safetensors(&format!("{header:width$}"), &floats(&[1.0, -2.5, 3.0]))
}

#[test]
fn a_mapped_tensor_is_used_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, sample(0)).unwrap();

    let file = WeightFile::open(&path).unwrap();
    assert_eq!((file.path(), file.format()), (&*path, Format::Safetensors));
    let values = file.tensor("w").unwrap().to_f32().unwrap();
    assert!(matches!(values, Cow::Borrowed(_)), "copied");
    assert_eq!(*values, [1.0, -2.5, 3.0]);
    assert!(file.tensor("v").is_none());
}

#[test]
fn a_misaligned_tensor_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, sample(1)).unwrap();

    let file = WeightFile::open(&path).unwrap();
    let values = file.tensor("w").unwrap().to_f32().unwrap();
    assert!(matches!(values, Cow::Owned(_)), "borrowed from an odd address");
    assert_eq!(*values, [1.0, -2.5, 3.0]);
}

#[test]
fn without_a_map_the_file_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, sample(0)).unwrap();

    let file = WeightFile::open_with(&path, OpenOptions { mmap: false }).unwrap();
    fs::write(&path, "gone").unwrap();
    assert_eq!(*file.tensor("w").unwrap().to_f32().unwrap(), [1.0, -2.5, 3.0]);
}

#[test]
fn embedded_bytes_are_not_copied() {
    let bytes: &'static [u8] = sample(0).leak();
    let file = WeightFile::from_static("demo", bytes).unwrap();
    assert_eq!(file.path().to_str(), Some("demo"));
    if let Cow::Borrowed(values) = file.tensor("w").unwrap().to_f32().unwrap() {
        assert!(bytes.as_ptr_range().contains(&values.as_ptr().cast()));
    }
    assert_eq!(*file.tensor("w").unwrap().to_f32().unwrap(), [1.0, -2.5, 3.0]);
}

#[test]
fn a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.pth");
    assert_error!(WeightFile::open(&path), WeightsError::Io { .. }, "none.pth: cannot be read: ");
}

#[test]
fn a_folder_or_device() {
    let folder = tempfile::tempdir().unwrap();
    assert_error!(WeightFile::open(folder.path()), WeightsError::NotAFile { .. }, "is a folder, expected a weight file");
    #[cfg(unix)]
    assert_error!(WeightFile::open("/dev/zero"), WeightsError::NotAFile { .. }, "/dev/zero: is a pipe, socket or device");
}

/// Files that the kernel makes up as they are read cannot be mapped.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_mapped() {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
        assert_error!(WeightFile::open(path), WeightsError::Map { .. }, "cannot be memory-mapped", "--no-mmap");
        let read = WeightFile::open_with(path, OpenOptions { mmap: false });
        assert_error!(read, WeightsError::LooksLike { .. }, "is text");
    }
}

#[test]
fn an_empty_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.pth");
    fs::write(&path, "").unwrap();
    assert_error!(WeightFile::open(&path), WeightsError::Empty { .. }, "empty.pth: is empty", "fetch it again");
    assert_error!(open("empty", []), WeightsError::Empty { .. }, "empty: is empty");
}

#[test]
fn a_page_saved_as_weights() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["page.pth", "page.safetensors"] {
        let path = folder.path().join(name);
        fs::write(&path, "<!DOCTYPE html><html><title>Not found</title></html>").unwrap();
        assert_error!(WeightFile::open(&path), WeightsError::LooksLike { .. }, name, "is an HTML or XML page", "fetch");
    }
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    assert_error!(open("a.pth", pointer), WeightsError::LooksLike { .. }, "git-lfs pointer", "`git lfs pull`");
    assert_error!(open("a.pth", b"\x1f\x8b\x08\0"), WeightsError::LooksLike { .. }, "gzip archive", "unpack");
}

#[test]
fn no_known_format() {
    assert_error!(open("a.pth", [0, 1, 2, 255]), WeightsError::UnknownFormat { .. }, "it starts with 00 01 02 ff");
}

/// The hash is that of the whole content, part by part or not, and the pages that it lets go come back.
#[test]
fn a_fingerprint_is_the_hash_of_the_content() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/demo.safetensors");
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > 5 << 20, "more than one part");
    let want = format!("xxh3-128:{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes));
    for mmap in [true, false] {
        let file = WeightFile::open_with(&path, OpenOptions { mmap }).unwrap();
        assert_eq!((file.fingerprint(), file.fingerprint()), (want.clone(), want.clone()));
    }
}
