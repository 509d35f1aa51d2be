//! A blueprint with memory: run step by step, then recorded once and replayed.

mod steps;

use std::sync::Arc;

use cudarc::driver::sys::{CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode};
use cudarc::driver::{CudaGraph, CudaStream, CudaView, DriverError, PinnedHostSlice};

use super::arena::{Arena, Region};
use super::blueprint::{Blueprint, Step};
use super::colormaps::Colormaps;
use super::mark::Mark;
use super::masked::MaskedImages;
use super::operators::Operators;
use super::parameters::Parameters;
use super::real::Real;
use super::source::Source;
use super::staging::{Staged, Staging};
use super::{CudaError, PreprocessArgs, Queue};
use crate::network::{Network, Op};

/// What the steps of a plan refer to.
pub(super) struct Body<'a, T: Real> {
    pub network: &'a Network,
    pub operators: &'a Operators<T>,
    pub parameters: &'a Parameters<T>,
    pub colormaps: &'a Colormaps,
    /// Whether kernels may begin before the one before them has ended.
    pub early: bool,
}

/// Memory for one blueprint, on one stream, and the graph of its steps.
pub(super) struct Plan {
    graph: Option<Graph>, // before the memory that it refers to, so that it goes first
    pub blueprint: Blueprint,
    arena: Arena,
    image: PinnedHostSlice<u8>,
    asked: PinnedHostSlice<u8>,
    results: PinnedHostSlice<u8>,
    /// Set by the kernels of a pass, see [`FIRST_STEP`].
    mark: Mark,
    /// What makes the images of the pass, as faults tell it: the kernel and what it is there for.
    source: (String, &'static str),
    stream: Arc<CudaStream>,
    /// Whether every step has run by itself without a fault.
    proven: bool,
}

/// What a [`Mark`] says of the kernel that makes the images, which comes before the steps.
const SOURCE: u32 = 1;
/// What it says of the first of the blueprint's steps; the others follow.
const FIRST_STEP: u32 = 2;

/// A recorded graph that may go from thread to thread.
struct Graph(CudaGraph);

// SAFETY: the driver's graphs belong to a context, not to a thread; they must not be used by two at once, which `&mut Plan`
// rules out for launches, and dropping takes it whole.
#[allow(unsafe_code)]
unsafe impl Send for Graph {}

impl Drop for Plan {
    fn drop(&mut self) {
        // Copies may be under way after a run that failed in the middle; what the driver says of it has been told by then.
        let _ = self.stream.synchronize();
    }
}

impl Plan {
    /// Allocates for `blueprint`, on the device and, pinned, on the host.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], or what else the driver says.
    pub(super) fn new(blueprint: Blueprint, stream: &Arc<CudaStream>) -> Result<Self, CudaError> {
        let mut arena = Arena::new(stream, &blueprint.layout, "a batch's activations")?;
        arena.fill(blueprint.results, 0xff)?;
        arena.fill(blueprint.counters, 0)?;
        let context = stream.context();
        // SAFETY: the buffers of the image and of what is asked are written before they are copied from, the results' copied to before they
        // are read; all are plain numbers, valid for any bits.
        #[allow(unsafe_code)]
        let (image, asked, results) = unsafe {
            (
                context.alloc_pinned_with_flags(if blueprint.key.pixels { 1 } else { blueprint.image.bytes() }, 0)?,
                context.alloc_pinned_with_flags(blueprint.asked.bytes().max(1), 0)?,
                context.alloc_pinned_with_flags(blueprint.results.bytes(), 0)?,
            )
        };
        let mark = Mark::new(context)?;
        let (stream, source) = (stream.clone(), (String::new(), ""));
        Ok(Self { graph: None, blueprint, arena, image, asked, results, mark, source, stream, proven: false })
    }

