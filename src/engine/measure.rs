//! Timing passes of an engine.

use std::time::Instant;

#[cfg(feature = "cuda")]
use super::DeviceError;
use super::Engine;
use super::backend::Backend;
use crate::Error;
use crate::cam::{Enlarge, Found, Levels, Normalisation, Selection};
#[cfg(feature = "cuda")]
use crate::cuda::DevicePasses;
use crate::tensor::Nhwc;

/// Which passes to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// `[N, H, W]` of the images.
    pub images: [usize; 3],
    /// Maps of each image: those of its most probable classes.
    pub maps: usize,
    /// What the maps, enlarged to the size of the images, are stored as; `None` for raw maps only.
    pub levels: Option<Levels>,
    /// Passes before the first that counts.
    pub warm_up: usize,
    /// Passes that count.
    pub passes: usize,
    /// Whether each layer is timed as well, in passes of their own.
    pub layers: bool,
}

/// Seconds of each pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timings {
    /// From normalised images in the host's memory to scores and maps there.
    pub whole: Vec<f64>,
    /// From images to maps in the device's memory, by its own clock; empty on the processor.
    pub device: Vec<f64>,
    /// Of each step of the plan, in its order; on a device by its own clock, with what lies between two launches. Empty unless
    /// asked for.
    pub steps: Vec<StepTimes>,
}

/// Seconds that one step took in each pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepTimes {
    /// As in the plan.
    pub layer: String,
    /// As in the plan.
    pub kernel: String,
    /// One number a pass.
    pub seconds: Vec<f64>,
}

/// Batches that take turns, so that none is read while it is still in the caches nearest to the arithmetic.
const TURNS: usize = 3;

impl Engine {
    /// Times passes over noise in [-2, 2], about what normalised photographs are.
    ///
    /// # Errors
    /// If the images do not fit the network, and faults of the device.
    pub fn measure(&self, passes: &Passes) -> Result<Timings, Error> {
        let [n, h, w] = passes.images;
        self.model.network().shapes(n, h, w)?; // before anything is allocated for it
        let batches: Vec<Nhwc> = (0..TURNS as u64).map(|turn| noise(passes.images, turn)).collect();
        let enlarge = passes.levels.map(|levels| Enlarge { h, w, normalisation: Normalisation::MinMax, levels });
        let run = |turn: usize| {
            let mut found = Found::default();
            self.backend.run(&batches[turn % TURNS], Selection::Top(passes.maps), enlarge, &mut found)
        };
        (0..passes.warm_up).try_for_each(run)?;
        let mut whole = Vec::with_capacity(passes.passes);
        for turn in 0..passes.passes {
            let start = Instant::now();
            run(turn)?;
            whole.push(start.elapsed().as_secs_f64());
        }
        match &self.backend {
            Backend::Cpu { cpu, .. } => {
                let plan = cpu.plan(passes.images)?;
                let mut steps: Vec<StepTimes> = Vec::new();
                if passes.layers {
                    steps.extend(plan.steps.into_iter().map(|step| StepTimes {
                        layer: step.layer,
                        kernel: step.kernel,
                        seconds: Vec::new(),
                    }));
                    for turn in 0..passes.passes {
                        let mut row = steps.iter_mut();
                        let mut last = Instant::now();
                        cpu.forward_with(&batches[turn % TURNS], |_, _, _| {
                            let now = Instant::now();
                            if let Some(row) = row.next() {
                                row.seconds.push((now - last).as_secs_f64());
                            }
                            last = now;
                        })?;
                    }
                }
                Ok(Timings { whole, device: Vec::new(), steps })
            }
            #[cfg(feature = "cuda")]
            Backend::Cuda(cuda) => {
                let &Passes { maps, warm_up, passes: count, layers, .. } = passes;
                let wanted = DevicePasses { batches: &batches, maps, enlarge, warm_up, passes: count, steps: layers };
                let times = cuda.measure(wanted).map_err(DeviceError::Cuda)?;
                let plan = if layers { cuda.plan(passes.images, maps).map_err(DeviceError::Cuda)?.steps } else { Vec::new() };
                let steps = plan.into_iter().zip(times.steps);
                let steps = steps.map(|(step, seconds)| StepTimes { layer: step.layer, kernel: step.kernel, seconds }).collect();
                Ok(Timings { whole, device: times.passes, steps })
            }
        }
    }
}

/// Images `[N, H, W, 3]` of noise in [-2, 2], the same for the same seed.
fn noise([n, h, w]: [usize; 3], seed: u64) -> Nhwc {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13; // xorshift64
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 22) as f32 - 2.0
    };
    Nhwc::new([n, h, w, 3], (0..n * h * w * 3).map(|_| next()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_fills_its_range() {
        let images = noise([1, 64, 64], 2);
        let (low, high) = images.data().iter().fold((0f32, 0f32), |(low, high), &x| (low.min(x), high.max(x)));
        let mean = images.data().iter().sum::<f32>() / images.data().len() as f32;
        assert!((-2.0..-1.9).contains(&low) && (1.9..2.0).contains(&high) && mean.abs() < 0.1, "{low} {high} {mean}");
        assert_ne!(noise([1, 2, 2], 1), noise([1, 2, 2], 2));
    }
}
