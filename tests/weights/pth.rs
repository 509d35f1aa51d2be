//! The two forms of `.pth` and each defect of them.

use camshaft::weights::{Dtype, ShapeFault, WeightsError};

use crate::assert_error;
use crate::build::*;

/// The value behind `key` of a file that opens.
fn values(bytes: Vec<u8>, key: &str) -> Vec<f32> {
    open("m.pth", bytes).unwrap().tensor(key).unwrap().to_f32().unwrap().into_owned()
}

#[test]
fn a_state_dict_from_python_2() {
    // what torchvision's models of 2017 hold: byte strings, a dict from a list of pairs, Parameters, CUDA storages, and
    // `_rebuild_tensor`, which had no gradient and no hooks
    let short = |text: &str| [b"U", &[text.len() as u8][..], text.as_bytes()].concat();
    let class = global("torch.cuda", "FloatStorage");
    let id = [short("storage"), class, short("7"), short("cuda:0"), int(4), b"N".to_vec()];
    let storage = [tuple(&id), b"Q".to_vec()].concat();
    let shape = || tuple(&[int(2)]);
    let tensor = call(global("torch._utils", "_rebuild_tensor"), &[storage, int(1), shape(), tuple(&[int(2)])]);
    let none = || b"N".to_vec();
    let parameter = call(global("torch.nn.parameter", "Parameter"), &[tensor, b"\x88".to_vec(), none(), none()]);
    let pair = list(&[short("fc.bias"), parameter]);
    let object = call(global("collections", "OrderedDict"), &[list(&[pair])]);
    let file = legacy(&object, &["7"], &[(4, &floats(&[1.0, 2.0, 3.0, 4.0]))]);
    assert_eq!(values(file, "fc.bias"), [2.0, 4.0]);
}

#[test]
fn a_storage_that_is_part_of_another() {
    let view = tuple(&[text("8"), int(2), int(3)]);
    let id = [text("storage"), global("torch", "FloatStorage"), text("7"), text("cpu"), int(6), view];
    let storage = [tuple(&id), b"Q".to_vec()].concat();
    let data = floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let object = |offset| dict(&[(text("w"), tensor(storage.clone(), offset, &[2], &[1]))]);
    assert_eq!(values(legacy(&object(1), &["7"], &[(6, &data)]), "w"), [3.0, 4.0]);
    assert_error!(
        open("m.pth", legacy(&object(2), &["7"], &[(6, &data)])),
        WeightsError::Shape { fault: ShapeFault::OutOfStorage { reached: 3, held: 3 }, .. },
        "`w` with shape [2], strides [1] and offset 2: reaches element 3 of a storage that holds 3"
    );
}

