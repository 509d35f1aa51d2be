//! The backends under one operation: images and a selection of classes in, scores and maps out.

use std::sync::Arc;

use crate::Error;
use crate::bench::GpuFacts;
use crate::cam::{Enlarge, Found, Head, Selection};
#[cfg(feature = "cuda")]
use crate::cam::{Enlargement, Mask};
use crate::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::cpu::Forward;
#[cfg(feature = "cuda")]
use crate::cuda::{self, Cuda, Images};
#[cfg(feature = "cuda")]
use crate::engine::DeviceError;
use crate::input::{Input, batch};
use crate::network::PlanReport;
use crate::render::Style;
#[cfg(feature = "cuda")]
use crate::share::share;
use crate::tensor::{Nhwc, Precision};

pub(super) enum Backend {
    Cpu {
        cpu: Box<Cpu>,
        head: Arc<Head>,
    },
    #[cfg(feature = "cuda")]
    Cuda(Box<Cuda>),
}

/// What is asked for beside the maps themselves. Whatever a backend does not do is left to who asked.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "the processor draws elsewhere"))]
pub(super) struct Show {
    pub enlarge: Option<Enlarge>,
    pub overlay: Option<Style>,
}

/// What a pass over some images found, for passes that build on it.
pub(super) struct Read {
    /// `[N, h, w, C]`.
    pub features: Nhwc,
    /// `[N, 1, 1, K]`.
    pub logits: Nhwc,
    #[cfg(feature = "cuda")]
    pub kept: Option<cuda::Kept>,
}

/// Work that a backend has accepted.
pub(super) enum Running {
    Cpu,
    #[cfg(feature = "cuda")]
    Cuda(cuda::Ticket),
}

impl Backend {
    /// Accepts inputs of one size. A CUDA device begins at once; the processor begins when the work is collected.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
    pub(super) fn submit(&self, inputs: &[&Input], selection: Selection<'_>, show: Show) -> Result<Running, Error> {
        match self {
            Self::Cpu { .. } => Ok(Running::Cpu),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => {
                let show = match show {
                    // One of them; the other is made from the map by who asked.
                    Show { overlay: Some(style), .. } => Some(cuda::Show::Overlay(style)),
                    Show { enlarge, .. } => enlarge.map(cuda::Show::Enlarged),
                };
                Ok(Running::Cuda(cuda.submit(Images::Inputs(inputs), selection, show).map_err(DeviceError::Cuda)?))
            }
        }
    }

    /// Completes what was submitted with the same arguments. `found` has what was finished, whatever is returned.
    pub(super) fn collect(
        &self,
        running: Running,
        inputs: &[&Input],
        selection: Selection<'_>,
        found: &mut Found,
    ) -> Result<(), Error> {
        match (self, running) {
            (Self::Cpu { cpu, head }, _) => pass(cpu, head, &batch(inputs), selection, None, found),
            #[cfg(feature = "cuda")]
            (Self::Cuda(cuda), Running::Cuda(ticket)) => Ok(cuda.collect(ticket, found).map_err(DeviceError::Cuda)?),
            #[cfg(feature = "cuda")]
            (Self::Cuda(_), Running::Cpu) => Ok(()), // nothing that this backend was given
        }
    }

    /// Runs normalised images `[N, H, W, 3]`; `found` has what was finished, whatever is returned.
    pub(super) fn run(
        &self,
        images: &Nhwc,
        selection: Selection<'_>,
        enlarge: Option<Enlarge>,
        found: &mut Found,
    ) -> Result<(), Error> {
        match self {
            Self::Cpu { cpu, head } => pass(cpu, head, images, selection, enlarge, found),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => Ok(cuda.run_into(images, selection, enlarge, found).map_err(DeviceError::Cuda)?),
        }
    }

