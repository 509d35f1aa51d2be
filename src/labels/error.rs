//! What can be wrong with a label file or a class that someone asks for.

use std::io;
use std::path::PathBuf;

/// Why a label file cannot be used, or why a query names no class.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// The file could not be read.
    #[error("{}: cannot read the class names: {source}", .path.display())]
    Io {
        /// The label file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any list of class names.
    #[error("{}: {bytes} bytes are too many for a label file (at most {limit})", .path.display())]
    TooLarge {
        /// The label file.
        path: PathBuf,
        /// Bytes found, at least.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The file holds no name.
    #[error("{}: no class names in it", .path.display())]
    Empty {
        /// The label file.
        path: PathBuf,
    },
    /// The file is not UTF-8.
    #[error("{}:{line}: not UTF-8{}; save the file as UTF-8", .path.display(), if *.utf16 { " (it looks like UTF-16)" } else { "" })]
    NotUtf8 {
        /// The label file.
        path: PathBuf,
        /// Line of the first bad byte, from 1.
        line: usize,
        /// Whether the file starts with a UTF-16 byte order mark.
        utf16: bool,
    },
    /// A name is empty; were the line skipped, every later class would be off by one.
    #[error("{}:{line}: blank line where the name of class {index} should be", .path.display())]
    BlankLine {
        /// The label file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The class left without a name.
        index: usize,
    },
    /// A name holds a control character, such as a tab between columns or an escape sequence.
    #[error("{}:{line}: the name of class {index} holds the control character {found:?}; one plain name is expected", .path.display())]
    Control {
        /// The label file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The class.
        index: usize,
        /// The first control character of the line.
        found: char,
    },
    /// The file starts like JSON and is not, or not in a known form, or gives an index twice.
    #[error("{}:{line}: {message}", .path.display())]
    Json {
        /// The label file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The indices of a JSON object do not run from 0 without a gap.
    #[error("{}: no class {index} among its {len} entries (largest index {largest}); indices must run from 0 without a gap", .path.display())]
    MissingIndex {
        /// The label file.
        path: PathBuf,
        /// The smallest index that is missing.
        index: usize,
        /// Number of entries.
        len: usize,
        /// The largest index that is there.
        largest: usize,
    },
    /// The model has another number of classes than there are names.
    #[error(
        "{labels}: {found} class names, but the model has {expected} classes; give the label file that belongs to the weights"
    )]
    Count {
        /// Where the names come from.
        labels: String,
        /// Names there.
        found: usize,
        /// Classes of the model.
        expected: usize,
    },
    /// No class has the name asked for.
    #[error("no class is named `{query}`{}", suggest(.nearest))]
    Unknown {
        /// What was asked for.
        query: String,
        /// The names most like it, with their indices, best first; may be empty.
        nearest: Vec<(usize, String)>,
    },
    /// Several classes have the name asked for.
    #[error("`{query}` names {} classes: {}; give the index", .candidates.len(), listed(.candidates))]
    Ambiguous {
        /// What was asked for.
        query: String,
        /// The classes that have this name, with their names in full, by index.
        candidates: Vec<(usize, String)>,
    },
    /// The index asked for is beyond the last class.
    #[error("there is no class {index}: {}", range(*.len))]
    OutOfRange {
        /// What was asked for, as written.
        index: String,
        /// Number of classes.
        len: usize,
    },
}

/// Classes written out in a message before it says how many more there are.
const LISTED: usize = 8;

fn listed(classes: &[(usize, String)]) -> String {
    let mut text = classes.iter().take(LISTED).map(|(i, name)| format!("{i} ({name})")).collect::<Vec<_>>().join(", ");
    if classes.len() > LISTED {
        text += &format!(" and {} more", classes.len() - LISTED);
    }
    text
}

fn suggest(nearest: &[(usize, String)]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; nearest: {}", listed(nearest)) }
}

fn range(len: usize) -> String {
    match len {
        0 => "the model has no classes".to_string(),
        1 => "the only class is 0".to_string(),
        _ => format!("classes run from 0 to {}", len - 1),
    }
}
