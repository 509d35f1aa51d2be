//! The bundled model on the bundled pictures, through the library alone: what it names, and where its maps point.

use std::path::{Path, PathBuf};

use camshaft::input::Picture;
use camshaft::metrics::{Annotated, Annotations};
use camshaft::sources::Source;
use camshaft::{Engine, Request};

/// The drawn field of the pictures in `tests/pointing`, whose border holds background only.
const FIELD: u32 = 224;
/// Pixels by which an object's mask is grown.
const GROWN: i64 = 15;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pointing")
}

/// Pictures with the classes that are in them. In a picture's mask, pixels of object `i` have the value `i + 1`.
fn scenes() -> Vec<Annotated> {
    Annotations::open(&folder().join("annotations.json")).unwrap().images
}

/// Whether `(x, y)` is within [`GROWN`] pixels of a pixel of object `value`.
fn near(mask: &image::GrayImage, value: u8, (x, y): (usize, usize)) -> bool {
    mask.enumerate_pixels().any(|(mx, my, owner)| {
        let (dx, dy) = (i64::from(mx) - x as i64, i64::from(my) - y as i64);
        owner.0[0] == value && dx * dx + dy * dy <= GROWN * GROWN
    })
}

#[test]
fn maps_point_at_the_objects_and_the_top_class_is_right() {
    let engine = Engine::builder().build().unwrap();
    let (mut objects, mut hits, mut single, mut named) = (0, 0, 0, 0);
    let mut missed = Vec::new();
    for scene in scenes() {
        let picture = Picture::open(&folder().join(&scene.image)).unwrap();
        let masks: Vec<_> = scene.objects.iter().map(|object| object.mask.as_ref().unwrap()).collect();
        let mask = image::open(folder().join(&masks[0].path)).unwrap().into_luma8();
        let classes: Vec<&str> = scene.objects.iter().map(|object| &*object.class).collect();
        assert_eq!(mask.dimensions(), (FIELD, FIELD));
        let explanation = engine.explain(&[picture], &Request::classes(classes.iter().copied())).unwrap().remove(0);
        assert_eq!(explanation.input.transform().crop, (FIELD, FIELD));
        if let [only] = classes[..] {
            single += 1;
            named += usize::from(explanation.predictions[0].label == only);
        }
        for (index, map) in explanation.maps.iter().enumerate() {
            let peak = map.map.upsample(FIELD as usize, FIELD as usize).stats().unwrap().argmax;
            objects += 1;
            assert_eq!((&masks[index].path, masks[index].value), (&masks[0].path, Some(index as u8 + 1)));
            if near(&mask, index as u8 + 1, peak) {
                hits += 1;
            } else {
                missed.push(format!("{} {} at {peak:?}", scene.image.display(), map.prediction.label));
            }
        }
    }
    assert!(single >= 20 && objects >= 100, "{single} pictures of one object, {objects} objects");
    // The model card's figures are of 1,000 pictures; on these few, two misses more than expected are within chance.
    assert!(named * 100 >= single * 90, "top-1 right in {named} of {single}");
    assert!(hits * 100 >= objects * 90, "{hits} of {objects} maps point at their object; missed: {missed:?}");
}

#[test]
fn an_absent_class_gets_a_map_too_and_two_classes_differ() {
    let engine = Engine::builder().threads(1).build().unwrap();
    let picture = Picture::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/chelsea.jpg")).unwrap();
    let explanation = engine.explain(&[picture], &Request::classes(["pizza", "0", "pizza"])).unwrap().remove(0);
    assert_eq!(explanation.maps.len(), 2, "a class asked for twice counts once");
    assert_eq!(explanation.maps[1].prediction.class, 0);
    assert_ne!(explanation.maps[0].map, explanation.maps[1].map);
}

#[test]
fn the_model_is_small_and_knows_its_names() {
    let engine = Engine::builder().threads(1).build().unwrap();
    assert_eq!(engine.model().network().architecture().to_string(), "ResNet-18 (width 32)");
    assert!(engine.labels().len() >= 50);
    assert_eq!(engine.labels().get(0), Some("dog"));
    let bytes = std::fs::metadata(Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/demo.safetensors")).unwrap().len();
    assert!(bytes <= 8_000_000, "{bytes} bytes");
}

#[test]
fn names_in_a_weight_file_must_fit_its_classes() {
    let mut bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/demo.safetensors")).unwrap();
    let (joined, own) = (br"dog  lion", br"dog\nlion");
    let at = bytes.windows(own.len()).position(|window| window == own).unwrap();
    bytes[at..at + own.len()].copy_from_slice(joined);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short-of-a-name.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let error = Engine::builder().weights(Source::Path(path)).build().err().unwrap().to_string();
    assert!(error.contains("short-of-a-name.safetensors") && error.contains("55") && error.contains("56"), "{error}");
}

#[test]
fn batches_of_mixed_sizes_keep_their_order() {
    let engine = Engine::builder().batch(3).build().unwrap();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    let open = |name: &str| Picture::open(&assets.join(name)).unwrap();
    let names = ["gravel.jpg", "chelsea.jpg", "pavement.jpg", "meadow.jpg", "chelsea.jpg"];
    let together = engine.explain(&names.map(open), &Request::top(1)).unwrap();
    for (name, explanation) in names.iter().zip(&together) {
        let alone = engine.explain(&[open(name)], &Request::top(1)).unwrap().remove(0);
        assert_eq!(alone.predictions[0].class, explanation.predictions[0].class, "{name}");
        assert!((alone.predictions[0].logit - explanation.predictions[0].logit).abs() < 1e-4, "{name}");
        assert_eq!(alone.input.transform(), explanation.input.transform(), "{name}");
    }
}
