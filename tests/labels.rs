//! Class names: label files of every form, what is wrong with bad ones, and look-up.

use std::path::Path;

use camshaft::labels::{LabelError, Labels};
use camshaft::sources::Source;
use camshaft::{Device, Engine};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn parse(bytes: impl AsRef<[u8]>) -> Result<Vec<String>, LabelError> {
    Labels::parse(bytes.as_ref(), Path::new("names.txt")).map(|labels| labels.iter().map(str::to_owned).collect())
}

/// The message of the error that `bytes` must give.
fn refused(bytes: impl AsRef<[u8]>) -> String {
    parse(bytes).expect_err("must be refused").to_string()
}

#[test]
fn imagenet_has_the_thousand_names_in_order() {
    let labels = Labels::imagenet();
    assert_eq!(labels.len(), 1000);
    // Indices known from the many lists in use; the ends, the middle, and those that a shifted list would miss.
    for (index, name) in [(0, "tench"), (1, "goldfish"), (207, "golden retriever"), (281, "tabby"), (282, "tiger cat")] {
        assert_eq!(labels.get(index), Some(name));
    }
    for (index, name) in [(417, "balloon"), (468, "cab"), (817, "sports car"), (954, "banana"), (999, "toilet tissue")] {
        assert_eq!(labels.get(index), Some(name));
    }
    assert_eq!(labels.get(1000), None);
    assert!(labels.iter().all(|name| !name.trim().is_empty()));
    labels.check_len(1000).unwrap();
}

