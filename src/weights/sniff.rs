//! What a file is, judged by its content: names lie, most often after a failed download.

use std::fmt;
use std::path::Path;

use super::error::{WeightsError, shown};

/// The forms of weight file that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// A JSON header and the bytes of the tensors.
    Safetensors,
    /// What `torch.save` writes since PyTorch 1.6: a zip archive with a pickle and one entry per storage.
    PthZip,
    /// What `torch.save` wrote before: pickles one behind the other, then the storages.
    PthLegacy,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::PthZip => "PyTorch zip",
            Self::PthLegacy => "PyTorch legacy",
        })
    }
}

const DOWNLOAD: &str = "the download probably failed or asked for a login; fetch the file itself again";
const UNPACK: &str = "unpack it first";
const CONVERT: &str = "weights are read from .safetensors and .pth; convert it in Python first";

/// Beginnings of files that are taken for weights by mistake: bytes, name, way out.
const LOOKALIKES: &[(&[u8], &str, &str)] = &[
    (b"version https://git-lfs", "a git-lfs pointer", "run `git lfs pull` to get the file it stands for"),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes", CONVERT),
    (b"GGUF", "a GGUF file", CONVERT),
    (b"\x93NUMPY", "a numpy array", CONVERT),
    (b"\xff\xd8\xff", "a JPEG picture", "pictures are given as inputs, not as weights"),
    (b"\x89PNG", "a PNG picture", "pictures are given as inputs, not as weights"),
    (b"%PDF", "a PDF document", DOWNLOAD),
];

/// The format of `bytes`, or what they are instead.
pub(super) fn sniff(path: &Path, bytes: &[u8]) -> Result<Format, WeightsError> {
    let looks_like =
        |found: &str, advice| Err(WeightsError::LooksLike { path: path.to_owned(), found: found.to_owned(), advice });
    if bytes.is_empty() {
        return Err(WeightsError::Empty { path: path.to_owned() });
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return Ok(Format::PthZip);
    }
    if bytes.starts_with(b"\x80") && bytes.get(1).is_some_and(|&protocol| (2..=5).contains(&protocol)) {
        // a header of 640 bytes begins alike, but its length goes on with zeros and then the JSON
        return Ok(if is_safetensors(bytes) { Format::Safetensors } else { Format::PthLegacy });
    }
    if let Some((_, found, advice)) = LOOKALIKES.iter().find(|(start, ..)| bytes.starts_with(start)) {
        // "BZh" or the gzip bytes may also begin the length of a safetensors header
        return if is_safetensors(bytes) { Ok(Format::Safetensors) } else { looks_like(found, advice) };
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return looks_like("a tar archive", "unpack it first; if PyTorch before 0.1.10 wrote it, load and torch.save it again");
    }
    if let Some(found) = text(bytes) {
        return looks_like(&found, DOWNLOAD);
    }
    let named_safetensors = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"));
    if is_safetensors(bytes) || bytes.get(8) == Some(&b'{') || named_safetensors {
        return Ok(Format::Safetensors);
    }
    let start = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    Err(WeightsError::UnknownFormat { path: path.to_owned(), start })
}

/// A length that is plausible for a header (below 4 GiB) and then a JSON object.
fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.get(4..9) == Some(b"\0\0\0\0{")
}

/// What kind of text `bytes` are, if they are text: a page or message that a server sent instead of the file.
fn text(bytes: &[u8]) -> Option<String> {
    let start = &bytes[..bytes.len().min(512)];
    // a character may be cut at the end
    let start = match std::str::from_utf8(start) {
        Ok(start) => start,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&start[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if start.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let start = start.trim_start_matches('\u{feff}').trim_start();
    Some(match start.chars().next() {
        Some('<') => "an HTML or XML page".to_owned(),
        Some('{' | '[') => format!("JSON text (`{}`)", shown(start.trim_end())),
        Some(_) => format!("text (`{}`)", shown(start.trim_end())),
        None => "blank".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sniffed(bytes: &[u8]) -> Result<Format, String> {
        sniff(Path::new("weights.pth"), bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn formats_are_known_by_content() {
        assert_eq!(sniffed(b"PK\x03\x04..."), Ok(Format::PthZip));
        assert_eq!(sniffed(b"\x80\x02\x8a\x0a"), Ok(Format::PthLegacy));
        assert_eq!(sniffed(b"\x08\0\0\0\0\0\0\0{}      "), Ok(Format::Safetensors));
        // lengths whose bytes look like a pickle, gzip and text
        for length in [0x0280u64, 0x8b1f, u64::from(u32::from_le_bytes(*b"Rar!"))] {
            let bytes = [&length.to_le_bytes()[..], b"{"].concat();
            assert_eq!(sniffed(&bytes), Ok(Format::Safetensors), "{length:#x}");
        }
        // an absurd length is still a safetensors file, with an error of its own later
        assert_eq!(sniffed(b"\xff\xff\xff\xff\xff\xff\xff\xff{}"), Ok(Format::Safetensors));
    }

    #[test]
    fn lookalikes_are_named() {
        for (start, found, _) in LOOKALIKES {
            let error = sniffed(&[start, &b" and then more"[..]].concat()).unwrap_err();
            assert!(error.contains(found), "{error}");
        }
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(sniffed(&tar).unwrap_err().contains("tar archive"));
        assert!(sniffed(b"\xef\xbb\xbf\n <!DOCTYPE html>").unwrap_err().contains("HTML"));
        assert!(sniffed(b"{\"error\": \"gone\"}").unwrap_err().contains(r#"`{\"error\": \"gone\"}`"#));
        assert!(sniffed(b"Access denied\n").unwrap_err().contains("text (`Access denied`)"));
        assert!(sniffed(b"  \n").unwrap_err().contains("blank"));
        assert!(sniffed(b"\x00\x01\x02\xff").unwrap_err().contains("00 01 02 ff"));
    }
}