    /// Enqueues the way of the images and of what is `asked` to the device, all steps and the copy of the results; [`Plan::wait`] says when they are there.
    /// `serial`: every step is waited for, so that a fault names its kernel, as the first run does; later ones replay the
    /// recorded graph. Pictures go through `staging`, which nobody else uses meanwhile.
    ///
    /// # Errors
    /// [`CudaError::Fault`] from a kernel, or what else the driver says.
    pub(super) fn start<T: Real>(
        &mut self,
        body: &Body<'_, T>,
        images: Source<'_>,
        asked: &[u8],
        serial: bool,
        staging: &mut Staging,
    ) -> Result<(), CudaError> {
        let serial = serial || !self.proven;
        self.upload(body, images, asked, serial, staging)?;
        self.run_steps(body, serial)
    }

    /// As [`Plan::start`], of images that the device makes itself.
    ///
    /// # Errors
    /// As [`Plan::start`].
    pub(super) fn start_masked<T: Real>(
        &mut self,
        body: &Body<'_, T>,
        images: &MaskedImages<'_>,
        serial: bool,
    ) -> Result<(), CudaError> {
        let serial = serial || !self.proven;
        let channels = self.blueprint.image_channels;
        self.source = (images.kernel(body, channels), "`masks`");
        self.mark.clear();
        let made = images.launch(body, self.queue(SOURCE), channels, self.arena.span_mut(self.blueprint.image));
        self.end_source(made, serial)?;
        self.run_steps(body, serial)
    }

    /// Enqueues all steps and the copy of the results; `serial`: each is waited for.
    fn run_steps<T: Real>(&mut self, body: &Body<'_, T>, serial: bool) -> Result<(), CudaError> {
        if serial {
            for index in 0..self.blueprint.steps.len() {
                self.run_step(body, index)?;
            }
            self.proven = true;
        } else {
            self.replay(body)?;
        }
        let source = self.arena.bytes(self.blueprint.results);
        self.stream.memcpy_dtoh(&source, &mut self.results).map_err(|source| self.graph_fault(source))?;
        Ok(())
    }

    /// Waits for what was started.
    ///
    /// # Errors
    /// [`CudaError::Fault`] from a kernel, or what else the driver says.
    pub(super) fn wait(&self) -> Result<(), CudaError> {
        // cudarc tracks pinned memory by events, which are off: nothing but the stream says when the copy is done.
        self.stream.synchronize().map_err(|source| self.graph_fault(source))?;
        Ok(())
    }

    /// Enqueues the recorded graph, recording it the first time.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn replay<T: Real>(&mut self, body: &Body<'_, T>) -> Result<(), CudaError> {
        if self.graph.is_none() {
            self.graph = Some(self.record(body)?);
        }
        match &self.graph {
            Some(Graph(graph)) => graph.launch().map_err(|source| self.graph_fault(source)),
            None => Ok(()),
        }
    }

    /// Enqueues one step after the other, with a call of `between` after each but the last.
    ///
    /// # Errors
    /// What the driver or `between` says.
    pub(super) fn launch_each<T: Real>(
        &self,
        body: &Body<'_, T>,
        between: &mut dyn FnMut() -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        for (index, &step) in self.blueprint.steps.iter().enumerate() {
            if index > 0 {
                between()?;
            }
            self.enqueue(body, step, self.step_queue(index))?;
        }
        Ok(())
    }

    /// Runs as the serial mode does and shows `visit` the index of each layer with its output, all channels of the device, and the
    /// output's shape, once it is complete.
    ///
    /// # Errors
    /// As [`Plan::start`].
    pub(super) fn visit<T: Real>(
        &mut self,
        body: &Body<'_, T>,
        images: &[f32],
        mut visit: impl FnMut(usize, [usize; 4], &[f32]),
    ) -> Result<(), CudaError> {
        self.upload(body, Source::Tensor(images), &[], true, &mut Staging::default())?;
        for index in 0..self.blueprint.steps.len() {
            self.run_step(body, index)?;
            let complete = match (self.blueprint.steps[index], self.blueprint.steps.get(index + 1)) {
                (Step::Layer(_), Some(Step::Norm(_))) => 0..0,
                (Step::Layer(layer), _) if self.pools(body, layer) => layer - 1..layer + 1,
                (Step::Layer(layer) | Step::Norm(layer), _) => layer..layer + 1,
                _ => 0..0,
            };
            for layer in complete {
                let is_f32 = matches!(body.network.layers()[layer].op, Op::GlobalAvgPool | Op::Linear { .. });
                let region = self.blueprint.layers[layer];
                let values = if is_f32 { self.arena.read(region)? } else { T::to_f32s(&self.arena.read::<T>(region)?) };
                visit(layer, self.blueprint.shapes[layer].output, &values);
            }
        }
        Ok(())
    }

