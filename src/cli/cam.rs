//! `camshaft cam`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use camshaft::engine::{ClassMap, Engine, Explanation, Request};
use camshaft::input::Picture;
use camshaft::output::{
    Artifact, Artifacts, ClassEntry, ImageEntry, Manifest, MapSize, Model, Outcome, OutputNames, create_folder, write_npy,
    write_png,
};
use camshaft::render::{Scene, Style};
use rayon::prelude::*;

use super::args::CamArgs;
use super::run::{Run, exit_code};
use super::{Usage, stdout, table};

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
    Manifest::check_free(&args.out, args.force)?;
    let engine = args.input.engine(recipe, &args.model)?;
    engine.resolve(&request).map_err(|error| Usage(format!("--class: {error}; `camshaft labels` lists the names")))?;

    create_folder(&args.out)?;
    if args.force {
        Manifest::remove(&args.out)?;
    }
    let run = Run::new(&engine, &args.inputs, Some(&args.out));
    let names = OutputNames::new(&run.names());
    let mut manifest = Manifest::new(model(args, &engine), recipe, args.view, style, engine.device());
    let mut rows = Vec::new();
    let mut reader = true; // who closes the pipe still gets the files
    let failed = run.each(&request, |file, outcome| {
        let index = manifest.images.len();
        let result = match outcome {
            Ok((picture, explanation)) => Job { args, save: &save, style, names: &names, index, picture, explanation }
                .write()
                .map(|results| Outcome::Ok { transform: *explanation.input.transform(), results })
                .map_err(|message| format!("{file}: {message}")),
            Err(message) => Err(message.to_owned()),
        };
        let own_fault = result.as_ref().map(drop).map_err(String::clone);
        let outcome = result.unwrap_or_else(|message| Outcome::Error { message });
        let entry = ImageEntry { file: file.to_owned(), outcome };
        if args.json {
            reader = reader && stdout::unless_closed(stdout::json(&entry))?;
        } else {
            rows.extend(table_rows(&args.out, &entry));
        }
        manifest.images.push(entry);
        Ok(own_fault)
    })?;
    let path = manifest.write(&args.out, args.force)?;
    eprintln!("manifest: {}", path.display());
    if !rows.is_empty() {
        let header = ["image", "class", "name", "probability", "logit", "written"];
        stdout::unless_closed(stdout::line(&table::table(&header, &["class", "probability", "logit"], rows)))?;
    }
    Ok(exit_code(failed, run.len()))
}

fn model(args: &CamArgs, engine: &Engine) -> Model {
    let architecture = engine.model().network().architecture();
    Model { name: architecture.to_string(), source: args.model.weights.to_string(), classes: architecture.classes() }
}

/// One explained picture to be written.
struct Job<'a> {
    args: &'a CamArgs,
    save: &'a [Artifact],
    style: Style,
    names: &'a OutputNames,
    index: usize,
    picture: &'a Picture,
    explanation: &'a Explanation,
}

impl Job<'_> {
    /// Writes all classes of the picture, on all threads; what was written stays if one fails.
    fn write(&self) -> Result<Vec<ClassEntry>, String> {
        let input = &self.explanation.input;
        let scene = Scene::new(self.args.view, &self.picture.rgb, input.crop(), input.transform());
        let scene = scene.map_err(|error| error.to_string())?;
        let entries =
            self.explanation.maps.par_iter().map(|map| self.write_class(&scene, map).map_err(|error| error.to_string()));
        entries.collect()
    }

    fn write_class(&self, scene: &Scene, class: &ClassMap) -> anyhow::Result<ClassEntry> {
        let prediction = &class.prediction;
        let mut artifacts = Artifacts::default();
        for &kind in self.save {
            let file =
                self.names.file(self.index, prediction.class, &prediction.label, kind).context("no name for this input")?;
            let path = self.args.out.join(&file);
            let force = self.args.force;
            match kind {
                Artifact::Overlay => write_png(&path, &scene.overlay(&class.map, &self.style)?, force)?,
                Artifact::Heatmap => write_png(&path, &scene.heatmap(&class.map, &self.style)?, force)?,
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
