//! PTX text to tokens.

use super::error::LoadError;

/// One token; words keep their dots (`ld.global.f32`, `%tid.x`, `.reg`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind<'a> {
    /// Opcode, directive, register, symbol or label.
    Word(&'a str),
    /// An integer literal, without sign.
    Int(u64),
    /// The bits of a `0f` literal.
    Single(u32),
    /// The bits of a `0d` or decimal literal.
    Double(u64),
    /// A string, without quotes.
    Text(&'a str),
    /// Anything else, one character.
    Punct(char),
    /// After the last token.
    End,
}

/// A token with its line, from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub kind: Kind<'a>,
    pub line: u32,
}

impl Token<'_> {
    /// The token as written, for messages.
    pub(crate) fn text(&self) -> String {
        match self.kind {
            Kind::Word(word) => word.to_owned(),
            Kind::Int(value) => value.to_string(),
            Kind::Single(bits) => format!("0f{bits:08X}"),
            Kind::Double(bits) => format!("0d{bits:016X}"),
            Kind::Text(text) => format!("\"{text}\""),
            Kind::Punct(c) => c.to_string(),
            Kind::End => "end of text".to_owned(),
        }
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'%' | b'.')
}

/// Splits `text`; the result ends with one [`Kind::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>, LoadError> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len() / 4);
    let (mut at, mut line) = (0, 1u32);
    while let Some(&b) = bytes.get(at) {
        let rest = &bytes[at..];
        if b == b'\n' {
            line += 1;
            at += 1;
        } else if b.is_ascii_whitespace() || b == 0 {
            at += 1;
        } else if rest.starts_with(b"//") {
            at += rest.iter().position(|&c| c == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            let Some(end) = rest.windows(2).skip(2).position(|w| w == b"*/") else {
                return Err(LoadError::new(line, "/*", "comment without an end"));
            };
            line += rest[..end + 4].iter().filter(|&&c| c == b'\n').count() as u32;
            at += end + 4;
        } else if b == b'"' {
            let Some(end) = rest[1..].iter().position(|&c| c == b'"') else {
                return Err(LoadError::new(line, "\"", "string without an end"));
            };
            let Some(inner) = text.get(at + 1..at + 1 + end) else {
                return Err(LoadError::new(line, "\"", "string cut inside a character"));
            };
            out.push(Token { kind: Kind::Text(inner), line });
            line += inner.bytes().filter(|&c| c == b'\n').count() as u32;
            at += end + 2;
        } else if b.is_ascii_digit() {
            let length = number_length(rest);
            let literal = text.get(at..at + length).unwrap_or_default();
            out.push(Token { kind: number(literal, line)?, line });
            at += length;
        } else if is_word(b) {
            let length = word_length(rest);
            out.push(Token { kind: Kind::Word(text.get(at..at + length).unwrap_or_default()), line });
            at += length;
        } else if b.is_ascii_punctuation() {
            out.push(Token { kind: Kind::Punct(b as char), line });
            at += 1;
        } else {
            return Err(LoadError::new(line, format!("\\x{b:02x}"), "character that PTX does not use"));
        }
    }
    out.push(Token { kind: Kind::End, line });
    Ok(out)
}

/// Length of the word at the start of `rest`; modifiers such as `shared::cta` hold a double colon.
fn word_length(rest: &[u8]) -> usize {
    let mut length = 0;
    loop {
        if rest.get(length).is_some_and(|&c| is_word(c)) {
            length += 1;
        } else if rest[length..].starts_with(b"::") && rest.get(length + 2).is_some_and(|&c| is_word(c)) {
            length += 2;
        } else {
            return length;
        }
    }
}

/// Length of the number at the start of `rest`; a decimal exponent may hold a sign.
fn number_length(rest: &[u8]) -> usize {
    let hexadecimal = rest.len() > 1 && rest[0] == b'0' && rest[1].is_ascii_alphabetic();
    let mut length = 0;
    while let Some(&c) = rest.get(length) {
        let exponent_sign = !hexadecimal && matches!(c, b'+' | b'-') && matches!(rest[length - 1], b'e' | b'E');
        if !(c.is_ascii_alphanumeric() || c == b'.' || exponent_sign) {
            break;
        }
        length += 1;
    }
    length
}

fn number(literal: &str, line: u32) -> Result<Kind<'static>, LoadError> {
    let bad = || LoadError::new(line, literal, "not a number");
    let lower = literal.to_ascii_lowercase();
    if let Some(digits) = lower.strip_prefix("0f") {
        if digits.len() != 8 {
            return Err(bad());
        }
        return u32::from_str_radix(digits, 16).map(Kind::Single).map_err(|_| bad());
    }
    if let Some(digits) = lower.strip_prefix("0d") {
        if digits.len() != 16 {
            return Err(bad());
        }
        return u64::from_str_radix(digits, 16).map(Kind::Double).map_err(|_| bad());
    }
    if lower.contains('.') || (lower.contains('e') && !lower.starts_with("0x")) {
        return lower.parse::<f64>().map(|v| Kind::Double(v.to_bits())).map_err(|_| bad());
    }
    let unsigned = lower.strip_suffix('u').unwrap_or(&lower);
    let parsed = if let Some(digits) = unsigned.strip_prefix("0x") {
        u64::from_str_radix(digits, 16)
    } else if let Some(digits) = unsigned.strip_prefix("0b") {
        u64::from_str_radix(digits, 2)
    } else if unsigned.len() > 1 && unsigned.starts_with('0') {
        u64::from_str_radix(&unsigned[1..], 8)
    } else {
        unsigned.parse()
    };
    parsed.map(Kind::Int).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind<'_>> {
        tokens(text).unwrap().into_iter().map(|t| t.kind).collect()
    }

    #[test]
    fn words_keep_dots_and_numbers_keep_bits() {
        use Kind::*;
        assert_eq!(
            kinds("@!%p1 ld.global.L2::128B.f32 %f1, [%rd2+-16]; // note"),
            [
                Punct('@'),
                Punct('!'),
                Word("%p1"),
                Word("ld.global.L2::128B.f32"),
                Word("%f1"),
                Punct(','),
                Punct('['),
                Word("%rd2"),
                Punct('+'),
                Punct('-'),
                Int(16),
                Punct(']'),
                Punct(';'),
                End
            ]
        );
        assert_eq!(
            kinds("0f3F800000 0d3FF0000000000000 0x1F 017 0b101 4294967295U 1.5e-3"),
            [
                Single(0x3f80_0000),
                Double(1f64.to_bits()),
                Int(31),
                Int(15),
                Int(5),
                Int(4_294_967_295),
                Double(1.5e-3f64.to_bits()),
                End
            ]
        );
    }

    #[test]
    fn lines_are_counted_through_comments() {
        let all = tokens("/* a\nb */ x\n\"t\" y").unwrap();
        assert_eq!(all.iter().map(|t| t.line).collect::<Vec<_>>(), [2, 3, 3, 3]);
    }

    #[test]
    fn broken_text_names_line_and_token() {
        for (text, line, token) in [
            ("\n/* x", 2, "/*"),
            ("\"x", 1, "\""),
            ("0fZZ", 1, "0fZZ"),
            ("\n\n99999999999999999999", 3, "99999999999999999999"),
            ("é", 1, "\\xc3"),
        ] {
            let error = tokens(text).unwrap_err();
            assert_eq!((error.line, error.token.as_str()), (line, token), "{text}");
        }
    }
}
