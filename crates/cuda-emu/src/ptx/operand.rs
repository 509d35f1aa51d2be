//! Operands of an instruction.

use super::cursor::Cursor;
use super::error::LoadError;
use super::lexer::Kind;
use super::syntax::{Base, Operand, Place, Reg, Special};

/// Looks names up, innermost scope first.
pub(crate) trait Names {
    fn register(&self, name: &str) -> Option<Reg>;
    fn place(&mut self, name: &str) -> Option<Place>;
}

/// Parses one operand.
pub(crate) fn operand<'a>(cursor: &mut Cursor<'a>, names: &mut dyn Names) -> Result<Operand<'a>, LoadError> {
    let first = single(cursor, names)?;
    if cursor.accept('|') {
        let second = single(cursor, names)?;
        return Ok(Operand::Pair(Box::new(first), Box::new(second)));
    }
    Ok(first)
}

fn single<'a>(cursor: &mut Cursor<'a>, names: &mut dyn Names) -> Result<Operand<'a>, LoadError> {
    let token = cursor.peek();
    match token.kind {
        Kind::Punct('{') => {
            cursor.next();
            let mut parts = Vec::new();
            loop {
                parts.push(single(cursor, names)?);
                if cursor.accept('}') {
                    return Ok(Operand::Vector(parts));
                }
                cursor.expect(',')?;
            }
        }
        Kind::Punct('[') => {
            cursor.next();
            let operand = address(cursor, names)?;
            cursor.expect(']')?;
            Ok(operand)
        }
        Kind::Punct('!') => {
            cursor.next();
            let word = cursor.word()?;
            names.register(word).map(Operand::Not).ok_or_else(|| undeclared(token.line, word))
        }
        Kind::Punct('-') => {
            cursor.next();
            match cursor.next().kind {
                Kind::Int(value) => Ok(Operand::Int(value.wrapping_neg())),
                Kind::Double(bits) => Ok(Operand::Double(bits ^ (1 << 63))),
                _ => Err(LoadError::new(token.line, "-", "expected a number after the sign")),
            }
        }
        Kind::Int(value) => {
            cursor.next();
            Ok(Operand::Int(value))
        }
        Kind::Single(bits) => {
            cursor.next();
            Ok(Operand::Single(bits))
        }
        Kind::Double(bits) => {
            cursor.next();
            Ok(Operand::Double(bits))
        }
        Kind::Word(word) => {
            cursor.next();
            named(cursor, names, word, token.line)
        }
        _ => Err(cursor.unexpected("an operand")),
    }
}

fn named<'a>(cursor: &mut Cursor<'a>, names: &mut dyn Names, word: &'a str, line: u32) -> Result<Operand<'a>, LoadError> {
    if word == "_" {
        return Ok(Operand::Sink);
    }
    if let Some(reg) = names.register(word) {
        return Ok(Operand::Reg(reg));
    }
    if word.starts_with('%') {
        if let Some(special) = Special::by_name(word) {
            return Ok(Operand::Special(special));
        }
        return Err(undeclared(line, word));
    }
    if word == "WARP_SZ" {
        return Ok(Operand::Int(32));
    }
    match names.place(word) {
        Some(place) => Ok(Operand::Symbol(place, offset(cursor)?)),
        None => Ok(Operand::Name(word)),
    }
}

fn undeclared(line: u32, word: &str) -> LoadError {
    LoadError::new(line, word, "register neither declared nor known as a special register")
}

/// `+n`, `-n` or `+-n`, if there is one.
fn offset(cursor: &mut Cursor<'_>) -> Result<i64, LoadError> {
    let negative = if cursor.accept('-') {
        true
    } else if cursor.accept('+') {
        cursor.accept('-')
    } else {
        return Ok(0);
    };
    let token = cursor.peek();
    let value = i64::try_from(cursor.int()?).map_err(|_| LoadError::new(token.line, token.text(), "offset too large"))?;
    Ok(if negative { -value } else { value })
}

fn address<'a>(cursor: &mut Cursor<'a>, names: &mut dyn Names) -> Result<Operand<'a>, LoadError> {
    let token = cursor.peek();
    match token.kind {
        Kind::Int(value) => {
            cursor.next();
            Ok(Operand::Address(Base::Absolute, value as i64))
        }
        Kind::Word(word) => {
            cursor.next();
            let base = match names.register(word) {
                Some(reg) => Base::Reg(reg),
                None => Base::Place(
                    names.place(word).ok_or_else(|| LoadError::new(token.line, word, "neither a register nor a variable"))?,
                ),
            };
            Ok(Operand::Address(base, offset(cursor)?))
        }
        _ => Err(cursor.unexpected("a register, a variable or a number")),
    }
}
