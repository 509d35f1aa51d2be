//! What a complete pass has found, from the plan's results.

use std::ops::Range;

use image::RgbImage;

use super::Pipeline;
use crate::cam::{Asked, Enlarge, Enlarged, Evidence, Found, Levels, Map, Selection, Targets};
use crate::cuda::blueprint::Maps;
use crate::cuda::plan::Plan;
use crate::cuda::real::Real;
use crate::cuda::{AskedShape, CudaError, Show};
use crate::tensor::Nhwc;

impl<T: Real> Pipeline<T> {
    /// The logits of a complete pass, `[N, K]`. `first`: the number of its first image, for errors.
    pub(in crate::cuda) fn logits<'p>(&self, plan: &'p Plan, first: usize) -> Result<&'p [f32], CudaError> {
        let blueprint = &plan.blueprint;
        let logits: &[f32] = plan.result(blueprint.layers[blueprint.layers.len() - 1])?;
        let classes = logits.len() / blueprint.key.image[0];
        if T::OVERFLOWS
            && let Some(image) = logits.chunks_exact(classes).position(|logits| logits.iter().any(|logit| !logit.is_finite()))
        {
            return Err(CudaError::ActivationOverflow { image: first + image });
        }
        Ok(logits)
    }

    /// Appends a plan's results to `found`.
    pub(super) fn collect(&self, plan: &Plan, selection: Selection<'_>, found: &mut Found) -> Result<(), CudaError> {
        let blueprint = &plan.blueprint;
        let (n, maps) = (blueprint.key.image[0], blueprint.key.maps.count());
        let logits = self.logits(plan, found.images())?;
        let classes = logits.len() / n;
        let (ranked, given): (&[i32], _) = (plan.result(blueprint.index)?, given(selection));
        let features = if blueprint.by_host.is_some() {
            let shape = blueprint.shapes[self.network.features()].output;
            Some(Nhwc::new(shape, plan.features::<T>(&self.network)?))
        } else {
            None
        };
        let raw: &[f32] = plan.result(blueprint.raw)?;
        for image in 0..n {
            let of_image = match blueprint.key.maps {
                Maps::Top(k) => &ranked[image * k..][..k],
                Maps::Asked(AskedShape { terms: None, targets, .. }) => &ranked[image * targets..][..targets],
                Maps::Classes(_) | Maps::Asked(_) => &given,
            };
            let logits = &logits[image * classes..][..classes];
            let maps: Vec<(usize, Map)> = match (&features, blueprint.cam) {
                (Some(features), _) => selection.maps(&Evidence::new(&self.head, features, image, logits)?)?,
                (None, Some(cam)) => {
                    let cells = cam.h * cam.w;
                    let map = |at: usize| Map::new(cam.h, cam.w, raw[(image * maps + at) * cells..][..cells].to_vec());
                    let methods = maps / of_image.len().max(1);
                    (0..maps).map(|at| (of_image[at / methods] as usize, map(at))).collect()
                }
                (None, None) => Vec::new(),
            };
            let range = image * maps.len()..(image + 1) * maps.len();
            let (mut enlarged, mut overlays) = (Vec::new(), Vec::new());
            match (blueprint.key.show, blueprint.cam) {
                (Some(Show::Enlarged(enlarge)), Some(_)) => enlarged = shown(plan, enlarge, range)?,
                (Some(Show::Enlarged(enlarge)), None) => enlarged = selection.enlarged(enlarge, &maps),
                (Some(Show::Overlay(_)), Some(cam)) => overlays = drawn(plan, (cam.out_h, cam.out_w), range)?,
                (Some(Show::Overlay(_)) | None, _) => {}
            }
            found.push(logits, maps, enlarged, overlays);
        }
        Ok(())
    }
}

/// Classes that maps are about, of targets the first ones, checked against the network's; none where the device chooses.
pub(super) fn given(selection: Selection<'_>) -> Vec<i32> {
    match selection {
        Selection::Top(_) | Selection::Asked(Asked { targets: Targets::Top(..), .. }) => Vec::new(),
        Selection::Classes(classes) => classes.iter().map(|&class| class as i32).collect(),
        Selection::Asked(Asked { targets: Targets::Given(targets), .. }) => {
            targets.iter().map(|target| target.terms()[0].class as i32).collect()
        }
    }
}

/// Enlarged maps of the last run.
fn shown(plan: &Plan, enlarge: Enlarge, maps: Range<usize>) -> Result<Vec<Enlarged>, CudaError> {
    fn part<V: bytemuck::Pod>(plan: &Plan, pixels: usize, map: usize) -> Result<Vec<V>, CudaError> {
        Ok(plan.result::<V>(plan.blueprint.shown)?[map * pixels..][..pixels].to_vec())
    }
    let pixels = enlarge.h * enlarge.w;
    let one = |map| match enlarge.levels {
        Levels::F32 => part(plan, pixels, map).map(Enlarged::F32),
        Levels::F16 => part(plan, pixels, map).map(Enlarged::F16),
        Levels::U8 => part(plan, pixels, map).map(Enlarged::U8),
    };
    maps.map(one).collect()
}

/// Overlays of the last run.
fn drawn(plan: &Plan, (h, w): (usize, usize), maps: Range<usize>) -> Result<Vec<RgbImage>, CudaError> {
    let (all, bytes) = (plan.result::<u8>(plan.blueprint.shown)?, h * w * 3);
    let one = |map| RgbImage::from_raw(w as u32, h as u32, all[map * bytes..][..bytes].to_vec());
    Ok(maps.filter_map(one).collect())
}