#[test]
fn tensors_share_a_storage() {
    let whole = || storage("FloatStorage", "0", 4);
    let object = dict(&[
        (text("a"), tensor(whole(), 0, &[2, 2], &[2, 1])),
        (text("b"), tensor(whole(), 0, &[2, 2], &[1, 2])),
        (text("c"), tensor(whole(), 3, &[], &[])),
    ]);
    let data = floats(&[1.0, 2.0, 3.0, 4.0]);
    for file in [pth(&object, &[&data]), legacy(&object, &["0"], &[(4, &data)])] {
        let file = open("m.pth", file).unwrap();
        let values = |name| file.tensor(name).unwrap().to_f32().unwrap().into_owned();
        assert_eq!(values("a"), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(values("b"), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(values("c"), [4.0]);
    }
}

#[test]
fn the_state_dict_is_found_beside_other_tensors() {
    let mean = || tensor(storage("FloatStorage", "1", 1), 0, &[1], &[1]);
    let inner = one_tensor(2, 0, &[2], &[1]);
    for key in ["state_dict", "model_state_dict", "model"] {
        let object = dict(&[(text("mean"), mean()), (text("epoch"), int(3)), (text(key), inner.clone())]);
        let file = open("m.pth", pth(&object, &[&floats(&[1.0, 2.0]), &floats(&[9.0])])).unwrap();
        assert_eq!(file.names().collect::<Vec<_>>(), ["w"], "{key}");
    }
    // `model` that is no dict of tensors: the checkpoint is the state dict itself
    let object = dict(&[(text("mean"), mean()), (text("model"), text("resnet18"))]);
    let file = open("m.pth", pth(&object, &[&[], &floats(&[9.0])])).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["mean"]);
}

#[test]
fn shapes_and_strides_are_checked_by_name() {
    let fault = |offset, shape: &[i64], strides: &[i64]| {
        let bytes = pth(&one_tensor(6, offset, shape, strides), &[&floats(&[0.0; 6])]);
        match open("m.pth", bytes).expect_err("an error") {
            WeightsError::Shape { tensor, fault, .. } if tensor == "w" => fault,
            other => panic!("{other}"),
        }
    };
    assert_eq!(fault(0, &[0], &[1]), ShapeFault::ZeroDimension);
    assert_eq!(fault(0, &[-3], &[1]), ShapeFault::NegativeDimension);
    assert_eq!(fault(0, &[1; 66], &[1; 66]), ShapeFault::Rank(65));
    assert_eq!(fault(0, &[2, 3], &[1]), ShapeFault::StrideCount);
    assert_eq!(fault(0, &[3], &[-1]), ShapeFault::Stride);
    assert_eq!(fault(-1, &[3], &[1]), ShapeFault::Offset);
    assert_eq!(fault(0, &[i64::MAX, 4], &[1, 1]), ShapeFault::Overflow);
    assert_eq!(fault(0, &[7], &[1]), ShapeFault::OutOfStorage { reached: 6, held: 6 });
    assert_eq!(fault(0, &[2], &[i64::MAX]), ShapeFault::OutOfStorage { reached: i64::MAX as u128, held: 6 });
    assert_eq!(fault(i64::MAX, &[2], &[i64::MAX]), ShapeFault::OutOfStorage { reached: 2 * i64::MAX as u128, held: 6 });
}

#[test]
fn a_shape_of_something_else() {
    let parts = [storage("FloatStorage", "0", 1), int(0), tuple(&[text("a")]), tuple(&[int(1)])];
    let object = dict(&[(text("w"), call(global("torch._utils", "_rebuild_tensor"), &parts))]);
    let file = open("m.pth", pth(&object, &[&[0; 4]]));
    assert_error!(file, WeightsError::Content { .. }, "shape or strides holds something else in tensor `w`, expected integers");
}

#[test]
fn duplicate_names() {
    let pair = (text("w"), tensor(storage("FloatStorage", "0", 1), 0, &[1], &[1]));
    let bytes = pth(&dict(&[pair.clone(), pair]), &[&floats(&[1.0])]);
    assert_error!(open("m.pth", bytes), WeightsError::DuplicateTensor { .. }, "tensor `w` occurs twice");
}

#[test]
fn a_zip_that_is_no_checkpoint() {
    let bytes = zip(&[("readme.txt", b"hello")]);
    assert_error!(open("m.pth", bytes), WeightsError::MissingEntry { .. }, "without an entry `*/data.pkl`");
    let bytes = pth(&one_tensor(2, 0, &[2], &[1]), &[&floats(&[1.0, 2.0])]);
    assert_error!(open("m.pth", &bytes[..bytes.len() - 5]), WeightsError::Zip { .. }, "unreadable zip directory", "truncated");
}

#[test]
fn storages_missing_or_of_the_wrong_length() {
    let object = one_tensor(2, 0, &[2], &[1]);
    let missing = open("m.pth", pth(&object, &[]));
    assert_error!(missing, WeightsError::MissingStorage { .. }, "tensor `w` uses storage `archive/data/0`");
    let short = open("m.pth", pth(&object, &[&[0; 7]]));
    assert_error!(short, WeightsError::StorageSize { .. }, "`archive/data/0` has 7 bytes, expected 8");
    let negative = open("m.pth", pth(&one_tensor(-1, 0, &[2], &[1]), &[&[0; 8]]));
    assert_error!(negative, WeightsError::StorageLength { .. }, "storage `0` claims -1 elements");

    let missing = open("m.pth", legacy(&object, &[], &[]));
    assert_error!(missing, WeightsError::MissingStorage { .. }, "tensor `w` uses storage `0`");
    let short = open("m.pth", legacy(&object, &["0"], &[(2, &[0; 7])]));
    assert_error!(short, WeightsError::StorageSize { .. }, "`0` has 7 bytes, expected 8");
    let other = open("m.pth", legacy(&object, &["0"], &[(3, &[0; 12])]));
    assert_error!(other, WeightsError::StorageSize { .. }, "`0` has 12 bytes, expected 8");
    let negative = open("m.pth", legacy(&one_tensor(-1, 0, &[2], &[1]), &["0"], &[(2, &[0; 8])]));
    assert_error!(negative, WeightsError::StorageLength { .. }, "claims -1 elements");
}

#[test]
fn big_endian_files() {
    let pickle = pickle(&one_tensor(1, 0, &[1], &[1]));
    let bytes = zip(&[("a/data.pkl", &pickle), ("a/byteorder", b"big"), ("a/data/0", &[0; 4])]);
    assert_error!(open("m.pth", bytes), WeightsError::ByteOrder { .. }, "byte order `big`, expected `little`");
    let object = one_tensor(1, 0, &[1], &[1]);
    let bytes = legacy_parts([&magic(), &int(1001), &machine(false), &object, &list(&[text("0")])], &[(1, &[0; 4])]);
    assert_error!(open("m.pth", bytes), WeightsError::ByteOrder { .. }, "byte order `big`, expected `little`");
}

#[test]
fn legacy_files_with_other_contents() {
    let object = one_tensor(1, 0, &[1], &[1]);
    let keys = list(&[text("0")]);
    let data: &[(u64, &[u8])] = &[(1, &[0; 4])];
    let opened = |magic: &[u8], protocol: &[u8], keys: &[u8]| {
        open("m.pth", legacy_parts([magic, protocol, &machine(true), &object, keys], data))
    };
    assert!(opened(&magic(), &int(1001), &keys).is_ok());
    assert_error!(opened(&int(5), &int(1001), &keys), WeightsError::Content { .. }, "first pickle holds 5", "not of PyTorch");
    assert_error!(opened(&dict(&[]), &int(1001), &keys), WeightsError::Content { .. }, "first pickle holds a dict");
    assert_error!(opened(&magic(), &int(1002), &keys), WeightsError::Content { .. }, "holds 1002, expected 1001");
    assert_error!(opened(&magic(), &int(1001), &int(0)), WeightsError::Content { .. }, "holds an integer, expected a list");
    let numbers = list(&[int(0)]);
    assert_error!(opened(&magic(), &int(1001), &numbers), WeightsError::Content { .. }, "holds an integer, expected strings");
    let unknown = list(&[text("1")]);
    assert_error!(opened(&magic(), &int(1001), &unknown), WeightsError::Content { .. }, "holds `1`, expected only storages");

    let twice = legacy(&object, &["0", "0"], &[(1, &[0; 4]), (1, &[0; 4])]);
    assert_error!(open("m.pth", twice), WeightsError::Content { .. }, "storage `0` twice");
    let object = dict(&[
        (text("a"), tensor(storage("FloatStorage", "0", 1), 0, &[1], &[1])),
        (text("b"), tensor(storage("IntStorage", "0", 1), 0, &[1], &[1])),
    ]);
    let two = legacy(&object, &["0"], data);
    assert_error!(open("m.pth", two), WeightsError::Content { .. }, "storage `0` with two lengths or types");
}

/// Where the local headers, and where the entries of the directory, begin in a zip archive.
fn headers(bytes: &[u8]) -> (Vec<usize>, Vec<usize>) {
    let find = |magic: &[u8]| (0..bytes.len() - 3).filter(|&at| bytes[at..].starts_with(magic)).collect::<Vec<_>>();
    (find(b"PK\x03\x04"), find(b"PK\x01\x02"))
}

#[test]
fn encrypted_entries() {
    let mut bytes = pth(&one_tensor(1, 0, &[1], &[1]), &[&[0; 4]]);
    let (local, directory) = headers(&bytes);
    bytes[local[2] + 6] |= 1;
    bytes[directory[2] + 8] |= 1;
    assert_error!(open("m.pth", bytes), WeightsError::NotStored { .. }, "entry `archive/data/0` is encrypted");
}

#[test]
fn entries_that_overlap_or_leave_the_file() {
    let sound = pth(&one_tensor(1, 0, &[1], &[1]), &[&[0; 4]]);
    let (local, directory) = headers(&sound);

    let mut bytes = sound.clone();
    bytes[directory[2] + 42..][..4].copy_from_slice(&(local[1] as u32).to_le_bytes());
    assert_error!(open("m.pth", bytes), WeightsError::EntryRange { .. }, "overlap those of `archive/");

    let mut bytes = sound.clone();
    for at in [20, 24] {
        bytes[directory[2] + at..][..4].copy_from_slice(&1_000_000u32.to_le_bytes());
    }
    assert_error!(open("m.pth", bytes), WeightsError::EntryRange { .. }, "`archive/data/0`", "lie outside");

    let mut bytes = sound;
    bytes[directory[2] + 24..][..4].copy_from_slice(&5u32.to_le_bytes());
    assert_error!(open("m.pth", bytes), WeightsError::NotStored { .. }, "stored in 4 bytes, but 5 bytes long");
}

#[test]
fn entries_of_one_name() {
    let pickle = pickle(&one_tensor(1, 0, &[1], &[1]));
    let mut bytes = zip(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 4]), ("a/data/1", &[1; 4])]);
    let (local, directory) = headers(&bytes);
    bytes[local[2] + 30 + 7] = b'0';
    bytes[directory[2] + 46 + 7] = b'0';
    assert_error!(open("m.pth", bytes), WeightsError::DuplicateEntry { .. }, "two entries of one name");
}

#[test]
fn each_storage_class_has_its_type() {
    let classes = [
        ("DoubleStorage", Dtype::F64, 8),
        ("FloatStorage", Dtype::F32, 4),
        ("HalfStorage", Dtype::F16, 2),
        ("BFloat16Storage", Dtype::BF16, 2),
        ("LongStorage", Dtype::I64, 8),
        ("IntStorage", Dtype::I32, 4),
        ("ShortStorage", Dtype::I16, 2),
        ("CharStorage", Dtype::I8, 1),
        ("ByteStorage", Dtype::U8, 1),
        ("BoolStorage", Dtype::BOOL, 1),
        ("ComplexFloatStorage", Dtype::C64, 8),
    ];
    for (class, dtype, size) in classes {
        let object = dict(&[(text("w"), tensor(storage(class, "0", 3), 0, &[3], &[1]))]);
        let file = open("m.pth", pth(&object, &[&vec![0; 3 * size]])).unwrap();
        assert_eq!(file.tensor("w").unwrap().dtype(), dtype, "{class}");
    }
}
