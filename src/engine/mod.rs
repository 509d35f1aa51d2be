//! The whole way in one place: weights, network, backend, class names; from pictures to maps.

mod backend;
mod builder;
mod device;
mod explanation;
mod expression;
mod measure;
mod request;

pub use builder::{EngineBuilder, LABELS_KEY};
pub use device::{Device, DeviceError};
pub use explanation::{ClassMap, Explanation, Prediction};
pub use measure::{Passes, StepTimes, Timings};
pub use request::{Classes, Request};

use backend::Backend;
use rayon::prelude::*;

use crate::Error;
use crate::bench::GpuFacts;
use crate::cam::{Asked, Found, FoundImage, Map, Method, Score, Selection, Target, Targets};
use crate::input::{Input, Picture, Recipe};
use crate::labels::Labels;
use crate::network::{Model, PlanReport};
use crate::tensor::{Nhwc, Precision};

/// Images that share a forward pass unless the builder says otherwise.
pub const DEFAULT_BATCH: usize = 8;

/// A network, ready to explain pictures. Made by [`Engine::builder`].
///
/// ```
/// use camshaft::engine::{Engine, Request};
/// use camshaft::input::Picture;
///
/// let engine = Engine::builder().build()?; // the bundled demo model
/// let picture = Picture::open("assets/demo/meadow.jpg".as_ref())?;
/// for map in &engine.explain(&[picture], &Request::top(2))?[0].maps {
///     println!("{} {:.1} %", map.prediction.label, 100.0 * map.prediction.probability);
/// }
/// # Ok::<(), camshaft::Error>(())
/// ```
pub struct Engine {
    model: Model,
    backend: Backend,
    fallback: Option<String>,
    /// `fc.bias` `[K]`.
    bias: Vec<f32>,
    labels: Labels,
    recipe: Recipe,
    batch: usize,
}

impl Engine {
    /// Starts from the bundled model, the device that is there, and torchvision's preprocessing.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// The network and its file.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Class names.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// How pictures are prepared.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Images per forward pass, at most.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Where the network runs, in words.
    pub fn device(&self) -> String {
        self.backend.describe()
    }

