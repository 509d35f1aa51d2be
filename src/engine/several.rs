//! Maps from features in the host's memory, some of which take more than one pass: smoothed maps, means over an image's variants,
//! and scores of masked images.

use super::backend::Read;
use super::score::finite;
use super::{Engine, MaskedPasses};
use crate::Error;
use crate::cam::{Asked, Enlargement, Evidence, FoundImage, Map, Mask, Masks, Method, MethodError, Target, Variant, mean};
use crate::input::Input;
use crate::tensor::Nhwc;

/// Inputs of one size in all their variants, with what a pass over them found.
pub(super) struct Seen {
    /// `[inputs * variants, h, w, 3]`.
    images: Nhwc,
    read: Read,
    variants: &'static [Variant],
}

/// The passes over the images themselves, at most [`Engine::batch`] in each.
pub(super) fn read(engine: &Engine, inputs: &[Input], asked: &Asked) -> Result<Seen, Error> {
    let variants = asked.smoothing.variants();
    let images = images_of(inputs, variants);
    let read = engine.backend.read(&images, engine.batch)?;
    Ok(Seen { images, read, variants })
}

/// Every input's variants, one after the other.
fn images_of(inputs: &[Input], variants: &[Variant]) -> Nhwc {
    let (h, w) = inputs.first().map_or((0, 0), |input| (input.h(), input.w()));
    let mut images = vec![0.0; inputs.len() * variants.len() * h * w * 3];
    for (input, images) in inputs.iter().zip(images.chunks_exact_mut((variants.len() * h * w * 3).max(1))) {
        let image = input.tensor();
        for (variant, out) in variants.iter().zip(images.chunks_exact_mut(image.len().max(1))) {
            variant.apply(&image, w, out);
        }
    }
    Nhwc::new([inputs.len() * variants.len(), h, w, 3], images)
}

/// Weights of the channels by one method: of each variant, for each target.
struct Rows {
    method: Method,
    of: Vec<Vec<Vec<f32>>>,
}

impl Seen {
    /// The maps of input `at`, with a pass over its masked images for each method that asks for these, whatever the number of
    /// targets.
    pub(super) fn explain(&self, engine: &Engine, at: usize, asked: &Asked) -> Result<FoundImage, Error> {
        let images = at * self.variants.len()..(at + 1) * self.variants.len();
        images.clone().try_for_each(|image| finite(self.read.logits.image(image)))?;
        let logits = self.read.logits.image(images.start);
        let targets = asked.targets.of(logits);
        let (rows, masked) = self.rows(engine, images.clone(), asked, &targets)?;

        let evidence = |image| Evidence::new(&engine.head, &self.read.features, image, self.read.logits.image(image));
        let evidence = images.map(evidence).collect::<Result<Vec<Evidence<'_>>, _>>()?;
        let (mut maps, mut parts) = (Vec::new(), Vec::new());
        for (place, target) in targets.iter().enumerate() {
            for &method in &asked.methods {
                let rows = rows.iter().find(|rows| rows.method == method);
                let of_variant = |((variant, undo), evidence): ((usize, &Variant), &Evidence<'_>)| {
                    Ok::<_, MethodError>(undo.undo(match (rows, asked.smoothing.eigen) {
                        (Some(rows), eigen) => evidence.weighted(&rows.of[variant][place], eigen),
                        (None, true) => evidence.eigen_map(method, target, asked.library)?,
                        (None, false) => evidence.map(method, target, asked.library)?,
                    }))
                };
                let of_variants = self.variants.iter().enumerate().zip(&evidence).map(of_variant);
                let of_variants = of_variants.collect::<Result<Vec<Map>, _>>()?;
                maps.push((target.terms()[0].class, mean(&of_variants)));
                if asked.smoothing.augment {
                    parts.push(of_variants);
                }
            }
        }
        let forwards = self.variants.len() + masked;
        Ok(FoundImage { logits: logits.to_vec(), maps, enlarged: Vec::new(), overlays: Vec::new(), parts, forwards })
    }

    /// The rows of all methods that score masked images, and how many images that took.
    fn rows(
        &self,
        engine: &Engine,
        images: std::ops::Range<usize>,
        asked: &Asked,
        targets: &[Target],
    ) -> Result<(Vec<Rows>, usize), Error> {
        let ([_, h, w, _], [_, cells_h, cells_w, _]) = (self.images.shape(), self.read.features.shape());
        let enlargement = Enlargement::new((cells_h, cells_w), (h, w), asked.library);
        let methods = asked.methods.iter().copied().filter(|method| method.masks() && !targets.is_empty());
        let masks_of = |method| {
            let of_image =
                |image| Masks::new(method, asked.library, &asked.masking, &enlargement, self.read.features.image(image));
            (method, images.clone().map(of_image).collect::<Vec<Masks>>())
        };
        let work: Vec<(Method, Vec<Masks>)> = methods.map(masks_of).collect();
        let of = work.iter().flat_map(|(_, masks)| masks).map(|masks| masks.masks().len()).sum();
        let mut done = 0;
        let mut rows = Vec::with_capacity(work.len());
        for (method, masks) in work {
            let named =
                images.clone().zip(&masks).flat_map(|(image, masks)| masks.masks().iter().map(move |&mask| (image, mask)));
            let named: Vec<(usize, Mask)> = named.collect();
            let mut scores = vec![Vec::with_capacity(named.len()); targets.len()];
            let mut fault = Ok(());
            self.score(engine, &enlargement, &named, &mut |_, logits| {
                if fault.is_ok() {
                    fault = finite(logits);
                }
                scores.iter_mut().zip(targets).for_each(|(scores, target)| scores.push(target.value(logits)));
                done += 1;
                if let Some(watch) = &engine.watch {
                    watch(MaskedPasses { done, of });
                }
            })?;
            fault?;
            let mut first = 0;
            let of_image = |masks: &Masks| {
                let part = first..first + masks.masks().len();
                first = part.end;
                scores.iter().map(|scores| masks.weights(&scores[part.clone()])).collect()
            };
            rows.push(Rows { method, of: masks.iter().map(of_image).collect() });
        }
        Ok((rows, done))
    }

    /// Logits of masked images: each of `masks` is over the image of that number.
    fn score(
        &self,
        engine: &Engine,
        enlargement: &Enlargement,
        masks: &[(usize, Mask)],
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        #[cfg(feature = "cuda")]
        if let Some(done) = engine.backend.score_masks(&self.read, enlargement, masks, engine.batch, each) {
            return done;
        }
        let ([n, h, w, _], cells) = (self.images.shape(), enlargement.cells().0 * enlargement.cells().1);
        let is_masked = |image: usize| masks.iter().any(|(masked, _)| *masked == image);
        let channels = |image| if is_masked(image) { by_channel(&self.read.features, image) } else { Vec::new() };
        let channels: Vec<Vec<f32>> = (0..n).map(channels).collect();
        let paint = |at: usize, out: &mut [f32]| {
            let (image, mask) = &masks[at];
            let cells = &channels[*image][mask.channel * cells..][..cells];
            enlargement.paint(mask, cells, self.images.image(*image), out);
        };
        engine.score_made([masks.len(), h, w], paint, each)
    }
}

/// The features of an image with its positions side by side: `[C, h, w]`.
fn by_channel(features: &Nhwc, image: usize) -> Vec<f32> {
    let ([_, h, w, c], features) = (features.shape(), features.image(image));
    (0..c).flat_map(|channel| (0..h * w).map(move |cell| features[cell * c + channel])).collect()
}
