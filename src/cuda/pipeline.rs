//! A network of one precision on one stream, with the plans of the shapes that were run last.

use std::collections::HashMap;
use std::sync::Arc;

use cudarc::driver::CudaStream;

use super::blueprint::{Blueprint, Key, Maps};
use super::measure::{DevicePasses, DeviceTimes};
use super::operators::Operators;
use super::parameters::Parameters;
use super::plan::{Body, Plan};
use super::real::Real;
use super::{CudaError, Modules, Norm};
use crate::cam::{Enlarge, Enlarged, Evidence, Found, Head, Levels, Map, Selection};
use crate::network::{Layer, Model, Network, PlanReport, Slots};
use crate::tensor::{Nhwc, Precision};

/// Plans that keep their memory and graph; the one that was not used for longest makes room.
const MOST_PLANS: usize = 4;

pub(super) struct Pipeline<T: Real> {
    plans: Vec<Plan>, // used last at the end
    parameters: Parameters<T>,
    operators: Operators<T>,
    network: Network,
    slots: Slots,
    /// For maps that the host computes.
    head: Head,
    norm: Norm,
    serial: bool,
    /// Images per pass, where the device has no room for more, by their size.
    limits: HashMap<(usize, usize), usize>,
    stream: Arc<CudaStream>,
}

/// Sees a layer, the shape of its output and the output.
pub(super) type Visitor<'a> = dyn FnMut(&Layer, [usize; 4], &[f32]) + 'a;

/// What a pipeline is asked, whatever its precision.
pub(super) trait Run: Send {
    /// Runs images `[N, H, W, 3]` in as many passes as the device's memory asks for; what is finished is in `found` even when
    /// a later pass fails.
    fn run(
        &mut self,
        images: &Nhwc,
        selection: Selection<'_>,
        enlarge: Option<Enlarge>,
        found: &mut Found,
    ) -> Result<(), CudaError>;

