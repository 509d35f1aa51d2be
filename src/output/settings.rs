//! What two runs must have in common to be one.

use std::path::Path;

use serde_json::{Map, Value};

use super::OutputError;

/// Fields of a manifest that may differ between parts of one run: where the network ran, what the weights were called (their
/// content is a field of its own), and what is known at the end only.
const FREE: [&str; 4] = ["device", "model.source", "complete", "images"];

/// Whether the run in `folder`, with the settings `before`, can go on with `now`.
pub(super) fn check(folder: &Path, before: &Value, now: &Value) -> Result<(), OutputError> {
    match difference("", before, now) {
        None => Ok(()),
        Some((setting, before, now)) => {
            Err(OutputError::Settings { folder: folder.to_owned(), setting, before: before.to_string(), now: now.to_string() })
        }
    }
}

/// The first field whose values differ, by its path, and both values.
pub(super) fn difference(at: &str, before: &Value, now: &Value) -> Option<(String, Value, Value)> {
    if FREE.contains(&at) || before == now {
        return None;
    }
    let (Value::Object(before), Value::Object(now)) = (before, now) else {
        return Some((at.to_owned(), before.clone(), now.clone()));
    };
    let added = now.keys().filter(|key| !before.contains_key(*key));
    before.keys().chain(added).find_map(|key| {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let value = |of: &Map<String, Value>| of.get(key).cloned().unwrap_or_default();
        difference(&path, &value(before), &value(now))
    })
}
