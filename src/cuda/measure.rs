//! Timing passes by the device's clock.

use cudarc::driver::sys::CUevent_flags;

use super::blueprint::{Key, Maps};
use super::pipeline::Pipeline;
use super::plan::Plan;
use super::real::Real;
use super::source::Source;
use super::staging::Staging;
use super::{CudaError, Show};
use crate::cam::{Enlarge, Selection};
use crate::tensor::Nhwc;

/// Seconds by the device's clock.
#[derive(Clone, Debug, Default)]
pub struct DeviceTimes {
    /// Of each pass, from images to maps in the device's memory.
    pub passes: Vec<f64>,
    /// Of each step of the plan in each pass, with what lies between two launches.
    pub steps: Vec<Vec<f64>>,
}

/// What [`super::Cuda::measure`] times.
#[derive(Clone, Copy, Debug)]
pub struct DevicePasses<'a> {
    /// Batches of one shape, each in memory of its own, that take turns.
    pub batches: &'a [Nhwc],
    /// Maps of each image.
    pub maps: usize,
    /// What becomes of them.
    pub enlarge: Option<Enlarge>,
    /// Passes before those that count.
    pub warm_up: usize,
    /// Passes that count.
    pub passes: usize,
    /// Whether steps are timed too.
    pub steps: bool,
}

impl<T: Real> Pipeline<T> {
    /// Times replays of the graph, then, if asked for, steps launched one after the other.
    pub(super) fn time(&self, wanted: DevicePasses<'_>) -> Result<DeviceTimes, CudaError> {
        let maps = Maps::of(Selection::Top(wanted.maps), self.network().architecture().classes())?;
        let body = self.body();
        let mut plans = Vec::with_capacity(wanted.batches.len());
        for images in wanted.batches {
            let [n, h, w, _] = images.shape();
            let key = Key { image: [n, h, w], pixels: false, maps, show: wanted.enlarge.map(Show::Enlarged), joined: true };
            let mut plan = Plan::new(self.blueprint(key)?, self.stream())?;
            plan.start(&body, Source::Tensor(images.data()), &[], false, &mut Staging::default())?;
            plan.wait()?; // uploads the images and proves the steps
            plans.push(plan);
        }
        let mut times = DeviceTimes::default();
        let count = plans.len().max(1);
        for turn in 0..wanted.warm_up + wanted.passes {
            let Some(plan) = plans.get_mut(turn % count) else { break };
            let seconds = between(self.stream(), |_| plan.replay(&body))?;
            if turn >= wanted.warm_up {
                times.passes.extend(seconds);
            }
        }
        if wanted.steps {
            for turn in 0..wanted.passes {
                let Some(plan) = plans.get(turn % count) else { break };
                let seconds = between(self.stream(), |mark| plan.launch_each(&body, mark))?;
                times.steps.resize_with(seconds.len(), Vec::new);
                times.steps.iter_mut().zip(seconds).for_each(|(step, seconds)| step.push(seconds));
            }
        }
        Ok(times)
    }
}

type Mark<'a> = dyn FnMut() -> Result<(), CudaError> + 'a;

/// Seconds between the marks that `enqueue` sets on the stream; one is set before and one after it.
fn between(
    stream: &std::sync::Arc<cudarc::driver::CudaStream>,
    enqueue: impl FnOnce(&mut Mark<'_>) -> Result<(), CudaError>,
) -> Result<Vec<f64>, CudaError> {
    let mut events = Vec::new();
    let mut mark = || {
        events.push(stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?);
        Ok(())
    };
    mark()?;
    enqueue(&mut mark)?;
    mark()?;
    stream.synchronize()?;
    let seconds = events.windows(2).map(|pair| pair[0].elapsed_ms(&pair[1]).map(|ms| f64::from(ms) * 1e-3));
    Ok(seconds.collect::<Result<_, _>>()?)
}
