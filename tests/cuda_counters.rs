//! A whole pass, from a picture to an enlarged map, counted launch by launch on the software device: no bank conflicts, whole
//! sectors, no more bytes than a batch must move, and nothing worse than `tests/gates/network.json` has on record.
//!
//! Where something became better, or has to change: `sh tests/gates/run.sh --write`, or for this file alone
//! `CAMSHAFT_GATES=write cargo test --test cuda_counters`. With `-- --nocapture` it prints the table of docs/performance.md.

#![cfg(feature = "cuda")]

mod common;

use std::path::Path;

use camshaft::cam::{Enlarge, Found, Levels, Normalisation, Selection};
use camshaft::cuda::{Cuda, Images, Options, Show};
use camshaft::input::{Input, Picture, Recipe};
use camshaft::network::Model;
use camshaft::tensor::Precision;
use camshaft::weights::WeightFile;
use common::counted::Counted;
use common::goldens::Golden;
use common::{safetensors_file, seeded, software};
use image::RgbImage;
use serde_json::{Map, Value, json};

/// Launches from image to map.
const MOST_LAUNCHES: usize = 19;
/// Bytes of an image's pass in a batch of [`BATCH`], every tensor crossing the memory once.
const MOST_BYTES: u64 = 8_950_000;
const BATCH: u64 = 128;
/// Instructions that compilers of different versions may differ by, in percent.
const TOLERANCE: u64 = 2;

/// One launch of a pass: over one picture, and the bytes of it that an image of a batch of [`BATCH`] moves.
struct Row {
    layer: String,
    counted: Counted,
    bytes: u64,
}

fn model() -> Model {
    let golden = Golden::load("resnet18_w64_c1000_224x224_n1_f32");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &golden.net().tensors(), golden.dtype());
    Model::load(WeightFile::open(&path).unwrap()).unwrap()
}

/// Of the sectors that a kernel touches, those that its bytes fill, at the least.
const LEAST_COALESCING: f64 = 0.9;

/// Launches of a pass over `n` pictures.
fn pass(cuda: &Cuda, n: usize) -> Vec<Counted> {
    let recipe = Recipe::for_size(224).unwrap();
    let picture = |index| RgbImage::from_raw(320, 256, seeded::picture(index, 256, 320, 7)).unwrap();
    let inputs: Vec<Input> = (0..n).map(|index| recipe.apply(&Picture::from_rgb("seeded", picture(index))).unwrap()).collect();
    let enlarge = Enlarge { h: 224, w: 224, normalisation: Normalisation::MinMax, levels: Levels::F32 };
    software::device(&[]).unwrap().take_report();
    let (borrowed, mut found) = (inputs.iter().collect::<Vec<_>>(), Found::default());
    let ticket = cuda.submit(Images::Inputs(&borrowed), Selection::Top(1), Some(Show::Enlarged(enlarge))).unwrap();
    cuda.collect(ticket, &mut found).unwrap();
    assert_eq!(found.images(), n);
    Counted::all(&software::device(&[]).unwrap().take_report())
}

fn rows() -> Vec<Row> {
    software::device(&[]);
    let cuda = Cuda::new(&model(), 0, Options { precision: Some(Precision::F16), ..Options::default() }).unwrap();
    let [one, two] = [1, 2].map(|n| pass(&cuda, n));
    let large = cuda.plan([BATCH as usize, 224, 224], 1).unwrap();
    assert!(large.steps.iter().all(|step| !step.kernel.contains("parts")), "no depth is shared: {large:?}");
    let steps = cuda.plan([1, 224, 224], 1).unwrap().steps;
    // Each picture is resized by itself, before anything else.
    let resizes = one.len() - steps.len();
    assert_eq!(two.len() - steps.len(), 2 * resizes);
    let bytes = |launch: &Counted| (launch.read + launch.written).checked_sub(2 * launch.workspace()).unwrap();
    let of_batch = |of_one: &Counted, of_two: &Counted| {
        let (b1, b2) = (bytes(of_one), bytes(of_two));
        // b1 + (BATCH - 1) (b2 - b1), an image.
        ((BATCH - 1) * b2 - (BATCH - 2) * b1) / BATCH
    };
    let resizing = one[..resizes].iter().map(|launch| {
        let (layer, bytes) = (format!("preprocess {}", launch.kernel), bytes(launch));
        Row { layer, counted: launch.clone(), bytes }
    });
    let network = one[resizes..].iter().zip(&two[2 * resizes..]).zip(&steps).map(|((of_one, of_two), step)| Row {
        layer: step.layer.clone(),
        counted: of_one.clone(),
        bytes: of_batch(of_one, of_two),
    });
    resizing.chain(network).collect()
}

/// Bytes of a batch's image from the normalised image on.
fn ledger(rows: &[Row]) -> u64 {
    rows.iter().filter(|row| !row.layer.starts_with("preprocess")).map(|row| row.bytes).sum()
}

