//! How long a pass should take on a GPU that nobody has run it on, by a model fitted to published timings.
//!
//! Each launch lasts as long as the slower of two: its main loops, wave after wave, at a share of what the instructions allow, and
//! the adding up of parts; or its bytes from memory; plus a fixed time for its start and end. The share and the fixed time were
//! fitted to AITemplate's published ResNet-50 timings on an A100, kernels of the same kind as these. It is a forecast, and says
//! nothing that a measurement would not overrule.

use half::f16;

use super::padding;
use super::tile_choice::{DeviceLimits, adding_cycles, choose, main_loop_cycles};
use super::variants::Arithmetic;
use super::{Conv2dProblem, CudaError};
use crate::bench::{GpuFacts, LayerCost, costs};
use crate::network::{Conv2dShape, Layer, Network, Op, Value, Window};
use crate::tensor::Precision;

/// Share of the main loops' bound that is reached.
const MAIN_LOOP: f64 = 0.52;
/// Share of the memory's peak that is reached.
const MEMORY: f64 = 0.85;
/// Seconds from the end of one kernel's work to the start of the next one's.
const LAUNCH: f64 = 6.5e-6;
/// Share of the second-level cache that tensors between two layers may be expected to stay in.
const L2_SHARE: f64 = 0.6;

/// What the model says of one pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Seconds from the first launch's start to the last one's end.
    pub seconds: f64,
    /// Kernels launched.
    pub launches: usize,
}

/// How a network is divided into launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fusion {
    /// The stem with its pooling, shortcuts with the convolutions that end their blocks, and a head of two launches.
    Ours,
    /// A launch for each layer.
    #[cfg(test)]
    None,
}

/// The model's word on `network` with one map of each image of `[N, H, W]` images, in f16, on `gpu`; `None` for a GPU whose rates
/// are not known.
///
/// # Errors
/// If the images do not fit the network, or no kernel.
pub fn forecast(network: &Network, images: [usize; 3], gpu: &GpuFacts) -> Result<Option<Forecast>, CudaError> {
    model(network, images, gpu, Fusion::Ours, MAIN_LOOP, LAUNCH)
}

fn model(
    network: &Network,
    [n, h, w]: [usize; 3],
    gpu: &GpuFacts,
    fusion: Fusion,
    share: f64,
    launch: f64,
) -> Result<Option<Forecast>, CudaError> {
    let Some(limits) = gpu.limits(Precision::F16) else { return Ok(None) };
    let features = network.architecture().features();
    let network = &network.filled_up(|channels| padding::filled::<f16>(channels, features));
    let device = DeviceLimits { capability: gpu.capability, multiprocessors: gpu.sms, shared_bytes: gpu.shared_bytes };
    let shapes = network.shapes(n, h, w)?;
    let costs = costs(network, &shapes, Precision::F16.bytes());
    let clock = f64::from(gpu.clock_khz) * 1e3;
    let fma = (limits.flops / clock / f64::from(gpu.sms) / 2.0 * if gpu.capability / 10 == 9 { 0.63 } else { 1.0 }) as u64;
    let weights: f64 = network.layers().iter().map(|layer| filter_bytes(layer) as f64).sum();
    let stays = gpu.l2_bytes as f64 * L2_SHARE;
    // By layer, the shortcut that is computed with it.
    let joined_with = |index: usize| {
        let from = network.projection(index).filter(|_| fusion == Fusion::Ours)?;
        let problem = Conv2dProblem { projection: shapes[from].conv2d, shape: shapes[index].conv2d? };
        choose(problem, &device, Arithmetic::F16).is_ok().then_some(from)
    };
    let joins: Vec<Option<usize>> = (0..shapes.len()).map(joined_with).collect();
    let shortcuts: Vec<Option<usize>> = (0..shapes.len()).map(|index| network.projection(index)).collect();
    let mut total = Forecast { seconds: 0.0, launches: 0 };
    for (index, (layer, shape)) in network.layers().iter().zip(&shapes).enumerate() {
        if joins.contains(&Some(index)) {
            continue; // part of the convolution that ends its block
        }
        let joined = joins[index];
        let fused = fusion == Fusion::Ours && matches!(layer.op, Op::MaxPool2d(_) | Op::GlobalAvgPool);
        let arithmetic = match &shape.conv2d {
            Some(conv) => {
                let padded = if layer.input == Value::Image { stem(conv)? } else { *conv };
                let problem = Conv2dProblem { projection: joined.and_then(|from| shapes[from].conv2d), shape: padded };
                let choice = choose(problem, &device, Arithmetic::F16)?;
                let main_loops = main_loop_cycles(problem, &device, choice, fma) as f64 / share;
                (main_loops + adding_cycles(&device, choice) as f64) / clock
            }
            None => 0.0,
        };
        let layers = || [Some(index), joined].into_iter().flatten();
        let filter: f64 = layers().map(|layer| filter_bytes(&network.layers()[layer]) as f64).sum();
        // Costs know no tensor between a shortcut and the convolution that ends its block.
        let is_apart = shortcuts.contains(&Some(index)) || shortcuts[index].is_some() && joined.is_none();
        let between: usize = if is_apart { shape.output.iter().product() } else { 0 };
        let bytes = layers().map(|layer| costs[layer].bytes as f64).sum::<f64>() + (between * Precision::F16.bytes()) as f64;
        let moved = bytes - filter;
        // Weights stay from pass to pass where they and a layer's tensors have room; tensors where they have.
        let from_memory = if weights + moved < stays { 0.0 } else { filter }
            + if moved < stays && layer.input != Value::Image { 0.0 } else { moved };
        total.seconds += f64::max(arithmetic, from_memory / limits.bytes / MEMORY);
        if !fused {
            total.seconds += launch;
            total.launches += 1;
        }
    }
    // Maps: the second launch of the head.
    let map = LayerCost { layer: String::new(), flops: 0, bytes: (n * h * w * size_of::<f32>()) as u64 };
    total.seconds += map.floor(limits).seconds / MEMORY + launch;
    total.launches += 1;
    Ok(Some(total))
}

