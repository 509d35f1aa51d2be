//! `camshaft evaluate`.

use std::path::PathBuf;
use std::process::ExitCode;

use camshaft::Error;
use camshaft::cam::{Method, Score, Target};
use camshaft::engine::{ClassMap, Engine, Explanation, Prediction, Request};
use camshaft::metrics::{Measured, Metric, MetricsError, Options, Probe, Subject, Summary, measure_each};
use camshaft::pipeline::Explained;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::inputs::Inputs;
use super::measures::MeasureOptions;
use super::methods::{MethodOptions, Work};
use super::options::{InputOptions, ModelOptions};
use super::run::{Entry, Finished, Outcome, Run, Tally};
use super::truths::Truths;
use super::{Usage, interrupt, stdout, table};

const EXAMPLES: &str = "Examples:
  camshaft evaluate photos --compare all                      every method, by what the network makes of changed photographs
  camshaft evaluate photos --annotations boxes.csv            the annotated classes, and whether maps are where the objects are
  camshaft evaluate photos -m cam,layercam --metrics road     one measure of two methods
  camshaft evaluate --annotations photos/masks.json --json    the annotated images, one JSON object a line, the summary last

Annotations are JSON, CSV or COCO's boxes; docs/methods.md has the forms, and says what each measure is.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct EvaluateArgs {
    #[command(flatten)]
    inputs: Inputs,
    /// File that says where objects are: their classes are evaluated, in the images that it names
    #[arg(short, long, value_name = "FILE")]
    annotations: Option<PathBuf>,
    /// Class to evaluate, by index or name (see `camshaft labels`); may be repeated. Default: the annotated classes of an image, else
    /// its most probable one
    #[arg(short, long = "class", value_name = "CLASS")]
    classes: Vec<String>,
    /// Print one JSON object for each image, then one with the summary, instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    measures: MeasureOptions,
    #[command(flatten)]
    methods: MethodOptions,
    #[command(flatten)]
    input: InputOptions,
    #[command(flatten)]
    model: ModelOptions,
}

/// What `--json` prints of an image.
#[derive(Serialize)]
struct Classes {
    classes: Vec<ClassEntry>,
}

/// One class of an image.
#[derive(Serialize)]
struct ClassEntry {
    class: usize,
    name: String,
    probability: f32,
    methods: Vec<MethodEntry>,
}

#[derive(Serialize)]
struct MethodEntry {
    method: Method,
    #[serde(flatten)]
    values: Map<String, Value>,
    #[serde(skip)]
    measured: Measured,
}

/// What is asked of every image.
struct Job<'a> {
    engine: &'a Engine,
    truths: Option<Truths>,
    request: Request,
    methods: Vec<Method>,
    metrics: Vec<Metric>,
    options: Options,
}

/// Measures the maps of each input and prints the means.
pub fn run(args: &EvaluateArgs) -> anyhow::Result<ExitCode> {
    let engine = &args.input.engine(args.input.recipe()?, &args.model)?;
    let find = |name: &String| {
        engine.labels().find(name).map_err(|error| Usage(format!("--class: {error}; `camshaft labels` lists the names")))
    };
    let classes = args.classes.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let request = if classes.is_empty() { Request::top(1) } else { Request::classes(classes.iter().map(usize::to_string)) };
    let Work { request, methods, .. } = args.methods.apply(request, engine)?;
    let mut truths = args.annotations.as_ref().map(|path| Truths::open(path, engine, &classes)).transpose()?;
    let run = match &truths {
        Some(truths) if args.inputs.is_empty() => Run::of_files(engine, truths.images(), args.model.workers()),
        _ => Run::new(engine, &args.inputs, None, args.model.workers())?,
    };
    if let Some(truths) = &mut truths {
        truths.sort_to(&run.names())?;
    }
    let (metrics, options) = (args.measures.metrics(truths.as_ref())?, args.measures.options(args.methods.compat));
    let job = Job { engine, truths, request, methods, metrics, options };
    let mut summaries = vec![Summary::default(); job.methods.len()];
    // Where annotations decide about the classes, maps come later, image by image.
    let first = if job.truths.is_some() { Request::top(0) } else { job.request.clone() };
    let mut reader = true; // who closes the pipe has seen enough
    let tally = run.each(
        &first,
        false,
        |place| job.truths.as_ref().is_some_and(|truths| truths.lack(place)),
        |place, file, outcome| job.finish(place, file, outcome),
        |_, entry| {
            for class in entry.found().map_or(&[][..], |found| &found.classes) {
                summaries.iter_mut().zip(&class.methods).for_each(|(summary, one)| summary.add(&one.measured, &job.options));
            }
            if args.json && reader {
                reader = stdout::unless_closed(stdout::json(&entry))?;
            }
            Ok(())
        },
    )?;
    let shown = if args.json { stdout::json(&job.summary(&summaries, &tally)) } else { stdout::line(&job.table(&summaries)) };
    stdout::unless_closed(shown)?;
    Ok(tally.exit_code(""))
}

