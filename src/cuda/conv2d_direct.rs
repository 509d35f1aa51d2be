//! Launches `conv2d_direct_f32_nhwc`.

use cudarc::driver::LaunchConfig;

use super::conv2d::{Conv2dParams, Entries, GRID_Y, grid};
use super::variants::{DIRECT, Tile, VECTOR};
use super::{Conv2dArgs, Conv2dProblem, CudaError, Modules, Queue, Unsupported};
use crate::network::Conv2dShape;

const NAME: &str = "conv2d_direct_f32_nhwc";

/// 2-D convolution in f32. `C` and `K` are multiples of 4; what has fewer channels is filled up with zeros.
#[derive(Debug)]
pub struct Conv2dDirect {
    entries: Entries,
}

impl Conv2dDirect {
    /// Loads the kernel.
    ///
    /// # Errors
    /// [`CudaError`] if it cannot be loaded.
    pub fn new(modules: &Modules) -> Result<Self, CudaError> {
        let unit = Self::name();
        Ok(Self { entries: Entries::load(modules, &unit, &unit, shared_bytes())? })
    }

    /// The kernel's name.
    pub fn name() -> String {
        format!("{NAME}_v{VECTOR}")
    }

    /// Why this kernel cannot run `problem`, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// [`Unsupported`] with the reason.
    pub fn can_run(&self, problem: impl Into<Conv2dProblem>) -> Result<(), Unsupported> {
        can_run(&problem.into())
    }

    /// Grid, block, shared memory: the only place they are computed.
    fn config(&self, shape: &Conv2dShape) -> LaunchConfig {
        LaunchConfig {
            grid_dim: grid(shape, DIRECT.bm, DIRECT.bn),
            block_dim: (DIRECT.threads(), 1, 1),
            shared_mem_bytes: shared_bytes(),
        }
    }

    /// Enqueues `y = epilogue(conv2d(x, w))`; returns before it has run.
    ///
    /// # Errors
    /// [`CudaError`] if the shape, a length or an address (16-byte aligned) does not fit, or the driver refuses the launch.
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: Conv2dArgs<'_, f32>) -> Result<(), CudaError> {
        self.can_run(args.problem())?;
        let config = self.config(args.shape);
        self.entries.launch(NAME, queue.into(), args, config)
    }
}

/// Words by which rows of the tiles in shared memory are longer than the tiles, so that no two lanes meet in a bank.
const SKEW: u32 = 4;

const fn shared_bytes() -> u32 {
    let skewed = Tile { bm: DIRECT.bm + SKEW, bn: DIRECT.bn + SKEW, ..DIRECT };
    skewed.shared_bytes(size_of::<f32>() as u32)
}

fn can_run(problem: &Conv2dProblem) -> Result<(), Unsupported> {
    let refuse = |reason| Err(Unsupported { kernel: NAME, reason });
    let shape = &problem.shape;
    if problem.projection.is_some() {
        return refuse("it adds no shortcut that is a convolution".to_owned());
    }
    for (letter, channels) in [("C", shape.c()), ("K", shape.k())] {
        if !channels.is_multiple_of(VECTOR as usize) {
            return refuse(format!("{letter} = {channels} is no multiple of {VECTOR}; fill its channels up with zeros"));
        }
    }
    if shape.gemm_n().div_ceil(DIRECT.bn as usize) > GRID_Y {
        return refuse(format!("K = {} asks for more than {GRID_Y} tiles of {} columns", shape.k(), DIRECT.bn));
    }
    Conv2dParams::new(shape).map(drop).or_else(|size| refuse(format!("{size} is beyond 2^31 - 1")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Window;

    fn problem(c: usize, k: usize) -> Conv2dProblem {
        Conv2dShape::new([1, 1, 1, c], k, Window { size: (1, 1), stride: 1, pad: 0 }).unwrap().into()
    }

    #[test]
    fn both_channel_counts_are_multiples_of_four() {
        assert!(can_run(&problem(4, 12)).is_ok());
        for (c, k, letter, odd) in [(1, 4, "C", 1), (6, 4, "C", 6), (4, 7, "K", 7), (8, 66, "K", 66)] {
            let refused = can_run(&problem(c, k)).unwrap_err().to_string();
            assert_eq!(refused, format!("{NAME}: {letter} = {odd} is no multiple of 4; fill its channels up with zeros"));
        }
    }

    #[test]
    fn only_counting_limits_it_further() {
        assert!(can_run(&problem(4, 64 * 65_535)).is_ok());
        assert!(can_run(&problem(4, 64 * 65_535 + 4)).unwrap_err().to_string().contains("65535 tiles"));
        let projecting = Conv2dProblem { projection: Some(problem(4, 4).shape), ..problem(4, 4) };
        assert!(can_run(&projecting).unwrap_err().to_string().contains("no shortcut that is a convolution"));
    }
}