    /// Features and scores of normalised images `[N, H, W, 3]`, at most `batch` in one pass; a device keeps the images and features.
    pub(super) fn read(&self, images: &Nhwc, batch: usize) -> Result<Read, Error> {
        match self {
            Self::Cpu { cpu, .. } => {
                let [n, h, w, c] = images.shape();
                let size = h * w * c;
                let (mut features, mut logits) = ((Vec::new(), [0; 4]), (Vec::new(), [0; 4]));
                for first in (0..n).step_by(batch.max(1)) {
                    let count = batch.min(n - first);
                    let part = Nhwc::new([count, h, w, c], images.data()[first * size..][..count * size].to_vec());
                    let pass = cpu.forward(&part)?;
                    for (all, part) in [(&mut features, pass.features), (&mut logits, pass.logits)] {
                        all.1 = part.shape();
                        all.0.extend(part.into_data());
                    }
                }
                let whole = |(data, [_, h, w, c]): (Vec<f32>, [usize; 4])| Nhwc::new([n, h, w, c], data);
                Ok(Read {
                    features: whole(features),
                    logits: whole(logits),
                    #[cfg(feature = "cuda")]
                    kept: None,
                })
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => {
                let (Forward { features, logits }, kept) = cuda.keep(images, batch).map_err(DeviceError::Cuda)?;
                Ok(Read { features, logits, kept: Some(kept) })
            }
        }
    }

    /// Scores masked images that a device makes by itself; `None` where it is the host that does.
    #[cfg(feature = "cuda")]
    pub(super) fn score_masks(
        &self,
        read: &Read,
        enlargement: &Enlargement,
        masks: &[(usize, Mask)],
        batch: usize,
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Option<Result<(), Error>> {
        let (Self::Cuda(cuda), Some(kept)) = (self, &read.kept) else { return None };
        Some(cuda.score_masks(kept, enlargement, masks, batch, each).map_err(|error| DeviceError::Cuda(error).into()))
    }

    /// Logits `[K]` of images that `make` writes one by one into `images`.
    pub(super) fn score_made(
        &self,
        images: &mut Nhwc,
        make: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) -> Result<Vec<Vec<f32>>, Error> {
        match self {
            Self::Cpu { cpu, .. } => {
                cpu.make(images, make);
                let logits = cpu.forward(images)?.logits;
                Ok((0..images.shape()[0]).map(|image| logits.image(image).to_vec()).collect())
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => {
                let size = images.shape()[1..].iter().product::<usize>().max(1);
                share(images.data_mut().chunks_exact_mut(size).enumerate().collect(), usize::MAX, |(at, image)| make(at, image));
                let found = cuda.run(images, Selection::Top(0)).map_err(DeviceError::Cuda)?;
                Ok((0..found.images()).map(|image| found.logits(image).to_vec()).collect())
            }
        }
    }

    /// Whether images are resized by the processor.
    pub(super) fn reads_crops(&self) -> bool {
        matches!(self, Self::Cpu { .. })
    }

    /// How a pass over `[N, H, W]` images runs that computes maps of each. The processor's maps take next to nothing.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
    pub(super) fn plan(&self, image: [usize; 3], selection: Selection<'_>) -> Result<PlanReport, Error> {
        match self {
            Self::Cpu { cpu, .. } => Ok(cpu.plan(image)?),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => Ok(cuda.plan_pictures(image, selection).map_err(DeviceError::Cuda)?),
        }
    }

    /// Facts about the GPU that it runs on.
    pub(super) fn gpu(&self) -> Result<Option<GpuFacts>, Error> {
        match self {
            Self::Cpu { .. } => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => Ok(Some(cuda.facts().map_err(DeviceError::Cuda)?)),
        }
    }

    /// What activations and filters are stored in.
    pub(super) fn precision(&self) -> Precision {
        match self {
            Self::Cpu { .. } => Precision::F32,
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.precision(),
        }
    }

    /// Threads of the processor that work on a pass.
    pub(super) fn threads(&self) -> usize {
        match self {
            Self::Cpu { cpu, .. } => cpu.threads(),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => 1,
        }
    }

    /// Where it runs, in words.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Cpu { cpu, .. } => match cpu.threads() {
                1 => "cpu (1 thread)".to_owned(),
                threads => format!("cpu ({threads} threads)"),
            },
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.describe(),
        }
    }
}

/// One pass on the processor.
fn pass(
    cpu: &Cpu,
    head: &Head,
    images: &Nhwc,
    selection: Selection<'_>,
    enlarge: Option<Enlarge>,
    found: &mut Found,
) -> Result<(), Error> {
    let pass = cpu.forward(images)?;
    for (image, maps) in cpu.maps(head, &pass, selection)?.into_iter().enumerate() {
        let logits = pass.logits.image(image);
        let enlarged = enlarge.map_or_else(Vec::new, |enlarge| selection.enlarged(enlarge, &maps));
        found.push(logits, maps, enlarged, Vec::new());
    }
    Ok(())
}
