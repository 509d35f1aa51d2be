//! `camshaft cam`.

use std::borrow::Cow;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use camshaft::cam::{FoundBox, Method, Smoothing, Target};
use camshaft::engine::{ClassMap, Engine, Explanation, Request};
use camshaft::input::Picture;
use camshaft::output::{
    Artifact, Artifacts, Asked, AskedClass, AskedClasses, Boxes, ClassEntry, ImageEntry, Manifest, MapSize, Model, Outcome,
    OutputNames, Record, Start, create_folder, write_npy, write_png,
};
use camshaft::pipeline::Explained;
use camshaft::render::{Scene, Tile, View, sheet};
use image::RgbImage;
use rayon::prelude::*;

use super::args::CamArgs;
use super::boxes;
use super::draw::{Drawing, Look};
use super::methods::Work;
use super::run::{self, Finished, Run};
use super::table::Results;
use super::{stderr, stdout};

/// Maps in one row of a contact sheet.
const COLUMNS: usize = 7;

/// Explains each input, writes its pictures and maps, then the manifest.
pub fn run(args: &CamArgs) -> anyhow::Result<ExitCode> {
    let look = Look::new(args)?;
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
    let Work { request, methods, targets } = args.methods.apply(request, &engine)?;
    let run = Run::new(&engine, &args.inputs, Some(&args.out), args.model.workers())?;

    // Where the device draws, the finished pictures come back with the maps; else the workers draw, side by side.
    // It knows no library's look, and of maps that take more than one pass it has none.
    let smoothing = args.methods.smoothing();
    let one_pass = smoothing == Smoothing::default() && !methods.iter().any(|method| method.masks());
    let shows = save.contains(&Artifact::Overlay) || args.grid || args.methods.compares();
    let drawn = shows && one_pass && args.methods.compat.is_none() && args.view == View::Crop && engine.draws_overlays();
    let request = if drawn { look.ask(request, methods[0]) } else { request };
    let named = |targets: Vec<Target>| AskedClasses::Classes(targets.iter().map(AskedClass::from).collect());
    let asked = Asked { classes: targets.map_or(AskedClasses::Top(args.top as usize), named), save: save.clone() };
    let mut head = Manifest::new(model(args, &engine), asked, recipe, args.view, look.style(methods[0]), engine.device());
    head.method = methods.iter().map(|method| method.name()).collect::<Vec<_>>().join(",");
    head.score = args.methods.score;
    head.compat = args.methods.compat;
    (head.aug_smooth, head.eigen_smooth) = (smoothing.augment, smoothing.eigen);
    head.masking = methods.iter().any(|method| method.masks()).then(|| args.methods.masking());
    head.grid = args.grid || args.methods.compares();
    let boxes = &args.boxes.boxes();
    head.boxes = boxes.clone();
    head.shard = args.inputs.shard;
    create_folder(out)?;
    let mut record = Record::open(out, head, start)?;
    let names = run.names();
    let done: Vec<Option<String>> = names.iter().enumerate().map(|(place, name)| record.claim(place, name)).collect();
    let names = OutputNames::beside(&names, &done, record.unclaimed());
    let special = args.methods.is_special();
    let mut columns = if special { SPECIAL } else { PLAIN }.to_vec();
    columns.splice(5..5, boxes.is_some().then_some(BOX));
    let mut table = Results::new(columns);
    let mut reader = true; // who closes the pipe still gets the files
    let finish = |index, file: &str, outcome: run::Outcome| {
        let result = outcome.and_then(|Explained { photo, explanation }| {
            // Where a run goes on, files that are not on record are left over from its end.
            let force = start != Start::New;
            let (methods, explanation) = (&methods[..], &explanation);
            let job = Job { args, out, force, save: &save, look, methods, boxes, names: &names, index, photo, explanation };
            job.write().map_err(|error| format!("{file}: {error}"))
        });
        let fault = result.as_ref().err().cloned();
        let outcome = result.unwrap_or_else(|message| Outcome::Error { message });
        Some(Finished { shown: ImageEntry { file: file.to_owned(), outcome }, fault })
    };
    let skip = |place: usize| done[place].is_some();
    let (start_time, mut forwards) = (Instant::now(), 0);
    let tally = run.each(&request, args.view.needs_photo(), skip, finish, |place, entry| {
        record.add(place, &entry)?;
        if let Outcome::Ok { forwards: more, .. } = entry.outcome {
            forwards += more;
        }
        if args.json {
            reader = reader && stdout::unless_closed(stdout::json(&entry))?;
        } else if reader {
            reader = stdout::unless_closed(table.add(table_rows(out, &entry, special)))?;
        }
        Ok(())
    })?;
    let path = record.finish(tally.is_complete())?;
    if reader {
        stdout::unless_closed(table.print())?;
    }
    if smoothing.augment || methods.iter().any(|method| method.masks()) {
        let seconds = start_time.elapsed().as_secs_f64();
        stderr::line(format_args!("{forwards} forward passes in {seconds:.1} s, {:.1} a second", forwards as f64 / seconds));
    }
    stderr::line(format_args!("manifest: {}", path.display()));
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
    look: Look,
    methods: &'a [Method],
    boxes: &'a Option<Boxes>,
    names: &'a OutputNames,
    index: usize,
    /// Where the view needs it.
    photo: Option<Picture>,
    explanation: &'a Explanation,
}

