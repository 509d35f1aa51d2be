//! What must hold for any bytes that are read as a label file. Shared by the fuzz target and the test `fuzz_seeds`.

use std::path::Path;

use camshaft::labels::{LabelError, Labels};

/// Reads `data` as a label file of the name `name` and looks up what it holds.
///
/// # Panics
/// If a name is empty or could upset a terminal, if a class is not found by its index or its name, if the names written one a
/// line read as others, or if an error does not name the file in one line of bounded length.
pub fn check(name: &str, data: &[u8]) {
    let labels = match Labels::parse(data, Path::new(name)) {
        Ok(labels) => labels,
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with(name), "does not name the file: {message}");
            assert!(message.len() < 4096, "too long: {message}");
            assert!(!message.contains(char::is_control), "not one plain line: {message:?}");
            return;
        }
    };
    assert!(!labels.is_empty(), "a list without names");
    assert_eq!(labels.search("").len(), labels.len());
    let names: Vec<&str> = labels.iter().collect();
    for (class, &label) in names.iter().enumerate() {
        assert!(!label.is_empty() && label.trim() == label && !label.contains(char::is_control), "{label:?}");
        if class < 32 {
            check_lookup(&labels, class, label); // each look-up reads all names
        }
    }
    let text = names.join("\n");
    if !text.starts_with(['[', '{', '\u{feff}']) {
        let again = Labels::parse(text.as_bytes(), Path::new(name)).expect("one name a line");
        assert!(again.iter().eq(names), "names change when written one a line");
    }
}

fn check_lookup(labels: &Labels, class: usize, label: &str) {
    assert_eq!(labels.find(&class.to_string()).ok(), Some(class));
    let is_index = label.bytes().all(|b| b.is_ascii_digit());
    match labels.find(label) {
        Ok(found) => assert!(found == class || is_index, "{label:?} is class {class}, found {found}"),
        Err(LabelError::Ambiguous { candidates, .. }) => {
            assert!(candidates.iter().any(|(candidate, _)| *candidate == class), "{label:?} is not among {candidates:?}");
        }
        Err(LabelError::OutOfRange { .. }) if is_index => {}
        Err(error) => panic!("{label:?} is class {class}: {error}"),
    }
}
