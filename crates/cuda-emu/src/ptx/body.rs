//! A function's body: declarations, labels, instructions, and scopes that may hide outer names.

use std::collections::HashMap;

use super::cursor::Cursor;
use super::error::LoadError;
use super::lexer::Kind;
use super::operand::{Names, operand};
use super::syntax::{Body, Operand, Place, Reg, Slot, Statement};
use super::variable::variable;

/// Names that the module declares.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outer {
    /// A `.shared` variable outside functions: bytes and alignment.
    Shared { bytes: u32, align: u32 },
    /// `.extern .shared name[]`.
    Dynamic { align: u32 },
    /// `.global` or `.const`: index into the module's list.
    Global(u32),
}

/// More planes than any kernel needs; keeps indices in 16 bits with room for constants.
const MAX_REGISTERS: u32 = 40_000;
const MAX_SCOPES: usize = 10_000;

#[derive(Default)]
struct Scope<'a> {
    id: u16,
    /// Registers by full name.
    registers: HashMap<&'a str, Reg>,
    /// Registers `%r<n>`: stem, slot, first plane, count.
    ranges: HashMap<&'a str, (Slot, u16, u32)>,
    places: HashMap<&'a str, Place>,
}

struct Builder<'a, 'm> {
    outer: &'m HashMap<&'a str, Outer>,
    scopes: Vec<Scope<'a>>,
    /// Module-level shared variables placed so far.
    placed: HashMap<&'a str, Place>,
    body: Body<'a>,
}

impl Names for Builder<'_, '_> {
    fn register(&self, name: &str) -> Option<Reg> {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number: Option<u32> = name[stem.len()..].parse().ok();
        self.scopes.iter().rev().find_map(|scope| {
            scope.registers.get(name).copied().or_else(|| {
                let &(slot, first, count) = scope.ranges.get(stem)?;
                number.filter(|&n| n < count).map(|n| Reg { slot, index: first + n as u16 })
            })
        })
    }

    fn place(&mut self, name: &str) -> Option<Place> {
        if let Some(place) = self.scopes.iter().rev().find_map(|scope| scope.places.get(name)) {
            return Some(*place);
        }
        if let Some(place) = self.placed.get(name) {
            return Some(*place);
        }
        let (&name, &outer) = self.outer.get_key_value(name)?;
        let place = match outer {
            Outer::Shared { bytes, align } => place_at(&mut self.body.shared, bytes, align).map(Place::Shared)?,
            Outer::Dynamic { align } => {
                self.body.dynamic_align = self.body.dynamic_align.max(align);
                Place::Dynamic
            }
            Outer::Global(index) => Place::Global(index),
        };
        self.placed.insert(name, place);
        Some(place)
    }
}

/// Takes `bytes` at the next multiple of `align`; `None` beyond 1 GiB.
fn place_at(used: &mut u32, bytes: u32, align: u32) -> Option<u32> {
    let start = used.checked_next_multiple_of(align.max(1))?;
    *used = start.checked_add(bytes).filter(|&end| end <= 1 << 30)?;
    Some(start)
}

/// Parses `{ ... }`; `params` are the places of the function's parameters.
pub(crate) fn body<'a>(
    cursor: &mut Cursor<'a>,
    outer: &HashMap<&'a str, Outer>,
    params: HashMap<&'a str, Place>,
) -> Result<Body<'a>, LoadError> {
    let mut builder = Builder {
        outer,
        scopes: vec![Scope { places: params, ..Scope::default() }],
        placed: HashMap::new(),
        body: Body { scopes: vec![0], dynamic_align: 16, ..Body::default() },
    };
    let mut source = (0, 0);
    cursor.expect('{')?;
    loop {
        let token = cursor.peek();
        match token.kind {
            Kind::Punct('{') => {
                cursor.next();
                builder.open(token.line)?;
            }
            Kind::Punct('}') => {
                cursor.next();
                builder.scopes.pop();
                if builder.scopes.is_empty() {
                    break;
                }
            }
            Kind::Punct(';') => {
                cursor.next();
            }
            Kind::Word(".loc") => {
                cursor.next();
                source = (cursor.small()?, cursor.small()?);
                cursor.skip_line(token.line);
            }
            Kind::Word(word) if word.starts_with('.') => builder.directive(cursor, word)?,
            Kind::Word(word) if cursor.second_is(':') => {
                cursor.next();
                cursor.next();
                let scope = builder.scope();
                if builder.body.labels.iter().any(|&(label, s, _)| label == word && s == scope) {
                    return Err(LoadError::new(token.line, word, "label defined twice"));
                }
                let at = builder.body.statements.len() as u32;
                builder.body.labels.push((word, scope, at));
            }
            Kind::Word(_) | Kind::Punct('@') => builder.statement(cursor, source)?,
            _ => return Err(cursor.unexpected("an instruction, a directive or `}`")),
        }
    }
    Ok(builder.body)
}

