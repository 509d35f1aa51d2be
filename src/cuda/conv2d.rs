//! What the wrappers of the convolutions share.

use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};

use super::span::{Element, Span, SpanMut};
use super::{Conv2dProblem, CudaError, Modules, Queue, Unsupported};
use crate::network::Conv2dShape;

/// Sizes by value; the twin of `Conv2dParams` in kernels/conv2d.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conv2dParams {
    n: i32,
    h: i32,
    w: i32,
    c: i32,
    k: i32,
    r: i32,
    s: i32,
    stride: i32,
    pad: i32,
    p: i32,
    q: i32,
    gemm_m: i32,
    gemm_k: i32,
}

const _: () = assert!(size_of::<Conv2dParams>() == 52, "as kernels/conv2d.cuh asserts");

// SAFETY: 13 integers without padding, which the kernels declare alike; valid for any bits.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Conv2dParams {}

impl Conv2dParams {
    /// `Err` with the name of a size that kernels cannot count.
    pub(super) fn new(shape: &Conv2dShape) -> Result<Self, &'static str> {
        let size = |name, value: usize| i32::try_from(value).map_err(|_| name);
        Ok(Self {
            n: size("N", shape.n())?,
            h: size("H", shape.h())?,
            w: size("W", shape.w())?,
            c: size("C", shape.c())?,
            k: size("K", shape.k())?,
            r: size("R", shape.r())?,
            s: size("S", shape.s())?,
            stride: size("stride", shape.stride())?,
            pad: size("pad", shape.pad())?,
            p: size("P", shape.p())?,
            q: size("Q", shape.q())?,
            gemm_m: size("N*P*Q", shape.gemm_m())?,
            gemm_k: size("R*S*C", shape.gemm_k())?,
        })
    }
}

/// Sizes of a projection by value; the twin of `ProjectionParams` in kernels/conv2d_implicit_gemm.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProjectionParams {
    h: i32,
    w: i32,
    c: i32,
    stride: i32,
}

const _: () = assert!(size_of::<ProjectionParams>() == 16, "as kernels/conv2d_implicit_gemm.cuh asserts");

// SAFETY: 4 integers without padding, which the kernel declares alike; valid for any bits.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for ProjectionParams {}

impl ProjectionParams {
    /// `Err` with the name of a size that kernels cannot count.
    pub(super) fn new(shape: &Conv2dShape) -> Result<Self, &'static str> {
        let Conv2dParams { h, w, c, stride, .. } = Conv2dParams::new(shape)?;
        Ok(Self { h, w, c, stride })
    }
}

/// What happens to the sums before they are stored.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a, T> {
    /// Nothing: a network that is not folded goes on with its batch norm.
    None,
    /// `+ bias[k]`.
    Bias {
        /// `[K]`.
        bias: Span<'a, f32>,
    },
    /// `+ bias[k]`, then ReLU.
    BiasRelu {
        /// `[K]`.
        bias: Span<'a, f32>,
    },
    /// `+ bias[k] + residual`, then ReLU: the end of a residual block.
    BiasResidualRelu {
        /// `[K]`.
        bias: Span<'a, f32>,
        /// `[N, P, Q, K]`; may be the memory of `y`.
        residual: Span<'a, T>,
    },
    /// `+ conv2d(x0, w0) + bias[k]`, then ReLU: the end of a residual block whose shortcut is a convolution.
    BiasProjectionRelu {
        /// `[K]`, of both convolutions.
        bias: Span<'a, f32>,
        /// The shortcut.
        projection: Projection<'a, T>,
    },
}

/// The 1x1 convolution of a residual block's shortcut.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a, T> {
    /// From the block's input to its output.
    pub shape: &'a Conv2dShape,
    /// The block's input, `[N, H0, W0, C0]`.
    pub x: Span<'a, T>,
    /// Filter, `[K, C0]`.
    pub w: Span<'a, T>,
}

/// Ends of the entries' names, in the order of [`Epilogue`], for kernels that project nothing.
const SUFFIXES: [&str; 4] = ["none", "bias", "bias_relu", "bias_residual_relu"];

/// One convolution on device memory: `y = epilogue(conv2d(x, w))`.
#[derive(Debug)]
pub struct Conv2dArgs<'a, T> {
    /// The geometry.
    pub shape: &'a Conv2dShape,
    /// `[N, H, W, C]`.
    pub x: Span<'a, T>,
    /// Filter, `[K, R, S, C]`.
    pub w: Span<'a, T>,
    /// With its operands.
    pub epilogue: Epilogue<'a, T>,
    /// `[N, P, Q, K]`.
    pub y: SpanMut<'a, T>,
}

impl<T> Conv2dArgs<'_, T> {
    /// What is computed.
    pub(super) fn problem(&self) -> Conv2dProblem {
        let projection = match &self.epilogue {
            Epilogue::BiasProjectionRelu { projection, .. } => Some(*projection.shape),
            _ => None,
        };
        Conv2dProblem { shape: *self.shape, projection }
    }
}

/// Memory for blocks that share the depth of a tile, enough for every convolution that is to run with it.
#[derive(Debug)]
pub struct Workspace<'a> {
    /// Sums of parts, 16-byte aligned.
    pub partials: SpanMut<'a, f32>,
    /// Zero before a launch, and after it.
    pub counters: SpanMut<'a, u32>,
}

/// Elements of a [`Workspace`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceSize {
    /// Of `partials`.
    pub partials: usize,
    /// Of `counters`.
    pub counters: usize,
}

impl WorkspaceSize {
    /// Enough for either.
    pub(super) fn max(self, other: Self) -> Self {
        Self { partials: self.partials.max(other.partials), counters: self.counters.max(other.counters) }
    }
}

