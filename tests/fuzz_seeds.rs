//! Every seed of the fuzz targets, and so every past finding, run through the target's own check.

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks/weights.rs"]
mod weights;

/// A fuzz target's check of one input.
type Check = fn(&[u8]);

/// The fuzz targets: the folder of seeds and the check.
const TARGETS: &[(&str, Check)] =
    &[("safetensors", |data| weights::check("fuzz.safetensors", data)), ("pth", |data| weights::check("fuzz.pth", data))];

#[test]
fn every_seed_passes_its_check() {
    for (target, check) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut seeds = 0;
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            // a failing check panics; this line tells which seed did it
            println!("{}", path.display());
            check(&fs::read(&path).unwrap());
            seeds += 1;
        }
        assert!(seeds > 0, "{} holds no seeds", folder.display());
    }
}

#[test]
fn every_target_is_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut found: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned()).collect();
    found.sort();
    let mut listed: Vec<_> = TARGETS.iter().map(|(target, _)| std::ffi::OsString::from(target)).collect();
    listed.sort();
    assert_eq!(found, listed);
}