    /// Runs in one pass, layer by layer.
    fn visit(&mut self, images: &Nhwc, visit: &mut Visitor<'_>) -> Result<(), CudaError>;

    /// Times passes by the device's clock.
    fn measure(&mut self, wanted: DevicePasses<'_>) -> Result<DeviceTimes, CudaError>;

    /// How a pass over images of a shape runs.
    fn plan(&self, image: [usize; 3], maps: usize) -> Result<PlanReport, CudaError>;
}

impl<T: Real> Pipeline<T> {
    /// Loads the kernels of `precision`, which stores `T`, and uploads the parameters.
    ///
    /// # Errors
    /// If the device has no code, no room, or another fault.
    pub(super) fn new(
        model: &Model,
        modules: &Modules,
        precision: Precision,
        norm: Norm,
        serial: bool,
    ) -> Result<Self, CudaError> {
        let stream = modules.context().new_stream()?;
        let network = model.network().clone();
        let (weights, bias) = model.classifier()?;
        Ok(Self {
            plans: Vec::new(),
            operators: Operators::load(modules, precision)?,
            parameters: Parameters::upload(model, &stream, norm)?,
            slots: Slots::plan(&network),
            head: Head::new(weights, bias),
            network,
            norm,
            serial,
            limits: HashMap::new(),
            stream,
        })
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// What the steps of this pipeline's plans refer to.
    pub(super) fn body(&self) -> Body<'_, T> {
        Body { network: &self.network, operators: &self.operators, parameters: &self.parameters }
    }

    pub(super) fn blueprint(&self, key: Key) -> Result<Blueprint, CudaError> {
        Blueprint::new(&self.network, &self.slots, self.norm, &self.operators, key)
    }

    /// The plan of `key`, from the last ones or new. If there is no room, the others go first.
    fn take(&mut self, key: Key) -> Result<Plan, CudaError> {
        if let Some(at) = self.plans.iter().position(|plan| plan.blueprint.key == key) {
            return Ok(self.plans.remove(at));
        }
        while self.plans.len() >= MOST_PLANS {
            self.plans.remove(0);
        }
        match Plan::new(self.blueprint(key)?, &self.stream) {
            Err(CudaError::OutOfMemory { .. }) if !self.plans.is_empty() => {
                self.plans.clear();
                self.stream.synchronize()?; // what is freed in stream order is free after this
                Plan::new(self.blueprint(key)?, &self.stream)
            }
            plan => plan,
        }
    }

    /// One pass.
    fn pass(
        &mut self,
        images: &[f32],
        key: Key,
        selection: Selection<'_>,
        classes: &[i32],
        found: &mut Found,
    ) -> Result<(), CudaError> {
        let mut plan = self.take(key)?;
        let body = Body { network: &self.network, operators: &self.operators, parameters: &self.parameters };
        plan.run(&body, images, classes, self.serial)?;
        self.collect(&plan, selection, classes, found)?;
        self.plans.push(plan);
        Ok(())
    }

    /// Appends a plan's results to `found`.
    fn collect(&self, plan: &Plan, selection: Selection<'_>, given: &[i32], found: &mut Found) -> Result<(), CudaError> {
        let blueprint = &plan.blueprint;
        let (n, maps) = (blueprint.key.image[0], blueprint.key.maps.count());
        let logits: &[f32] = plan.result(blueprint.layers[blueprint.layers.len() - 1])?;
        let classes = logits.len() / n;
        if T::OVERFLOWS
            && let Some(image) = logits.chunks_exact(classes).position(|logits| logits.iter().any(|logit| !logit.is_finite()))
        {
            return Err(CudaError::ActivationOverflow { image: found.images() + image });
        }
        let ranked: &[i32] = plan.result(blueprint.index)?;
        let by_host = blueprint.cam.is_none() && (maps > 0 || blueprint.key.maps == Maps::Host);
        let features = if by_host {
            let shape = blueprint.shapes[self.network.features()].output;
            Some(Nhwc::new(shape, plan.features::<T>(&self.network)?))
        } else {
            None
        };
        let raw: &[f32] = plan.result(blueprint.raw)?;
        for image in 0..n {
            let of_image = match blueprint.key.maps {
                Maps::Top(k) => &ranked[image * k..][..k],
                Maps::Classes(_) | Maps::Host => given,
            };
            let logits = &logits[image * classes..][..classes];
            let maps: Vec<(usize, Map)> = match (&features, blueprint.cam) {
                (Some(features), _) => selection.maps(&Evidence::new(&self.head, features, image, logits)),
                (None, Some(cam)) => {
                    let cells = cam.h * cam.w;
                    let map = |at: usize| Map::new(cam.h, cam.w, raw[(image * maps + at) * cells..][..cells].to_vec());
                    of_image.iter().enumerate().map(|(at, &class)| (class as usize, map(at))).collect()
                }
                (None, None) => Vec::new(),
            };
            let enlarged = match (blueprint.key.enlarge, blueprint.cam) {
                (None, _) => Vec::new(),
                (Some(enlarge), None) => maps.iter().map(|(_, map)| enlarge.apply(map)).collect(),
                (Some(enlarge), Some(_)) => shown(plan, enlarge, image * maps.len()..(image + 1) * maps.len())?,
            };
            found.push(logits, maps, enlarged);
        }
        Ok(())
    }
}

/// Enlarged maps of the last run.
fn shown(plan: &Plan, enlarge: Enlarge, maps: std::ops::Range<usize>) -> Result<Vec<Enlarged>, CudaError> {
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

impl<T: Real> Run for Pipeline<T> {
    fn run(
        &mut self,
        images: &Nhwc,
        selection: Selection<'_>,
        enlarge: Option<Enlarge>,
        found: &mut Found,
    ) -> Result<(), CudaError> {
        let [n, h, w, _] = images.shape();
        let maps = Maps::of(selection, self.network.architecture().classes());
        let classes: Vec<i32> = match selection {
            Selection::Top(_) | Selection::Asked(_) => Vec::new(),
            Selection::Classes(classes) => classes.iter().map(|&class| class as i32).collect(), // checked against the network's
        };
        let mut first = 0;
        while first < n {
            let most = self.limits.get(&(h, w)).copied().unwrap_or(n);
            let count = most.min(n - first);
            let batch = &images.data()[first * h * w * 3..][..count * h * w * 3];
            match self.pass(batch, Key { image: [count, h, w], maps, enlarge, joined: true }, selection, &classes, found) {
                Ok(()) => first += count,
                Err(error) if error.is_about_size() && count > 1 => {
                    self.limits.insert((h, w), count.div_ceil(2));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn visit(&mut self, images: &Nhwc, visit: &mut Visitor<'_>) -> Result<(), CudaError> {
        let [n, h, w, _] = images.shape();
        let mut plan = self.take(Key { image: [n, h, w], maps: Maps::Top(0), enlarge: None, joined: false })?;
        let body = Body { network: &self.network, operators: &self.operators, parameters: &self.parameters };
        plan.visit(&body, images.data(), visit)?;
        self.plans.push(plan);
        Ok(())
    }

    fn measure(&mut self, wanted: DevicePasses<'_>) -> Result<DeviceTimes, CudaError> {
        self.time(wanted)
    }

    fn plan(&self, image: [usize; 3], maps: usize) -> Result<PlanReport, CudaError> {
        let maps = Maps::of(Selection::Top(maps), self.network.architecture().classes());
        let blueprint = self.blueprint(Key { image, maps, enlarge: None, joined: true })?;
        let (parameters, activations) = (self.parameters.bytes() as u64, blueprint.layout.bytes() as u64);
        Ok(PlanReport { steps: blueprint.names, parameters, activations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::device;
    use crate::weights::WeightFile;

    /// The only test of the library's own that uses a device: a fault ends the device for the whole process.
    #[test]
    fn a_fault_names_its_kernel_and_layer() {
        cuda_emu::driver::install(&[]).unwrap();
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/demo/demo.safetensors");
        let model = Model::load(WeightFile::open(demo).unwrap()).unwrap();
        let modules = Modules::new(device::open(0).unwrap()).unwrap();
        let mut pipeline = Pipeline::<f32>::new(&model, &modules, Precision::F32, Norm::Folded, true).unwrap();
        let images = Nhwc::new([1, 8, 8, 3], vec![0.5; 8 * 8 * 3]);
        let mut found = Found::default();
        pipeline.run(&images, Selection::Top(1), None, &mut found).unwrap();
        pipeline.parameters.take_memory_away();
        let error = pipeline.run(&images, Selection::Top(1), None, &mut found).unwrap_err();
        let CudaError::Fault { kernel, place, .. } = &error else { panic!("{error}") };
        assert!(kernel.starts_with("conv2d_direct_f32_nhwc"), "{error}");
        assert_eq!(place, "`conv1` of 1 images of 8x8");
        assert!(error.is_final());
        assert_eq!(found.images(), 1, "what was finished is there");
    }
}