    /// What the driver says of the GPU that the network runs on; `None` on the processor.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub fn gpu(&self) -> Result<Option<GpuFacts>, Error> {
        self.backend.gpu()
    }

    /// What activations and filters are stored in.
    pub fn precision(&self) -> Precision {
        self.backend.precision()
    }

    /// Threads of the processor that a pass uses; on a GPU 1, which feeds it.
    pub fn threads(&self) -> usize {
        self.backend.threads()
    }

    /// Why [`Device::Auto`] chose the processor, if it did.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// How a pass over `[N, H, W]` images runs that computes `maps` maps of each, and the memory that it takes.
    ///
    /// # Errors
    /// If the images do not fit the network, or no kernel.
    pub fn plan(&self, images: [usize; 3], maps: usize) -> Result<PlanReport, Error> {
        self.backend.plan(images, maps)
    }

    /// The targets that `request` names, if it names any; `None` where the predictions decide. Every method that it asks for can
    /// explain each of them.
    ///
    /// # Errors
    /// [`Error::Label`] for an unknown or ambiguous name or an index beyond the last class, [`Error::Target`] for a class twice in
    /// one target, [`Error::Method`] for a method that cannot explain a target, or that the library asked for does not have.
    pub fn resolve(&self, request: &Request) -> Result<Option<Vec<Target>>, Error> {
        let targets = match request.selection() {
            Classes::Top(_) => None,
            Classes::Named(names) => {
                let mut targets = Vec::with_capacity(names.len());
                for name in names {
                    let target = expression::parse(&self.labels, name, request.asked_score())?;
                    if !targets.contains(&target) {
                        targets.push(target);
                    }
                }
                Some(targets)
            }
        };
        // Whichever classes are on top, what matters to a method is that it is one class.
        let any = [Target::of_class(0).with_score(request.asked_score())];
        let classes = self.labels.len();
        for target in targets.as_deref().unwrap_or(&any) {
            request.asked_methods().iter().try_for_each(|method| method.serves(target, classes, request.asked_library()))?;
        }
        Ok(targets)
    }

    /// What the network is to read of `picture`, by the engine's recipe. Where the network runs on the processor the picture is
    /// resized here, on the calling thread, so that many can be at the same time, and let go of; a CUDA device resizes it itself,
    /// later.
    ///
    /// # Errors
    /// As [`Recipe::apply`].
    pub fn prepare(&self, picture: &Picture) -> Result<Input, Error> {
        let input = self.recipe.apply(picture)?;
        Ok(if self.backend.reads_crops() { input.cut() } else { input })
    }

    /// Class activation maps of `pictures`, in their order: preprocessing, one forward pass per batch, then one map per class
    /// asked for.
    ///
    /// # Errors
    /// A picture that the recipe or the network cannot take, scores that overflow, or an unknown class; nothing is returned
    /// then. To go on after a bad picture, prepare each with [`Engine::prepare`] and call [`Engine::explain_inputs`].
    pub fn explain(&self, pictures: &[Picture], request: &Request) -> Result<Vec<Explanation>, Error> {
        let inputs = pictures.par_iter().map(|picture| self.prepare(picture)).collect::<Result<Vec<_>, _>>()?;
        self.explain_inputs(&inputs.iter().collect::<Vec<_>>(), request)
    }

    /// As [`Engine::explain`], for pictures that are prepared already.
    ///
    /// # Errors
    /// As [`Engine::explain`].
    pub fn explain_inputs(&self, inputs: &[&Input], request: &Request) -> Result<Vec<Explanation>, Error> {
        let mut explanations = Vec::with_capacity(inputs.len());
        self.explain_into(inputs, request, &mut explanations)?;
        Ok(explanations)
    }

    /// As [`Engine::explain_inputs`], adding to `explanations` one after the other, so that those that were finished before an
    /// error are there after it.
    ///
    /// # Errors
    /// As [`Engine::explain`], and faults of the device.
    pub fn explain_into(&self, inputs: &[&Input], request: &Request, explanations: &mut Vec<Explanation>) -> Result<(), Error> {
        let asked = Asked {
            targets: match (self.resolve(request)?, request.selection()) {
                (Some(targets), _) => Targets::Given(targets),
                (None, Classes::Top(k)) => Targets::Top(*k, request.asked_score()),
                (None, Classes::Named(_)) => Targets::Given(Vec::new()),
            },
            methods: request.asked_methods().to_vec(),
            library: request.asked_library(),
        };
        let classes = asked.plain_classes();
        // Class activation maps by themselves have a shorter way.
        let selection = match (&asked.targets, &classes) {
            (Targets::Top(k, Score::Logit), _) if asked.is_plain() => Selection::Top(*k),
            (_, Some(classes)) if asked.is_plain() => Selection::Classes(classes),
            _ => Selection::Asked(&asked),
        };
        for same_size in inputs.chunk_by(|a, b| (a.h(), a.w()) == (b.h(), b.w())) {
            for batch in same_size.chunks(self.batch) {
                let mut found = Found::default();
                let enlarge = request.enlarge(batch[0].h(), batch[0].w());
                let done = self.backend.run(&tensor(batch), selection, enlarge, &mut found);
                for (input, found) in batch.iter().zip(found.into_images()) {
                    explanations.push(self.explanation(input, found, &asked)?);
                }
                done?;
            }
        }
        Ok(())
    }

    /// Names what was found in one picture.
    fn explanation(&self, input: &Input, found: FoundImage, asked: &Asked) -> Result<Explanation, Error> {
        if let Some(class) = found.logits.iter().position(|logit| !logit.is_finite()) {
            return Err(Error::NotFinite { class, value: found.logits[class] });
        }
        let predictions = explanation::rank(&found.logits, &self.labels);
        let targets = asked.targets.of(&found.logits);
        let each = targets.iter().flat_map(|target| asked.methods.iter().map(move |&method| (target, method)));
        let mut enlarged = found.enlarged.into_iter();
        let map = |((class, map), (target, method)): ((usize, Map), (&Target, Method))| {
            Some(ClassMap {
                prediction: predictions.iter().find(|prediction| prediction.class == class)?.clone(),
                target: target.clone(),
                label: expression::describe(&self.labels, target),
                value: target.value(&found.logits),
                method,
                map,
                enlarged: enlarged.next(),
            })
        };
        let maps = found.maps.into_iter().zip(each).filter_map(map).collect();
        Ok(Explanation { input: input.clone(), predictions, maps })
    }

    /// Bias of a class: what the mean of its map lacks to the logit.
    pub fn bias(&self, class: usize) -> Option<f32> {
        self.bias.get(class).copied()
    }
}

/// Inputs of one size as a batch, `[N, H, W, 3]`.
fn tensor(batch: &[&Input]) -> Nhwc {
    let (h, w) = (batch[0].h(), batch[0].w());
    let mut data = Vec::with_capacity(batch.len() * h * w * 3);
    batch.iter().for_each(|input| data.extend_from_slice(&input.tensor()));
    Nhwc::new([batch.len(), h, w, 3], data)
}
