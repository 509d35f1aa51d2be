//! Every seed of the fuzz targets, and so every past finding, run through the target's own check.

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks/image.rs"]
mod image;
#[path = "../fuzz/checks/labels.rs"]
mod labels;
#[path = "../fuzz/checks/ptx.rs"]
mod ptx;
#[path = "../fuzz/checks/weights.rs"]
mod weights;

/// A fuzz target's check of one input.
type Check = fn(&[u8]);

/// The fuzz targets, each with its check and, beside its own folder of seeds, one that serves other tests as well.
const TARGETS: &[(&str, Check, Option<&str>)] = &[
    ("safetensors", |data| weights::check("fuzz.safetensors", data), None),
    ("pth", |data| weights::check("fuzz.pth", data), Some("tests/goldens/pth")),
    ("labels", |data| labels::check("fuzz.labels", data), Some("assets/labels")),
    ("image", |data| image::check("fuzz.image", data), Some("tests/goldens/preprocess/samples")),
    ("ptx", ptx::check, Some("crates/cuda-emu/tests/kernels")),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_seed_passes_its_check() {
    for (target, check, shared) in TARGETS {
        let own = root().join("fuzz/seeds").join(target);
        for folder in [Some(own), shared.map(|shared| root().join(shared))].into_iter().flatten() {
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
}

#[test]
fn every_target_is_listed() {
    let folder = root().join("fuzz/fuzz_targets");
    let mut found: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned()).collect();
    found.sort();
    let mut listed: Vec<_> = TARGETS.iter().map(|(target, ..)| std::ffi::OsString::from(target)).collect();
    listed.sort();
    assert_eq!(found, listed);
}
