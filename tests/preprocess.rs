//! Preprocessing has the bytes of Pillow and torchvision. Goldens: `goldens/make_preprocess.py`.

use std::{fs, path::PathBuf};

use camshaft::input::{Interpolation, resize};
use image::RgbImage;
use sha2::{Digest, Sha256};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/preprocess").join(name)
}

/// Rows of a tab-separated golden.
fn rows(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(golden(name)).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// The script's `picture`: splitmix64 bytes, or those bytes driven to 0 and 255.
fn picture(w: u32, h: u32, pattern: &str) -> RgbImage {
    let mut state = u64::from(w) * 65536 + u64::from(h);
    let mut bytes = Vec::new();
    let length = (w * h * 3) as usize;
    while bytes.len() < length {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend((z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    if pattern == "extreme" {
        bytes.iter_mut().for_each(|b| *b = if *b < 128 { 0 } else { 255 });
    }
    RgbImage::from_raw(w, h, bytes).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

#[test]
fn resize_has_pillows_bytes() {
    let rows = rows("resize.tsv");
    assert!(rows.len() >= 400, "200 sizes with two filters");
    let mut wrong = Vec::new();
    for row in &rows {
        let [w, h, tw, th] = [0, 1, 2, 3].map(|i| row[i].parse().unwrap());
        let filter: Interpolation = row[4].parse().unwrap();
        let out = resize("noise", &picture(w, h, &row[5]), (tw, th), filter).unwrap();
        assert_eq!(out.dimensions(), (tw, th));
        if digest(out.as_raw()) != row[6] {
            wrong.push(row.join(" "));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ: {wrong:#?}", wrong.len(), rows.len());
}