#[test]
fn every_form_gives_the_same_names() {
    let want = ["tench", "great white shark", "crème brûlée"];
    let forms = [
        "tench\ngreat white shark\ncrème brûlée",
        "tench\ngreat white shark\ncrème brûlée\n",
        "\u{feff}tench\r\ngreat white shark\r\ncrème brûlée\r\n\r\n",
        r#"["tench", "great white shark", "crème brûlée"]"#,
        "\u{feff}\n [\"tench\",\r\n\"great white shark\",\"cr\\u00e8me brûlée\"]\n",
        r#"{"0": ["n01440764", "tench"], "2": ["n2", "crème brûlée"], "1": ["n01484850", "great white shark"]}"#,
        r#"{"2": "crème brûlée", "1": "great white shark", "0": "tench"}"#,
    ];
    for form in forms {
        assert_eq!(parse(form).unwrap(), want, "{form}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.txt");
    std::fs::write(&path, forms[2]).unwrap();
    let labels = Labels::open(&path).unwrap();
    assert_eq!(labels.iter().collect::<Vec<_>>(), want);
    assert_eq!(labels.origin(), path.display().to_string());
}

#[test]
fn bad_files_name_file_and_line() {
    assert_eq!(refused(""), "names.txt: no class names in it");
    assert_eq!(refused(" \r\n\n"), "names.txt: no class names in it");
    assert_eq!(refused("[]"), "names.txt: no class names in it");
    assert_eq!(refused("{}"), "names.txt: no class names in it");
    assert_eq!(refused("a\n\nb\n"), "names.txt:2: blank line where the name of class 1 should be");
    assert!(refused("\na\n").starts_with("names.txt:1: blank line where the name of class 0"));
    assert!(refused("a\r\n0\ttench\r\n").starts_with("names.txt:2: the name of class 1 holds the control character '\\t'"));
    assert!(refused("a\rb\rc").contains("control character '\\r'"));
    assert_eq!(refused(b"a\nb\nc\xe8me\n"), "names.txt:3: not UTF-8; save the file as UTF-8");
    assert_eq!(refused(b"\xff\xfea\0\n\0"), "names.txt:1: not UTF-8 (it looks like UTF-16); save the file as UTF-8");
}

#[test]
fn bad_json_names_file_and_line() {
    assert!(refused("[\"a\",\n\"b\"").starts_with("names.txt:2: EOF"), "{}", refused("[\"a\",\n\"b\""));
    assert!(refused("[\"a\"]\n\nx").starts_with("names.txt:3: trailing characters"));
    assert!(refused("[\"a\",\n 7]").starts_with("names.txt:2: invalid type: integer `7`, expected a class name"));
    assert!(refused("[\"a\",\n\"\"]").starts_with("names.txt:2: a class name is empty"));
    assert!(refused("[\"a\\u001b[31m\"]").contains("control character '\\u{1b}'"));
    assert_eq!(refused("{\"0\": \"a\",\n\"0\": \"b\"}"), "names.txt:2: class 0 is there twice");
    assert_eq!(refused("{\"0\": \"a\",\n\"00\": \"b\"}"), "names.txt:2: class 0 is there twice");
    assert_eq!(refused("{\"tench\": 0}"), "names.txt:1: `tench` is no class index");
    assert_eq!(refused("{\"+1\": \"a\"}"), "names.txt:1: `+1` is no class index");
    assert_eq!(refused("{\"-1\": \"a\"}"), "names.txt:1: `-1` is no class index");
    assert!(refused("{\"0\": [\"n0\"]}").contains("expected a class name, or a list of WordNet id and class name"));
    assert!(refused("{\"0\": [\"n0\", \"a\", \"b\"]}").contains("invalid length 3"));
    assert!(refused("{\"0\": {\"name\": \"a\"}}").contains("invalid type: map"));
    // A message that quotes the file neither floods nor steers a terminal.
    assert_eq!(refused("{\"1\\n\\u001b[2J\": \"a\"}"), "names.txt:1: `1\\n\\u{1b}[2J` is no class index");
    let long = refused(format!("{{\"{}\": 0}}", "x".repeat(5000)));
    assert!(long.len() < 300 && long.ends_with("..."), "{long}");
    assert!(refused("[".repeat(100_000)).starts_with("names.txt:1:"));
}

#[test]
fn missing_indices_are_named() {
    let e = parse(r#"{"0": "a", "1": "b", "3": "d"}"#).unwrap_err();
    assert!(matches!(e, LabelError::MissingIndex { index: 2, len: 3, largest: 3, .. }), "{e}");
    // Counting from 1, and an index that must not size an allocation.
    assert!(refused(r#"{"1": "a", "2": "b"}"#).starts_with("names.txt: no class 0 among its 2 entries (largest index 2)"));
    assert!(refused(r#"{"0": "a", "18446744073709551615": "b"}"#).starts_with("names.txt: no class 1 among its 2 entries"));
    assert!(refused(r#"{"99999999999999999999999": "b"}"#).contains("is no class index"));
}

#[test]
fn unreadable_and_huge_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.txt");
    let e = Labels::open(&missing).unwrap_err();
    assert!(matches!(e, LabelError::Io { .. }));
    assert!(e.to_string().starts_with(&missing.display().to_string()), "{e}");
    assert!(matches!(Labels::open(folder.path()).unwrap_err(), LabelError::Io { .. }));
    let huge = folder.path().join("weights.bin");
    std::fs::File::create(&huge).unwrap().set_len(17 << 20).unwrap();
    assert!(matches!(Labels::open(&huge).unwrap_err(), LabelError::TooLarge { .. }));
}

#[test]
fn count_mismatch_says_both_numbers() {
    let labels = Labels::parse(b"a\nb\nc", Path::new("pets.txt")).unwrap();
    labels.check_len(3).unwrap();
    let e = labels.check_len(1000).unwrap_err();
    assert!(e.to_string().starts_with("pets.txt: 3 class names, but the model has 1000 classes"), "{e}");
}

#[test]
fn find_takes_indices_and_names() {
    let labels = Labels::imagenet();
    for query in ["281", " 281 ", "00281", "tabby", "Tabby", "TABBY", " tabby "] {
        assert_eq!(labels.find(query).unwrap(), 281, "{query}");
    }
    assert_eq!(labels.find("great_white_shark").unwrap(), 2);
    assert_eq!(labels.find("Great White shark").unwrap(), 2);
    // Every name finds its own class, except the two that the list shares with an alias.
    for (index, name) in labels.iter().enumerate() {
        match labels.find(name) {
            Ok(found) => assert_eq!(found, index, "{name}"),
            Err(e) => assert!(matches!(e, LabelError::Ambiguous { .. }) && [517, 638].contains(&index), "{e}"),
        }
    }
    assert_eq!(Labels::numbered(12).find("class 11").unwrap(), 11);
    assert_eq!(Labels::numbered(12).get(0), Some("class 0"));
}

#[test]
fn ambiguous_names_list_their_classes() {
    let labels = Labels::imagenet();
    let message = |query: &str| labels.find(query).unwrap_err().to_string();
    assert_eq!(message("crane"), "`crane` names 2 classes: 134 (crane bird), 517 (crane); give the index");
    assert_eq!(message("Maillot"), "`Maillot` names 2 classes: 638 (maillot), 639 (maillot tank suit); give the index");
    assert_eq!(labels.find("crane bird").unwrap(), 134);
    // Two classes that differ in case only: exact spelling decides, anything else is asked back.
    assert_eq!((labels.find("Cardigan").unwrap(), labels.find("cardigan").unwrap()), (264, 474));
    assert_eq!(message("CARDIGAN"), "`CARDIGAN` names 2 classes: 264 (Cardigan), 474 (cardigan); give the index");
    // Not a screenful for a file that repeats one name.
    let same = Labels::parse("a\n".repeat(1000).as_bytes(), Path::new("same.txt")).unwrap();
    assert!(same.find("a").unwrap_err().to_string().ends_with("7 (a) and 992 more; give the index"));
    // The form that gives both cranes one name.
    let index = Labels::parse(br#"{"0": ["n1", "crane"], "1": ["n2", "tabby"], "2": ["n3", "crane"]}"#, Path::new("i.json"));
    let e = index.unwrap().find("CRANE").unwrap_err();
    assert!(matches!(e, LabelError::Ambiguous { ref candidates, .. } if candidates.iter().map(|c| c.0).eq([0, 2])), "{e}");
}

#[test]
fn unknown_names_suggest_the_nearest() {
    let labels = Labels::imagenet();
    let message = |query: &str| labels.find(query).unwrap_err().to_string();
    assert!(message("tabbi").starts_with("no class is named `tabbi`; nearest: 281 (tabby)"), "{}", message("tabbi"));
    assert!(message("golden retreiver").contains("207 (golden retriever)"));
    assert!(message("gold fish").contains("1 (goldfish)"));
    assert!(message("retriever").contains("retriever)"), "{}", message("retriever"));
    assert_eq!(message("zzqqxx"), "no class is named `zzqqxx`");
    assert_eq!(message(""), "no class is named ``");
    assert!(matches!(labels.find(&"tabby ".repeat(1000)), Err(LabelError::Unknown { nearest, .. }) if nearest.is_empty()));
}

#[test]
fn index_out_of_range_states_the_range() {
    let message = |labels: Labels, query: &str| labels.find(query).unwrap_err().to_string();
    assert_eq!(message(Labels::imagenet(), "1000"), "there is no class 1000: classes run from 0 to 999");
    let long = "9".repeat(40);
    assert_eq!(message(Labels::numbered(2), &long), format!("there is no class {long}: classes run from 0 to 1"));
    assert_eq!(message(Labels::numbered(1), "1"), "there is no class 1: the only class is 0");
    assert!(matches!(Labels::imagenet().find("-1"), Err(LabelError::Unknown { .. })));
}

#[test]
fn search_finds_parts_of_names() {
    let labels = Labels::imagenet();
    assert_eq!(labels.search("TIGER_C"), [(282, "tiger cat")]);
    assert_eq!(labels.search("retriever").len(), 5);
    assert_eq!(labels.search("").len(), 1000);
    assert!(labels.search("zzqqxx").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    /// Whatever the bytes, the parser returns; and names that it accepts are usable.
    #[test]
    fn parser_never_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(names) = parse(bytes) {
            prop_assert!(!names.is_empty() && names.iter().all(|n| !n.is_empty()));
        }
    }

    /// The same for text built from JSON's own pieces, which reaches further.
    #[test]
    fn parser_never_panics_on_json_pieces(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "[", "]", "{", "}", ",", ":", "\"0\"", "\"1\"", "\"a\"", "\"\\u001b\"", "\"", "7", "null", "\n", " ", "\u{feff}",
        ]), 0..24),
    ) {
        if let Ok(names) = parse(pieces.concat()) {
            prop_assert!(!names.is_empty());
        }
    }

    /// Written in any form, a list of names reads back, and each unique one is found.
    #[test]
    fn names_read_back(names in prop::collection::vec("[a-zA-Z][a-zA-Z0-9' ]{0,12}[a-z]", 1..30)) {
        let crlf = names.join("\r\n");
        let list = serde_json::to_string(&names).unwrap();
        let mut index: Vec<_> = names.iter().enumerate().map(|(i, n)| format!("\"{i}\": [\"n{i}\", \"{n}\"]")).collect();
        index.reverse();
        for form in [crlf, list, format!("{{{}}}", index.join(",\n"))] {
            prop_assert_eq!(&parse(form).unwrap(), &names);
        }
        let labels = Labels::new(names.clone(), "names");
        for (i, name) in names.iter().enumerate() {
            match labels.find(name) {
                Ok(found) => prop_assert_eq!(found, i),
                Err(LabelError::Ambiguous { candidates, .. }) => prop_assert!(candidates.iter().any(|c| c.0 == i)),
                Err(e) => prop_assert!(false, "{}", e),
            }
        }
    }
}

/// What a weight file calls its classes goes to terminals and into messages, too.
#[test]
fn names_in_a_weight_file_are_held_to_what_a_label_file_is() {
    let mut bytes = std::fs::read("assets/demo/demo.safetensors").unwrap();
    let key = b"\"labels\":\"";
    let first = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len();
    // Six letters of a name become the six of an escape, so that nothing moves.
    let six_letters = |&at: &usize| bytes[at - 1] != b'\\' && bytes[at..at + 6].iter().all(u8::is_ascii_lowercase);
    let name = (first..).find(six_letters).unwrap();
    let line = 1 + bytes[first..name].windows(2).filter(|window| window == b"\\n").count();
    bytes[name..name + 6].copy_from_slice(b"\\u001b");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let weights = || Engine::builder().device(Device::Cpu).weights(Source::Path(path.clone()));
    let error = weights().build().err().unwrap().to_string();
    assert!(error.starts_with(&format!("{}:{line}: ", path.display())) && error.contains("control character"), "{error}");
    assert!(!error.contains('\u{1b}'), "{error}");
    assert!(weights().labels(Labels::numbered(56)).build().is_ok(), "they are not looked at where there are others");
}
