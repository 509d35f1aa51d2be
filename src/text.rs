//! Words from elsewhere in our messages.

/// What a file or another library says, fit for a message in a terminal: control characters escaped (none at the ends), and cut
/// off after a few lines.
pub(crate) fn plain(words: &str) -> String {
    const MOST: usize = 200;
    let mut out = String::new();
    for c in words.trim_matches(|c: char| c.is_whitespace() || c.is_control()).chars() {
        if out.len() >= MOST {
            return out + "...";
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn words_stay_on_one_line() {
        assert_eq!(plain(" not enough bytes\n"), "not enough bytes");
        assert_eq!(plain("a\nb\u{1b}[2Jc"), "a\\nb\\u{1b}[2Jc");
        assert_eq!(plain(&"é".repeat(100)), "é".repeat(100));
        assert_eq!(plain(&"é".repeat(101)), "é".repeat(100) + "...");
    }
}
