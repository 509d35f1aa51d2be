//! What a file is, judged by its bytes.

use image::ImageFormat;

/// The format, if it is one that is read here.
pub(super) fn format(bytes: &[u8]) -> Option<ImageFormat> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    image::guess_format(bytes).ok().filter(|format| matches!(format, Jpeg | Png | WebP | Bmp | Tiff | Gif))
}

/// A few words on a file that is no picture read here, with the way out where there is one.
pub(super) fn describe(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(64)];
    let text = String::from_utf8_lossy(start);
    let lower = text.trim_start().to_lowercase();
    if start.get(4..8) == Some(b"ftyp") {
        return "it seems to be HEIC, AVIF or a video; save it as JPEG or PNG".into();
    }
    if let Ok(format) = image::guess_format(bytes) {
        return format!("it seems to be {format:?}; save it as JPEG or PNG");
    }
    if lower.starts_with("<!doctype") || lower.starts_with("<html") {
        return "it seems to be a web page, perhaps saved in place of a picture".into();
    }
    if lower.starts_with("<svg") || lower.starts_with("<?xml") {
        return "it seems to be SVG or other XML; save it as PNG".into();
    }
    let printable = |c: char| c.is_ascii_graphic() || c == ' ';
    let shown: String = text.chars().take_while(|&c| printable(c)).take(24).collect();
    if shown.len() >= 4 || shown.len() == bytes.len() {
        format!("it begins with the text `{shown}`")
    } else {
        let hex: Vec<String> = start.iter().take(8).map(|b| format!("{b:02x}")).collect();
        format!("it begins with the bytes {}", hex.join(" "))
    }
}

/// Whether a JPEG goes on to its end-of-image marker, as Pillow demands.
///
/// Walks the segments by their lengths, so that the end of a thumbnail inside the EXIF data does not count.
pub(super) fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const EOI: u8 = 0xd9;
    // Past the start-of-image marker.
    let mut rest = bytes.get(2..).unwrap_or_default();
    let mut in_scan = false;
    loop {
        // To the next marker: 0xff and neither a stuffed zero nor a fill byte. Between segments there should be nothing to skip.
        let Some(at) = rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff)) else {
            return false;
        };
        let marker = rest[at + 1];
        rest = &rest[at + 2..];
        match marker {
            // A tables-only or scanless file has an end as well, but no picture.
            EOI => return in_scan,
            // Restart and the like: markers without a length.
            0x01 | 0xd0..=0xd8 => {}
            _ => {
                in_scan |= marker == 0xda;
                let Some(length) = rest.first_chunk::<2>() else { return false };
                let Some(after) = rest.get(usize::from(u16::from_be_bytes(*length)).max(2)..) else { return false };
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_named() {
        for (bytes, want) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0"[..], "HEIC"),
            (b"<!DOCTYPE html><title>not found</title>", "web page"),
            (b"\n<html>", "web page"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
            (b"hello, I am a text\nof two lines", "`hello, I am a text`"),
            (b"a", "`a`"),
            (b"\x01\x02\x03", "01 02 03"),
            (b"qoif\0\0\0\x01\0\0\0\x01\x03\0", "Qoi"),
        ] {
            assert_eq!(format(bytes), None);
            assert!(describe(bytes).contains(want), "{} for {want}", describe(bytes));
        }
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end() {
        let app = [&[0xff, 0xe1, 0, 6][..], &[0xff, 0xda, 0xff, 0xd9]].concat();
        let scan = [0xff, 0xda, 0, 3, 1, 0x12, 0xff, 0x00, 0xff, 0xd0, 0x34];
        let whole = [&[0xff, 0xd8][..], &app, &scan, &[0xff, 0xd9]].concat();
        assert!(jpeg_is_whole(&whole));
        for end in 0..whole.len() {
            assert!(!jpeg_is_whole(&whole[..end]), "cut at {end}");
        }
        assert!(!jpeg_is_whole(&[0xff, 0xd8, 0xff, 0xd9]), "no scan");
    }
}
