//! Declarations of variables: `.global`, `.const`, `.shared`, `.local`, `.param`.

use super::cursor::Cursor;
use super::error::LoadError;
use super::lexer::Kind;

/// A declaration after its state space.
#[derive(Debug)]
pub(crate) struct Variable<'a> {
    pub name: &'a str,
    pub align: u32,
    /// Zero for `name[]`.
    pub bytes: u32,
    /// Initial bytes, empty without an initialiser.
    pub init: Vec<u8>,
}

/// Bytes of a fundamental type's name, with its dot.
pub(crate) fn type_bytes(name: &str) -> Option<u32> {
    Some(match name {
        ".b8" | ".u8" | ".s8" => 1,
        ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" => 2,
        ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" => 4,
        ".b64" | ".u64" | ".s64" | ".f64" => 8,
        _ => return None,
    })
}

/// Parses `[.align n] .type [.ptr ...] name[dims] [= init]`; the cursor stands after the state space.
pub(crate) fn variable<'a>(cursor: &mut Cursor<'a>) -> Result<Variable<'a>, LoadError> {
    let (mut align, mut element, mut pointer) = (None, None, false);
    let name = loop {
        let token = cursor.peek();
        let word = cursor.word()?;
        match word {
            ".align" if pointer => {
                cursor.small()?; // of what the pointer points to
            }
            ".align" => align = Some(cursor.small()?),
            ".ptr" => pointer = true,
            ".global" | ".const" | ".shared" | ".local" if pointer => {}
            ".attribute" => return Err(LoadError::new(token.line, word, "variable attributes are not supported")),
            _ if word.starts_with('.') => {
                element = Some(
                    type_bytes(word)
                        .ok_or_else(|| LoadError::new(token.line, word, "unknown type or attribute of a variable"))?,
                );
            }
            _ => break word,
        }
    };
    let line = cursor.peek().line;
    let element = element.ok_or_else(|| LoadError::new(line, name, "variable without a type"))?;
    let align = align.unwrap_or(element);
    if !align.is_power_of_two() {
        return Err(LoadError::new(line, name, "alignment is not a power of two"));
    }
    let too_large = || LoadError::new(line, name, "variable too large");
    let mut bytes = element;
    while cursor.accept('[') {
        if cursor.accept(']') {
            bytes = 0;
            continue;
        }
        bytes = bytes.checked_mul(cursor.small()?).filter(|&b| b <= 1 << 30).ok_or_else(too_large)?;
        cursor.expect(']')?;
    }
    let mut init = Vec::new();
    if cursor.accept('=') {
        initialiser(cursor, element, &mut init)?;
        if init.len() > bytes as usize {
            return Err(LoadError::new(line, name, format!("{} initial bytes for {bytes}", init.len())));
        }
        init.resize(bytes as usize, 0);
    }
    Ok(Variable { name, align, bytes, init })
}

fn initialiser(cursor: &mut Cursor<'_>, element: u32, out: &mut Vec<u8>) -> Result<(), LoadError> {
    if cursor.accept('{') {
        while !cursor.accept('}') {
            initialiser(cursor, element, out)?;
            if !cursor.accept(',') && cursor.peek().kind != Kind::Punct('}') {
                return Err(cursor.unexpected("`,` or `}`"));
            }
        }
        return Ok(());
    }
    let negative = cursor.accept('-');
    let bits = match cursor.peek().kind {
        Kind::Int(value) if negative => value.wrapping_neg(),
        Kind::Int(value) => value,
        Kind::Single(bits) if !negative => u64::from(bits),
        Kind::Double(bits) if !negative && element == 4 => u64::from((f64::from_bits(bits) as f32).to_bits()),
        Kind::Double(bits) if !negative => bits,
        _ => return Err(cursor.unexpected("a number (addresses as initial values are not supported)")),
    };
    cursor.next();
    out.extend_from_slice(&bits.to_le_bytes()[..element as usize]);
    Ok(())
}
