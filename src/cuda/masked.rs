//! Images that stay on the device with their features, and scores of what masks leave of them.

use std::collections::VecDeque;

use super::arena::{Arena, Layout, Region};
use super::blueprint::{Key, Maps};
use super::mask_image::{DeviceMask, DeviceTap, MaskImageArgs, MaskImageShape};
use super::pipeline::{LANES, Pipeline};
use super::plan::{Body, Plan};
use super::real::Real;
use super::source::Source;
use super::{CudaError, Queue, SpanMut, Unsupported};
use crate::cam::noise::{SEGMENTS, segments};
use crate::cam::{Enlargement, Mask};
use crate::cpu::Forward;
use crate::tensor::Nhwc;

/// Images and their features on the device, for [`super::Cuda::score_masks`].
pub struct Kept {
    arena: Arena,
    /// `[N, H, W, 3]` f32.
    images: Region,
    /// `[N, h, w, C]` in the precision of the pipeline.
    features: Region,
    segments: Region,
    image: [usize; 3],
    cells: [usize; 3],
}

/// Sees the number and the logits of a masked image.
pub(super) type Scored<'a> = dyn FnMut(usize, &[f32]) + 'a;

/// The masks of one pass, for a plan.
pub(super) struct MaskedImages<'a> {
    kept: &'a Kept,
    arena: &'a Arena,
    taps: Region,
    masks: Region,
    noise: bool,
    count: usize,
}

impl Kept {
    fn shape(&self, masks: usize) -> MaskImageShape {
        let ([n, h, w], [cells_h, cells_w, channels]) = (self.image, self.cells);
        MaskImageShape { n, h, w, cells_h, cells_w, channels, masks }
    }
}

impl MaskedImages<'_> {
    /// How faults name the kernel.
    pub(super) fn kernel<T: Real>(&self, body: &Body<'_, T>, channels: usize) -> String {
        body.operators.mask_image(channels).name(self.noise)
    }

    /// Enqueues the kernel that writes them to `y`, `[count, H, W, channels]`.
    pub(super) fn launch<T: Real>(
        &self,
        body: &Body<'_, T>,
        queue: Queue<'_>,
        channels: usize,
        y: SpanMut<'_, T>,
    ) -> Result<(), CudaError> {
        let Self { kept, arena, .. } = self;
        let args = MaskImageArgs {
            shape: kept.shape(self.count),
            image: kept.arena.span(kept.images),
            features: kept.arena.span::<T>(kept.features),
            taps: arena.span(self.taps),
            masks: arena.span(self.masks),
            noise: self.noise,
            segments: kept.arena.span(kept.segments),
            y,
        };
        body.operators.mask_image(channels).launch(queue, args)
    }
}

/// What one of the lanes needs for its masks.
struct Station {
    arena: Arena,
    taps: Region,
    masks: Region,
}

impl Station {
    fn new<T: Real>(pipeline: &Pipeline<T>, lane: usize, taps: &[DeviceTap], batch: usize) -> Result<Self, CudaError> {
        let mut layout = Layout::default();
        let (tap_region, masks) = (layout.place::<DeviceTap>(taps.len()), layout.place::<DeviceMask>(batch));
        let mut arena = Arena::new(pipeline.lane_stream(lane), &layout, "masks")?;
        arena.write(tap_region, taps)?;
        Ok(Self { arena, taps: tap_region, masks })
    }
}

impl<T: Real> Pipeline<T> {
    /// Runs `images` `[N, H, W, 3]`, at most `batch` in a pass, and keeps them with their features.
    pub(super) fn keep_images(&mut self, images: &Nhwc, batch: usize) -> Result<(Forward, Kept), CudaError> {
        let [n, h, w, _] = images.shape();
        let [_, cells_h, cells_w, channels] = self.network().shapes(1, h, w)?[self.network().features()].output;
        let (size, cells) = (h * w * 3, cells_h * cells_w * channels);
        let mut layout = Layout::default();
        let image_region = layout.place::<f32>(n * size);
        let features = layout.place::<T>(n * cells);
        let segment_region = layout.place::<f32>(SEGMENTS.iter().product());
        // Whoever has them gives them back when he likes, perhaps while a graph is recorded on a lane: a stream of their own.
        let stream = self.stream().context().new_stream()?;
        let mut arena = Arena::new(&stream, &layout, "images that are masked")?;
        arena.write(image_region, images.data())?;
        arena.write(segment_region, segments())?;
        let (mut found, mut logits, batch) = (Vec::with_capacity(n * cells), Vec::new(), batch.max(1));
        for first in (0..n).step_by(batch) {
            let count = batch.min(n - first);
            let source = Source::Tensor(&images.data()[first * size..][..count * size]);
            let key = Key { image: [count, h, w], pixels: false, maps: Maps::Top(0), show: None, joined: true };
            let plan = self.pass(key, source)?;
            found.extend(plan.features::<T>(self.network())?);
            logits.extend_from_slice(self.logits(&plan, first)?);
            arena.copy(features.run(first, count, cells * size_of::<T>()), &plan.feature_bytes(self.network()))?;
            stream.synchronize()?; // the plan's next pass writes what is copied
            self.keep_plan(0, plan);
        }
        stream.synchronize()?; // the lanes read them
        let forward = Forward {
            features: Nhwc::new([n, cells_h, cells_w, channels], found),
            logits: Nhwc::new([n, 1, 1, logits.len() / n.max(1)], logits),
        };
        let kept = Kept {
            arena,
            images: image_region,
            features,
            segments: segment_region,
            image: [n, h, w],
            cells: [cells_h, cells_w, channels],
        };
        Ok((forward, kept))
    }

