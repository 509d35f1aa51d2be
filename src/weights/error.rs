//! What can be wrong with a weight file.

// every variant is documented; its fields say by their names what they hold
#![allow(missing_docs)]

use std::io;
use std::path::PathBuf;

use safetensors::Dtype;
use thiserror::Error;

use super::pickle::PickleError;

/// Why a weight file cannot be used. Every message names the file and, where there is one, the tensor.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file is missing, may not be read, or fails while it is read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },

    /// A folder, pipe, socket or device.
    #[error("{}: is {found}, expected a weight file (.safetensors or .pth)", .path.display())]
    NotAFile { path: PathBuf, found: &'static str },

    /// The system refused the memory map, as some network file systems do.
    #[error("{}: cannot be memory-mapped: {source}; try reading it instead (--no-mmap)", .path.display())]
    Map { path: PathBuf, source: io::Error },

    /// Zero bytes.
    #[error("{}: is empty, expected a weight file; the download or copy was probably cut off, so fetch it again", .path.display())]
    Empty { path: PathBuf },

    /// Recognisably something else: a web page, a git-lfs pointer, an archive.
    #[error("{}: is {found}, not a weight file; {advice}", .path.display())]
    LooksLike { path: PathBuf, found: String, advice: &'static str },

    /// No known format, and nothing else that is recognised.
    #[error("{}: is neither safetensors nor a PyTorch file: it starts with {start}", .path.display())]
    UnknownFormat { path: PathBuf, start: String },

    /// A safetensors file ends inside its header, or claims a header of an impossible length.
    #[error("{}: header of {header} bytes expected, but only {available} bytes follow; the file is truncated or corrupted, so fetch it again", .path.display())]
    HeaderLength { path: PathBuf, header: u64, available: u64 },

    /// The safetensors header is not the JSON it must be.
    #[error("{}: safetensors header: {reason}", .path.display())]
    Header { path: PathBuf, reason: String },

    /// Two tensors of one name.
    #[error("{}: tensor `{tensor}` occurs twice, expected once", .path.display())]
    DuplicateTensor { path: PathBuf, tensor: String },

    /// Offsets that point outside the file; the usual sign of a truncated one.
    #[error("{}: tensor `{tensor}` has bytes {begin}..{end}, but the file holds only {available} bytes of data; it is truncated or corrupted, so fetch it again", .path.display())]
    OutOfRange { path: PathBuf, tensor: String, begin: u64, end: u64, available: u64 },

    /// A tensor that shares bytes with the one before it, or leaves a gap behind it.
    #[error("{}: tensor `{tensor}` begins at byte {found} of the data, expected {expected}, where the tensor before it ends", .path.display())]
    Overlap { path: PathBuf, tensor: String, expected: usize, found: usize },

    /// The bytes set aside for a tensor do not fit its shape.
    #[error("{}: tensor `{tensor}` of type {dtype} and shape {shape:?} needs {expected} bytes, found {found}", .path.display())]
    Size { path: PathBuf, tensor: String, dtype: Dtype, shape: Vec<usize>, expected: usize, found: usize },

    /// Bytes behind the last tensor.
    #[error("{}: {found} bytes of data, expected {expected}: bytes behind the last tensor", .path.display())]
    TrailingBytes { path: PathBuf, expected: usize, found: usize },

    /// A shape, stride or offset that no tensor of a weight file has.
    #[error("{}: tensor `{tensor}` with {shape}: {fault}", .path.display())]
    Shape { path: PathBuf, tensor: String, shape: String, fault: ShapeFault },

    /// An element type that the network cannot compute with.
    #[error("{}: tensor `{tensor}` has dtype {found}, expected F32, F16 or BF16", .path.display())]
    Dtype { path: PathBuf, tensor: String, found: Dtype },

    /// The zip directory of a `.pth` file cannot be read; the usual sign of a truncated one.
    #[error("{}: PyTorch file with an unreadable zip directory ({source}); it is truncated or corrupted, so fetch it again", .path.display())]
    Zip { path: PathBuf, source: zip::result::ZipError },

    /// A zip archive that lacks an entry every PyTorch file has.
    #[error("{}: zip archive without an entry `{entry}`; a PyTorch file has one, so this is another kind of archive", .path.display())]
    MissingEntry { path: PathBuf, entry: String },

    /// A compressed or encrypted entry, which cannot be used in place.
    #[error("{}: entry `{entry}` is {found}, expected stored as it is; load the file in Python and torch.save it again (or repack it with `zip -0`)", .path.display())]
    NotStored { path: PathBuf, entry: String, found: String },

    /// Two entries that share bytes, or lie outside the file.
    #[error("{}: entry `{entry}` has bytes {begin}..{end}, which {fault}; the file is corrupted, so fetch it again", .path.display())]
    EntryRange { path: PathBuf, entry: String, begin: u64, end: u64, fault: String },

    /// A zip archive with two entries of one name, of which only one could be found.
    #[error("{}: zip archive with two entries of one name, expected each name once", .path.display())]
    DuplicateEntry { path: PathBuf },

    /// Written on a big-endian machine.
    #[error("{}: has byte order `{found}`, expected `little`; load it in Python and torch.save it again on a little-endian machine", .path.display())]
    ByteOrder { path: PathBuf, found: String },

    /// A pickle that cannot or must not be read. `part` says which of the file's pickles.
    #[error("{}: {part}, {source}", .path.display())]
    Pickle { path: PathBuf, part: String, source: Box<PickleError> },

    /// A pickle that was read, but holds something else than `torch.save` writes there.
    #[error("{}: {part} holds {found}, expected {expected}", .path.display())]
    Content { path: PathBuf, part: &'static str, found: String, expected: &'static str },

    /// The data of a tensor is not in the file.
    #[error("{}: tensor `{tensor}` uses storage `{storage}`, which the file does not hold", .path.display())]
    MissingStorage { path: PathBuf, tensor: String, storage: String },

    /// A storage that is longer or shorter than the pickle says.
    #[error("{}: storage `{storage}` has {found} bytes, expected {expected}; the file is truncated or corrupted, so fetch it again", .path.display())]
    StorageSize { path: PathBuf, storage: String, expected: u64, found: u64 },

    /// A storage of a length that none can have.
    #[error("{}: storage `{storage}` claims {elements} elements, which is no possible number", .path.display())]
    StorageLength { path: PathBuf, storage: String, elements: i128 },

    /// No dictionary of tensors where one is looked for.
    #[error("{}: holds no state dict: {found}; expected a dict of tensors, or one under `state_dict`, `model_state_dict` or `model`. In Python: torch.save(model.state_dict(), \"weights.pth\")", .path.display())]
    NoStateDict { path: PathBuf, found: String },
}

/// What is wrong with a shape, its strides or its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShapeFault {
    /// A dimension of zero: a tensor without values.
    #[error("a dimension is zero, expected at least one element")]
    ZeroDimension,
    /// A dimension below zero.
    #[error("a dimension is negative")]
    NegativeDimension,
    /// More dimensions than PyTorch allows.
    #[error("too many dimensions ({0} or more), expected at most 64")]
    Rank(usize),
    /// One stride per dimension is missing or surplus.
    #[error("the numbers of dimensions and strides differ")]
    StrideCount,
    /// A stride of zero or below, which repeats or reverses elements.
    #[error("a stride is zero or negative, expected a positive one; call .contiguous() on it before torch.save")]
    Stride,
    /// The tensor begins before its storage.
    #[error("the offset into the storage is negative")]
    Offset,
    /// The product of the dimensions does not fit into memory addresses.
    #[error("the number of elements overflows")]
    Overflow,
    /// More elements than the storage has, or an offset behind its end.
    #[error("reaches element {reached} of a storage that holds {held}")]
    OutOfStorage { reached: u128, held: u64 },
}

/// A name from a file, fit for one line of an error: control characters escaped, cut after 100 characters.
pub(super) fn shown(text: &str) -> String {
    shown_up_to(text, 100)
}

/// [`shown`], cut after `limit` characters.
pub(super) fn shown_up_to(text: &str, limit: usize) -> String {
    let mut shown: String = text.chars().take(limit).flat_map(char::escape_debug).collect();
    if text.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}

/// The first entries of a list of numbers from a file, for an error.
pub(super) fn shown_list(values: &[i128]) -> String {
    let mut shown = values.iter().take(16).map(i128::to_string).collect::<Vec<_>>().join(", ");
    if values.len() > 16 {
        shown.push_str(", …");
    }
    format!("[{shown}]")
}
