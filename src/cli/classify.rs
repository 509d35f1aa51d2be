//! `camshaft classify`.

use std::process::ExitCode;

use camshaft::engine::{Explanation, Prediction, Request};
use serde::Serialize;

use super::args::ClassifyArgs;
use super::run::{Run, exit_code};
use super::{stdout, table};

/// What `--json` prints of one input.
#[derive(Serialize)]
struct Entry<'a> {
    file: &'a str,
    #[serde(flatten)]
    status: Status<'a>,
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Status<'a> {
    Ok { predictions: &'a [Prediction] },
    Error { message: &'a str },
}

/// Names the most probable classes of each input.
pub fn run(args: &ClassifyArgs) -> anyhow::Result<ExitCode> {
    let engine = args.input.engine(args.input.recipe()?, &args.model)?;
    let run = Run::new(&engine, &args.inputs, None);
    let mut rows = Vec::new();
    let failed = run.each(&Request::top(0), |name, outcome| {
        if args.json {
            let status = match outcome {
                Ok((_, explanation)) => Status::Ok { predictions: top(explanation, args.top) },
                Err(message) => Status::Error { message },
            };
            stdout::json(&Entry { file: name, status })?;
        } else if let Ok((_, explanation)) = outcome {
            for (rank, prediction) in top(explanation, args.top).iter().enumerate() {
                let file = if rank == 0 { name.to_owned() } else { String::new() };
                let percent = format!("{:.1} %", 100.0 * prediction.probability);
                rows.push(vec![
                    file,
                    prediction.class.to_string(),
                    prediction.label.clone(),
                    percent,
                    format!("{:.3}", prediction.logit),
                ]);
            }
        }
        Ok(Ok(()))
    })?;
    if !rows.is_empty() {
        stdout::unless_closed(stdout::line(&table::table(
            &["image", "class", "name", "probability", "logit"],
            &["class", "probability", "logit"],
            rows,
        )))?;
    }
    Ok(exit_code(failed, run.len()))
}

fn top(explanation: &Explanation, k: u32) -> &[Prediction] {
    &explanation.predictions[..explanation.predictions.len().min(k as usize)]
}
