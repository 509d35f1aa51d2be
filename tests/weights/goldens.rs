//! Files that PyTorch wrote, against the values that PyTorch saw.

use std::fs;

use camshaft::weights::{Format, OpenOptions, PickleFault, ShapeFault, WeightFile, WeightsError};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::{assert_error, golden_error, goldens_folder};

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    files: Vec<String>,
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

#[test]
fn every_file_of_pytorch_reads_as_pytorch_reads_it() {
    let expected = fs::read_to_string(goldens_folder().join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_str(&expected).unwrap();
    let mut files = 0;
    for case in &expected.cases {
        for name in &case.files {
            for mmap in [true, false] {
                check(name, &case.tensors, mmap);
            }
            files += 1;
        }
    }
    assert!(files >= 12, "only {files} files");
}

fn check(name: &str, expected: &BTreeMap<String, Tensor>, mmap: bool) {
    let file = WeightFile::open_with(goldens_folder().join(name), OpenOptions { mmap }).unwrap();
    assert_eq!(file.format(), if name.starts_with("zip") { Format::PthZip } else { Format::PthLegacy }, "{name}");
    assert!(file.names().eq(expected.keys()), "{name}: {:?}", file.names().collect::<Vec<_>>());
    for (key, expected) in expected {
        let tensor = file.tensor(key).unwrap();
        assert_eq!((tensor.dtype().to_string(), tensor.shape()), (expected.dtype.clone(), &*expected.shape), "{name}: {key}");
        match &*expected.dtype {
            "F32" | "F16" | "BF16" => assert_eq!(*tensor.to_f32().unwrap(), expected.values, "{name}: {key}"),
            other => assert_error!(tensor.to_f32(), WeightsError::Dtype { .. }, key, &format!("dtype {other}, expected F32")),
        }
    }
}

#[test]
fn zip_tensors_are_used_in_place() {
    let file = WeightFile::open(goldens_folder().join("zip_plain.pth")).unwrap();
    for name in ["conv1.weight", "fc.weight", "bn1.running_mean"] {
        let values = file.tensor(name).unwrap().to_f32().unwrap();
        assert!(matches!(values, std::borrow::Cow::Borrowed(_)), "{name} is copied");
    }
}

#[test]
fn code_in_a_pickle_is_named_and_not_run() {
    for name in ["bad_evil_zip.pth", "bad_evil_legacy.pth"] {
        let WeightsError::Pickle { source, .. } = golden_error(name) else { panic!("{}", golden_error(name)) };
        assert!(matches!(&source.fault, PickleFault::Global { module, name } if module == "posix" && name == "system"));
        let message = golden_error(name).to_string();
        assert!(message.contains("global `posix.system` is not allowed") && message.contains("was not run"), "{message}");
        assert!(!std::path::Path::new("camshaft-was-here").exists());
    }
}

#[test]
fn the_offset_of_a_refused_global_is_its_place_in_the_file() {
    let name = "bad_evil_legacy.pth";
    let WeightsError::Pickle { source, .. } = golden_error(name) else { panic!() };
    let bytes = fs::read(goldens_folder().join(name)).unwrap();
    assert!(bytes[source.offset..].starts_with(b"cposix\nsystem\n"), "{}", source.offset);
}

#[test]
fn a_whole_model_says_what_to_save_instead() {
    assert_error!(
        Err::<(), _>(golden_error("bad_whole_model.pth")),
        WeightsError::Pickle { .. },
        "torch.nn.modules.linear.Linear",
        "torch.save(model.state_dict()"
    );
}

#[test]
fn views_that_repeat_or_hold_nothing_are_refused_by_name() {
    assert_error!(
        Err::<(), _>(golden_error("bad_expanded.pth")),
        WeightsError::Shape { fault: ShapeFault::Stride, .. },
        "tensor `expanded` with shape [1000], strides [0]",
        ".contiguous()"
    );
    assert_error!(
        Err::<(), _>(golden_error("bad_zero.pth")),
        WeightsError::Shape { fault: ShapeFault::ZeroDimension, .. },
        "tensor `nothing` with shape [0, 3]"
    );
}

#[test]
fn no_state_dict() {
    let no_tensors = Err::<(), _>(golden_error("bad_no_tensors.pth"));
    assert_error!(no_tensors, WeightsError::NoStateDict { .. }, "without tensors, with the keys epoch, names", "`state_dict`");
    let list = Err::<(), _>(golden_error("bad_list.pth"));
    assert_error!(list, WeightsError::NoStateDict { .. }, "it holds a list");
}

#[test]
fn compressed_entries() {
    assert_error!(
        Err::<(), _>(golden_error("bad_deflated.pth")),
        WeightsError::NotStored { .. },
        "is compressed",
        "expected stored",
        "torch.save it again"
    );
}