/// The first convolution as its kernel computes it: 4 channels, a row of 7 taps made up to 8.
fn stem(conv: &Conv2dShape) -> Result<Conv2dShape, CudaError> {
    let channels = conv.c().next_multiple_of(4) * 8 * conv.r();
    Ok(Conv2dShape::new([conv.n(), conv.p(), conv.q(), channels], conv.k(), Window { size: (1, 1), stride: 1, pad: 0 })?)
}

fn filter_bytes(layer: &Layer) -> usize {
    Precision::F16.bytes()
        * match &layer.op {
            Op::Conv2d { c, k, window, .. } => c * k * window.size.0 * window.size.1,
            Op::Linear { c, k } => c * k,
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::GPUS;
    use crate::network::Architecture;

    /// AITemplate's examples/01_resnet-50 on an A100-40GB: batch, milliseconds.
    const AITEMPLATE: [(usize, f64); 9] =
        [(1, 0.58), (2, 0.62), (4, 0.69), (8, 0.88), (16, 1.33), (32, 2.40), (64, 4.53), (128, 8.57), (256, 16.58)];

    fn error(share: f64, launch: f64) -> (f64, Vec<f64>) {
        let network = Network::new(Architecture::of_depth(50, 1000).unwrap());
        let a100 = GPUS.iter().find(|gpu| gpu.name.contains("A100")).unwrap();
        let ratios: Vec<f64> = AITEMPLATE
            .iter()
            .map(|&(batch, ms)| {
                model(&network, [batch, 224, 224], &a100.facts(), Fusion::None, share, launch).unwrap().unwrap().seconds * 1e3
                    / ms
            })
            .collect();
        let squares: f64 = ratios.iter().map(|ratio| ratio.ln().powi(2)).sum();
        ((squares / ratios.len() as f64).sqrt(), ratios)
    }

    /// No kernel adds the shortcuts of narrow networks: those are launches of their own.
    #[test]
    fn networks_of_any_width_have_a_forecast() {
        for gpu in GPUS {
            for (width, launches) in [(64, 19), (5, 22), (1, 22), (8, 21)] {
                let network = Network::new(Architecture::of_depth(18, 10).unwrap().with_width(width));
                let forecast = forecast(&network, [2, 65, 97], &gpu.facts()).unwrap().unwrap();
                assert!(forecast.seconds > 0.0 && forecast.seconds < 1e-2, "{}, width {width}: {forecast:?}", gpu.name);
                assert_eq!(forecast.launches, launches, "{}, width {width}", gpu.name);
            }
        }
    }

    /// The constants above are the best of a grid, and good.
    #[test]
    fn fitted_to_published_timings() {
        let grid = (40..=90)
            .step_by(2)
            .flat_map(|share| (1..=24).map(move |launch| (f64::from(share) / 100.0, f64::from(launch) / 2e6)));
        let best =
            grid.map(|(share, launch)| (error(share, launch).0, share, launch)).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        let (fitted, ratios) = error(MAIN_LOOP, LAUNCH);
        println!("best {best:?}, fitted {fitted} {ratios:.2?}");
        assert_eq!((best.1, best.2), (MAIN_LOOP, LAUNCH), "rms {} against {fitted}", best.0);
        assert!(fitted < 0.1, "{ratios:.2?}");
    }
}
