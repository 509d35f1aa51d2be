//! `camshaft info`.

use std::process::ExitCode;

use camshaft::engine::{Engine, Request};
use camshaft::network::{Layer, LayerShape, Op, PlanReport};
use serde_json::{Value, json};

use super::args::InfoArgs;
use super::{Usage, stdout, table};

/// Classes of each image in a plan, as many as `camshaft cam` draws by default.
const PLANNED_MAPS: usize = 3;

/// Prints what a weight file holds and what running it costs.
pub fn run(args: &InfoArgs) -> anyhow::Result<ExitCode> {
    let engine = args.model.engine()?;
    let (h, w) = args.size;
    let shapes = engine
        .model()
        .network()
        .shapes(args.images as usize, h, w)
        .map_err(|error| Usage(format!("--size or --images: {error}")))?;
    let request = Request::top(PLANNED_MAPS).methods(args.methods.iter().copied());
    let plan = engine.plan_request([args.images as usize, h, w], &request)?;
    if args.json {
        stdout::json(&object(args, &engine, &shapes, &plan))?;
    } else {
        print(args, &engine, &shapes, &plan)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(args: &InfoArgs, engine: &Engine, shapes: &[LayerShape], plan: &PlanReport) -> anyhow::Result<()> {
    let model = engine.model();
    let architecture = model.network().architecture();
    let (h, w) = args.size;
    let flops: u64 = shapes.iter().map(|shape| shape.flops).sum();
    let facts = [
        ("architecture", architecture.to_string()),
        ("weights", format!("{} ({})", model.file().path().display(), model.file().format())),
        ("parameters", table::thousands(model.parameters() as u64)),
        ("classes", format!("{} ({})", architecture.classes(), engine.labels().origin())),
        ("input", format!("{} x {h} x {w} x 3 (N H W C)", args.images)),
        ("cost", format!("{:.3} GFLOP", flops as f64 * 1e-9)),
        ("device", engine.device()),
        ("memory", format!("{} parameters, {} activations", mebibytes(plan.parameters), mebibytes(plan.activations))),
    ];
    for (name, value) in facts {
        stdout::line(&format!("{name:<14}{value}"))?;
    }
    if args.plan {
        let rows = plan.steps.iter().map(|step| vec![step.layer.clone(), step.kernel.clone()]);
        stdout::line("")?;
        stdout::line(&table::table(&["step", "kernel"], &[], rows))?;
    } else if !args.brief {
        let rows = model.network().layers().iter().zip(shapes).map(|(layer, shape)| row(layer, shape));
        stdout::line("")?;
        stdout::line(&table::table(&["layer", "operation", "output N H W C", "MFLOP"], &["MFLOP"], rows))?;
    }
    Ok(())
}

fn row(layer: &Layer, shape: &LayerShape) -> Vec<String> {
    let output = shape.output.map(|extent| extent.to_string()).join(" ");
    vec![layer.name.clone(), operation(&layer.op), output, format!("{:.2}", shape.flops as f64 * 1e-6)]
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// An operation in a few words.
fn operation(op: &Op) -> String {
    match op {
        Op::Conv2d { c, k, window, residual, relu, .. } => {
            let (r, s) = window.size;
            let residual = if residual.is_some() { " + residual" } else { "" };
            let relu = if *relu { " + relu" } else { "" };
            format!("conv {r}x{s}/{} {c}->{k}{residual}{relu}", window.stride)
        }
        Op::MaxPool2d(window) => format!("max pool {}x{}/{}", window.size.0, window.size.1, window.stride),
        Op::GlobalAvgPool => "global average pool".to_owned(),
        Op::Linear { c, k } => format!("linear {c}->{k}"),
    }
}

fn object(args: &InfoArgs, engine: &Engine, shapes: &[LayerShape], plan: &PlanReport) -> Value {
    let model = engine.model();
    let architecture = model.network().architecture();
    let layer = |(layer, shape): (&Layer, &LayerShape)| json!({"name": layer.name, "operation": operation(&layer.op), "output": shape.output, "flops": shape.flops});
    let layers: Vec<Value> =
        if args.brief { Vec::new() } else { model.network().layers().iter().zip(shapes).map(layer).collect() };
    json!({
        "architecture": architecture.to_string(),
        "weights": model.file().path().display().to_string(),
        "format": model.file().format().to_string(),
        "parameters": model.parameters(),
        "classes": architecture.classes(),
        "labels": engine.labels().origin(),
        "input": [args.images as usize, args.size.0, args.size.1, 3],
        "flops": shapes.iter().map(|shape| shape.flops).sum::<u64>(),
        "devices": [engine.device()],
        "memory": {"parameters": plan.parameters, "activations": plan.activations},
        "plan": if args.plan { &plan.steps[..] } else { &[] },
        "layers": layers,
    })
}
