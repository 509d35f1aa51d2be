//! Files put together byte by byte.

use std::io::{Cursor, Write};

use camshaft::weights::{WeightFile, WeightsError};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

pub fn open(name: &str, bytes: impl Into<Vec<u8>>) -> Result<WeightFile, WeightsError> {
    WeightFile::from_bytes(name, bytes.into())
}

pub fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A safetensors file.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A zip archive of stored entries, each aligned as PyTorch does it.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(64);
    for (name, data) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A zip-form `.pth` around an object, with its storages "0", "1" and so on.
pub fn pth(object: &[u8], storages: &[&[u8]]) -> Vec<u8> {
    let pickle = pickle(object);
    let names: Vec<_> = (0..storages.len()).map(|i| format!("archive/data/{i}")).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![("archive/data.pkl", &pickle), ("archive/byteorder", b"little")];
    entries.extend(names.iter().map(String::as_str).zip(storages.iter().copied()));
    zip(&entries)
}

/// A legacy `.pth`: five pickles, and each storage behind its number of elements.
pub fn legacy(object: &[u8], keys: &[&str], storages: &[(u64, &[u8])]) -> Vec<u8> {
    let keys: Vec<_> = keys.iter().map(|key| text(key)).collect();
    legacy_parts([&magic(), &int(1001), &machine(true), object, &list(&keys)], storages)
}

/// A legacy file of five given pickles.
pub fn legacy_parts(pickles: [&[u8]; 5], storages: &[(u64, &[u8])]) -> Vec<u8> {
    let mut bytes: Vec<u8> = pickles.into_iter().flat_map(pickle).collect();
    for (elements, data) in storages {
        bytes.extend(elements.to_le_bytes());
        bytes.extend(*data);
    }
    bytes
}

pub fn magic() -> Vec<u8> {
    b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19".to_vec()
}

pub fn machine(little_endian: bool) -> Vec<u8> {
    dict(&[(text("little_endian"), vec![if little_endian { 0x88 } else { 0x89 }])])
}

/// A pickle of protocol 2 that ends with the value that `body` leaves.
pub fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02", body, b"."].concat()
}

pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

pub fn int(value: i64) -> Vec<u8> {
    [b"\x8a\x08", &value.to_le_bytes()[..]].concat()
}

pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

pub fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [b"](", &items.concat()[..], b"e"].concat()
}

pub fn dict(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> = pairs.iter().flat_map(|(key, value)| [&key[..], value].concat()).collect();
    [b"}(", &items[..], b"u"].concat()
}

pub fn call(function: Vec<u8>, arguments: &[Vec<u8>]) -> Vec<u8> {
    [&function[..], &tuple(arguments), b"R"].concat()
}

/// A reference to storage `key` of `elements` elements of a class such as `FloatStorage`.
pub fn storage(class: &str, key: &str, elements: i64) -> Vec<u8> {
    [tuple(&[text("storage"), global("torch", class), text(key), text("cpu"), int(elements)]), b"Q".to_vec()].concat()
}

/// A tensor on a storage, as PyTorch writes it since 0.4.
pub fn tensor(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let ints = |values: &[i64]| tuple(&values.iter().map(|&value| int(value)).collect::<Vec<_>>());
    let hooks = call(global("collections", "OrderedDict"), &[]);
    let arguments = [storage, int(offset), ints(shape), ints(strides), b"\x89".to_vec(), hooks];
    call(global("torch._utils", "_rebuild_tensor_v2"), &arguments)
}

/// A state dict of one F32 tensor `w` on storage "0" of `elements` elements.
pub fn one_tensor(elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    dict(&[(text("w"), tensor(storage("FloatStorage", "0", elements), offset, shape, strides))])
}