impl Job<'_> {
    /// Measures one image; `None` once the run is interrupted, since an image may take long.
    fn finish(&self, place: usize, file: &str, outcome: Outcome) -> Option<Finished<Entry<Classes>>> {
        let measured = outcome.and_then(|Explained { explanation, .. }| {
            self.classes(place, explanation).map_err(|error| format!("{file}: {error}"))
        });
        Some(Entry::finished(file, measured.transpose()?))
    }

    /// The classes of an image that are evaluated.
    fn classes(&self, place: usize, explanation: Explanation) -> anyhow::Result<Option<Classes>> {
        let (explanation, known) = match &self.truths {
            None => (explanation, Vec::new()),
            Some(truths) => {
                let known = truths.of(place, explanation.input.transform())?;
                let request = self.request.clone().about(known.iter().map(|known| known.class.to_string()));
                (self.engine.explain_inputs(&[&explanation.input], &request)?.swap_remove(0), known) // one for one
            }
        };
        let score = |map: &ClassMap| Target::of_class(map.prediction.class).with_score(Score::Probability);
        let truth = |map: &ClassMap| known.iter().find(|known| known.class == map.prediction.class).map(|known| &known.truth);
        let subjects: Vec<_> =
            explanation.maps.iter().map(|map| Subject { map, target: score(map), truth: truth(map) }).collect();
        let Some(first) = explanation.maps.first() else { return Ok(Some(Classes { classes: Vec::new() })) };
        let probe = Probe::new(self.engine, &explanation, first.prediction.class).stop_when(&interrupt::requested);
        let measured = match measure_each(&probe, &subjects, &self.metrics, &self.options) {
            Err(Error::Metrics(MetricsError::Stopped)) => return Ok(None),
            measured => measured?,
        };
        // The maps of a class follow each other, one for each method.
        let mut measured = measured.into_iter();
        let class = |maps: &[ClassMap]| {
            let Prediction { class, ref label, probability, .. } = maps[0].prediction;
            let methods = maps.iter().zip(&mut measured).map(|(map, measured)| self.entry(map.method, measured)).collect();
            ClassEntry { class, name: label.clone(), probability, methods }
        };
        Ok(Some(Classes { classes: explanation.maps.chunks(self.methods.len().max(1)).map(class).collect() }))
    }

    fn entry(&self, method: Method, measured: Measured) -> MethodEntry {
        let value = |metric: &Metric| Some((metric.to_string(), json!(measured.value(*metric)?)));
        MethodEntry { method, values: self.metrics.iter().filter_map(value).collect(), measured }
    }

    /// The last line of `--json`.
    fn summary(&self, summaries: &[Summary], tally: &Tally) -> Value {
        let metrics = |summary: &Summary| {
            let mean = |metric: &Metric| {
                let (mean, maps) = summary.value(*metric)?;
                let mut entry = json!({ "mean": mean, "maps": maps });
                if let (Metric::MaxBoxAcc, Some(threshold)) = (metric, summary.box_threshold()) {
                    entry["threshold"] = json!(threshold);
                }
                Some((metric.to_string(), entry))
            };
            self.metrics.iter().filter_map(mean).collect::<Map<_, _>>()
        };
        let methods: Vec<Value> = self
            .methods
            .iter()
            .zip(summaries)
            .map(|(method, summary)| json!({ "method": method, "metrics": metrics(summary) }))
            .collect();
        json!({ "summary": {
            "model": self.engine.model().network().architecture().to_string(),
            "device": self.engine.device(),
            "images": tally.done(),
            "failed": tally.failed,
            "complete": tally.is_complete(),
            "options": self.options,
            "methods": methods,
        }})
    }

    /// One row a method, one column a measure.
    fn table(&self, summaries: &[Summary]) -> String {
        let better = |metric: &Metric| if metric.higher_is_better() { "higher" } else { "lower" };
        let names: Vec<&str> = self.metrics.iter().map(|metric| metric.name()).collect();
        let header = [&["method"][..], &names, &["maps"]].concat();
        let row = |(method, summary): (&Method, &Summary)| {
            let found: Vec<_> = self.metrics.iter().map(|metric| summary.value(*metric)).collect();
            let maps = found.iter().flatten().map(|(_, maps)| *maps).max().unwrap_or(0);
            let cell = |found: Option<(f64, u64)>| found.map_or("-".to_owned(), |(mean, _)| format!("{mean:.3}"));
            [vec![method.to_string()], found.into_iter().map(cell).collect(), vec![maps.to_string()]].concat()
        };
        let hint = [
            vec!["(better)".to_owned()],
            self.metrics.iter().map(|metric| better(metric).to_owned()).collect(),
            vec![String::new()],
        ];
        let rows = std::iter::once(hint.concat()).chain(self.methods.iter().zip(summaries).map(row));
        table::table(&header, &header[1..], rows)
    }
}