/// The entries of one compilation unit.
#[derive(Debug)]
pub(super) struct Entries([CudaFunction; 4]);

impl Entries {
    /// Loads `stem` with each epilogue's suffix.
    pub(super) fn load(modules: &Modules, unit: &str, stem: &str, shared_bytes: u32) -> Result<Self, CudaError> {
        let load = |suffix| modules.function(unit, &format!("{stem}_{suffix}"), shared_bytes);
        let [a, b, c, d] = SUFFIXES.map(load);
        Ok(Self([a?, b?, c?, d?]))
    }

    /// Checks `args` against their shape and enqueues the kernel.
    pub(super) fn launch<T: Element>(
        &self,
        kernel: &'static str,
        queue: Queue<'_>,
        args: Conv2dArgs<'_, T>,
        config: LaunchConfig,
    ) -> Result<(), CudaError> {
        // `can_run` has refused a projection.
        let Operands { x, w, bias, residual, y, params, relu, .. } = Operands::check(kernel, &args, 16)?;
        let entry = match (bias, residual, relu) {
            (None, ..) => 0,
            (_, None, false) => 1,
            (_, None, true) => 2,
            (_, Some(_), _) => 3,
        };
        let mut call = queue.call(&self.0[entry]);
        call.arg(&x).arg(&w);
        if let Some(bias) = &bias {
            call.arg(bias);
        }
        if let Some(residual) = &residual {
            call.arg(residual);
        }
        call.arg(&y).arg(&params);
        // SAFETY: order and types are those of the entries in kernels/conv2d_direct_f32_nhwc.cu: x, w, the epilogue's pointers, y,
        // params. Lengths were checked above against the shape that the kernel counts by, addresses for the alignment that it
        // asks for; it writes only `y`, which is borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(config) }.map_err(|source| CudaError::Launch { kernel, source })?;
        Ok(())
    }
}

/// What a launch passes on: addresses of operands that have the lengths that the shape asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands {
    pub x: u64,
    pub w: u64,
    pub bias: Option<u64>,
    pub residual: Option<u64>,
    /// Image, filter, sizes.
    pub projection: Option<(u64, u64, ProjectionParams)>,
    pub y: u64,
    pub params: Conv2dParams,
    /// Whether the epilogue ends with ReLU.
    pub relu: bool,
}

impl Operands {
    /// Checks lengths and addresses.
    pub(super) fn check<T: Element>(kernel: &'static str, args: &Conv2dArgs<'_, T>, alignment: u64) -> Result<Self, CudaError> {
        let Conv2dArgs { shape, x, w, epilogue, y } = args;
        let outputs = shape.output().iter().product();
        x.check(kernel, "x", shape.n() * shape.h() * shape.w() * shape.c(), alignment)?;
        w.check(kernel, "w", shape.k() * shape.gemm_k(), alignment)?;
        y.check(kernel, "y", outputs, alignment)?;
        let (bias, residual, projection, relu) = match epilogue {
            Epilogue::None => (None, None, None, false),
            Epilogue::Bias { bias } => (Some(bias), None, None, false),
            Epilogue::BiasRelu { bias } => (Some(bias), None, None, true),
            Epilogue::BiasResidualRelu { bias, residual } => (Some(bias), Some(residual), None, true),
            Epilogue::BiasProjectionRelu { bias, projection } => (Some(bias), None, Some(projection), true),
        };
        if let Some(bias) = bias {
            bias.check(kernel, "bias", shape.k(), alignment)?;
        }
        if let Some(residual) = residual {
            residual.check(kernel, "residual", outputs, alignment)?;
        }
        let beyond = |size| Unsupported { kernel, reason: format!("{size} is beyond 2^31 - 1") };
        let params = Conv2dParams::new(shape).map_err(beyond)?;
        let projection = match projection {
            Some(Projection { shape, x, w }) => {
                x.check(kernel, "x0", shape.n() * shape.h() * shape.w() * shape.c(), alignment)?;
                w.check(kernel, "w0", shape.k() * shape.gemm_k(), alignment)?;
                Some((x.address, w.address, ProjectionParams::new(shape).map_err(beyond)?))
            }
            None => None,
        };
        Ok(Self {
            x: x.address,
            w: w.address,
            bias: bias.map(|bias| bias.address),
            residual: residual.map(|residual| residual.address),
            projection,
            y: y.address,
            params,
            relu,
        })
    }
}

/// Most blocks along a grid's second dimension.
pub(super) const GRID_Y: usize = 65_535;

/// One block per `bm x bn` tile of outputs; the shape was accepted by `can_run`.
pub(super) fn grid(shape: &Conv2dShape, bm: u32, bn: u32) -> (u32, u32, u32) {
    let blocks = |extent: usize, tile: u32| u32::try_from(extent.div_ceil(tile as usize)).unwrap_or(u32::MAX);
    (blocks(shape.gemm_m(), bm), blocks(shape.gemm_n(), bn), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Window;

    #[test]
    fn every_size_is_in_its_place() {
        let shape = Conv2dShape::new([2, 17, 19, 5], 23, Window { size: (3, 7), stride: 4, pad: 6 }).unwrap();
        let params = Conv2dParams::new(&shape).unwrap();
        // The order of the fields in kernels/conv2d.cuh.
        // SAFETY: 13 integers, see above.
        #[allow(unsafe_code)]
        let words: [i32; 13] = unsafe { std::mem::transmute(params) };
        assert_eq!(words, [2, 17, 19, 5, 23, 3, 7, 4, 6, 7, 7, 98, 105]);
        // The order of the fields in kernels/conv2d_implicit_gemm.cuh.
        assert_eq!(ProjectionParams::new(&shape), Ok(ProjectionParams { h: 17, w: 19, c: 5, stride: 4 }));
    }
}
