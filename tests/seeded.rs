//! The ground that the goldens stand on: Rust and Python make the same weights and pictures, and the comparison can fail.

mod common;

use std::io::Cursor;
use std::path::PathBuf;

use common::compare::{Allowance, compare};
use common::goldens::Golden;
use common::pth::{Form, Pth};
use common::safetensors_file;
use common::seeded::{Dtype, Net};
use sha2::{Digest, Sha256};

fn hex(hash: impl AsRef<[u8]>) -> String {
    hash.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn weights_and_pictures_are_those_of_python() {
    for golden in Golden::names().iter().map(|name| Golden::load(name)) {
        let mut hash = Sha256::new();
        golden.net().tensors().iter().for_each(|tensor| hash.update(tensor.bytes(golden.dtype())));
        assert_eq!(hex(hash.finalize()), golden.meta.weights_sha256, "{}: weights", golden.name);

        let input: Vec<u8> = golden.input().iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(hex(Sha256::digest(input)), golden.meta.input_sha256, "{}: input", golden.name);
    }
}

#[test]
fn the_state_dict_has_torchvisions_size() {
    let net = Net::resnet(18, 1000);
    let counters = |layout: &[(String, Vec<usize>)]| layout.iter().filter(|(_, shape)| shape.is_empty()).count();
    assert_eq!((net.layout().len(), counters(&net.layout())), (122, 20));
    assert_eq!(net.tensors_without_counters().len(), 102);
}

#[test]
fn files_hold_the_weights_whole() {
    let folder = tempfile::tempdir().unwrap();
    let net = Net { depth: 18, width: 8, classes: 10, seed: 1 };
    let tensors = net.tensors();
    for dtype in Dtype::ALL {
        let path = folder.path().join("a.safetensors");
        safetensors_file::write(&path, &tensors, dtype);
        let bytes = std::fs::read(&path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for tensor in &tensors {
            let stored = file.tensor(&tensor.name).unwrap();
            assert_eq!((stored.shape(), stored.data()), (&tensor.shape[..], &tensor.bytes(dtype)[..]), "{}", tensor.name);
        }
    }
}

/// The containers; that torch reads them was checked with `tests/goldens/check_pth.py`, for which `PTH_FOLDER` keeps the files.
#[test]
fn pth_files_hold_the_weights_in_place() {
    let kept = std::env::var_os("PTH_FOLDER").map(PathBuf::from);
    let temp = tempfile::tempdir().unwrap();
    let folder = kept.as_deref().unwrap_or(temp.path());
    let tensors = Net { depth: 18, width: 8, classes: 10, seed: 1 }.tensors();
    let write = |name: &str, pth: Pth| {
        let path = folder.join(name);
        pth.write(&path, &tensors);
        std::fs::read(path).unwrap()
    };

    for (name, pth) in [
        ("zip.f32.pth", Pth::bare(Form::Zip, Dtype::F32)),
        ("zip.f16.state_dict.pth", Pth { prefix: "module.", under: Some("state_dict"), ..Pth::bare(Form::Zip, Dtype::F16) }),
    ] {
        let bytes = write(name, pth);
        let mut zip = zip::ZipArchive::new(Cursor::new(&bytes)).unwrap();
        for (i, tensor) in tensors.iter().enumerate() {
            let entry = zip.by_name(&format!("archive/data/{i}")).unwrap();
            let (start, want) = (entry.data_start().unwrap() as usize, tensor.bytes(pth.dtype));
            assert_eq!(start % 64, 0, "{name}: {} is not aligned", tensor.name);
            assert_eq!(&bytes[start..start + want.len()], want, "{name}: {}", tensor.name);
        }
    }

    for (name, pth, hash) in [
        (
            "legacy.f32.pth",
            Pth::bare(Form::Legacy, Dtype::F32),
            "7bf9a02c560d6e3988eb018d6b46c3902a6bd18097f726102cf895aef2408f53",
        ),
        (
            "legacy.bf16.model.pth",
            Pth { under: Some("model"), ..Pth::bare(Form::Legacy, Dtype::Bf16) },
            "4020fe46d2ad1a249a00e4d60204df61d6c1691a0e438118e8dec2bef3c1622d",
        ),
    ] {
        assert_eq!(hex(Sha256::digest(write(name, pth))), hash, "{name} is no longer the file that torch was shown");
    }
}

#[test]
fn comparison_fails_where_it_must() {
    let allow = Allowance { abs: 0.0, rel: 0.01 };
    let want = [1.0, -2.0, 4.0];
    let worst = compare("x", &[1.0, -2.01, 4.0], &want, allow).unwrap().unwrap();
    assert_eq!(worst.index, 1);
    assert!((worst.percent - 50.0).abs() < 0.1, "{worst:?}");

    let error = compare("x", &[1.0, -2.1, 4.2], &want, allow).unwrap_err();
    assert!(error.contains("2 of 3 values") && error.contains("worst at 1"), "{error}");
    for bad in [f32::NAN, f32::INFINITY] {
        assert!(compare("x", &[1.0, bad, 4.0], &want, allow).is_err(), "{bad} passes");
        assert!(compare("x", &want, &[1.0, bad, 4.0], allow).is_err(), "{bad} is accepted as expected value");
    }
    assert!(compare("x", &want[..2], &want, allow).is_err());
    assert!(compare("x", &[0.0], &[f32::MIN_POSITIVE], Allowance { abs: 0.0, rel: 0.0 }).is_err());
}
