//! What the annotations say of each input.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{anyhow, bail};
use camshaft::engine::Engine;
use camshaft::input::CropTransform;
use camshaft::labels::Labels;
use camshaft::metrics::{Annotated, Annotations, Mask, Object, Truth};

use super::stderr;

/// Names told of when something is missing.
const TOLD: usize = 3;

/// Annotations, sorted to the inputs of a run.
pub struct Truths {
    annotations: Annotations,
    /// For each of the annotated images, its objects' classes.
    classes: Vec<Vec<usize>>,
    /// For each input, which annotated image it is.
    places: Vec<Option<usize>>,
}

/// The objects of one class in a picture.
pub struct Known {
    pub class: usize,
    pub truth: Truth,
}

impl Truths {
    /// Reads a file and looks its classes up, those in `only` alone if there are any: objects of others are left out.
    ///
    /// # Errors
    /// If the file cannot be used, or names a class that the network does not have.
    pub fn open(path: &Path, engine: &Engine, only: &[usize]) -> anyhow::Result<Self> {
        let mut annotations = Annotations::open(path)?;
        let mut classes = Vec::new();
        for image in &mut annotations.images {
            let mut found = Vec::new();
            for object in &image.objects {
                found.push(class_of(path, object, engine.labels())?);
            }
            let kept = |class: &usize| only.is_empty() || only.contains(class);
            let mut keep = found.iter().map(kept);
            image.objects.retain(|_| keep.next().unwrap_or(false));
            found.retain(kept);
            classes.push(found);
        }
        Ok(Self { annotations, classes, places: Vec::new() })
    }

    /// Whether an object has a mask.
    pub fn have_masks(&self) -> bool {
        self.annotations.images.iter().flat_map(|image| &image.objects).any(|object| object.mask.is_some())
    }

    /// The annotated images, beside the file: inputs of a run that was given none.
    pub fn images(&self) -> Vec<PathBuf> {
        let folder = self.annotations.path.parent().unwrap_or(Path::new(""));
        self.annotations.images.iter().map(|image| folder.join(&image.image)).collect()
    }

    /// Finds each input among the annotated images: the one whose path is the longest end of the input's. What is left over on either
    /// side is told on stderr.
    ///
    /// # Errors
    /// If two inputs are the same annotated image, or none is one.
    pub fn sort_to(&mut self, inputs: &[String]) -> anyhow::Result<()> {
        let images = &self.annotations.images;
        let mut by_name: HashMap<_, Vec<usize>> = HashMap::new();
        for (place, image) in images.iter().enumerate() {
            by_name.entry(image.image.file_name()).or_default().push(place);
        }
        let longest = |input: &String| {
            let input = Path::new(input);
            let fits = |place: &&usize| input.ends_with(plain(&images[**place].image));
            let same_name = by_name.get(&input.file_name())?;
            same_name.iter().filter(fits).max_by_key(|place| images[**place].image.components().count()).copied()
        };
        let places: Vec<Option<usize>> = inputs.iter().map(longest).collect();
        let path = self.annotations.path.display();
        let mut owners: HashMap<usize, &String> = HashMap::new();
        for (input, place) in inputs.iter().zip(&places) {
            let Some(place) = *place else { continue };
            if let Some(other) = owners.insert(place, input) {
                let image = images[place].image.display();
                bail!("{path}: image `{image}` may be `{other}` or `{input}`; write more of its path into the annotations");
            }
        }
        let strangers: Vec<&String> =
            inputs.iter().zip(&places).filter(|(_, place)| place.is_none()).map(|(input, _)| input).collect();
        let unseen: Vec<String> = (0..images.len())
            .filter(|place| !owners.contains_key(place))
            .map(|place| images[place].image.display().to_string())
            .collect();
        if owners.is_empty() {
            bail!("{path}: no input is annotated: there are {}, and the file has {}", told(&strangers), told(&unseen));
        }
        if !strangers.is_empty() {
            stderr::line(format_args!("note: {} inputs without annotations are left out: {}", strangers.len(), told(&strangers)));
        }
        if !unseen.is_empty() {
            stderr::line(format_args!(
                "warning: {path}: {} annotated images are not among the inputs: {}",
                unseen.len(),
                told(&unseen)
            ));
        }
        self.places = places;
        Ok(())
    }

    /// Whether nothing is known of input `place`, or nothing about the classes that count.
    pub fn lack(&self, place: usize) -> bool {
        self.places.get(place).copied().flatten().is_none_or(|image| self.classes[image].is_empty())
    }

    /// The objects of input `place`, class by class, masks read.
    ///
    /// # Errors
    /// If a box or a mask does not fit the picture; the message names file and entry.
    pub fn of(&self, place: usize, transform: &CropTransform) -> anyhow::Result<Vec<Known>> {
        let Some(image) = self.places.get(place).copied().flatten() else { return Ok(Vec::new()) };
        let (Annotated { objects, .. }, classes) = (&self.annotations.images[image], &self.classes[image]);
        let mut known = Vec::new();
        for (at, &class) in classes.iter().enumerate().filter(|(at, class)| !classes[..*at].contains(class)) {
            let same: Vec<&Object> =
                objects.iter().zip(classes).skip(at).filter(|(_, other)| **other == class).map(|(o, _)| o).collect();
            known.push(Known { class, truth: self.truth(&same, transform)? });
        }
        Ok(known)
    }

    /// All objects of one class: boxes, or one mask for all of them.
    fn truth(&self, objects: &[&Object], transform: &CropTransform) -> anyhow::Result<Truth> {
        let path = self.annotations.path.display();
        let named = |object: &Object, problem: String| anyhow!("{path}: {}: {problem}", object.entry);
        let boxes: Vec<_> = objects.iter().filter_map(|object| object.bounds).collect();
        let mut masks: Option<Mask> = None;
        for object in objects {
            let Some(file) = &object.mask else { continue };
            let mask = self.annotations.mask(file)?;
            match &mut masks {
                None => masks = Some(mask),
                Some(all) => all.or(&mask).map_err(|[a, b]| {
                    named(
                        object,
                        format!("its mask is {}x{} pixels, that before it {}x{}; expected one size", b.0, b.1, a.0, a.1),
                    )
                })?,
            }
        }
        let made = match &masks {
            Some(_) if !boxes.is_empty() => {
                return Err(named(
                    objects[0],
                    "objects of this class have boxes and masks, expected one of them in an image".to_owned(),
                ));
            }
            Some(mask) => Truth::of_mask(mask, transform),
            None => Truth::of_boxes(boxes, transform),
        };
        // One object at a time tells which is at fault.
        made.map_err(|error| {
            let faulty =
                |object: &&&Object| object.bounds.is_some_and(|bounds| Truth::of_boxes(vec![bounds], transform).is_err());
            named(objects.iter().find(faulty).unwrap_or(&objects[0]), error.to_string())
        })
    }
}

/// The class of an object.
fn class_of(path: &Path, object: &Object, labels: &Labels) -> anyhow::Result<usize> {
    labels.find(&object.class).map_err(|error| {
        anyhow!("{}: {}: {error}; `camshaft labels` lists the names, and --labels takes others", path.display(), object.entry)
    })
}

/// A path without `./`.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// The first few names.
fn told(names: &[impl AsRef<str>]) -> String {
    let first: Vec<&str> = names.iter().take(TOLD).map(AsRef::as_ref).collect();
    format!("{}{}", first.join(", "), if names.len() > TOLD { ", ..." } else { "" })
}
