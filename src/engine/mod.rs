//! The whole way in one place: weights, network, backend, class names; from pictures to maps.

mod builder;
mod explanation;
mod request;

pub use builder::{Device, EngineBuilder, LABELS_KEY};
pub use explanation::{ClassMap, Explanation, Prediction};
pub use request::{Classes, Request};

use crate::Error;
use crate::cam::class_activation_map;
use crate::cpu::{Cpu, Forward};
use crate::input::{Input, Picture, Recipe};
use crate::labels::Labels;
use crate::network::Model;
use crate::tensor::Nhwc;

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
    cpu: Cpu,
    /// `fc.weight` `[K, C]` and `fc.bias` `[K]`.
    classifier: (Vec<f32>, Vec<f32>),
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
        match self.cpu.threads() {
            1 => "cpu (1 thread)".to_owned(),
            threads => format!("cpu ({threads} threads)"),
        }
    }

    /// Class indices that `request` asks for, if it names classes; `None` where the predictions decide.
    ///
    /// # Errors
    /// [`Error::Label`] for an unknown or ambiguous name or an index beyond the last class.
    pub fn resolve(&self, request: &Request) -> Result<Option<Vec<usize>>, Error> {
        match request.selection() {
            Classes::Top(_) => Ok(None),
            Classes::Named(names) => {
                let mut classes = Vec::with_capacity(names.len());
                for name in names {
                    let class = self.labels.find(name)?;
                    if !classes.contains(&class) {
                        classes.push(class);
                    }
                }
                Ok(Some(classes))
            }
        }
    }

    /// Class activation maps of `pictures`, in their order: preprocessing, one forward pass per batch, then one map per class
    /// asked for.
    ///
    /// # Errors
    /// A picture that the recipe or the network cannot take, scores that overflow, or an unknown class; nothing is returned
    /// then. To go on after a bad picture, prepare each with [`Recipe::apply`] and call [`Engine::explain_inputs`].
    pub fn explain(&self, pictures: &[Picture], request: &Request) -> Result<Vec<Explanation>, Error> {
        let inputs = pictures.iter().map(|picture| self.recipe.apply(picture)).collect::<Result<Vec<_>, _>>()?;
        self.explain_inputs(&inputs.iter().collect::<Vec<_>>(), request)
    }

    /// As [`Engine::explain`], for pictures that are prepared already.
    ///
    /// # Errors
    /// As [`Engine::explain`].
    pub fn explain_inputs(&self, inputs: &[&Input], request: &Request) -> Result<Vec<Explanation>, Error> {
        let named = self.resolve(request)?;
        let mut explanations = Vec::with_capacity(inputs.len());
        for same_size in inputs.chunk_by(|a, b| (a.h, a.w) == (b.h, b.w)) {
            for batch in same_size.chunks(self.batch) {
                self.explain_batch(batch, request, named.as_deref(), &mut explanations)?;
            }
        }
        Ok(explanations)
    }

    /// Runs images of one size in one pass.
    fn explain_batch(
        &self,
        batch: &[&Input],
        request: &Request,
        named: Option<&[usize]>,
        explanations: &mut Vec<Explanation>,
    ) -> Result<(), Error> {
        let Forward { features, logits } = self.forward(batch)?;
        let channels = features.shape()[3];
        for (index, input) in batch.iter().enumerate() {
            let logits = logits.image(index);
            if let Some(class) = logits.iter().position(|logit| !logit.is_finite()) {
                return Err(Error::NotFinite { class, value: logits[class] });
            }
            let predictions = explanation::rank(logits, &self.labels);
            let of_class = |&class: &usize| predictions.iter().find(|prediction| prediction.class == class).cloned();
            let wanted: Vec<Prediction> = match (request.selection(), named) {
                (Classes::Top(k), _) => predictions.iter().take(*k).cloned().collect(),
                (Classes::Named(_), named) => named.unwrap_or_default().iter().filter_map(of_class).collect(),
            };
            let map = |prediction: Prediction| {
                let row = &self.classifier.0[prediction.class * channels..][..channels];
                ClassMap { map: class_activation_map(&features, index, row), prediction }
            };
            let maps = wanted.into_iter().map(map).collect();
            explanations.push(Explanation { crop: input.crop.clone(), transform: input.transform, predictions, maps });
        }
        Ok(())
    }

    /// One pass over images of one size.
    fn forward(&self, batch: &[&Input]) -> Result<Forward, Error> {
        let (h, w) = (batch[0].h, batch[0].w);
        let mut data = Vec::with_capacity(batch.len() * h * w * 3);
        batch.iter().for_each(|input| data.extend_from_slice(&input.tensor));
        Ok(self.cpu.forward(&Nhwc::new([batch.len(), h, w, 3], data))?)
    }

    /// Bias of a class: what the mean of its map lacks to the logit.
    pub fn bias(&self, class: usize) -> Option<f32> {
        self.classifier.1.get(class).copied()
    }
}