impl Job<'_> {
    /// Writes all maps of the picture, on all threads, and the sheet; what was written stays if one fails.
    fn write(&self) -> anyhow::Result<Outcome> {
        let input = &self.explanation.input;
        let scene = match &self.photo {
            Some(photo) => Scene::new(self.args.view, &photo.rgb, input.crop(), input.transform()),
            None => Scene::of_crop(input.crop(), input.transform()),
        }?;
        let results = self.explanation.maps.par_iter().map(|map| self.write_class(&scene, map)).collect::<anyhow::Result<_>>()?;
        let is_sheet = self.args.grid || self.args.methods.compares();
        let grid = if is_sheet { Some(self.write_sheet(&scene)?) } else { None };
        let forwards = self.explanation.forwards;
        Ok(Outcome::Ok { transform: *input.transform(), results, forwards, grid })
    }

    fn write_class(&self, scene: &Scene, class: &ClassMap) -> anyhow::Result<ClassEntry> {
        let prediction = &class.prediction;
        let drawing = self.look.drawing(scene, &self.explanation.input, class)?;
        let found = self.find_boxes(&drawing)?;
        let mut artifacts = Artifacts::default();
        for &kind in self.save {
            let file = self.names.file(self.index, &class.target, &class.label, class.method, kind);
            let file = file.context("no name for this input")?;
            let path = self.out.join(&file);
            let force = self.force;
            match kind {
                Artifact::Overlay => write_png(&path, &*self.overlay(scene, class, &drawing, &found)?, force)?,
                Artifact::Heatmap => write_png(&path, &drawing.heatmap()?, force)?,
                Artifact::Cam => write_npy(&path, drawing.cells(), force)?,
                Artifact::CamFull => write_npy(&path, &drawing.pixels(), force)?,
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
            target: class.label.clone(),
            method: class.method,
            value: class.value,
            normalisation: self.look.normalisation(class.method),
            class: prediction.class,
            name: Some(prediction.label.clone()),
            logit: prediction.logit,
            probability: prediction.probability,
            map_size: MapSize { h: class.map.h(), w: class.map.w() },
            map: class.map.stats()?,
            boxes: found,
            artifacts,
        })
    }

    /// Boxes of the map that is drawn, where they were asked for.
    fn find_boxes(&self, drawing: &Drawing) -> anyhow::Result<Option<Vec<FoundBox>>> {
        let find = |boxes| boxes::find(boxes, &drawing.pixels(), &self.explanation.input);
        self.boxes.as_ref().map(find).transpose()
    }

    /// The overlay, by the device if it has drawn it, with boxes where they are to be drawn.
    fn overlay<'m>(
        &self,
        scene: &Scene,
        class: &'m ClassMap,
        drawing: &Drawing,
        found: &Option<Vec<FoundBox>>,
    ) -> anyhow::Result<Cow<'m, RgbImage>> {
        let mut picture = match &class.overlay {
            Some(overlay) => Cow::Borrowed(overlay),
            None => Cow::Owned(drawing.overlay()?),
        };
        if let (Some(boxes @ Boxes { drawn: true, .. }), Some(found)) = (self.boxes, found) {
            scene.mark(picture.to_mut(), &boxes::marks(boxes, found, &class.label))?;
        }
        Ok(picture)
    }

    /// What the network saw, then the maps: of one method side by side, of several a row or more for each target.
    fn write_sheet(&self, scene: &Scene) -> anyhow::Result<String> {
        let explanation = self.explanation;
        let several = self.methods.len() > 1;
        let tile = |class: &ClassMap| {
            let words = match class.target.class() {
                Some(_) => format!("{} {:.1} %", class.label, 100.0 * class.prediction.probability),
                None => class.label.clone(),
            };
            let lines = if several { vec![words, class.method.to_string()] } else { vec![words] };
            let drawing = self.look.drawing(scene, &explanation.input, class)?;
            let picture = self.overlay(scene, class, &drawing, &self.find_boxes(&drawing)?)?.into_owned();
            Ok(Some(Tile { picture, lines }))
        };
        let tiles = explanation.maps.par_iter().map(tile).collect::<anyhow::Result<Vec<_>>>()?;
        let method = if several { String::new() } else { self.methods[0].to_string() };
        let mut first = Some(Tile { picture: explanation.input.crop().clone(), lines: vec!["input".to_owned(), method] });
        let groups = tiles.chunks(if several { self.methods.len() } else { tiles.len().max(1) });
        let rows: Vec<Vec<Option<Tile>>> = groups
            .flat_map(|group| group.chunks(COLUMNS))
            .map(|row| std::iter::once(first.take()).chain(row.iter().cloned()).collect())
            .collect();
        let file = self.names.grid(self.index).context("no name for this input")?;
        write_png(&self.out.join(&file), &sheet(&rows)?, self.force)?;
        Ok(file)
    }
}

