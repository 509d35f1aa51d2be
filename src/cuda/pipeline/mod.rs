//! A network of one precision on two streams that take turns, with the plans of the shapes that were run last.

#[cfg(test)]
mod filled_channels;
mod results;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use cudarc::driver::CudaStream;

use super::blueprint::{Blueprint, Key, Maps};
use super::colormaps::Colormaps;
use super::lane::{Flight, Lane};
use super::masked::{Kept, MaskedImages, Scored};
use super::measure::{DevicePasses, DeviceTimes};
use super::operators::Operators;
use super::padding;
use super::parameters::Parameters;
use super::plan::{Body, Plan};
use super::real::Real;
use super::source::Source;
use super::{CudaError, Modules, Norm, Show, Unsupported, encode_asked};
use crate::cam::{Enlargement, Found, Head, Mask, Selection};
use crate::cpu::Forward;
use crate::network::{Layer, Model, Network, PlanReport, PlannedStep};
use crate::tensor::{Nhwc, Precision};
use results::given;

/// Passes that may be under way: the pictures of one are copied and resized while the other computes.
pub(super) const LANES: usize = 2;

pub(super) struct Pipeline<T: Real> {
    lanes: [Lane; LANES],
    parameters: Parameters<T>,
    operators: Operators<T>,
    colormaps: Colormaps,
    /// As the device computes it, with the channels of every layer filled up.
    network: Network,
    /// As the file has it.
    given: Network,
    /// For maps that the host computes.
    head: Head,
    norm: Norm,
    serial: bool,
    early: bool,
    /// Images per pass, where the device has no room for more, by their size.
    limits: HashMap<(usize, usize), usize>,
    /// The error that no later call can succeed after.
    fatal: Option<String>,
}

/// What is finished of a submission. Shared by whoever waits for it and the lane that its last pass is on.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub found: Found,
    pub error: Option<CudaError>,
}

/// A submission's [`Outcome`].
pub(super) type Slot = Arc<Mutex<Outcome>>;

/// The outcome, whatever happened to other users.
pub(super) fn open(slot: &Slot) -> MutexGuard<'_, Outcome> {
    slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Sees a layer, the shape of its output and the output.
pub(super) type Visitor<'a> = dyn FnMut(&Layer, [usize; 4], &[f32]) + 'a;

/// What a pipeline is asked, whatever its precision.
pub(super) trait Run: Send {
    /// Runs images of `[n, h, w]` in as many passes as the device's memory asks for; the last one may still be under way when
    /// this returns, beside that of another submission. What goes wrong is in the outcome.
    fn submit(&mut self, images: Source<'_>, image: [usize; 3], selection: Selection<'_>, show: Option<Show>) -> Slot;

    /// Waits until a submission is complete.
    fn finish(&mut self, slot: &Slot);

    /// The error that no later call can succeed after.
    fn fatal(&self) -> Option<&str>;

