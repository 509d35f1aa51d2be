//! A loaded module: kernels and variables.

use std::collections::HashMap;
use std::sync::Arc;

use super::body::{Outer, body};
use super::cursor::Cursor;
use super::decode::decode;
use super::error::LoadError;
use super::kernel::{Kernel, Param};
use super::lexer::{Kind, tokens};
use super::syntax::Place;
use super::variable::{Variable, variable};

/// A `.global` or `.const` variable, which needs memory on the device before a kernel of the module runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GlobalVar {
    /// Its name in the PTX.
    pub name: String,
    /// Size in bytes.
    pub bytes: u32,
    /// Alignment in bytes, a power of two.
    pub align: u32,
    /// Initial contents, `bytes` long; empty means zeros.
    pub init: Vec<u8>,
    /// Whether it was declared `.const`.
    pub constant: bool,
}

/// PTX text, parsed and decoded.
#[derive(Debug)]
pub struct Module {
    kernels: HashMap<String, Arc<Kernel>>,
    globals: Vec<GlobalVar>,
    version: (u32, u32),
    target: String,
}

impl Module {
    /// Parses and decodes `text`.
    ///
    /// # Errors
    /// [`LoadError`] names the line and the word for broken text and for every directive, instruction or modifier
    /// that is not implemented.
    pub fn parse(text: &str) -> Result<Module, LoadError> {
        let mut parser = Parser { cursor: Cursor::new(tokens(text)?), outer: HashMap::new(), globals: Vec::new() };
        parser.module()
    }

    /// The kernel (`.entry`) of this name.
    pub fn kernel(&self, name: &str) -> Option<Arc<Kernel>> {
        self.kernels.get(name).cloned()
    }

    /// All kernels, in no particular order.
    pub fn kernels(&self) -> impl Iterator<Item = &Arc<Kernel>> {
        self.kernels.values()
    }

    /// The module's variables.
    pub fn globals(&self) -> &[GlobalVar] {
        &self.globals
    }

    /// The `.version` the text asks for: major, minor.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The `.target` it was compiled for, such as `sm_80`.
    pub fn target(&self) -> &str {
        &self.target
    }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    outer: HashMap<&'a str, Outer>,
    globals: Vec<GlobalVar>,
}

impl<'a> Parser<'a> {
    fn module(&mut self) -> Result<Module, LoadError> {
        let (mut kernels, mut files, mut version, mut target) = (Vec::new(), HashMap::new(), (0, 0), String::new());
        loop {
            let token = self.cursor.peek();
            let word = match token.kind {
                Kind::End => break,
                Kind::Punct(';') => {
                    self.cursor.next();
                    continue;
                }
                _ => self.cursor.word()?,
            };
            match word {
                ".version" => {
                    version = match self.cursor.next().kind {
                        Kind::Double(bits) => {
                            let tenths = (f64::from_bits(bits) * 10.0).round() as u32;
                            (tenths / 10, tenths % 10)
                        }
                        _ => return Err(LoadError::new(token.line, word, "expected a version such as 8.0")),
                    };
                }
                ".target" => {
                    target = self.cursor.word()?.to_owned();
                    self.cursor.skip_line(token.line);
                }
                ".address_size" => {
                    if self.cursor.int()? != 64 {
                        return Err(LoadError::new(token.line, word, "only 64-bit addresses are supported"));
                    }
                }
                ".file" => {
                    let number = self.cursor.small()?;
                    if let Kind::Text(path) = self.cursor.next().kind {
                        files.insert(number, path.to_owned());
                    }
                    self.cursor.skip_line(token.line);
                }
                ".section" => {
                    self.cursor.word()?;
                    self.cursor.skip_braces()?;
                }
                ".visible" | ".weak" | ".extern" | ".common" => {}
                ".global" | ".const" => {
                    let variable = variable(&mut self.cursor)?;
                    self.cursor.expect(';')?;
                    self.global(variable, word == ".const", token.line)?;
                }
                ".shared" => {
                    let variable = variable(&mut self.cursor)?;
                    self.cursor.expect(';')?;
                    let outer = match variable.bytes {
                        0 => Outer::Dynamic { align: variable.align },
                        bytes => Outer::Shared { bytes, align: variable.align },
                    };
                    self.outer.insert(variable.name, outer);
                }
                ".entry" => kernels.push(self.entry()?),
                ".func" => self.declaration()?,
                _ => return Err(LoadError::new(token.line, word, "unknown directive")),
            }
        }
        if version == (0, 0) {
            return Err(LoadError::new(1, ".version", "not PTX: no .version directive"));
        }
        let number = target.trim_start_matches("sm_").trim_end_matches(char::is_alphabetic).parse().unwrap_or(0);
        let mut map = HashMap::new();
        for mut kernel in kernels {
            if kernel.needs > number {
                let message = format!("kernel {} has instructions that need sm_{}", kernel.name, kernel.needs);
                return Err(LoadError::new(1, ".target", message));
            }
            kernel.files.clone_from(&files);
            map.insert(kernel.name.clone(), Arc::new(kernel));
        }
        Ok(Module { kernels: map, globals: std::mem::take(&mut self.globals), version, target })
    }