impl<'a> Builder<'a, '_> {
    fn scope(&self) -> u16 {
        self.scopes.last().map_or(0, |scope| scope.id)
    }

    fn open(&mut self, line: u32) -> Result<(), LoadError> {
        if self.body.scopes.len() >= MAX_SCOPES {
            return Err(LoadError::new(line, "{", "too many scopes"));
        }
        let id = self.body.scopes.len() as u16;
        self.body.scopes.push(self.scope());
        self.scopes.push(Scope { id, ..Scope::default() });
        Ok(())
    }

    fn directive(&mut self, cursor: &mut Cursor<'a>, word: &'a str) -> Result<(), LoadError> {
        let line = cursor.next().line;
        match word {
            ".pragma" => while cursor.next().kind != Kind::Punct(';') && cursor.peek().kind != Kind::End {},
            ".shared" | ".local" => {
                let variable = variable(cursor)?;
                cursor.expect(';')?;
                let used = if word == ".shared" { &mut self.body.shared } else { &mut self.body.local };
                let at = place_at(used, variable.bytes, variable.align)
                    .ok_or_else(|| LoadError::new(line, variable.name, "variable too large"))?;
                let place = if word == ".shared" { Place::Shared(at) } else { Place::Local(at) };
                if let Some(scope) = self.scopes.last_mut() {
                    scope.places.insert(variable.name, place);
                }
            }
            ".reg" => self.registers(cursor, None)?,
            _ if word.starts_with(".reg.") => self.registers(cursor, Some(&word[4..]))?,
            _ => return Err(LoadError::new(line, word, "unknown directive in a function")),
        }
        Ok(())
    }

    /// `.reg .type name, stem<count>, ...;`
    fn registers(&mut self, cursor: &mut Cursor<'a>, joined: Option<&str>) -> Result<(), LoadError> {
        let line = cursor.peek().line;
        let kind = match joined {
            Some(kind) => kind,
            None => cursor.word()?,
        };
        let slot = match kind {
            ".pred" => Slot::Pred,
            ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" | ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" => Slot::Word,
            ".b64" | ".u64" | ".s64" | ".f64" => Slot::Long,
            _ => return Err(LoadError::new(line, kind, "unknown register type")),
        };
        loop {
            let name = cursor.word()?;
            let range = cursor.accept('<');
            let count = if range {
                let count = cursor.small()?;
                cursor.expect('>')?;
                count
            } else {
                1
            };
            let next = match slot {
                Slot::Pred => &mut self.body.preds,
                Slot::Word => &mut self.body.words,
                Slot::Long => &mut self.body.longs,
            };
            if count > MAX_REGISTERS || u32::from(*next) + count > MAX_REGISTERS {
                return Err(LoadError::new(line, name, "too many registers"));
            }
            let first = *next;
            *next += count as u16;
            self.body.registers.push((slot, first, range.then_some(count), name));
            if let Some(scope) = self.scopes.last_mut() {
                if range {
                    scope.ranges.insert(name, (slot, first, count));
                } else {
                    scope.registers.insert(name, Reg { slot, index: first });
                }
            }
            if !cursor.accept(',') {
                return cursor.expect(';');
            }
        }
    }

    fn statement(&mut self, cursor: &mut Cursor<'a>, source: (u32, u32)) -> Result<(), LoadError> {
        let mut guard = None;
        if cursor.accept('@') {
            let negated = cursor.accept('!');
            let token = cursor.peek();
            let name = cursor.word()?;
            match self.register(name) {
                Some(Reg { slot: Slot::Pred, index }) => guard = Some((index, negated)),
                _ => return Err(LoadError::new(token.line, name, "guard is not a declared predicate")),
            }
        }
        let line = cursor.peek().line;
        let opcode = cursor.word()?;
        let mut operands: Vec<Operand<'a>> = Vec::new();
        if cursor.peek().kind != Kind::Punct(';') {
            loop {
                operands.push(operand(cursor, self)?);
                if !cursor.accept(',') {
                    break;
                }
            }
        }
        cursor.expect(';')?;
        let scope = self.scope();
        self.body.statements.push(Statement { guard, opcode, operands, line, source, scope });
        Ok(())
    }
}