    /// Numbers of the last run that `region` of the results holds.
    ///
    /// # Errors
    /// If the driver refuses.
    pub(super) fn result<V: bytemuck::Pod>(&self, region: Region) -> Result<&[V], CudaError> {
        let all = self.results.as_slice()?;
        // Parts begin at multiples of 256 of a page-aligned buffer.
        Ok(bytemuck::cast_slice(&all[region.within(self.blueprint.results)]))
    }

    /// The feature map of the last run, `[N, h, w, C]`.
    ///
    /// # Errors
    /// If the driver refuses.
    pub(super) fn features<T: Real>(&self, network: &Network) -> Result<Vec<f32>, CudaError> {
        Ok(T::to_f32s(&self.arena.read::<T>(self.blueprint.layers[network.features()])?))
    }

    /// The feature map of the last run as it lies on the device.
    pub(super) fn feature_bytes(&self, network: &Network) -> CudaView<'_, u8> {
        self.arena.bytes(self.blueprint.layers[network.features()])
    }

    /// Enqueues what brings images and what is asked to where the steps expect them. `serial`: kernels are waited for.
    fn upload<T: Real>(
        &mut self,
        body: &Body<'_, T>,
        images: Source<'_>,
        asked: &[u8],
        serial: bool,
        staging: &mut Staging,
    ) -> Result<(), CudaError> {
        // The copies of an earlier run have been waited for, unless it failed in the middle.
        self.stream.synchronize()?;
        self.mark.clear();
        match images {
            Source::Tensor(values) => self.upload_tensor::<T>(values)?,
            Source::Pictures(pictures) => {
                let staged = staging.upload(&self.stream, pictures)?;
                self.source = (body.operators.preprocess(self.blueprint.image_channels).name(), "`preprocess`");
                for (index, staged) in staged.iter().enumerate() {
                    self.end_source(self.preprocess(body, index, staging, staged), serial)?;
                }
            }
        }
        if !asked.is_empty() {
            self.asked.as_mut_slice()?.copy_from_slice(asked);
            self.stream.memcpy_htod(&self.asked, &mut self.arena.bytes_mut(self.blueprint.asked))?;
        }
        Ok(())
    }

    /// Enqueues the resize, the cut and the normalisation of one picture.
    fn preprocess<T: Real>(
        &self,
        body: &Body<'_, T>,
        index: usize,
        staging: &Staging,
        staged: &Staged<'_>,
    ) -> Result<(), CudaError> {
        let Some((words, window, between)) = staging.spans(staged) else { return Ok(()) };
        let [_, h, w] = self.blueprint.key.image;
        let pixels = self.blueprint.pixels.part(index, h * w * 3);
        let image = self.blueprint.image.part(index, h * w * self.blueprint.image_channels * size_of::<T>());
        let args = PreprocessArgs {
            window,
            pitch: 3 * staged.tables.window().0.len(),
            tables: staged.tables,
            words,
            between,
            crop: self.arena.span_mut(pixels),
            y: Some(self.arena.span_mut(image)),
        };
        body.operators.preprocess(self.blueprint.image_channels).launch(self.queue(SOURCE), args)
    }

    /// After the launch of what makes images. `serial`: it is waited for.
    fn end_source(&self, launched: Result<(), CudaError>, serial: bool) -> Result<(), CudaError> {
        let done = launched.and_then(|()| if serial { Ok(self.stream.synchronize()?) } else { Ok(()) });
        done.map_err(|error| self.fault_in(error, || (self.source.0.clone(), self.source.1.to_owned())))
    }

    /// Enqueues the copy of normalised images `[N, H, W, 3]`, padded and rounded to `T`.
    fn upload_tensor<T: Real>(&mut self, images: &[f32]) -> Result<(), CudaError> {
        let channels = self.blueprint.image_channels;
        let pixels: &mut [T] = bytemuck::cast_slice_mut(self.image.as_mut_slice()?);
        for (from, to) in images.as_chunks::<3>().0.iter().zip(pixels.chunks_exact_mut(channels)) {
            to.fill(T::zeroed());
            for (from, to) in from.iter().zip(to) {
                *to = T::from_f32(*from);
            }
        }
        self.stream.memcpy_htod(&self.image, &mut self.arena.bytes_mut(self.blueprint.image))?;
        Ok(())
    }

    /// One step, waited for.
    fn run_step<T: Real>(&self, body: &Body<'_, T>, index: usize) -> Result<(), CudaError> {
        let enqueued = self.enqueue(body, self.blueprint.steps[index], self.step_queue(index));
        let done = enqueued.and_then(|()| Ok(self.stream.synchronize()?));
        let name = &self.blueprint.names[index];
        done.map_err(|error| self.fault_in(error, || (name.kernel.clone(), format!("`{}`", name.layer))))
    }

    /// `error`, told as the fault of the kernel and the layer that `name` says, if it is the driver's.
    fn fault_in(&self, error: CudaError, name: impl FnOnce() -> (String, String)) -> CudaError {
        match error {
            CudaError::Launch { source, .. } | CudaError::Driver(source) => {
                let ((kernel, layer), [n, h, w]) = (name(), self.blueprint.key.image);
                CudaError::Fault { kernel, place: format!("{layer} of {n} images of {h}x{w}"), source }
            }
            error => error,
        }
    }

    /// A fault of a replay: of the last step that began, as far as is known.
    fn graph_fault(&self, source: DriverError) -> CudaError {
        match self.begun() {
            Some((kernel, place)) => CudaError::Fault { kernel, place, source },
            None => source.into(),
        }
    }

    /// The kernel of the pass that began last, and its place; `None` if none has begun.
    ///
    /// Its first block says so before it touches anything, and steps begin one after the other. A kernel of which another block faults
    /// while the first one is yet to begin is not known, so that the fault is told as the one's before.
    pub(super) fn begun(&self) -> Option<(String, String)> {
        let [n, h, w] = self.blueprint.key.image;
        let images = format!("of {n} images of {h}x{w}");
        let last = self.mark.last();
        if last == SOURCE {
            let (kernel, task) = &self.source;
            return Some((kernel.clone(), format!("{task} {images}")));
        }
        let step = self.blueprint.names.get(usize::try_from(last.checked_sub(FIRST_STEP)?).ok()?)?;
        let place = format!("`{}` {images}, the last step of the graph to begin", step.layer);
        Some((step.kernel.clone(), place))
    }

    /// Makes the output of a layer lie nowhere, also for the graph.
    #[cfg(test)]
    pub(super) fn lead_astray(&mut self, layer: usize) {
        self.graph = None;
        self.blueprint.layers[layer] = self.blueprint.layers[layer].astray();
    }

    /// Where the kernel is launched of which the mark says `number`.
    fn queue(&self, number: u32) -> Queue<'_> {
        Queue::from(&self.stream).step(self.mark.address(), number)
    }

    /// Where step `index` is launched.
    fn step_queue(&self, index: usize) -> Queue<'_> {
        self.queue(u32::try_from(index).map_or(0, |index| index + FIRST_STEP))
    }

    /// Records all steps without running them.
    fn record<T: Real>(&self, body: &Body<'_, T>) -> Result<Graph, CudaError> {
        // Other threads may go on using the device in ways that this one may not while it records.
        self.stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let enqueued = self.blueprint.steps.iter().enumerate().try_for_each(|(index, &step)| {
            // Whatever is before the graph ends before it begins.
            self.enqueue(body, step, self.step_queue(index).early(body.early && index > 0))
        });
        let recorded = self.stream.end_capture(CUgraphInstantiate_flags(0)); // ends the recording whatever happened in it
        enqueued?;
        recorded?.map(Graph).ok_or(CudaError::Driver(DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)))
    }
}
