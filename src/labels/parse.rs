//! From the bytes of a label file to names.

use std::path::Path;

use super::error::LabelError;
use super::json;

pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Vec<String>, LabelError> {
    let text = utf8(bytes, path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.trim_start().bytes().next() {
        None => Err(LabelError::Empty { path: path.to_owned() }),
        Some(b'[' | b'{') => json::parse(text, path),
        Some(_) => lines(text, path),
    }
}

fn utf8<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str, LabelError> {
    std::str::from_utf8(bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count();
        let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        LabelError::NotUtf8 { path: path.to_owned(), line, utf16 }
    })
}

/// One name a line. `str::lines` takes LF and CRLF.
fn lines(text: &str, path: &Path) -> Result<Vec<String>, LabelError> {
    let mut names = Vec::new();
    for (index, line) in text.trim_end().lines().enumerate() {
        let (name, line_no) = (line.trim(), index + 1);
        if name.is_empty() {
            return Err(LabelError::BlankLine { path: path.to_owned(), line: line_no, index });
        }
        if let Some(found) = name.chars().find(|c| c.is_control()) {
            return Err(LabelError::Control { path: path.to_owned(), line: line_no, index, found });
        }
        names.push(name.to_owned());
    }
    Ok(names)
}
