//! `camshaft bench`.

use std::process::ExitCode;

use anyhow::bail;
use camshaft::bench::{self, GpuFacts, LayerCost, Limits, Spread};
use camshaft::engine::{Engine, Passes, Timings};
use camshaft::network::Network;
use camshaft::tensor::Precision;
use serde_json::{Value, json};

use super::args::BenchArgs;
use super::{stdout, table};

/// What the timings are set against.
struct Machine {
    gpu: Option<GpuFacts>,
    /// Peak rates; `None` for a GPU that is not known.
    limits: Option<Limits>,
    /// Where the rates come from.
    origin: &'static str,
}

/// One batch size, timed.
struct Measured {
    batch: usize,
    costs: Vec<LayerCost>,
    timings: Timings,
    /// Seconds that the model of [`camshaft::cuda::forecast`] says.
    forecast: Option<f64>,
}

/// Times passes and prints them beside their floor.
pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    if args.forecast {
        return forecast(args);
    }
    let engine = args.model.engine()?;
    let machine = Machine::of(&engine)?;
    let batches: &[u32] = match (&args.batch[..], &machine.gpu) {
        ([], Some(_)) => &[1, 8, 32, 128],
        ([], None) => &[1, 8],
        (given, _) => given,
    };
    if !args.json {
        introduce(args, &engine, &machine)?;
    }
    let mut all = Vec::new();
    for &batch in batches {
        let measured = measure(args, &engine, &machine, batch as usize)?;
        if args.json {
            stdout::json(&object(args, &engine, &machine, &measured))?;
        }
        all.push(measured);
    }
    if !args.json {
        print(&machine, &all)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Machine {
    fn of(engine: &Engine) -> anyhow::Result<Self> {
        let gpu = engine.gpu()?;
        let (limits, origin) = match &gpu {
            Some(gpu) if gpu.is_software() => {
                bail!(
                    "{} is no GPU but a program that stands in for one; times on it mean nothing, so there is nothing to bench",
                    gpu.name
                )
            }
            Some(gpu) => (gpu.limits(engine.precision()), "by its clocks"),
            None => {
                let threads = engine.threads();
                (Some(Limits { flops: bench::fma_rate(threads), bytes: bench::read_rate(threads) }), "measured")
            }
        };
        Ok(Self { gpu, limits, origin })
    }

    /// The least time of a pass.
    fn floor(&self, measured: &Measured) -> Option<f64> {
        Some(bench::total(&measured.costs, self.limits?))
    }
}

fn measure(args: &BenchArgs, engine: &Engine, machine: &Machine, batch: usize) -> anyhow::Result<Measured> {
    let (h, w) = args.size;
    let passes = Passes {
        images: [batch, h, w],
        maps: args.maps as usize,
        levels: args.levels.levels(),
        warm_up: args.warm_up as usize,
        passes: args.iters as usize,
        layers: args.layers || !args.json,
    };
    let timings = engine.measure(&passes)?;
    let network = engine.model().network();
    let costs = bench::costs(network, &network.shapes(batch, h, w)?, engine.precision().bytes());
    let forecast = match (&machine.gpu, engine.precision()) {
        (Some(gpu), Precision::F16) => forecast_seconds(network, passes.images, gpu)?,
        _ => None,
    };
    Ok(Measured { batch, costs, timings, forecast })
}

#[cfg(feature = "cuda")]
fn forecast_seconds(network: &Network, images: [usize; 3], gpu: &GpuFacts) -> anyhow::Result<Option<f64>> {
    Ok(camshaft::cuda::forecast(network, images, gpu)?.map(|forecast| forecast.seconds))
}

#[cfg(not(feature = "cuda"))]
fn forecast_seconds(_: &Network, _: [usize; 3], _: &GpuFacts) -> anyhow::Result<Option<f64>> {
    Ok(None)
}

/// Prints what the model says of known GPUs; nothing is run.
#[cfg(feature = "cuda")]
fn forecast(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let engine = args.model.on_cpu()?;
    let network = engine.model().network();
    let (h, w) = args.size;
    let batches = if args.batch.is_empty() { vec![1, 8, 32, 128] } else { args.batch.clone() };
    let mut rows = Vec::new();
    for gpu in bench::GPUS.iter().map(bench::KnownGpu::facts) {
        for &batch in &batches {
            let images = [batch as usize, h, w];
            let Some(forecast) = camshaft::cuda::forecast(network, images, &gpu)? else { continue };
            let costs = bench::costs(network, &network.shapes(images[0], h, w)?, Precision::F16.bytes());
            let Some(floor) = gpu.limits(Precision::F16).map(|limits| bench::total(&costs, limits)) else { continue };
            let per_second = |seconds: f64| f64::from(batch) / seconds;
            if args.json {
                stdout::json(&json!({
                    "gpu": gpu.name, "architecture": network.architecture().to_string(), "size": [h, w], "batch": batch,
                    "forecast_ms": forecast.seconds * 1e3, "launches": forecast.launches, "floor_ms": floor * 1e3,
                    "images_per_second": per_second(forecast.seconds),
                }))?;
            }
            let numbers = [milliseconds(forecast.seconds), format!("{:.0}", per_second(forecast.seconds)), milliseconds(floor)];
            rows.push(
                [vec![gpu.name.clone(), batch.to_string()], numbers.into(), vec![format!("{:.2}x", forecast.seconds / floor)]]
                    .concat(),
            );
        }
    }
    if !args.json {
        stdout::line(&format!(
            "a forecast, not a measurement: {}, {h} x {w}, f16, one map of each image\n",
            network.architecture()
        ))?;
        let columns = ["GPU", "batch", "ms", "images/s", "floor ms", "of floor"];
        stdout::line(&table::table(&columns, &columns[1..], rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(feature = "cuda"))]
fn forecast(_: &BenchArgs) -> anyhow::Result<ExitCode> {
    bail!("this program was built without CUDA, and knows no kernels to forecast")
}

fn introduce(args: &BenchArgs, engine: &Engine, machine: &Machine) -> anyhow::Result<()> {
    let mut facts = vec![("device", engine.device())];
    if let Some(gpu) = &machine.gpu {
        facts.push(("driver", format!("serves CUDA {}.{}", gpu.driver / 1000, gpu.driver % 1000 / 10)));
        facts.push(("clocks", format!("{} MHz, memory {} MHz, at most", gpu.clock_khz / 1000, gpu.memory_clock_khz / 1000)));
    }
    facts.push((
        "limits",
        match machine.limits {
            Some(limits) => format!("{:.4} TFLOP/s, {:.1} GB/s, {}", limits.flops * 1e-12, limits.bytes * 1e-9, machine.origin),
            None => "not known for this device".to_owned(),
        },
    ));
    let (h, w) = args.size;
    facts.push(("network", format!("{}, {h} x {w}", engine.model().network().architecture())));
    facts.push(("maps", format!("{} of each image, {}", args.maps, args.levels.name())));
    facts.push(("passes", format!("{} after {} to warm up", args.iters, args.warm_up)));
    for (name, value) in facts {
        stdout::line(&format!("{name:<10}{value}"))?;
    }
    Ok(())
}

fn print(machine: &Machine, all: &[Measured]) -> anyhow::Result<()> {
    let mut columns = vec!["batch", "what", "ms", "p10", "p90", "ms/image", "images/s", "floor ms", "of floor"];
    if machine.gpu.is_some() {
        columns.push("forecast ms");
    }
    let right: Vec<&str> = columns.iter().copied().filter(|&column| column != "what").collect();
    let mut rows = Vec::new();
    for measured in all {
        let floor = machine.floor(measured);
        let whole = if machine.gpu.is_some() { "with transfers" } else { "pass" };
        for (what, seconds) in [("on the device", &measured.timings.device), (whole, &measured.timings.whole)] {
            let Some(spread) = Spread::of(seconds) else { continue };
            let batch = measured.batch as f64;
            let mut row = vec![measured.batch.to_string(), what.to_owned()];
            row.extend([spread.median, spread.p10, spread.p90, spread.median / batch].map(milliseconds));
            row.push(format!("{:.1}", batch / spread.median));
            row.extend(beside(floor, spread.median));
            if machine.gpu.is_some() {
                row.push(measured.forecast.map(milliseconds).unwrap_or_default());
            }
            rows.push(row);
        }
    }
    stdout::line("")?;
    stdout::line(&table::table(&columns, &right, rows))?;
    for measured in all.iter().filter(|measured| !measured.timings.steps.is_empty()) {
        let rows = measured.timings.steps.iter().filter_map(|step| {
            let median = Spread::of(&step.seconds)?.median;
            let cost = bench::of_step(&measured.costs, &step.layer);
            let rate = cost
                .as_ref()
                .filter(|cost| cost.flops > 0)
                .map_or(String::new(), |cost| format!("{:.1}", cost.flops as f64 / median * 1e-9));
            let floor = cost.zip(machine.limits).map(|(cost, limits)| cost.floor(limits).seconds);
            let mut row = vec![step.layer.clone(), step.kernel.clone(), milliseconds(median), rate];
            row.extend(beside(floor, median));
            Some(row)
        });
        stdout::line(&format!(
            "\nlayers, batch {}; floor: every product and byte once, so that Winograd may stay below it",
            measured.batch
        ))?;
        let columns = ["layer", "kernel", "ms", "GFLOP/s", "floor ms", "of floor"];
        stdout::line(&table::table(&columns, &["ms", "GFLOP/s", "floor ms", "of floor"], rows))?;
    }
    Ok(())
}

/// A floor in milliseconds and how often it would fit into a time.
fn beside(floor: Option<f64>, seconds: f64) -> [String; 2] {
    match floor {
        Some(floor) if floor > 0.0 => [milliseconds(floor), format!("{:.2}x", seconds / floor)],
        _ => [String::new(), String::new()],
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.3}", seconds * 1e3)
}

fn object(args: &BenchArgs, engine: &Engine, machine: &Machine, measured: &Measured) -> Value {
    let batch = measured.batch as f64;
    let per_image = |seconds: &[f64]| seconds.iter().map(|seconds| seconds * 1e3 / batch).collect::<Vec<f64>>();
    let device = per_image(&measured.timings.device);
    let whole = per_image(&measured.timings.whole);
    let spread = Spread::of(if device.is_empty() { &whole } else { &device });
    let floor = machine.floor(measured).map(|seconds| seconds * 1e3 / batch);
    let layer = |step: &camshaft::engine::StepTimes| {
        let cost = bench::of_step(&measured.costs, &step.layer);
        let floor = cost.as_ref().zip(machine.limits).map(|(cost, limits)| cost.floor(limits));
        json!({
            "layer": step.layer,
            "kernel": step.kernel,
            "ms": Spread::of(&step.seconds.iter().map(|seconds| seconds * 1e3).collect::<Vec<_>>()),
            "flops": cost.as_ref().map(|cost| cost.flops),
            "bytes": cost.as_ref().map(|cost| cost.bytes),
            "floor_ms": floor.map(|floor| floor.seconds * 1e3),
            "bound": floor.map(|floor| floor.bound),
        })
    };
    json!({
        "device": engine.device(),
        "driver": machine.gpu.as_ref().map(|gpu| gpu.driver),
        "clock_khz": machine.gpu.as_ref().map(|gpu| gpu.clock_khz),
        "memory_clock_khz": machine.gpu.as_ref().map(|gpu| gpu.memory_clock_khz),
        "limits": machine.limits,
        "architecture": engine.model().network().architecture().to_string(),
        "weights": engine.model().file().path().display().to_string(),
        "precision": engine.precision(),
        "threads": if machine.gpu.is_none() { Some(engine.threads()) } else { None },
        "batch": measured.batch,
        "size": [args.size.0, args.size.1],
        "maps": args.maps,
        "levels": args.levels.name(),
        "ms_per_image": if device.is_empty() { &whole } else { &device },
        "ms_per_image_with_transfers": if device.is_empty() { None } else { Some(&whole) },
        "spread": spread,
        "images_per_second": spread.map(|spread| 1e3 / spread.median),
        "floor_ms_per_image": floor,
        "forecast_ms_per_image": measured.forecast.map(|seconds| seconds * 1e3 / batch),
        "layers": measured.timings.steps.iter().map(layer).collect::<Vec<_>>(),
    })
}
