//! Maps on the processor as one of the engines that `cam.py`, beside this file, compares; its arguments and lines are that
//! script's.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use camshaft::cam::{Asked, Head, Masking, Method, Score, Selection, Smoothing, Targets};
use camshaft::cpu::Cpu;
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
}

/// A line is a method, or `forward` for none, and a number of passes; the answer has the milliseconds of each and the maps of the
/// last, raw, of each image's most probable class.
fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let model = Model::load(WeightFile::open(&args.weights)?)?;
    let cpu = Cpu::new(&model, Some(args.threads))?;
    let (weights, bias) = model.classifier()?;
    let head = Head::new(weights, bias);
    let bytes = std::fs::read(&args.input)?;
    let (images, _) = bytes.as_chunks::<4>();
    let images = Nhwc::new([args.batch, 224, 224, 3], images.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect());

    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (method, passes) =
            line.trim().split_once(' ').ok_or_else(|| anyhow::anyhow!("a method and a number, not `{line}`"))?;
        let methods = if method == "forward" { Vec::new() } else { vec![method.parse::<Method>()?] };
        let (smoothing, masking) = (Smoothing::default(), Masking::default());
        let targets = Targets::Top(1, Score::Logit);
        let asked = Asked { targets, methods, library: None, own_normalisation: false, smoothing, masking };
        let (mut times, mut maps) = (Vec::new(), Vec::new());
        for _ in 0..passes.parse()? {
            let start = Instant::now();
            let pass = cpu.forward(&images)?;
            if !asked.methods.is_empty() {
                maps = std::hint::black_box(cpu.maps(&head, &pass, Selection::Asked(&asked))?);
            }
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let maps: Vec<&[f32]> = maps.iter().flatten().map(|(_, map)| map.data()).collect();
        writeln!(out, "{}", serde_json::json!({ "ms": times, "maps": maps }))?;
    }
    Ok(())
}
