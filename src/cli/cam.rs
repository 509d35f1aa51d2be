//! `camshaft cam`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use camshaft::cam::Target;
use camshaft::engine::{ClassMap, Engine, Explanation, Request};
use camshaft::input::Picture;
use camshaft::output::{
    Artifact, Artifacts, Asked, AskedClass, AskedClasses, ClassEntry, ImageEntry, Manifest, MapSize, Model, Outcome, OutputNames,
    Record, Start, create_folder, write_npy, write_png,
};
use camshaft::pipeline::Explained;
use camshaft::render::{RenderError, Scene, Style, View};
use rayon::prelude::*;

use super::args::CamArgs;
use super::run::{self, Finished, Run};
use super::table::Results;
use super::{Usage, stdout};

/// Explains each input, writes its pictures and maps, then the manifest.
pub fn run(args: &CamArgs) -> anyhow::Result<ExitCode> {
    let style = Style { colormap: args.colormap, alpha: args.alpha, normalisation: args.normalise };
    let mut save = Vec::new();
    args.save.iter().for_each(|kind| {
        if !save.contains(kind) {
            save.push(*kind)
        }
    });
    let request = match &args.classes[..] {
        [] => Request::top(args.top as usize),
        classes => Request::classes(classes),
    };
    let recipe = args.input.recipe()?;
    let start = match (args.force, args.resume) {
        (true, _) => Start::Replace,
        (_, true) => Start::Resume,
        _ => Start::New,
    };
    // Each part of a run that is spread has a folder of its own.
    let out = &args.inputs.shard.map_or_else(|| args.out.clone(), |shard| args.out.join(shard.folder()));
    Record::check(out, start)?;
    let engine = args.input.engine(recipe, &args.model)?;
    let targets = engine.resolve(&request);
    let targets = targets.map_err(|error| Usage(format!("--class: {error}; `camshaft labels` lists the names")))?;
    let run = Run::new(&engine, &args.inputs, Some(&args.out), args.model.workers())?;

    // Where the device draws, the finished pictures come back with the maps; else the workers draw, side by side.
    let drawn = save.contains(&Artifact::Overlay) && args.view == View::Crop && engine.draws_overlays();
    let request = if drawn { request.overlay(style) } else { request };
    let named = |targets: Vec<Target>| AskedClasses::Classes(targets.iter().map(AskedClass::from).collect());
    let asked = Asked { classes: targets.map_or(AskedClasses::Top(args.top as usize), named), save: save.clone() };
    let mut head = Manifest::new(model(args, &engine), asked, recipe, args.view, style, engine.device());
    head.shard = args.inputs.shard;
    create_folder(out)?;
    let mut record = Record::open(out, head, start)?;
    let names = run.names();
    let done: Vec<Option<String>> = names.iter().enumerate().map(|(place, name)| record.claim(place, name)).collect();
    let names = OutputNames::beside(&names, &done, record.unclaimed());
    let mut table = Results::new(&["image", "class", "name", "probability", "logit", "written"]);
    let mut reader = true; // who closes the pipe still gets the files
    let finish = |index, file: &str, outcome: run::Outcome| {
        let result = outcome.and_then(|Explained { photo, explanation }| {
            // Where a run goes on, files that are not on record are left over from its end.
            let force = start != Start::New;
            Job { args, out, force, save: &save, style, names: &names, index, photo, explanation: &explanation }
                .write()
                .map(|results| Outcome::Ok { transform: *explanation.input.transform(), results })
                .map_err(|message| format!("{file}: {message}"))
        });
        let fault = result.as_ref().err().cloned();
        let outcome = result.unwrap_or_else(|message| Outcome::Error { message });
        Finished { shown: ImageEntry { file: file.to_owned(), outcome }, fault }
    };
    let skip = |place: usize| done[place].is_some();
    let tally = run.each(&request, args.view.needs_photo(), skip, finish, |place, entry| {
        record.add(place, &entry)?;
        if args.json {
            reader = reader && stdout::unless_closed(stdout::json(&entry))?;
        } else if reader {
            reader = stdout::unless_closed(table.add(table_rows(out, &entry)))?;
        }
        Ok(())
    })?;
    let path = record.finish(tally.is_complete())?;
    if reader {
        stdout::unless_closed(table.print())?;
    }
    eprintln!("manifest: {}", path.display());
    Ok(tally.exit_code("; go on with the same command and --resume"))
}

