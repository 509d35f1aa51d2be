//! tract and candle as two of the engines that `run.py` compares; arguments and lines are that script's:
//!
//! ```text
//! camshaft-peers tract|candle --onnx FILE --safetensors FILE --batch N --threads N --input FILE --logits FILE
//! ```

mod candle;
mod tract;

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, bail};

/// Runs one pass over images `[N, 3, 224, 224]` that it was made with; returns logits `[N, 1000]`.
type Pass = Box<dyn FnMut() -> anyhow::Result<Vec<f32>>>;

/// `--name value` by name.
struct Options(HashMap<String, String>);

impl Options {
    fn get(&self, name: &str) -> anyhow::Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("--{name} is missing"))
    }

    fn number(&self, name: &str) -> anyhow::Result<usize> {
        Ok(self.get(name)?.parse()?)
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let engine = arguments.next().context("which engine: tract or candle?")?;
    let mut options = HashMap::new();
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        options.insert(name.trim_start_matches('-').to_owned(), value);
    }
    let options = Options(options);
    let n = options.number("batch")?;
    let images = nchw(&std::fs::read(options.get("input")?)?, n);

    let start = Instant::now();
    let (version, mut pass) = match engine.as_str() {
        "tract" => (version("tract-onnx"), tract::load(&options, n, images)?),
        "candle" => (version("candle-core"), candle::load(&options, n, images)?),
        _ => bail!("no engine `{engine}`; there are tract and candle"),
    };
    let ready_ms = start.elapsed().as_secs_f64() * 1e3;
    let logits: Vec<u8> = pass()?.into_iter().flat_map(f32::to_le_bytes).collect();
    std::fs::write(options.get("logits")?, logits)?;

    let mut out = std::io::stdout();
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

/// The version of a crate that this was built with.
fn version(name: &str) -> &'static str {
    let entry = include_str!("../Cargo.lock").split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
    entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next()).unwrap_or("?")
}

/// Images `[N, 224, 224, 3]`, f32 in little-endian order, as `[N, 3, 224, 224]`.
fn nchw(bytes: &[u8], n: usize) -> Vec<f32> {
    let (nhwc, _) = bytes.as_chunks::<4>();
    let pixels = 224 * 224;
    let value = |index: usize| {
        let (image, channel, pixel) = (index / (3 * pixels), index / pixels % 3, index % pixels);
        f32::from_le_bytes(nhwc[(image * pixels + pixel) * 3 + channel])
    };
    (0..n * 3 * pixels).map(value).collect()
}