    /// Scores what `masks` leave of the images that they name, about `batch` in a pass: two passes at a time, fewer images in each
    /// where the device has no room.
    pub(super) fn score_masked(
        &mut self,
        kept: &Kept,
        enlargement: &Enlargement,
        masks: &[(usize, Mask)],
        batch: usize,
        each: &mut Scored<'_>,
    ) -> Result<(), CudaError> {
        check(kept, enlargement, masks)?;
        let taps = DeviceTap::all(enlargement);
        let masks: Vec<DeviceMask> = masks.iter().map(|(image, mask)| DeviceMask::new(*image, mask)).collect();
        let (mut lanes, mut batch, mut done) = (LANES, batch.min(masks.len()).max(1), 0);
        while done < masks.len() {
            match self.score_some(kept, &taps, &masks, (lanes, batch), &mut done, each) {
                Ok(()) => {}
                Err(error) if error.is_about_size() && (lanes > 1 || batch > 1) => {
                    self.release()?;
                    (lanes, batch) = if lanes > 1 { (1, batch) } else { (1, batch.div_ceil(2)) };
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Scores all masks from `done` on, which counts those that `each` has seen.
    fn score_some(
        &mut self,
        kept: &Kept,
        taps: &[DeviceTap],
        masks: &[DeviceMask],
        (lanes, batch): (usize, usize),
        done: &mut usize,
        each: &mut Scored<'_>,
    ) -> Result<(), CudaError> {
        let [_, h, w] = kept.image;
        let key = Key { image: [batch, h, w], pixels: false, maps: Maps::Top(0), show: None, joined: true };
        let mut free = Vec::with_capacity(lanes);
        for lane in 0..lanes {
            self.land(lane);
            free.push((lane, Station::new(self, lane, taps, batch)?));
        }
        let mut under_way: VecDeque<(usize, Station, Plan, usize)> = VecDeque::new();
        let mut next = *done;
        loop {
            if next < masks.len()
                && let Some((lane, mut station)) = free.pop()
            {
                let count = batch.min(masks.len() - next);
                // The last pass is as large as the others, which have a plan: what it lacks is filled with what is at hand.
                let mut part = masks[next..next + count].to_vec();
                part.resize(batch, masks[next]);
                station.arena.write(station.masks, &part)?;
                let Station { arena, taps, masks } = &station;
                let noise = part.iter().any(DeviceMask::has_noise);
                let images = MaskedImages { kept, arena, taps: *taps, masks: *masks, noise, count: batch };
                let plan = self.start_masked(lane, key, &images)?;
                under_way.push_back((lane, station, plan, count));
                next += count;
            } else if let Some((lane, station, plan, count)) = under_way.pop_front() {
                plan.wait()?;
                let logits = self.logits(&plan, *done)?;
                let classes = logits.len() / batch;
                for logits in logits.chunks_exact(classes).take(count) {
                    each(*done, logits);
                    *done += 1;
                }
                self.keep_plan(lane, plan);
                free.push((lane, station));
            } else {
                return Ok(());
            }
        }
    }
}

/// What the kernel takes on trust.
fn check(kept: &Kept, enlargement: &Enlargement, masks: &[(usize, Mask)]) -> Result<(), CudaError> {
    let ([n, h, w], [cells_h, cells_w, channels]) = (kept.image, kept.cells);
    let fault = |reason: String| CudaError::Unsupported(Unsupported { kernel: "mask_image", reason });
    let (cells, pixels) = (enlargement.cells(), enlargement.pixels());
    if (cells, pixels) != ((cells_h, cells_w), (h, w)) {
        let reason = format!("an enlargement from {cells:?} to {pixels:?}, expected {:?} to {:?}", (cells_h, cells_w), (h, w));
        return Err(fault(reason));
    }
    match masks.iter().find(|(image, mask)| *image >= n || mask.channel >= channels) {
        Some((image, mask)) => {
            Err(fault(format!("a mask of channel {} over image {image}, there are {channels} and {n}", mask.channel)))
        }
        None => Ok(()),
    }
}
