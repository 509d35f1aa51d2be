//! Output files: whole or not at all, never over an existing one, readable by others.

use std::io::{self, Write};
use std::path::Path;

use camshaft::cam::{Map, Method, Normalisation};
use camshaft::input::{CropTransform, Recipe};
use camshaft::output::*;
use camshaft::render::{Colormap, Style, View};
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

/// Names in a folder, sorted.
fn list(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

fn write_text(path: &Path, force: bool, text: &str) -> Result<(), OutputError> {
    write_atomically(path, force, |w| w.write_all(text.as_bytes()))
}

#[test]
fn an_existing_file_is_kept_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    write_text(&path, false, "first").unwrap();
    let error = write_text(&path, false, "second").unwrap_err();
    assert!(matches!(error, OutputError::Exists { .. }));
    let message = error.to_string();
    assert!(message.contains("a.txt") && message.contains("--force"), "{message}");
    assert_eq!(std::fs::read(&path).unwrap(), b"first");
    write_text(&path, true, "third").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"third");
    assert_eq!(list(folder.path()), ["a.txt"]);
}

#[test]
fn a_file_that_appears_meanwhile_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    let result = write_atomically(&path, false, |w| {
        std::fs::write(&path, "theirs")?;
        w.write_all(b"ours")
    });
    assert!(matches!(result, Err(OutputError::Exists { .. })), "{result:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
    assert_eq!(list(folder.path()), ["a.txt"]);
}

#[test]
fn a_failed_write_leaves_nothing_new_and_nothing_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    let fail = |force| {
        write_atomically(&path, force, |w| {
            w.write_all(&[b'x'; 300_000])?;
            assert!(list(folder.path()).iter().any(|name| name.ends_with(".part")), "the temporary file is in the same folder");
            Err(io::Error::from(io::ErrorKind::StorageFull))
        })
        .unwrap_err()
        .to_string()
    };
    let message = fail(false);
    assert!(message.contains("a.txt") && message.contains(&io::Error::from(io::ErrorKind::StorageFull).to_string()), "{message}");
    assert!(list(folder.path()).is_empty());
    write_text(&path, false, "before").unwrap();
    fail(true);
    assert_eq!(list(folder.path()), ["a.txt"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
}

#[test]
fn a_panic_while_writing_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    let result = std::panic::catch_unwind(|| write_atomically(&path, false, |_| panic!("on purpose")));
    assert!(result.is_err());
    assert!(list(folder.path()).is_empty());
}

/// The system's own answer for a disk without room.
#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let result = write_atomically(&path, false, |_| std::fs::File::create("/dev/full")?.write_all(b"x"));
    let message = result.unwrap_err().to_string();
    assert!(message.contains("a.npy") && message.contains("No space left on device"), "{message}");
    assert!(list(folder.path()).is_empty());
}

#[test]
fn folders_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = write_text(&file.join("a.txt"), false, "x").unwrap_err();
    assert!(matches!(error, OutputError::Write { .. }), "{error}");
    assert!(error.to_string().contains(&format!("{}", file.join("a.txt").display())), "{error}");
    let error = create_folder(&file.join("sub")).unwrap_err();
    assert!(matches!(error, OutputError::Folder { .. }) && error.to_string().contains("sub"), "{error}");
    let error = write_text(&folder.path().join("missing/a.txt"), false, "x").unwrap_err();
    assert!(error.to_string().contains("missing") && !error.to_string().contains(".part"), "{error}");
    // A folder of the file's name is not replaced, even when forced.
    let taken = folder.path().join("taken");
    create_folder(&taken).unwrap();
    create_folder(&taken).unwrap();
    assert!(matches!(write_text(&taken, false, "x"), Err(OutputError::Exists { .. })));
    assert!(matches!(write_text(&taken, true, "x"), Err(OutputError::Write { .. })));
    assert_eq!(list(folder.path()), ["file", "taken"]);
}

#[cfg(unix)]
#[test]
fn files_get_ordinary_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    write_text(&ours, false, "x").unwrap();
    std::fs::write(&theirs, "x").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
    assert_eq!(mode(&ours), mode(&theirs));
}

#[test]
fn a_png_holds_the_same_pixels() {
    let folder = tempfile::tempdir().unwrap();
    for (w, h) in [(1, 1), (37, 23), (300, 2)] {
        let path = folder.path().join(format!("{w}.png"));
        let picture = RgbImage::from_fn(w, h, |x, y| Rgb([(x * 7) as u8, (y * 11) as u8, (x * y) as u8]));
        write_png(&path, &picture, false).unwrap();
        let image::DynamicImage::ImageRgb8(read) = image::open(&path).unwrap() else { panic!("8-bit RGB") };
        assert!(read == picture);
        assert!(matches!(write_png(&path, &picture, false), Err(OutputError::Exists { .. })));
    }
    // An encoder's refusal is an error, too, and leaves no file.
    let error = write_png(&folder.path().join("none.png"), &RgbImage::new(0, 0), false).unwrap_err();
    assert!(matches!(error, OutputError::Write { .. }), "{error}");
    assert_eq!(list(folder.path()), ["1.png", "300.png", "37.png"]);
}

