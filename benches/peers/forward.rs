//! The CPU backend as one of the engines that `run.py`, beside this file, compares; its arguments and lines are that script's.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

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
    /// Where to write the logits of the first pass, `[N, 1000]`, f32 in little-endian order.
    #[arg(long)]
    logits: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let start = Instant::now();
    let model = Model::load(WeightFile::open(&args.weights)?)?;
    let cpu = Cpu::new(&model, Some(args.threads))?;
    let ready_ms = start.elapsed().as_secs_f64() * 1e3;

    let bytes = std::fs::read(&args.input)?;
    let (images, _) = bytes.as_chunks::<4>();
    let images = Nhwc::new([args.batch, 224, 224, 3], images.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect());
    let logits: Vec<u8> = cpu.forward(&images)?.logits.data().iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(&args.logits, logits)?;

    let mut out = std::io::stdout();
    let version = env!("CARGO_PKG_VERSION");
    writeln!(out, "{}", serde_json::json!({ "ready_ms": ready_ms, "version": version }))?;
    for passes in std::io::stdin().lock().lines() {
        let mut times = Vec::new();
        for _ in 0..passes?.trim().parse()? {
            let start = Instant::now();
            std::hint::black_box(cpu.forward(&images)?);
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        writeln!(out, "{}", serde_json::to_string(&times)?)?;
    }
    Ok(())
}
