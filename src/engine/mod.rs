//! The whole way in one place: weights, network, backend, class names; from pictures to maps.

mod backend;
mod builder;
mod device;
mod explanation;
mod expression;
mod measure;
mod pending;
mod request;
mod score;
mod several;

pub use builder::{EngineBuilder, LABELS_KEY};
pub use device::{Device, DeviceError};
pub use explanation::{ClassMap, Explanation, Prediction};
pub use measure::{Passes, StepTimes, Timings};
pub use pending::Pending;
pub use request::{Classes, Request};

use std::sync::Arc;

use backend::Backend;

use crate::Error;
use crate::bench::GpuFacts;
use crate::cam::{Asked, FoundImage, Head, Map, Method, Target, Targets};
use crate::input::{Input, Picture, Recipe};
use crate::labels::Labels;
use crate::network::{Model, PlanReport};
use crate::render::{RenderError, Scene};
use crate::share::share;
use crate::tensor::Precision;

/// Images that share a forward pass unless the builder says otherwise.
pub const DEFAULT_BATCH: usize = 8;

/// A network, ready to explain pictures. Made by [`Engine::builder`].
///
/// Several threads may use one engine at a time, threads of a rayon pool among them: on the processor their passes share its threads,
/// on a device they take turns. Each finds what it would find alone.
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
    head: Arc<Head>,
    labels: Labels,
    recipe: Recipe,
    batch: usize,
    watch: Option<Box<Watch>>,
}

/// How far the work on one picture's masked images is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskedPasses {
    /// Images that were scored.
    pub done: usize,
    /// All of them.
    pub of: usize,
}

/// Is told of masked images, see [`EngineBuilder::watch`].
type Watch = dyn Fn(MaskedPasses) + Send + Sync;

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
        self.plan_request(images, &Request::top(maps))
    }

    /// As [`Engine::plan`], for what a request asks for. Maps that a CUDA device cannot compute, because of their size, are a
    /// step of the processor that says why.
    ///
    /// # Errors
    /// As [`Engine::plan`] and [`Engine::resolve`].
    pub fn plan_request(&self, images: [usize; 3], request: &Request) -> Result<PlanReport, Error> {
        self.backend.plan(images, self.pending(request)?.selection())
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
        let smooths = |&method: &Method| request.asked_smoothing().serves(method, request.asked_library());
        request.asked_methods().iter().try_for_each(smooths)?;
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
        let inputs = share(pictures.iter().collect(), usize::MAX, |picture| self.prepare(picture));
        let inputs = inputs.into_iter().collect::<Result<Vec<_>, _>>()?;
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
        self.submit(inputs, request)?.collect_into(explanations)
    }

    /// Starts to explain prepared pictures and returns while a CUDA device is at work: it copies and resizes the pictures of one
    /// submission while it computes another, two at a time. On the processor the work is done when it is collected.
    ///
    /// ```
    /// # use camshaft::{Engine, Request, input::Picture};
    /// let engine = Engine::builder().build()?;
    /// let request = Request::top(1);
    /// let mut before: Option<camshaft::engine::Pending> = None;
    /// let mut found = Vec::new();
    /// for name in ["meadow.jpg", "pavement.jpg"] {
    ///     let input = engine.prepare(&Picture::open(&std::path::Path::new("assets/demo").join(name))?)?;
    ///     if let Some(before) = before.replace(engine.submit(&[&input], &request)?) {
    ///         before.collect_into(&mut found)?;
    ///     }
    /// }
    /// before.into_iter().try_for_each(|last| last.collect_into(&mut found))?;
    /// assert_eq!(found.len(), 2);
    /// # Ok::<(), camshaft::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Label`] for an unknown class. Whatever else goes wrong is told when the work is collected.
    pub fn submit(&self, inputs: &[&Input], request: &Request) -> Result<Pending<'_>, Error> {
        let mut pending = self.pending(request)?;
        let alike = |a: &&Input, b: &&Input| (a.h(), a.w(), a.is_picture()) == (b.h(), b.w(), b.is_picture());
        for alike in inputs.chunk_by(alike) {
            for batch in alike.chunks(self.batch) {
                pending.start(batch);
            }
        }
        Ok(pending)
    }

    /// Work on `request`, without pictures yet.
    fn pending(&self, request: &Request) -> Result<Pending<'_>, Error> {
        let asked = Asked {
            targets: match (self.resolve(request)?, request.selection()) {
                (Some(targets), _) => Targets::Given(targets),
                (None, Classes::Top(k)) => Targets::Top(*k, request.asked_score()),
                (None, Classes::Named(_)) => Targets::Given(Vec::new()),
            },
            methods: request.asked_methods().to_vec(),
            library: request.asked_library(),
            own_normalisation: request.normalises_by_method(),
            smoothing: request.asked_smoothing(),
            masking: request.asked_masking(),
        };
        Ok(Pending::new(self, request.clone(), asked))
    }

    /// Names what was found in one picture, and draws what the backend has not drawn.
    fn explanation(&self, input: &Input, request: &Request, asked: &Asked, found: FoundImage) -> Result<Explanation, Error> {
        score::finite(&found.logits)?;
        let predictions = explanation::rank(&found.logits, &self.labels);
        let targets = asked.targets.of(&found.logits);
        let each = targets.iter().flat_map(|target| asked.methods.iter().map(move |&method| (target, method)));
        let (mut enlarged, mut overlays) = (found.enlarged.into_iter(), found.overlays.into_iter());
        let mut parts = found.parts.into_iter();
        let map = |((class, map), (target, method)): ((usize, Map), (&Target, Method))| {
            let enlarge = request.enlarge(method, input.h(), input.w());
            let parts = parts.next().unwrap_or_default();
            let enlarged = enlarged.next().or_else(|| enlarge.map(|enlarge| enlarge.apply(&map)));
            let overlay = match (request.style(method), overlays.next()) {
                (None, _) => None,
                (Some(_), Some(drawn)) => {
                    map.stats().map_err(RenderError::from)?; // a map that is not finite has no picture
                    Some(drawn)
                }
                (Some(style), None) => Some(Scene::of_crop(input.crop(), input.transform())?.overlay(&map, &style)?),
            };
            let prediction = predictions.iter().find(|prediction| prediction.class == class).cloned();
            Ok::<_, Error>(prediction.map(|prediction| ClassMap {
                prediction,
                target: target.clone(),
                label: expression::describe(&self.labels, target),
                value: target.value(&found.logits),
                method,
                map,
                parts,
                enlarged,
                overlay,
            }))
        };
        let maps = found.maps.into_iter().zip(each).map(map).filter_map(Result::transpose).collect::<Result<_, _>>()?;
        Ok(Explanation { input: input.clone(), predictions, maps, forwards: found.forwards })
    }

    /// Whether overlays are drawn where the maps are computed, on the device; else it is the processor that draws them, and who
    /// has threads to spare may draw them later.
    pub fn draws_overlays(&self) -> bool {
        !self.backend.reads_crops()
    }

    /// Bias of a class: what the mean of its map lacks to the logit.
    pub fn bias(&self, class: usize) -> Option<f32> {
        self.head.bias().get(class).copied()
    }
}