    fn global(&mut self, v: Variable<'a>, constant: bool, line: u32) -> Result<(), LoadError> {
        if v.bytes == 0 {
            return Err(LoadError::new(line, v.name, "variables from other modules are not supported"));
        }
        self.outer.insert(v.name, Outer::Global(self.globals.len() as u32));
        self.globals.push(GlobalVar { name: v.name.to_owned(), bytes: v.bytes, align: v.align, init: v.init, constant });
        Ok(())
    }

    /// A function without body is harmless until called; one with a body is not supported.
    fn declaration(&mut self) -> Result<(), LoadError> {
        loop {
            let token = self.cursor.next();
            match token.kind {
                Kind::Punct(';') => return Ok(()),
                Kind::Punct('{') => {
                    return Err(LoadError::new(token.line, ".func", "functions are not supported; inline them into the kernel"));
                }
                Kind::End => return Err(self.cursor.unexpected("`;`")),
                _ => {}
            }
        }
    }

    fn entry(&mut self) -> Result<Kernel, LoadError> {
        let line = self.cursor.peek().line;
        let name = self.cursor.word()?;
        let (mut params, mut places, mut at) = (Vec::new(), HashMap::new(), 0u32);
        if self.cursor.accept('(') && !self.cursor.accept(')') {
            loop {
                if !self.cursor.accept_word(".param") {
                    return Err(self.cursor.unexpected("`.param`"));
                }
                let v = variable(&mut self.cursor)?;
                let end = |start: u32| start.checked_add(v.bytes).filter(|&end| end <= 32_764);
                let (offset, end) = at
                    .checked_next_multiple_of(v.align)
                    .and_then(|start| Some((start, end(start)?)))
                    .ok_or_else(|| LoadError::new(line, v.name, "parameters larger than 32764 bytes"))?;
                at = end;
                places.insert(v.name, Place::Param(offset));
                params.push(Param { name: v.name.to_owned(), offset, bytes: v.bytes, align: v.align });
                if self.cursor.accept(')') {
                    break;
                }
                self.cursor.expect(',')?;
            }
        }
        let mut max_threads = None;
        while let Kind::Word(word) = self.cursor.peek().kind {
            let token = self.cursor.next();
            let mut numbers = vec![self.cursor.small()?];
            while self.cursor.accept(',') {
                numbers.push(self.cursor.small()?);
            }
            numbers.resize(3, 1);
            match word {
                ".maxntid" | ".reqntid" => max_threads = Some([numbers[0], numbers[1], numbers[2]]),
                ".minnctapersm" | ".maxnreg" | ".maxnctapersm" => {}
                _ => return Err(LoadError::new(token.line, word, "unknown directive of a kernel")),
            }
        }
        let body = body(&mut self.cursor, &self.outer, places)?;
        let globals = self.globals.iter().map(|g| g.name.clone()).collect();
        let mut kernel = decode(name, &body, globals)?;
        kernel.params = params;
        kernel.param_bytes = at;
        kernel.max_threads = max_threads;
        Ok(kernel)
    }
}