    /// Runs in one pass, layer by layer.
    fn visit(&mut self, images: &Nhwc, visit: &mut Visitor<'_>) -> Result<(), CudaError>;

    /// Runs images and keeps them with their features.
    fn keep(&mut self, images: &Nhwc, batch: usize) -> Result<(Forward, Kept), CudaError>;

    /// Scores what masks leave of images that were kept.
    fn score_masks(
        &mut self,
        kept: &Kept,
        enlargement: &Enlargement,
        masks: &[(usize, Mask)],
        batch: usize,
        each: &mut Scored<'_>,
    ) -> Result<(), CudaError>;

    /// Times passes by the device's clock.
    fn measure(&mut self, wanted: DevicePasses<'_>) -> Result<DeviceTimes, CudaError>;

    /// How a pass over images of a shape runs that come as tensors, or as `pictures`.
    fn plan(&self, image: [usize; 3], selection: Selection<'_>, pictures: bool) -> Result<PlanReport, CudaError>;
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
        let lane = || Ok::<_, CudaError>(Lane::new(modules.context().new_stream()?));
        let lanes = [lane()?, lane()?];
        let stream = lanes[0].stream();
        let given = model.network().clone();
        let features = given.architecture().features();
        let (parameters, colormaps) = (Parameters::upload(model, stream, norm)?, Colormaps::upload(stream)?);
        stream.synchronize()?; // the other lane reads them too
        let (weights, bias) = model.classifier()?;
        Ok(Self {
            operators: Operators::load(modules, precision)?,
            parameters,
            colormaps,
            head: Head::new(weights, bias),
            network: given.filled_up(|channels| padding::filled::<T>(channels, features)),
            given,
            norm,
            serial,
            early: modules.begin_early()?,
            limits: HashMap::new(),
            fatal: None,
            lanes,
        })
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        self.lane_stream(0)
    }

    pub(super) fn lane_stream(&self, lane: usize) -> &Arc<CudaStream> {
        self.lanes[lane].stream()
    }

    /// What the steps of this pipeline's plans refer to.
    pub(super) fn body(&self) -> Body<'_, T> {
        Body {
            network: &self.network,
            operators: &self.operators,
            parameters: &self.parameters,
            colormaps: &self.colormaps,
            early: self.early,
        }
    }

    pub(super) fn blueprint(&self, key: Key) -> Result<Blueprint, CudaError> {
        Blueprint::new(&self.network, self.norm, &self.operators, key)
    }

    /// A plan of `key` on a lane, from the last ones or new.
    fn take(&mut self, lane: usize, key: Key) -> Result<Plan, CudaError> {
        match self.lanes[lane].take(key) {
            Some(plan) => Ok(plan),
            None => Plan::new(self.blueprint(key)?, self.lanes[lane].stream()),
        }
    }

    /// As [`Pipeline::take`] on the first lane, made free; where there is no room, after giving all memory back.
    fn take_first(&mut self, key: Key) -> Result<Plan, CudaError> {
        self.land(0);
        match self.take(0, key) {
            Err(error) if error.is_lack_of_memory() && self.release()? => self.take(0, key),
            plan => plan,
        }
    }

    /// Gives back all memory but the parameters', once what uses it is complete. Says whether there was any.
    pub(super) fn release(&mut self) -> Result<bool, CudaError> {
        let mut any = false;
        for lane in 0..LANES {
            self.land(lane);
            any |= self.lanes[lane].clear()?;
        }
        Ok(any)
    }

    /// Starts one pass on a lane that is free.
    fn launch(
        &mut self,
        lane: usize,
        images: Source<'_>,
        key: Key,
        selection: Selection<'_>,
        slot: &Slot,
    ) -> Result<(), CudaError> {
        let asked = encode(selection, self.head.classes(), key.show)?;
        let mut plan = self.take(lane, key)?;
        let mut staging = std::mem::take(&mut self.lanes[lane].staging);
        let started = plan.start(&self.body(), images, &asked, self.serial, &mut staging);
        self.lanes[lane].staging = staging;
        started?;
        self.lanes[lane].flight = Some(Flight { plan, chosen: selection.into(), slot: slot.clone() });
        Ok(())
    }

    /// One whole pass of images on the first lane; the plan goes back by [`Pipeline::keep_plan`].
    pub(super) fn pass(&mut self, key: Key, images: Source<'_>) -> Result<Plan, CudaError> {
        let mut plan = self.take_first(key)?;
        let mut staging = std::mem::take(&mut self.lanes[0].staging);
        let started = plan.start(&self.body(), images, &[], self.serial, &mut staging);
        self.lanes[0].staging = staging;
        started?;
        plan.wait()?;
        Ok(plan)
    }

    /// Starts a pass over masked images on a lane that is free.
    pub(super) fn start_masked(&mut self, lane: usize, key: Key, images: &MaskedImages<'_>) -> Result<Plan, CudaError> {
        let mut plan = self.take(lane, key)?;
        plan.start_masked(&self.body(), images, self.serial)?;
        Ok(plan)
    }

    /// Keeps a plan whose pass is complete for the next one of its kind.
    pub(super) fn keep_plan(&mut self, lane: usize, plan: Plan) {
        self.lanes[lane].keep(plan);
    }

    /// Waits for the pass of a lane, if there is one, and puts what it found into its outcome.
    pub(super) fn land(&mut self, lane: usize) {
        let Some(Flight { plan, chosen, slot }) = self.lanes[lane].flight.take() else { return };
        let mut outcome = open(&slot);
        let waited = plan.wait();
        let usable = waited.is_ok();
        if let Err(error) = waited.and_then(|()| self.collect(&plan, chosen.selection(), &mut outcome.found)) {
            self.fail(&mut outcome, error);
        }
        if usable {
            self.lanes[lane].keep(plan);
        }
    }

    fn fail(&mut self, outcome: &mut Outcome, error: CudaError) {
        let error = self.beside(error);
        if error.is_final() {
            self.fatal.get_or_insert_with(|| error.to_string());
        }
        outcome.error.get_or_insert(error);
    }

    /// A driver's error, with the kernels of passes that are under way on other lanes: it may be theirs, as it is the device's.
    fn beside(&self, error: CudaError) -> CudaError {
        if !error.is_final() {
            return error;
        }
        let flights = self.lanes.iter().filter_map(|lane| lane.flight.as_ref());
        flights.filter_map(|flight| flight.plan.begun()).fold(error, |error, (kernel, place)| match error {
            CudaError::Fault { kernel: first, place: at, source } => {
                CudaError::Fault { kernel: first, place: format!("{at}, or `{kernel}` beside it in {place}"), source }
            }
            CudaError::Launch { source, .. } | CudaError::Driver(source) => CudaError::Fault { kernel, place, source },
            error => error,
        })
    }

    /// Starts the passes of one submission, one after the other; the last one is left under way.
    fn start(
        &mut self,
        images: Source<'_>,
        [n, h, w]: [usize; 3],
        selection: Selection<'_>,
        show: Option<Show>,
        slot: &Slot,
    ) -> Result<(), CudaError> {
        let maps = Maps::of(selection, self.network.architecture().classes())?;
        let show = show.filter(|show| images.is_pictures() || !matches!(show, Show::Overlay(_)));
        let (mut first, mut released) = (0, false);
        while first < n {
            // The first lane as long as it is free, so that who waits for each pass needs the memory of one.
            let lane = self.lanes.iter().position(|lane| lane.flight.is_none()).unwrap_or_else(|| self.oldest());
            self.land(lane);
            let most = self.limits.get(&(h, w)).copied().unwrap_or(n);
            let count = most.min(n - first);
            let key = Key { image: [count, h, w], pixels: images.is_pictures(), maps, show, joined: true };
            match self.launch(lane, images.part(first, count, h * w), key, selection, slot) {
                Ok(()) => {
                    released = false;
                    self.lanes[lane].turn = self.lanes.iter().map(|lane| lane.turn).max().unwrap_or(0) + 1;
                    first += count;
                    if first < n {
                        self.land(lane); // where a batch is split, two passes at a time have no room
                        if open(slot).error.is_some() {
                            return Ok(());
                        }
                    }
                }
                // Once: what the attempt itself has left would be there to release each time.
                Err(error) if error.is_lack_of_memory() && !std::mem::replace(&mut released, true) && self.release()? => {}
                Err(error) if error.is_about_size() && count > 1 => {
                    self.limits.insert((h, w), count.div_ceil(2));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The lane whose pass began first.
    fn oldest(&self) -> usize {
        (0..LANES).min_by_key(|&lane| self.lanes[lane].turn).unwrap_or(0)
    }
}

/// What the device is told beside the images.
fn encode(selection: Selection<'_>, classes: usize, show: Option<Show>) -> Result<Vec<u8>, Unsupported> {
    match selection {
        Selection::Top(_) => Ok(Vec::new()),
        Selection::Classes(_) => Ok(bytemuck::cast_slice(&given(selection)).to_vec()),
        Selection::Asked(asked) => encode_asked(asked, classes, show),
    }
}

impl<T: Real> Run for Pipeline<T> {
    fn submit(&mut self, images: Source<'_>, image: [usize; 3], selection: Selection<'_>, show: Option<Show>) -> Slot {
        let slot = Slot::default();
        if let Err(error) = self.start(images, image, selection, show, &slot) {
            self.fail(&mut open(&slot), error);
        }
        slot
    }

    fn finish(&mut self, slot: &Slot) {
        for lane in 0..LANES {
            if self.lanes[lane].flight.as_ref().is_some_and(|flight| Arc::ptr_eq(&flight.slot, slot)) {
                self.land(lane);
            }
        }
    }

    fn fatal(&self) -> Option<&str> {
        self.fatal.as_deref()
    }

    fn visit(&mut self, images: &Nhwc, visit: &mut Visitor<'_>) -> Result<(), CudaError> {
        let [n, h, w, _] = images.shape();
        let key = Key { image: [n, h, w], pixels: false, maps: Maps::Top(0), show: None, joined: false };
        let shapes = self.given.shapes(n, h, w)?;
        let mut plan = self.take_first(key)?;
        plan.visit(&self.body(), images.data(), |layer, [.., filled], values| {
            let shape = shapes[layer].output;
            visit(&self.given.layers()[layer], shape, &padding::strip(values, filled, shape[3]));
        })?;
        self.lanes[0].keep(plan);
        Ok(())
    }

    fn keep(&mut self, images: &Nhwc, batch: usize) -> Result<(Forward, Kept), CudaError> {
        self.keep_images(images, batch)
    }

    fn score_masks(
        &mut self,
        kept: &Kept,
        enlargement: &Enlargement,
        masks: &[(usize, Mask)],
        batch: usize,
        each: &mut Scored<'_>,
    ) -> Result<(), CudaError> {
        self.score_masked(kept, enlargement, masks, batch, each)
    }

    fn measure(&mut self, wanted: DevicePasses<'_>) -> Result<DeviceTimes, CudaError> {
        self.time(wanted)
    }

    fn plan(&self, image: [usize; 3], selection: Selection<'_>, pictures: bool) -> Result<PlanReport, CudaError> {
        let maps = Maps::of(selection, self.network.architecture().classes())?;
        let blueprint = self.blueprint(Key { image, pixels: pictures, maps, show: None, joined: true })?;
        let (parameters, activations) = (self.parameters.bytes() as u64, blueprint.layout.bytes() as u64);
        let mut steps = blueprint.names;
        if let Some(unsupported) = blueprint.by_host {
            steps.push(PlannedStep { layer: "cam".to_owned(), kernel: format!("the processor: {unsupported}") });
        }
        if pictures {
            let kernel = self.operators.preprocess(blueprint.image_channels).name();
            steps.insert(0, PlannedStep { layer: "preprocess".to_owned(), kernel });
        }
        Ok(PlanReport { steps, parameters, activations })
    }
}

#[cfg(test)]
mod tests {
    use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
    use half::f16;

    use super::*;
    use crate::cuda::arena::{Arena, Layout};
    use crate::cuda::device;
    use crate::weights::WeightFile;

    const SIZE: usize = 32;

    fn pipeline<T: Real>(precision: Precision, serial: bool) -> Pipeline<T> {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/demo/demo.safetensors");
        let model = Model::load(WeightFile::open(demo).unwrap()).unwrap();
        let modules = Modules::new(device::open(0).unwrap()).unwrap();
        Pipeline::new(&model, &modules, precision, Norm::Folded, serial).unwrap()
    }

    /// Whether the pipeline has ended, finished images, and the error.
    fn run<T: Real>(pipeline: &mut Pipeline<T>) -> (bool, usize, Option<CudaError>) {
        let images = Nhwc::new([1, SIZE, SIZE, 3], vec![0.5; SIZE * SIZE * 3]);
        let slot = pipeline.submit(Source::Tensor(images.data()), [1, SIZE, SIZE], Selection::Top(1), None);
        pipeline.finish(&slot);
        let Outcome { found, error } = std::mem::take(&mut *open(&slot));
        (pipeline.fatal().is_some(), found.images(), error)
    }

    #[test]
    fn a_fault_names_its_kernel_and_layer() {
        let _one = device::for_one_test();
        cuda_emu::driver::install(&[("CUDA_EMU_DEVICE", "A100"), ("CUDA_EMU_STREAMS", "eager")]).unwrap();
        let mut pipeline = pipeline::<f32>(Precision::F32, true);
        assert!(matches!(run(&mut pipeline), (false, 1, None)));
        pipeline.parameters.take_memory_away();
        let (ended, images, error) = run(&mut pipeline);
        assert_eq!((ended, images), (true, 0));
        let error = error.unwrap();
        let CudaError::Fault { kernel, place, .. } = &error else { panic!("{error}") };
        assert!(kernel.starts_with("conv2d_direct_f32_nhwc"), "{error}");
        assert_eq!(place, "`conv1` of 1 images of 32x32");
        assert!(error.is_final());
    }

    /// A caller may drop them on any thread, while this one records a graph.
    #[test]
    fn images_that_were_kept_are_given_back_beside_a_recording() {
        let _one = device::for_one_test();
        cuda_emu::driver::install(&[("CUDA_EMU_DEVICE", "A100")]).unwrap();
        let mut pipeline = pipeline::<f16>(Precision::F16, false);
        let images = Nhwc::new([1, SIZE, SIZE, 3], vec![0.5; SIZE * SIZE * 3]);
        let (_, kept) = pipeline.keep_images(&images, 1).unwrap();
        let lane = pipeline.stream();
        lane.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        std::thread::scope(|scope| scope.spawn(|| drop(kept)).join().unwrap());
        let recorded = lane.end_capture(CUgraphInstantiate_flags(0));
        assert!(recorded.is_ok(), "{:?}", recorded.err());
    }

    /// Another engine of the same process may run out of memory meanwhile.
    #[test]
    fn memory_runs_out_beside_a_recording() {
        let _one = device::for_one_test();
        cuda_emu::driver::install(&[("CUDA_EMU_DEVICE", "A100")]).unwrap();
        let context = device::open(0).unwrap();
        let [lane, other] = [(); 2].map(|()| context.new_stream().unwrap());
        let mut layout = Layout::default();
        layout.place_bytes(1 << 50);
        lane.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        let refused = std::thread::scope(|scope| scope.spawn(|| Arena::new(&other, &layout, "too much").err()).join().unwrap());
        assert!(matches!(refused, Some(CudaError::OutOfMemory { free: 1.., .. })), "{refused:?}");
        let recorded = lane.end_capture(CUgraphInstantiate_flags(0));
        assert!(recorded.is_ok(), "{:?}", recorded.err());
    }

    /// A graph's kernels are not waited for one by one, and yet the one that faults is named: whichever it is, whatever the device,
    /// and whether work runs at once or as late as it may.
    #[test]
    fn a_fault_in_a_graph_names_its_kernel_and_layer() {
        let _one = device::for_one_test();
        for (profile, policy) in [("A100", "lazy"), ("H100", "eager")] {
            for name in ["maxpool", "layer1.0.conv1", "layer2.0.conv2", "layer4.1.conv2", "fc"] {
                cuda_emu::driver::install(&[("CUDA_EMU_DEVICE", profile), ("CUDA_EMU_STREAMS", policy)]).unwrap();
                let mut pipeline = pipeline::<f16>(Precision::F16, false);
                assert!(matches!(run(&mut pipeline), (false, 1, None)), "step by step");
                assert!(matches!(run(&mut pipeline), (false, 1, None)), "as a graph");
                let layer = pipeline.network.layers().iter().position(|layer| layer.name == name).unwrap();
                pipeline.lanes[0].last().unwrap().lead_astray(layer);
                let (ended, images, error) = run(&mut pipeline);
                assert_eq!((ended, images), (true, 0));
                let CudaError::Fault { kernel, place, .. } = error.unwrap() else { panic!("{name}: no fault of a kernel") };
                let planned = pipeline.plan([1, SIZE, SIZE], Selection::Top(1), false).unwrap().steps;
                let step = planned.iter().find(|step| step.layer.split(", ").any(|layer| layer == name)).unwrap();
                assert_eq!(kernel, step.kernel, "{profile}, {name}");
                assert_eq!(place, format!("`{}` of 1 images of 32x32, the last step of the graph to begin", step.layer));
            }
        }
    }
}
