//! The JSON forms of a label file.
//!
//! Read through visitors rather than into a `serde_json::Value`: a `Value` silently keeps the last of two equal keys, and an
//! error raised inside a visitor carries the line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::error::LabelError;
use crate::text::plain;

enum Document {
    List(Vec<String>),
    Indexed(BTreeMap<usize, String>),
}

pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<String>, LabelError> {
    let document = serde_json::from_str(text).map_err(|e| {
        // serde_json appends the position, which the error states in its own way.
        let message = e.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
        LabelError::Json { path: path.to_owned(), line: e.line().max(1), message: plain(message) }
    })?;
    let names = match document {
        Document::List(names) => names,
        Document::Indexed(map) => in_order(map, path)?,
    };
    if names.is_empty() {
        return Err(LabelError::Empty { path: path.to_owned() });
    }
    Ok(names)
}

fn in_order(map: BTreeMap<usize, String>, path: &Path) -> Result<Vec<String>, LabelError> {
    if let Some((index, (&key, _))) = map.iter().enumerate().find(|(index, (key, _))| index != *key) {
        let largest = map.last_key_value().map_or(key, |(&largest, _)| largest);
        return Err(LabelError::MissingIndex { path: path.to_owned(), index, len: map.len(), largest });
    }
    Ok(map.into_values().collect())
}

/// A class name as it stands in JSON: not blank, no control characters.
struct Name(String);

fn name<E: Error>(text: &str) -> Result<String, E> {
    let text = text.trim();
    if text.is_empty() {
        return Err(E::custom("a class name is empty"));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(found) => Err(E::custom(format_args!("a class name holds the control character {found:?}"))),
        None => Ok(text.to_owned()),
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a class name")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
                name(text).map(Name)
            }
        }
        deserializer.deserialize_str(V)
    }
}

/// The value of an object: `"tench"` or `["n01440764", "tench"]`.
struct Entry(String);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Entry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a class name, or a list of WordNet id and class name")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Entry, E> {
                name(text).map(Entry)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
                let _id: Name = seq.next_element()?.ok_or_else(|| Error::invalid_length(0, &self))?;
                let Name(name) = seq.next_element()?.ok_or_else(|| Error::invalid_length(1, &self))?;
                match seq.next_element::<Name>()? {
                    None => Ok(Entry(name)),
                    Some(_) => Err(Error::invalid_length(3, &self)),
                }
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Document;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of class names or an object from index to class name")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Document, A::Error> {
                let mut names = Vec::new();
                while let Some(Name(name)) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Document::List(names))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut names = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let index = index(&key).ok_or_else(|| Error::custom(format_args!("`{key}` is no class index")))?;
                    let Entry(name) = map.next_value()?;
                    if names.insert(index, name).is_some() {
                        return Err(Error::custom(format_args!("class {index} is there twice")));
                    }
                }
                Ok(Document::Indexed(names))
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// A class index as a JSON key: decimal digits only (`parse` alone would take `+1`).
fn index(key: &str) -> Option<usize> {
    if key.bytes().all(|b| b.is_ascii_digit()) { key.parse().ok() } else { None }
}