fn model(args: &CamArgs, engine: &Engine) -> Model {
    let architecture = engine.model().network().architecture();
    Model {
        name: architecture.to_string(),
        source: args.model.weights.to_string(),
        classes: architecture.classes(),
        weights: engine.model().file().fingerprint(),
    }
}

/// One explained picture to be written.
struct Job<'a> {
    args: &'a CamArgs,
    out: &'a Path,
    force: bool,
    save: &'a [Artifact],
    style: Style,
    names: &'a OutputNames,
    index: usize,
    /// Where the view needs it.
    photo: Option<Picture>,
    explanation: &'a Explanation,
}

impl Job<'_> {
    /// Writes all classes of the picture, on all threads; what was written stays if one fails.
    fn write(&self) -> Result<Vec<ClassEntry>, String> {
        let entries = self.explanation.maps.par_iter().map(|map| self.write_class(map).map_err(|error| error.to_string()));
        entries.collect()
    }

    /// What maps are drawn on; cuts the crop if nobody has.
    fn scene(&self) -> Result<Scene<'_>, RenderError> {
        let input = &self.explanation.input;
        match &self.photo {
            Some(photo) => Scene::new(self.args.view, &photo.rgb, input.crop(), input.transform()),
            None => Scene::of_crop(input.crop(), input.transform()),
        }
    }

    fn write_class(&self, class: &ClassMap) -> anyhow::Result<ClassEntry> {
        let prediction = &class.prediction;
        let mut artifacts = Artifacts::default();
        for &kind in self.save {
            let file =
                self.names.file(self.index, prediction.class, &prediction.label, kind).context("no name for this input")?;
            let path = self.out.join(&file);
            let force = self.force;
            match kind {
                Artifact::Overlay => match &class.overlay {
                    Some(overlay) => write_png(&path, overlay, force)?,
                    None => write_png(&path, &self.scene()?.overlay(&class.map, &self.style)?, force)?,
                },
                Artifact::Heatmap => write_png(&path, &self.scene()?.heatmap(&class.map, &self.style)?, force)?,
                Artifact::Cam => write_npy(&path, &class.map, force)?,
                Artifact::CamFull => {
                    let (h, w) = (self.explanation.input.h(), self.explanation.input.w());
                    write_npy(&path, &class.map.upsample(h, w), force)?;
                }
                kind => anyhow::bail!("cannot write {}", kind.suffix()),
            }
            let slot = match kind {
                Artifact::Overlay => &mut artifacts.overlay,
                Artifact::Heatmap => &mut artifacts.heatmap,
                Artifact::Cam => &mut artifacts.cam,
                _ => &mut artifacts.cam_full,
            };
            *slot = Some(file);
        }
        Ok(ClassEntry {
            class: prediction.class,
            name: Some(prediction.label.clone()),
            logit: prediction.logit,
            probability: prediction.probability,
            map_size: MapSize { h: class.map.h(), w: class.map.w() },
            map: class.map.stats()?,
            artifacts,
        })
    }
}

/// One row per class: where its most telling file lies.
fn table_rows(folder: &Path, entry: &ImageEntry) -> Vec<Vec<String>> {
    let Outcome::Ok { results, .. } = &entry.outcome else { return Vec::new() };
    let row = |(rank, class): (usize, &ClassEntry)| {
        let Artifacts { overlay, heatmap, cam, cam_full } = &class.artifacts;
        let first = overlay.as_ref().or(heatmap.as_ref()).or(cam.as_ref()).or(cam_full.as_ref());
        vec![
            if rank == 0 { entry.file.clone() } else { String::new() },
            class.class.to_string(),
            class.name.clone().unwrap_or_default(),
            format!("{:.1} %", 100.0 * class.probability),
            format!("{:.3}", class.logit),
            first.map_or_else(String::new, |file| folder.join(file).display().to_string()),
        ]
    };
    results.iter().enumerate().map(row).collect()
}
