//! The CUDA backend itself.

use std::sync::{Mutex, MutexGuard};

use half::{bf16, f16};

use super::pipeline::{Outcome, Pipeline, Run, Slot, open};
use super::source::{self, Images, Planned, Show, Source};
use super::{CudaError, DevicePasses, DeviceTimes, Kept, Modules, Unsupported, device, facts};
use crate::bench::GpuFacts;
use crate::cam::{Enlarge, Enlargement, Found, Mask, Selection};
use crate::cpu::Forward;
use crate::input;
use crate::network::{Layer, Model, PlanReport};
use crate::share::share;
use crate::tensor::{Nhwc, Precision};

/// How batch norm is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Norm {
    /// In the convolution's filter and bias.
    #[default]
    Folded,
    /// By a kernel of its own, for comparison: slower, and in f16 rounded once more.
    Unfolded,
}

/// Choices for a [`Cuda`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What activations and filters are stored in; f16 unless said otherwise.
    pub precision: Option<Precision>,
    /// How batch norm is computed.
    pub norm: Norm,
    /// Waits for each kernel, so that a fault names it. Otherwise only the first run of a shape does, and later ones replay a
    /// graph.
    pub serial: bool,
}

/// A network, ready to run on a CUDA device.
pub struct Cuda {
    state: Mutex<State>,
    name: String,
    ordinal: usize,
    precision: Precision,
    classes: usize,
    modules: Modules,
}

/// Work that a [`Cuda`] has accepted, to be collected from the same. Dropped, its results are lost and nothing else.
#[derive(Debug)]
pub struct Ticket(Slot);

struct State {
    pipeline: Box<dyn Run>,
    /// Why no call can succeed any more.
    ended: Option<String>,
}

impl Cuda {
    /// Opens device `ordinal`, loads the kernels and uploads the parameters of `model`.
    ///
    /// # Errors
    /// Without kernels in this build, a driver, the device or room on it; with a driver that is too old, or weights that the
    /// precision has no room for.
    pub fn new(model: &Model, ordinal: usize, options: Options) -> Result<Self, CudaError> {
        let context = device::open(ordinal)?;
        let name = context.name()?;
        let modules = Modules::new(context)?;
        let Options { norm, serial, .. } = options;
        let precision = options.precision.unwrap_or(Precision::F16);
        let pipeline: Box<dyn Run> = match precision {
            Precision::F32 => Box::new(Pipeline::<f32>::new(model, &modules, precision, norm, serial)?),
            Precision::F16 | Precision::F16Fast => Box::new(Pipeline::<f16>::new(model, &modules, precision, norm, serial)?),
            Precision::Bf16 if modules.capability() < 80 => {
                return Err(CudaError::Precision { precision, capability: modules.capability() });
            }
            Precision::Bf16 => Box::new(Pipeline::<bf16>::new(model, &modules, precision, norm, serial)?),
        };
        let classes = model.network().architecture().classes();
        let state = Mutex::new(State { pipeline, ended: None });
        Ok(Self { state, name, ordinal, precision, classes, modules })
    }

    /// The device and the precision, such as `cuda:0 (NVIDIA L4, f16)`.
    pub fn describe(&self) -> String {
        format!("cuda:{} ({}, {})", self.ordinal, self.name, self.precision)
    }

    /// What activations and filters are stored in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Compute capability of the device, as `10 * major + minor`.
    pub fn capability(&self) -> u32 {
        self.modules.capability()
    }

    /// Runs the network on normalised images `[N, H, W, 3]` and computes the selected maps, from images to maps on the device.
    /// A batch that the device has no room for is split.
    ///
    /// # Errors
    /// [`CudaError`]; see [`Cuda::run_into`] for what is finished then.
    pub fn run(&self, images: &Nhwc, selection: Selection<'_>) -> Result<Found, CudaError> {
        let mut found = Found::default();
        self.run_into(images, selection, None, &mut found)?;
        Ok(found)
    }