/// Reads an NPY file by the format's description (NEP 1): magic, version, header length, Python dict, data.
#[test]
fn an_npy_file_follows_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let values: Vec<f32> = vec![1.5, -2.25, 0.0, f32::MIN_POSITIVE, 3e38, -0.0];
    write_npy(&path, &Map::new(2, 3, values.clone()), false).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!((10 + length) % 16, 0, "the data is aligned");
    let header: String = std::str::from_utf8(&bytes[10..10 + length]).unwrap().split_whitespace().collect();
    for entry in ["'descr':'<f4'", "'fortran_order':False", "'shape':(2,3"] {
        assert!(header.contains(entry), "{header}");
    }
    let data: Vec<f32> = bytes[10 + length..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    assert_eq!(data.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
    assert_eq!(bytes.len(), 10 + length + 24);
}

fn manifest() -> Manifest {
    let model = Model { name: "resnet18".into(), source: "demo".into(), classes: 10, weights: "xxh3-128:00".into() };
    let asked = Asked { classes: AskedClasses::Top(3), save: vec![Artifact::Overlay, Artifact::CamFull] };
    let style = Style { colormap: Colormap::JetOpencv, ..Style::default() };
    Manifest::new(model, asked, Recipe::default(), View::Original, style, "cpu".into())
}

fn entry(logit: f32) -> ClassEntry {
    let artifacts = Artifacts { overlay: Some("cat.3-cat.overlay.png".into()), ..Artifacts::default() };
    let map = Map::new(1, 2, vec![-1.0, 2.0]).stats().unwrap();
    ClassEntry {
        target: "cat".into(),
        method: Method::Cam,
        value: f64::from(logit),
        normalisation: Some(Normalisation::MinMax),
        class: 3,
        name: Some("cat".into()),
        logit,
        probability: 0.25,
        map_size: MapSize { h: 1, w: 2 },
        map,
        boxes: None,
        artifacts,
    }
}

fn explained(logit: f32) -> ImageEntry {
    let transform = CropTransform { original: (320, 256), resized: (320, 256), offset: (48, 16), crop: (224, 224) };
    ImageEntry {
        file: "in/cat.jpg".into(),
        outcome: Outcome::Ok { transform, results: vec![entry(logit)], forwards: 1, grid: None },
    }
}

#[test]
fn a_manifest_says_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = manifest();
    manifest.images.push(explained(7.5));
    manifest
        .images
        .push(ImageEntry { file: "in/\"bad\".jpg".into(), outcome: Outcome::Error { message: "not a picture".into() } });
    Manifest::check_free(folder.path(), false).unwrap();
    let path = manifest.write(folder.path(), false).unwrap();
    let read: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let want = json!({
        "schema_version": 1,
        "tool": { "name": "camshaft", "version": env!("CARGO_PKG_VERSION") },
        "model": { "name": "resnet18", "source": "demo", "classes": 10, "weights": "xxh3-128:00" },
        "request": { "top": 3, "save": ["overlay", "cam-full"] },
        "method": "cam",
        "score": "logit",
        "aug_smooth": false,
        "eigen_smooth": false,
        "grid": false,
        "recipe": {
            "resize": 256, "crop": 224, "interpolation": "bilinear", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        },
        "display": { "view": "original", "colormap": "jet-opencv", "alpha": 0.5, "normalisation": "minmax" },
        "device": "cpu",
        "complete": true,
        "images": [
            {
                "file": "in/cat.jpg",
                "status": "ok",
                "transform": { "original": [320, 256], "resized": [320, 256], "offset": [48, 16], "crop": [224, 224] },
                "results": [{
                    "target": "cat", "method": "cam", "value": 7.5, "normalisation": "minmax",
                    "class": 3, "name": "cat", "logit": 7.5, "probability": 0.25,
                    "map_size": { "h": 1, "w": 2 },
                    "map": { "min": -1.0, "max": 2.0, "mean": 0.5, "std": 1.5, "argmax": [1, 0] },
                    "artifacts": { "overlay": "cat.3-cat.overlay.png" },
                }],
                "forwards": 1,
            },
            { "file": "in/\"bad\".jpg", "status": "error", "message": "not a picture" },
        ],
    });
    assert_eq!(read, want);
    // A finished run is not written over, and a new one hears of it before its work.
    assert!(matches!(Manifest::check_free(folder.path(), false), Err(OutputError::Exists { .. })));
    assert!(matches!(manifest.write(folder.path(), false), Err(OutputError::Exists { .. })));
    Manifest::check_free(folder.path(), true).unwrap();
    manifest.write(folder.path(), true).unwrap();
    assert_eq!(list(folder.path()), ["manifest.json"]);
}

#[test]
fn a_manifest_tells_the_style_that_was_drawn() {
    let seed = Manifest::new(
        manifest().model,
        manifest().request,
        Recipe::default(),
        View::Seed,
        manifest().display.style,
        "cpu".into(),
    );
    assert_eq!(seed.display.style.colormap, Colormap::Jet);
}

#[test]
fn a_manifest_has_no_null_for_a_broken_number() {
    let folder = tempfile::tempdir().unwrap();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut manifest = manifest();
        manifest.images.push(explained(bad));
        let error = manifest.write(folder.path(), false).unwrap_err();
        assert!(matches!(error, OutputError::NotFinite { what: "logit", class: 3, .. }), "{error}");
        assert!(error.to_string().contains("in/cat.jpg"), "{error}");
    }
    assert!(list(folder.path()).is_empty());
}
