//! Walking over tokens.

use super::error::LoadError;
use super::lexer::{Kind, Token};

/// A position in the token list, which always ends with [`Kind::End`].
pub(crate) struct Cursor<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(tokens: Vec<Token<'a>>) -> Self {
        Cursor { tokens, at: 0 }
    }

    pub(crate) fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    /// Takes the next token; at the end it stays there.
    pub(crate) fn next(&mut self) -> Token<'a> {
        let token = self.tokens[self.at];
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    /// Takes the next token if it is this character.
    pub(crate) fn accept(&mut self, c: char) -> bool {
        let found = self.peek().kind == Kind::Punct(c);
        if found {
            self.next();
        }
        found
    }

    /// Whether the token after the next is this character.
    pub(crate) fn second_is(&self, c: char) -> bool {
        self.tokens.get(self.at + 1).is_some_and(|t| t.kind == Kind::Punct(c))
    }

    pub(crate) fn accept_word(&mut self, word: &str) -> bool {
        let found = self.peek().kind == Kind::Word(word);
        if found {
            self.next();
        }
        found
    }

    pub(crate) fn expect(&mut self, c: char) -> Result<(), LoadError> {
        if self.accept(c) { Ok(()) } else { Err(self.unexpected(&format!("`{c}`"))) }
    }

    pub(crate) fn word(&mut self) -> Result<&'a str, LoadError> {
        match self.peek().kind {
            Kind::Word(word) => {
                self.next();
                Ok(word)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    pub(crate) fn int(&mut self) -> Result<u64, LoadError> {
        match self.peek().kind {
            Kind::Int(value) => {
                self.next();
                Ok(value)
            }
            _ => Err(self.unexpected("an integer")),
        }
    }

    /// An integer that must fit 32 bits.
    pub(crate) fn small(&mut self) -> Result<u32, LoadError> {
        let token = self.peek();
        u32::try_from(self.int()?).map_err(|_| LoadError::new(token.line, token.text(), "number too large here"))
    }

    /// An error at the next token.
    pub(crate) fn unexpected(&self, expected: &str) -> LoadError {
        let token = self.peek();
        LoadError::new(token.line, token.text(), format!("expected {expected}"))
    }

    /// Skips to the end of the line that token `line` stands on.
    pub(crate) fn skip_line(&mut self, line: u32) {
        while self.peek().line == line && self.peek().kind != Kind::End {
            self.next();
        }
    }

    /// Skips a `{ ... }` with everything in it.
    pub(crate) fn skip_braces(&mut self) -> Result<(), LoadError> {
        self.expect('{')?;
        let mut depth = 1;
        while depth > 0 {
            match self.next().kind {
                Kind::Punct('{') => depth += 1,
                Kind::Punct('}') => depth -= 1,
                Kind::End => return Err(self.unexpected("`}`")),
                _ => {}
            }
        }
        Ok(())
    }
}
