//! The stack machine: opcodes in, values out.

use std::collections::HashMap;

use super::error::{PickleError, PickleFault};
use super::globals::{Global, resolve};
use super::input::{Input, text};
use super::value::{Id, Storage, Tensor, Value};
use crate::weights::error::shown;

/// Bytes of one pickle. The one of a ResNet-152 has about 80 KB; an optimiser's state triples that.
const MAX_BYTES: usize = 64 << 20;
/// Values, stack entries and memo entries each. At most about 150 bytes apiece with what they own, so that the worst pickle
/// costs some 200 MB.
const MAX_VALUES: usize = 1 << 20;

/// A pickle that was read.
pub(in crate::weights) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Id,
    /// Bytes that the pickle took.
    pub(in crate::weights) length: usize,
}

impl<'a> Pickle<'a> {
    /// The value the pickle stands for.
    pub(in crate::weights) fn root(&self) -> &Value<'a> {
        self.get(self.root)
    }

    pub(in crate::weights) fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id.0 as usize]
    }

    /// The storage of a tensor.
    pub(in crate::weights) fn storage(&self, tensor: &Tensor) -> Option<&Storage<'a>> {
        if let Value::Storage(storage) = self.get(tensor.storage) { Some(storage) } else { None }
    }

    /// The first `limit` integers of a tuple, or nothing if there is anything else among them.
    pub(in crate::weights) fn integers(&self, tuple: Id, limit: usize) -> Option<Vec<i128>> {
        let Value::Tuple(items) = self.get(tuple) else { return None };
        let integer = |&item: &Id| if let &Value::Int(value) = self.get(item) { Some(value) } else { None };
        items.iter().take(limit).map(integer).collect()
    }

    /// Every value that was made, used in the end or not.
    pub(in crate::weights) fn values(&self) -> &[Value<'a>] {
        &self.values
    }
}

/// Reads the pickle that `bytes` begin with. Errors count bytes from `base`.
pub(in crate::weights) fn read(bytes: &[u8], base: usize) -> Result<Pickle<'_>, PickleError> {
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    let mut machine = Machine::new(bytes);
    loop {
        let at = machine.input.position();
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => return Ok(Pickle { values: machine.values, root, length: machine.input.position() }),
            Err(PickleFault::End) if bytes.len() == MAX_BYTES => {
                return Err(PickleError { offset: base + at, fault: limit("bytes of pickle", MAX_BYTES) });
            }
            Err(fault) => return Err(PickleError { offset: base + at, fault }),
        }
    }
}

fn limit(what: &'static str, limit: usize) -> PickleFault {
    PickleFault::Limit { what, limit }
}

