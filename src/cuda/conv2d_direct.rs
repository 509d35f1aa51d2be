//! Launches `conv2d_direct_f32_nhwc`.

use cudarc::driver::LaunchConfig;

use super::conv2d::{Conv2dParams, Entries, GRID_Y, grid};
use super::variants::{DIRECT, Tile, VECTORS};
use super::{Conv2dArgs, Conv2dProblem, CudaError, Modules, Queue, Unsupported};
use crate::network::Conv2dShape;

const NAME: &str = "conv2d_direct_f32_nhwc";

/// 2-D convolution in f32, any shape.
#[derive(Debug)]
pub struct Conv2dDirect {
    vectors: Vec<(u32, Entries)>, // widest first
}

impl Conv2dDirect {
    /// Loads the kernel.
    ///
    /// # Errors
    /// [`CudaError`] if it cannot be loaded.
    pub fn new(modules: &Modules) -> Result<Self, CudaError> {
        let load = |&vector: &u32| {
            let unit = format!("{NAME}_v{vector}");
            Ok((vector, Entries::load(modules, &unit, &unit, shared_bytes())?))
        };
        Ok(Self { vectors: VECTORS.iter().rev().map(load).collect::<Result<_, CudaError>>()? })
    }

    /// The kernel's name, with the vector length that it chooses for `shape`.
    pub fn name(&self, shape: &Conv2dShape) -> String {
        format!("{NAME}_v{}", vector(shape))
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
    /// [`CudaError`] if the shape, a length or an address does not fit, or the driver refuses the launch.
    pub fn launch<'q>(&self, queue: impl Into<Queue<'q>>, args: Conv2dArgs<'_, f32>) -> Result<(), CudaError> {
        self.can_run(args.problem())?;
        let config = self.config(args.shape);
        let vector = vector(args.shape);
        let entries = self.vectors.iter().find(|(width, _)| *width == vector).map(|(_, entries)| entries);
        let entries = entries.ok_or_else(|| Unsupported { kernel: NAME, reason: format!("no variant of {vector} channels") })?;
        entries.launch(NAME, queue.into(), args, 4 * u64::from(vector), config)
    }
}

/// The widest vector that divides the channels.
fn vector(shape: &Conv2dShape) -> u32 {
    let divides = |&&vector: &&u32| shape.c().is_multiple_of(vector as usize) && shape.k().is_multiple_of(vector as usize);
    VECTORS.iter().rev().find(divides).copied().unwrap_or(1)
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
    if shape.gemm_n().div_ceil(DIRECT.bn as usize) > GRID_Y {
        return refuse(format!("K = {} asks for more than {GRID_Y} tiles of {} columns", shape.k(), DIRECT.bn));
    }
    Conv2dParams::new(shape).map(drop).or_else(|size| refuse(format!("{size} is beyond 2^31 - 1")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Window;

    #[test]
    fn vectors_need_both_channel_counts() {
        let of = |c, k| vector(&Conv2dShape::new([1, 9, 9, c], k, Window { size: (3, 3), stride: 1, pad: 1 }).unwrap());
        assert_eq!((of(4, 8), of(3, 64), of(64, 10), of(1, 1)), (4, 1, 1, 1));
    }

    #[test]
    fn only_counting_limits_it() {
        let shape =
            |k| Conv2dProblem::from(Conv2dShape::new([1, 1, 1, 1], k, Window { size: (1, 1), stride: 1, pad: 0 }).unwrap());
        assert!(can_run(&shape(64 * 65_535)).is_ok());
        assert!(can_run(&shape(64 * 65_535 + 1)).unwrap_err().to_string().contains("65535 tiles"));
        let projecting = Conv2dProblem { projection: Some(shape(3).shape), ..shape(3) };
        assert!(can_run(&projecting).unwrap_err().to_string().contains("no shortcut that is a convolution"));
    }
}
