//! The CPU backend as one of the engines that `run.py`, beside this file, compares; its arguments and lines are that script's.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use camshaft::cam::{Map, class_activation_map};
use camshaft::cpu::{Cpu, Forward};
use camshaft::network::Model;
use camshaft::tensor::Nhwc;
use camshaft::weights::WeightFile;
use clap::Parser;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    weights: PathBuf,
    #[arg(long)]
    batch: usize,
    #[arg(long)]
    threads: usize,
    /// Images, `[N, 224, 224, 3]`, f32 in little-endian order.
    #[arg(long)]
    input: PathBuf,
    /// Where to write the logits of the first pass, `[N, 1000]`, f32 in little-endian order.
    #[arg(long)]
    logits: PathBuf,
    /// Make the map of each image's best class too; where to write those of the first pass, `[N, 7, 7]`, likewise.
    #[arg(long)]
    maps: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let start = Instant::now();
    let model = Model::load(WeightFile::open(&args.weights)?)?;
    let cpu = Cpu::new(&model, Some(args.threads))?;
    let ready_ms = start.elapsed().as_secs_f64() * 1e3;
    let (classifier, _) = model.classifier()?;

    let bytes = std::fs::read(&args.input)?;
    let (images, _) = bytes.as_chunks::<4>();
    let images = Nhwc::new([args.batch, 224, 224, 3], images.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect());
    let pass = || -> anyhow::Result<(Nhwc, Vec<Map>)> {
        let Forward { features, logits } = cpu.forward(&images)?;
        let map = |image: usize| {
            let scores = logits.image(image).iter().enumerate();
            let (best, _) = scores.max_by(|a, b| a.1.total_cmp(b.1)).context("no class")?;
            let channels = features.shape()[3];
            Ok(class_activation_map(&features, image, &classifier[best * channels..][..channels]))
        };
        let maps = if args.maps.is_some() { (0..args.batch).map(map).collect::<anyhow::Result<_>>()? } else { Vec::new() };
        Ok((logits, maps))
    };
    let (logits, maps) = pass()?;
    write(&args.logits, logits.data().iter())?;
    if let Some(path) = &args.maps {
        write(path, maps.iter().flat_map(|map| map.data()))?;
    }

    let mut out = std::io::stdout();
    let version = env!("CARGO_PKG_VERSION");
    writeln!(out, "{}", serde_json::json!({ "ready_ms": ready_ms, "version": version }))?;
    for passes in std::io::stdin().lock().lines() {
        let mut times = Vec::new();
        for _ in 0..passes?.trim().parse()? {
            let start = Instant::now();
            std::hint::black_box(pass()?);
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        writeln!(out, "{}", serde_json::to_string(&times)?)?;
    }
    Ok(())
}

/// f32 in little-endian order.
fn write<'a>(path: &Path, values: impl Iterator<Item = &'a f32>) -> std::io::Result<()> {
    std::fs::write(path, values.flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}