pub(super) struct Machine<'a> {
    input: Input<'a>,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at which lists, tuples and dictionaries began.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Entries that calls have copied out of values, counted against the limit on values.
    copied: usize,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let input = Input::new(bytes);
        Self { input, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), copied: 0 }
    }

    /// Follows one opcode; the root value if it was the last.
    fn step(&mut self) -> Result<Option<Id>, PickleFault> {
        let opcode = self.input.u8()?;
        match opcode {
            // PROTO
            0x80 => match self.input.u8()? {
                2..=5 => {}
                other => return Err(PickleFault::Protocol(other)),
            },
            // FRAME: its length only helps a reader that streams
            0x95 => drop(self.input.array::<8>()?),
            // STOP
            b'.' => return self.pop().map(Some),

            // atoms
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            // BININT, BININT1, BININT2, LONG1, LONG4
            b'J' => {
                let value = i32::from_le_bytes(self.input.array()?);
                self.push(Value::Int(value.into()))?;
            }
            b'K' => {
                let value = self.input.u8()?;
                self.push(Value::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.input.array()?);
                self.push(Value::Int(value.into()))?;
            }
            0x8a => {
                let bytes = self.input.prefixed::<1>()?;
                self.push(integer(bytes))?;
            }
            0x8b => {
                let bytes = self.input.prefixed::<4>()?;
                self.push(integer(bytes))?;
            }
            // BINFLOAT
            b'G' => {
                self.input.take(8)?;
                self.push(Value::Other("a float"))?;
            }
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
            b'X' => {
                let bytes = self.input.prefixed::<4>()?;
                self.push(Value::Str(text(bytes)?))?;
            }
            0x8c => {
                let bytes = self.input.prefixed::<1>()?;
                self.push(Value::Str(text(bytes)?))?;
            }
            0x8d => {
                let bytes = self.input.prefixed::<8>()?;
                self.push(Value::Str(text(bytes)?))?;
            }
            // BINSTRING and SHORT_BINSTRING: Python 2's `str`, text or not
            b'T' => {
                let bytes = self.input.prefixed::<4>()?;
                self.push(text(bytes).map_or(Value::Other("bytes"), Value::Str))?;
            }
            b'U' => {
                let bytes = self.input.prefixed::<1>()?;
                self.push(text(bytes).map_or(Value::Other("bytes"), Value::Str))?;
            }
            // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'B' => self.skip_bytes::<4>()?,
            b'C' => self.skip_bytes::<1>()?,
            0x8e | 0x96 => self.skip_bytes::<8>()?,

            // containers
            b'(' => {
                if self.marks.len() >= MAX_VALUES {
                    return Err(limit("marks", MAX_VALUES));
                }
                self.marks.push(self.stack.len());
            }
            b')' => self.push(Value::Tuple(Box::default()))?,
            0x85..=0x87 => {
                let mut items = vec![Id(0); usize::from(opcode - 0x84)];
                for item in items.iter_mut().rev() {
                    *item = self.pop()?;
                }
                self.push(Value::Tuple(items.into()))?;
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items.into()))?;
            }
            b']' => self.push(Value::List(Vec::new()))?,
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Value::List(items))?;
            }
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Dict(pairs(&items)?))?;
            }
            // EMPTY_SET, ADDITEMS, FROZENSET
            0x8f => self.push(Value::Other("a set"))?,
            0x90 => drop(self.pop_to_mark()?),
            0x91 => {
                self.pop_to_mark()?;
                self.push(Value::Other("a set"))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)?;
            }

            // stack and memo
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push_id(top)?;
            }
            b'q' => {
                let index = self.input.u8()?;
                self.remember(index.into())?;
            }
            b'r' => {
                let index = self.input.u32()?;
                self.remember(index)?;
            }
            0x94 => {
                let index = u32::try_from(self.memo.len()).map_err(|_| limit("memo entries", MAX_VALUES))?;
                self.remember(index)?;
            }
            b'h' => {
                let index = self.input.u8()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = self.input.u32()?;
                self.recall(index)?;
            }

            // names and what is done with them
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.value(name), self.value(module)) {
                    (&Value::Str(name), &Value::Str(module)) => self.global(module, name)?,
                    (Value::Str(_), other) | (other, _) => {
                        return Err(PickleFault::Type { expected: "a string", found: other.kind() });
                    }
                }
            }
            // REDUCE and NEWOBJ: call(arguments)
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                let result = self.call(function, arguments)?;
                self.push_id(result)?;
            }
            // BUILD: attributes such as the `_metadata` of a state dict, which no tensor needs
            b'b' => {
                self.pop()?;
                self.top()?;
            }
            // BINPERSID
            b'Q' => {
                let id = self.pop()?;
                let storage = self.persistent(id)?;
                self.push(storage)?;
            }
            other => return Err(PickleFault::Opcode(other)),
        }
        Ok(None)
    }

    pub(super) fn value(&self, id: Id) -> &Value<'a> {
        &self.values[id.0 as usize]
    }

    /// Adds a value without putting it on the stack.
    pub(super) fn add(&mut self, value: Value<'a>) -> Result<Id, PickleFault> {
        if self.values.len() >= MAX_VALUES {
            return Err(limit("values", MAX_VALUES));
        }
        self.values.push(value);
        Ok(Id((self.values.len() - 1) as u32))
    }

    /// Counts `n` entries about to be copied. Without this a short pickle could have one long list copied again and again.
    pub(super) fn charge(&mut self, n: usize) -> Result<(), PickleFault> {
        self.copied = self.copied.saturating_add(n);
        if self.copied > MAX_VALUES { Err(limit("copied entries", MAX_VALUES)) } else { Ok(()) }
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), PickleFault> {
        let id = self.add(value)?;
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Result<(), PickleFault> {
        if self.stack.len() >= MAX_VALUES {
            return Err(limit("stack entries", MAX_VALUES));
        }
        self.stack.push(id);
        Ok(())
    }

    /// The lowest stack entry that may be taken: what lies below a mark is out of reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, PickleFault> {
        self.stack[self.floor()..].last().copied().ok_or(PickleFault::Stack)
    }

    fn pop(&mut self) -> Result<Id, PickleFault> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, PickleFault> {
        let mark = self.marks.pop().ok_or(PickleFault::Mark)?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, index: u32) -> Result<(), PickleFault> {
        let top = self.top()?;
        if self.memo.len() >= MAX_VALUES {
            return Err(limit("memo entries", MAX_VALUES));
        }
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), PickleFault> {
        let id = *self.memo.get(&index).ok_or(PickleFault::Memo(index))?;
        self.push_id(id)
    }

    fn skip_bytes<const N: usize>(&mut self) -> Result<(), PickleFault> {
        self.input.prefixed::<N>()?;
        self.push(Value::Other("bytes"))
    }

    fn append(&mut self, items: &[Id]) -> Result<(), PickleFault> {
        let list = self.top()?;
        match &mut self.values[list.0 as usize] {
            Value::List(list) => list.extend_from_slice(items),
            Value::Other(_) => {}
            other => return Err(PickleFault::Type { expected: "a list", found: other.kind() }),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), PickleFault> {
        let pairs = pairs(items)?;
        let dict = self.top()?;
        match &mut self.values[dict.0 as usize] {
            Value::Dict(dict) => dict.extend(pairs),
            Value::Other(_) => {}
            other => return Err(PickleFault::Type { expected: "a dict", found: other.kind() }),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), PickleFault> {
        let unknown = || PickleFault::Global { module: shown(module), name: shown(name) };
        let global: Global = resolve(module, name).ok_or_else(unknown)?;
        self.push(Value::Global(global))
    }
}

/// Keys and values, which alternate.
fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, PickleFault> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(PickleFault::Malformed("dict: a key without a value"));
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

/// A little-endian two's complement integer. Beyond 128 bits it can be no size or offset.
fn integer(bytes: &[u8]) -> Value<'static> {
    if bytes.len() > 16 {
        return Value::Other("an integer beyond 128 bits");
    }
    let negative = bytes.last().is_some_and(|&byte| byte & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i128::from_le_bytes(wide))
}
