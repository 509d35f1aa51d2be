//! `camshaft classify`.

use std::process::ExitCode;

use camshaft::engine::{Explanation, Prediction, Request};
use camshaft::pipeline::Explained;
use serde::Serialize;

use super::args::ClassifyArgs;
use super::run::{Entry, Outcome, Run};
use super::stdout;
use super::table::Results;

/// What `--json` prints of one input.
#[derive(Serialize)]
struct Predictions {
    predictions: Vec<Prediction>,
}

/// Names the most probable classes of each input.
pub fn run(args: &ClassifyArgs) -> anyhow::Result<ExitCode> {
    let engine = args.input.engine(args.input.recipe()?, &args.model)?;
    let run = Run::new(&engine, &args.inputs, None, args.model.workers())?;
    let mut table = Results::new(["image", "class", "name", "probability", "logit"]);
    let finish = |_, file: &str, outcome: Outcome| {
        let found = outcome.map(|Explained { explanation: Explanation { mut predictions, .. }, .. }| {
            predictions.truncate(args.top as usize);
            Predictions { predictions }
        });
        Some(Entry::finished(file, found))
    };
    let tally = run.each(
        &Request::top(0),
        false,
        |_| false,
        finish,
        |_, entry| {
            if args.json { stdout::json(&entry) } else { table.add(rows(&entry)) }
        },
    )?;
    stdout::unless_closed(table.print())?;
    Ok(tally.exit_code(""))
}

/// One row per class.
fn rows(entry: &Entry<Predictions>) -> Vec<Vec<String>> {
    let Some(Predictions { predictions }) = entry.found() else { return Vec::new() };
    let row = |(rank, prediction): (usize, &Prediction)| {
        vec![
            if rank == 0 { entry.file().to_owned() } else { String::new() },
            prediction.class.to_string(),
            prediction.label.clone(),
            format!("{:.1} %", 100.0 * prediction.probability),
            format!("{:.3}", prediction.logit),
        ]
    };
    predictions.iter().enumerate().map(row).collect()
}
