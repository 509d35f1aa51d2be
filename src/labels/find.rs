//! Look-up by index or name.

use super::error::LabelError;

/// Names suggested for a query that matches none.
const SUGGESTIONS: usize = 3;
/// Likeness (Jaro-Winkler, 0 to 1) below which a name is no suggestion but noise.
const LIKENESS: f64 = 0.75;
/// Queries longer than any class name get no suggestions: comparing takes time in proportion to the length.
const MAX_QUERY: usize = 200;

/// As names are compared when spelling matters: trimmed, `_` as space.
fn spaced(name: &str) -> String {
    name.trim().replace('_', " ")
}

/// As names are compared otherwise: also lower case.
pub(super) fn fold(name: &str) -> String {
    spaced(name).to_lowercase()
}

pub(super) fn find(names: &[String], aliases: &[(usize, String)], query: &str) -> Result<usize, LabelError> {
    let trimmed = query.trim();
    if !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_digit()) {
        // A number too long for usize is beyond the last class as well.
        return match trimmed.parse() {
            Ok(index) if index < names.len() => Ok(index),
            _ => Err(LabelError::OutOfRange { index: trimmed.to_owned(), len: names.len() }),
        };
    }
    for key in [spaced as fn(&str) -> String, fold] {
        let wanted = key(query);
        let all = names.iter().enumerate().chain(aliases.iter().map(|(index, name)| (*index, name)));
        let mut found: Vec<usize> = all.filter(|(_, name)| key(name) == wanted).map(|(index, _)| index).collect();
        found.sort_unstable();
        found.dedup();
        match found[..] {
            [] => {}
            [index] => return Ok(index),
            _ => {
                let candidates = found.into_iter().filter_map(|i| Some((i, names.get(i)?.clone()))).collect();
                return Err(LabelError::Ambiguous { query: trimmed.to_owned(), candidates });
            }
        }
    }
    Err(LabelError::Unknown { query: trimmed.to_owned(), nearest: nearest(names, query) })
}

/// The names most like `query`, best first. Besides misspellings, one word of a longer name counts (`retriever`).
fn nearest(names: &[String], query: &str) -> Vec<(usize, String)> {
    let query = fold(query);
    if query.is_empty() || query.len() > MAX_QUERY {
        return Vec::new();
    }
    let likeness = |name: &str| {
        let name = fold(name);
        let word = name.split_whitespace().any(|word| word == query);
        if word { 1.0 } else { strsim::jaro_winkler(&name, &query) }
    };
    let mut ranked: Vec<(f64, usize)> = names.iter().enumerate().map(|(i, name)| (likeness(name), i)).collect();
    ranked.retain(|&(score, _)| score >= LIKENESS);
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    ranked.truncate(SUGGESTIONS);
    ranked.into_iter().filter_map(|(_, i)| Some((i, names.get(i)?.clone()))).collect()
}
