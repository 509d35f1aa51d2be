//! Launches `conv2d_implicit_gemm_f16_nhwc`, and its form for capability 7.5.

use cudarc::driver::{CudaStream, LaunchConfig};
use half::f16;

use super::conv2d::{Conv2dParams, Entries, GRID_Y, grid};
use super::variants::{IMPLICIT_GEMM, IMPLICIT_GEMM_SM75, Tile};
use super::{Conv2dArgs, CudaError, Modules, Unsupported};
use crate::network::Conv2dShape;

const NAME: &str = "conv2d_implicit_gemm_f16_nhwc";
const NAME_SM75: &str = "conv2d_implicit_gemm_sm75_f16_nhwc";

/// 2-D convolution in f16 on tensor cores, sums in f32; `C` and `K` are multiples of 8 (images get zero channels up to 8).
#[derive(Debug)]
pub struct Conv2dImplicitGemm {
    entries: Entries,
    name: &'static str,
    tile: &'static Tile,
}

impl Conv2dImplicitGemm {
    /// Tiles that a device of `capability` (`10 * major + minor`) has, smallest first.
    pub fn tiles(capability: u32) -> &'static [Tile] {
        if capability < 80 { IMPLICIT_GEMM_SM75 } else { IMPLICIT_GEMM }
    }

    /// Loads the form for the device with one of its [`tiles`](Self::tiles).
    ///
    /// # Errors
    /// [`CudaError`] if the kernel cannot be loaded.
    pub fn new(modules: &Modules, tile: &'static Tile) -> Result<Self, CudaError> {
        let name = if modules.capability() < 80 { NAME_SM75 } else { NAME };
        let unit = format!("{name}_{}", tile.suffix());
        let entries = Entries::load(modules, &unit, &unit, tile.shared_bytes(size_of::<f16>() as u32))?;
        Ok(Self { entries, name, tile })
    }

    /// The kernel's name and tile.
    pub fn name(&self) -> String {
        format!("{}_{}", self.name, self.tile.suffix())
    }

    /// Why this kernel cannot run `shape`, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// [`Unsupported`] with the reason.
    pub fn can_run(&self, shape: &Conv2dShape) -> Result<(), Unsupported> {
        can_run(self.name, self.tile, shape)
    }

    /// Grid, block, shared memory: the only place they are computed.
    fn config(&self, shape: &Conv2dShape) -> LaunchConfig {
        LaunchConfig {
            grid_dim: grid(shape, self.tile.bm, self.tile.bn),
            block_dim: (self.tile.threads(), 1, 1),
            shared_mem_bytes: self.tile.shared_bytes(size_of::<f16>() as u32),
        }
    }

    /// Enqueues `y = epilogue(conv2d(x, w))`; returns before it has run.
    ///
    /// # Errors
    /// [`CudaError`] if the shape, a length or an address does not fit, or the driver refuses the launch.
    pub fn launch(&self, stream: &CudaStream, args: Conv2dArgs<'_, f16>) -> Result<(), CudaError> {
        self.can_run(args.shape)?;
        let config = self.config(args.shape);
        self.entries.launch(self.name, stream, args, 16, config)
    }
}

fn can_run(kernel: &'static str, tile: &Tile, shape: &Conv2dShape) -> Result<(), Unsupported> {
    let refuse = |reason| Err(Unsupported { kernel, reason });
    for (letter, value) in [("C", shape.c()), ("K", shape.k())] {
        if value % 8 != 0 {
            return refuse(format!("{letter} = {value} is no multiple of 8"));
        }
    }
    if shape.gemm_n().div_ceil(tile.bn as usize) > GRID_Y {
        return refuse(format!("K = {} asks for more than {GRID_Y} tiles of {} columns", shape.k(), tile.bn));
    }
    Conv2dParams::new(shape).map(drop).or_else(|size| refuse(format!("{size} is beyond 2^31 - 1")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Window;

    #[test]
    fn odd_channels_are_refused() {
        let reason = |c, k| {
            let shape = Conv2dShape::new([1, 9, 9, c], k, Window { size: (3, 3), stride: 1, pad: 1 }).unwrap();
            can_run(NAME, &IMPLICIT_GEMM[0], &shape).map_err(|refused| refused.to_string())
        };
        assert_eq!(reason(8, 16), Ok(()));
        assert_eq!(reason(3, 16).unwrap_err(), format!("{NAME}: C = 3 is no multiple of 8"));
        assert!(reason(8, 20).unwrap_err().contains("K = 20"));
        assert!(reason(8, 64 * 65_536).unwrap_err().contains("65535 tiles"));
    }

    #[test]
    fn tiles_fit_the_shared_memory_that_needs_no_permission() {
        for tile in IMPLICIT_GEMM.iter().chain(IMPLICIT_GEMM_SM75) {
            assert!(tile.shared_bytes(2) <= 48 << 10, "{tile:?}");
            assert!(tile.threads() <= 1024, "{tile:?}");
        }
    }
}