const PLAIN: [&str; 6] = ["image", "class", "name", "probability", "logit", "written"];
const SPECIAL: [&str; 6] = ["image", "target", "method", "probability", "value", "written"];
/// The column before the last, where boxes are asked for.
const BOX: &str = "box";

/// One row per map: where its most telling file lies.
fn table_rows(folder: &Path, entry: &ImageEntry, special: bool) -> Vec<Vec<String>> {
    let Outcome::Ok { results, .. } = &entry.outcome else { return Vec::new() };
    let row = |(rank, class): (usize, &ClassEntry)| {
        let Artifacts { overlay, heatmap, cam, cam_full } = &class.artifacts;
        let first = overlay.as_ref().or(heatmap.as_ref()).or(cam.as_ref()).or(cam_full.as_ref());
        let (what, how, value) = if special {
            (class.target.clone(), class.method.to_string(), format!("{:.3}", class.value))
        } else {
            (class.class.to_string(), class.name.clone().unwrap_or_default(), format!("{:.3}", class.logit))
        };
        let mut row = vec![
            if rank == 0 { entry.file.clone() } else { String::new() },
            what,
            how,
            format!("{:.1} %", 100.0 * class.probability),
            value,
        ];
        row.extend(class.boxes.as_deref().map(boxes::in_table));
        row.push(first.map_or_else(String::new, |file| folder.join(file).display().to_string()));
        row
    };
    results.iter().enumerate().map(row).collect()
}