    /// As [`Cuda::run`], with the maps enlarged on the device as well if asked for, appending to `found`, which after an error
    /// holds what was finished before it.
    ///
    /// # Errors
    /// [`CudaError`] for images that do not fit, a class beyond the last, a lack of memory even for one image, activations that
    /// f16 has no room for, and faults of the device. After one of those every call returns [`CudaError::Ended`].
    pub fn run_into(
        &self,
        images: &Nhwc,
        selection: Selection<'_>,
        enlarge: Option<Enlarge>,
        found: &mut Found,
    ) -> Result<(), CudaError> {
        let ticket = self.submit(Images::Tensor(images), selection, enlarge.map(Show::Enlarged))?;
        self.collect(ticket, found)
    }

    /// Starts to run images and returns while the device is at work, so that the next ones are copied and resized there while
    /// these are computed. Two submissions are under way at a time; a third one waits for the first, whose results are then kept
    /// for [`Cuda::collect`]. (The first run of a shape on each of the two waits for every kernel, so that a fault names it.)
    ///
    /// # Errors
    /// [`CudaError`] for images that do not fit, a class beyond the last, or after a fault of the device. What goes wrong on the
    /// way is told by [`Cuda::collect`].
    pub fn submit(&self, images: Images<'_>, selection: Selection<'_>, show: Option<Show>) -> Result<Ticket, CudaError> {
        if let Some(class) = selection.largest_class().filter(|&class| class >= self.classes) {
            return Err(CudaError::Class { class, classes: self.classes });
        }
        check_maps(selection)?;
        let start = |images: Source<'_>, image| {
            let mut slot = Slot::default();
            self.with(|pipeline| {
                slot = pipeline.submit(images, image, selection, show);
                Ok(())
            })?;
            Ok(Ticket(slot))
        };
        let tensor = |images: &Nhwc| {
            check(images)?;
            let [n, h, w, _] = images.shape();
            start(Source::Tensor(images.data()), [n, h, w])
        };
        match images {
            Images::Tensor(images) => tensor(images),
            Images::Inputs(inputs) => {
                let (h, w) = source::size(inputs)?;
                match inputs.iter().map(|input| input.photograph()).collect::<Option<Vec<_>>>() {
                    Some(photographs) => {
                        let planned = share(photographs, usize::MAX, Planned::new);
                        start(Source::Pictures(&planned), [inputs.len(), h, w])
                    }
                    None => tensor(&input::batch(inputs)), // some were prepared elsewhere
                }
            }
        }
    }

    /// Waits for a submission and appends what it found to `found`, which after an error holds what was finished before it.
    ///
    /// # Errors
    /// As [`Cuda::run_into`].
    pub fn collect(&self, ticket: Ticket, found: &mut Found) -> Result<(), CudaError> {
        let mut state = self.lock();
        state.pipeline.finish(&ticket.0);
        state.note();
        let Outcome { found: finished, error } = std::mem::take(&mut *open(&ticket.0));
        found.append(finished);
        error.map_or(Ok(()), Err)
    }

    /// Runs normalised images in one pass and shows `visit` each layer with its output and the output's shape `[N, H, W, C]`.
    /// Each layer is a step of its own then, also where [`Cuda::run`] joins several.
    ///
    /// # Errors
    /// As [`Cuda::run_into`].
    pub fn visit(&self, images: &Nhwc, mut visit: impl FnMut(&Layer, [usize; 4], &[f32])) -> Result<(), CudaError> {
        check(images)?;
        self.with(|pipeline| pipeline.visit(images, &mut visit))
    }

    /// Runs normalised images `[N, H, W, 3]`, at most `batch` in a pass, and keeps them on the device with their features, which
    /// come back with the scores, for [`Cuda::score_masks`].
    ///
    /// # Errors
    /// As [`Cuda::run_into`]; batches are not split.
    pub fn keep(&self, images: &Nhwc, batch: usize) -> Result<(Forward, Kept), CudaError> {
        check(images)?;
        let mut kept = None;
        self.with(|pipeline| {
            kept = Some(pipeline.keep(images, batch)?);
            Ok(())
        })?;
        kept.ok_or(CudaError::Ended { reason: "nothing was kept".to_owned() })
    }

    /// Scores what `masks` leave of images that were kept: each is over the image of that number, and made on the device, straight
    /// into the network's input. Shows `each` the number of a mask and the logits `[K]`, in order; the device is held meanwhile, so
    /// `each` must not use it. At most `batch` masked images are in a pass, fewer where the device has no room; two passes are under
    /// way at a time.
    ///
    /// # Errors
    /// [`CudaError::Unsupported`] for a mask of an image or channel that is not there, or an enlargement of other sizes; else as
    /// [`Cuda::run_into`].
    pub fn score_masks(
        &self,
        kept: &Kept,
        enlargement: &Enlargement,
        masks: &[(usize, Mask)],
        batch: usize,
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), CudaError> {
        self.with(|pipeline| pipeline.score_masks(kept, enlargement, masks, batch, each))
    }

    /// How a pass over `n` images of `h` x `w` runs that computes `maps` maps of each.
    ///
    /// # Errors
    /// [`CudaError::Network`] or [`CudaError::Unsupported`] if the images fit no single pass.
    pub fn plan(&self, [n, h, w]: [usize; 3], maps: usize) -> Result<PlanReport, CudaError> {
        self.lock().pipeline.plan([n, h, w], Selection::Top(maps), false)
    }

    /// As [`Cuda::plan`], for images that come as pictures and any maps. Where a kernel cannot compute them, the last step says why
    /// the processor does.
    ///
    /// # Errors
    /// As [`Cuda::plan`], and [`CudaError::Unsupported`] for maps that take more than one pass.
    pub fn plan_pictures(&self, [n, h, w]: [usize; 3], selection: Selection<'_>) -> Result<PlanReport, CudaError> {
        check_maps(selection)?;
        self.lock().pipeline.plan([n, h, w], selection, true)
    }

    /// What the driver says of the device.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub fn facts(&self) -> Result<GpuFacts, CudaError> {
        Ok(facts::of(self.modules.context(), self.modules.capability())?)
    }

    /// Times passes by the device's clock.
    ///
    /// # Errors
    /// As [`Cuda::run_into`]; batches are not split.
    pub fn measure(&self, wanted: DevicePasses<'_>) -> Result<DeviceTimes, CudaError> {
        wanted.batches.iter().try_for_each(check)?;
        let mut times = DeviceTimes::default();
        self.with(|pipeline| {
            times = pipeline.measure(wanted)?;
            Ok(())
        })?;
        Ok(times)
    }

    /// Uses the pipeline, unless an earlier use ended it.
    fn with(&self, task: impl FnOnce(&mut dyn Run) -> Result<(), CudaError>) -> Result<(), CudaError> {
        let mut state = self.lock();
        if let Some(reason) = &state.ended {
            return Err(CudaError::Ended { reason: reason.clone() });
        }
        let done = task(&mut *state.pipeline);
        state.note();
        if let Err(error) = &done
            && error.is_final()
        {
            state.ended = Some(error.to_string());
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            state.ended.get_or_insert_with(|| "an earlier call panicked".to_owned());
            state
        })
    }
}

impl State {
    /// Ends everything if the pipeline has met its end.
    fn note(&mut self) {
        if self.ended.is_none() {
            self.ended = self.pipeline.fatal().map(str::to_owned);
        }
    }
}

/// Refuses maps that one pass does not tell.
fn check_maps(selection: Selection<'_>) -> Result<(), Unsupported> {
    match selection {
        Selection::Asked(asked) if asked.by_host() => {
            let reason = "smoothed maps and those of masked images are an engine's work".to_owned();
            Err(Unsupported { kernel: "cam_rows", reason })
        }
        _ => Ok(()),
    }
}

fn check(images: &Nhwc) -> Result<(), CudaError> {
    match images.shape() {
        [.., 3] => Ok(()),
        found => Err(CudaError::Channels { found }),
    }
}
