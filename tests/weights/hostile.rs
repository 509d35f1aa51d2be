//! Sound files, damaged in every way: an error or the right shape of answer, never a panic or a read outside the file.

use std::fs;

use proptest::prelude::*;

use crate::build::{floats, open, safetensors};
use crate::check::check;
use crate::goldens_folder;

/// Every file of the goldens that loads, and a safetensors file.
fn sound_files() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(goldens_folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .filter(|(name, _)| name.starts_with("zip_") || name.starts_with("legacy_"))
        .collect();
    files.sort();
    let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},
        "b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},"n":{"dtype":"I64","shape":[],"data_offsets":[22,30]}}"#;
    let data = [floats(&[1.0, 2.0, 3.0, 4.0]), vec![1; 14]].concat();
    files.push(("m.safetensors".to_owned(), safetensors(header, &data)));
    files
}

#[test]
fn every_truncation_is_an_error() {
    for (name, bytes) in sound_files() {
        assert!(open(&name, &bytes[..]).is_ok(), "{name}");
        for length in 0..bytes.len() {
            assert!(open(&name, &bytes[..length]).is_err(), "{name}: {length} of {} bytes", bytes.len());
            check(&name, &bytes[..length]);
        }
    }
}

#[test]
fn every_byte_may_be_wrong() {
    for (name, sound) in sound_files() {
        let mut bytes = sound.clone();
        for at in 0..bytes.len() {
            for wrong in [0, 0xff, sound[at] ^ 1, sound[at].wrapping_add(1)] {
                bytes[at] = wrong;
                check(&name, &bytes);
            }
            bytes[at] = sound[at];
        }
    }
}

/// One way to damage a file.
#[derive(Clone, Debug)]
enum Damage {
    Set(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    Number(prop::sample::Index, u64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (at(), 1usize..20).prop_map(|(at, n)| Damage::Remove(at, n)),
        (at(), 1usize..200).prop_map(|(at, n)| Damage::Repeat(at, n)),
        (at(), prop::sample::select(vec![0, 1, 1 << 31, u64::from(u32::MAX), 1 << 62, 1 << 63, u64::MAX - 7, u64::MAX]))
            .prop_map(|(at, number)| Damage::Number(at, number)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, rng_seed: prop::test_runner::RngSeed::Fixed(7), ..Default::default() })]

    #[test]
    fn damage_never_panics(file in prop::sample::select(sound_files()), damages in prop::collection::vec(damage(), 1..6)) {
        let (name, mut bytes) = file;
        for damage in damages {
            match damage {
                Damage::Set(at, byte) => { let at = at.index(bytes.len()); bytes[at] = byte }
                Damage::Remove(at, n) => {
                    let at = at.index(bytes.len());
                    bytes.drain(at..(at + n).min(bytes.len()));
                }
                Damage::Repeat(at, n) => {
                    let at = at.index(bytes.len());
                    let part = bytes[at..(at + n).min(bytes.len())].to_vec();
                    bytes.splice(at..at, part);
                }
                Damage::Number(at, number) => {
                    let at = at.index(bytes.len());
                    for (to, from) in bytes[at..].iter_mut().zip(number.to_le_bytes()) { *to = from }
                }
            }
            if bytes.is_empty() { break }
        }
        check(&name, &bytes);
    }
}