fn record(rows: &[Row]) -> Map<String, Value> {
    let launch = |Row { layer, counted, bytes }: &Row| {
        let Counted { kernel, instructions, mma, sectors, ideal_sectors, read, written, .. } = counted;
        let fields = json!({
            "kernel": kernel, "blocks": counted.blocks(), "instructions": instructions, "mma": mma, "sectors": sectors,
            "ideal_sectors": ideal_sectors, "read": read, "written": written, "bytes_of_batch": bytes,
        });
        (layer.clone(), fields)
    };
    rows.iter().map(launch).collect()
}

/// What became worse, as sentences.
fn worse(recorded: &Map<String, Value>, found: &Map<String, Value>) -> Vec<String> {
    let names = |record: &Map<String, Value>| record.iter().map(|(layer, row)| format!("{layer}: {}", row["kernel"])).collect();
    let (was, is): (Vec<String>, Vec<String>) = (names(recorded), names(found));
    let mut worse: Vec<String> = Vec::new();
    worse.extend(was.iter().filter(|name| !is.contains(name)).map(|name| format!("{name} is no longer there")));
    worse.extend(is.iter().filter(|name| !was.contains(name)).map(|name| format!("{name} is not on record")));
    for (layer, row) in found {
        let Some(old) = recorded.get(layer).filter(|old| old["kernel"] == row["kernel"]) else { continue };
        for (field, slack) in
            [("instructions", TOLERANCE), ("mma", 0), ("sectors", 0), ("read", 0), ("written", 0), ("bytes_of_batch", 0)]
        {
            let [was, is] = [old, row].map(|row| row[field].as_u64());
            if was.zip(is).is_none_or(|(was, is)| is * 100 > was * (100 + slack)) {
                worse.push(format!("{layer}: {field} {}, on record {}", row[field], old[field]));
            }
        }
    }
    worse
}

fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| layer | kernel | blocks | instructions per MMA | sectors | of ideal | read | written | bytes of a batch's image |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for Row { layer, counted, bytes } in rows {
        let per_mma =
            if counted.mma == 0 { String::new() } else { format!("{:.2}", counted.instructions as f64 / counted.mma as f64) };
        table += &format!(
            "| {layer} | `{}` | {} | {per_mma} | {} | {:.3} | {} | {} | {bytes} |\n",
            counted.kernel,
            counted.blocks(),
            counted.sectors,
            counted.coalescing(),
            counted.read,
            counted.written,
        );
    }
    table
}

#[test]
fn a_pass_is_no_worse_than_on_record() {
    if !common::cuda::software() {
        return; // the counters are the software device's
    }
    let rows = rows();
    println!("{}", table(&rows));
    for Row { layer, counted, .. } in &rows {
        assert_eq!(counted.conflicts, 0, "{layer}: bank conflicts: {counted:?}");
        assert!(
            counted.coalescing() >= LEAST_COALESCING,
            "{layer}: {:.3} of the ideal sectors: {counted:?}",
            counted.coalescing()
        );
    }
    let launches = rows.iter().filter(|row| !row.layer.starts_with("preprocess")).count();
    assert!(launches <= MOST_LAUNCHES, "{launches} launches");
    let bytes = ledger(&rows);
    println!("{bytes} bytes an image of a batch of {BATCH}, {launches} launches");
    assert!(bytes <= MOST_BYTES, "{bytes} bytes an image, at most {MOST_BYTES}\n{}", table(&rows));

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gates/network.json");
    let found = record(&rows);
    if std::env::var_os("CAMSHAFT_GATES").is_some_and(|mode| mode == "write") {
        let lines: Vec<String> = found.iter().map(|(layer, row)| format!("{}: {row}", json!(layer))).collect();
        std::fs::write(&path, format!("{{\n{}\n}}\n", lines.join(",\n"))).unwrap();
        return;
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let worse = worse(&serde_json::from_str(&recorded).unwrap(), &found);
    assert!(
        worse.is_empty(),
        "{worse:#?}\nwhere that is wanted, record it: CAMSHAFT_GATES=write cargo test --test cuda_counters"
    );
}

#[test]
fn what_is_worse_is_told() {
    let one = |fields: Value| Map::from_iter([("fc".to_owned(), fields)]);
    let fields = |kernel: &str, instructions: u64, read: u64| {
        json!({ "kernel": kernel, "blocks": 1, "instructions": instructions, "mma": 0, "sectors": 5, "ideal_sectors": 5,
                "read": read, "written": 7, "bytes_of_batch": 9 })
    };
    let recorded = one(fields("linear", 100, 50));
    assert!(worse(&recorded, &recorded).is_empty());
    assert!(worse(&recorded, &one(fields("linear", 102, 49))).is_empty(), "another compiler, fewer bytes");
    assert_eq!(worse(&recorded, &one(fields("linear", 103, 51))).len(), 2);
    assert_eq!(worse(&recorded, &one(fields("linear2", 100, 50))).len(), 2, "one gone, one new");
    assert_eq!(worse(&recorded, &Map::new()).len(), 1);
    assert_eq!(worse(&recorded, &one(json!({ "kernel": "linear" }))).len(), 6, "what is not there is not better");
}
