//! `camshaft labels`.

use std::process::ExitCode;

use camshaft::Error;
use camshaft::labels::{LabelError, Labels};
use camshaft::sources::Source;
use serde_json::json;

use super::args::LabelsArgs;
use super::options::ModelOptions;
use super::{Usage, stdout};

/// Prints the classes that match, an index and a name a line.
pub fn run(args: &LabelsArgs) -> anyhow::Result<ExitCode> {
    let labels = labels(&args.model)?;
    let found: Vec<(usize, &str)> = match args.query.as_deref() {
        None => labels.iter().enumerate().collect(),
        Some(index) if index.parse::<usize>().is_ok() => {
            let class = labels.find(index).map_err(usage)?;
            labels.get(class).map(|name| (class, name)).into_iter().collect()
        }
        Some(part) => match labels.search(part) {
            found if found.is_empty() => {
                return Err(labels.find(part).err().map_or_else(|| Usage(part.to_owned()).into(), usage));
            }
            found => found,
        },
    };
    for (class, name) in found {
        if args.json {
            stdout::json(&json!({"class": class, "name": name}))?;
        } else {
            stdout::line(&format!("{class:>5}  {name}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The names of a model's classes. Torchvision's models have ImageNet's and need not be downloaded to tell.
fn labels(model: &ModelOptions) -> Result<Labels, Error> {
    match (&model.weights, &model.labels) {
        (Source::Torchvision(_), None) => Ok(Labels::imagenet()),
        _ => Ok(model.on_cpu()?.labels().clone()),
    }
}

/// A class that is not there is a mistake in the command line.
fn usage(error: LabelError) -> anyhow::Error {
    Usage(Error::from(error).to_string()).into()
}
