//! What differs between the precisions.

use bytemuck::Pod;
use cudarc::driver::CudaStream;
use cudarc::driver::sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::variants::Tile;
use super::{Conv2dArgs, Conv2dDirect, Conv2dImplicitGemm, CudaError, Element, Modules, Unsupported};
use crate::network::Conv2dShape;

/// An element that a whole network runs in.
pub(super) trait Real: Element + Pod + Send + Sync {
    /// Channels that images are padded to with zeros, and the stem's filter with them, so that its kernel reads 16 bytes at a
    /// time.
    const IMAGE_CHANNELS: usize;

    /// Whether a network that is fine in f32 may exceed it.
    const OVERFLOWS: bool;

    /// The convolutions of this precision.
    type Convolutions: Convolutions<Self>;

    /// Rounds to nearest even.
    fn from_f32s(values: &[f32]) -> Vec<Self>;

    /// Rounds one value.
    fn from_f32(value: f32) -> Self;

    /// Exact.
    fn to_f32s(values: &[Self]) -> Vec<f32>;
}

/// Chooses a kernel for each convolution, and runs it.
pub(super) trait Convolutions<T>: Sized + Send + Sync {
    /// Loads the kernels.
    fn new(modules: &Modules) -> Result<Self, CudaError>;

    /// Name of the kernel that runs `shape`, or why none does.
    fn choose(&self, shape: &Conv2dShape) -> Result<String, Unsupported>;

    /// Enqueues the convolution.
    fn launch(&self, stream: &CudaStream, args: Conv2dArgs<'_, T>) -> Result<(), CudaError>;
}

impl Real for f32 {
    const IMAGE_CHANNELS: usize = 4;
    const OVERFLOWS: bool = false;
    type Convolutions = Conv2dDirect;

    fn from_f32s(values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }

    fn from_f32(value: f32) -> f32 {
        value
    }

    fn to_f32s(values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }
}

impl Convolutions<f32> for Conv2dDirect {
    fn new(modules: &Modules) -> Result<Self, CudaError> {
        Self::new(modules)
    }

    fn choose(&self, shape: &Conv2dShape) -> Result<String, Unsupported> {
        self.can_run(shape).map(|()| self.name(shape))
    }

    fn launch(&self, stream: &CudaStream, args: Conv2dArgs<'_, f32>) -> Result<(), CudaError> {
        self.launch(stream, args)
    }
}

impl Real for f16 {
    const IMAGE_CHANNELS: usize = 8;
    const OVERFLOWS: bool = true;
    type Convolutions = ImplicitGemms;

    fn from_f32s(values: &[f32]) -> Vec<f16> {
        let mut halves = vec![f16::ZERO; values.len()];
        halves.convert_from_f32_slice(values);
        halves
    }

    fn from_f32(value: f32) -> f16 {
        f16::from_f32(value)
    }

    fn to_f32s(values: &[f16]) -> Vec<f32> {
        values.to_f32_vec()
    }
}

/// The implicit GEMM with each of its tiles.
pub(super) struct ImplicitGemms {
    tiles: Vec<(&'static Tile, Conv2dImplicitGemm)>, // smallest first
    multiprocessors: usize,
}

impl ImplicitGemms {
    /// The largest tile that still gives every multiprocessor a block, else the smallest one: few large tiles read less, but an
    /// idle multiprocessor costs more.
    fn pick(&self, shape: &Conv2dShape) -> Result<&Conv2dImplicitGemm, Unsupported> {
        let index = largest_that_fills(self.tiles.iter().map(|(tile, _)| *tile), shape, self.multiprocessors);
        let kernel = &self.tiles[index].1;
        kernel.can_run(shape).map(|()| kernel)
    }
}

fn largest_that_fills<'a>(
    tiles: impl DoubleEndedIterator<Item = &'a Tile> + ExactSizeIterator,
    shape: &Conv2dShape,
    multiprocessors: usize,
) -> usize {
    let blocks = |tile: &Tile| shape.gemm_m().div_ceil(tile.bm as usize) * shape.gemm_n().div_ceil(tile.bn as usize);
    // A tile wider than the matrix multiplies zeros.
    let fits = |tile: &Tile| shape.gemm_n() > tile.bn as usize / 2 && blocks(tile) >= multiprocessors;
    tiles.enumerate().rev().find(|(_, tile)| fits(tile)).map_or(0, |(index, _)| index)
}

impl Convolutions<f16> for ImplicitGemms {
    fn new(modules: &Modules) -> Result<Self, CudaError> {
        let tiles = Conv2dImplicitGemm::tiles(modules.capability());
        let load = |tile: &'static Tile| Ok((tile, Conv2dImplicitGemm::new(modules, tile)?));
        let multiprocessors = modules.context().attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        Ok(Self {
            tiles: tiles.iter().map(load).collect::<Result<_, CudaError>>()?,
            multiprocessors: usize::try_from(multiprocessors).unwrap_or(1),
        })
    }

    fn choose(&self, shape: &Conv2dShape) -> Result<String, Unsupported> {
        self.pick(shape).map(Conv2dImplicitGemm::name)
    }

    fn launch(&self, stream: &CudaStream, args: Conv2dArgs<'_, f16>) -> Result<(), CudaError> {
        self.pick(args.shape)?.launch(stream, args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::variants::IMPLICIT_GEMM;
    use crate::network::Window;

    #[test]
    fn tiles_grow_with_the_problem() {
        let picked = |image: [usize; 4], k| {
            let shape = Conv2dShape::new(image, k, Window { size: (3, 3), stride: 1, pad: 1 }).unwrap();
            let tile = &IMPLICIT_GEMM[largest_that_fills(IMPLICIT_GEMM.iter(), &shape, 108)];
            (tile.bm, tile.bn)
        };
        assert_eq!(picked([1, 7, 7, 512], 512), (64, 64), "8 tiles leave most multiprocessors idle, whatever their size");
        let (bm, bn) = picked([64, 28, 28, 128], 128);
        assert!(bm >= 128 && bn >= 64, "{bm}x{bn}");
        assert_eq!(picked([64, 56, 56, 64], 64).1, 64, "no columns beyond K");
    }
}
