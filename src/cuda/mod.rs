//! The CUDA backend: kernels of our own, compiled by NVRTC when the crate is built, run through the driver loaded at run time.
//!
//! One type per kernel, its file called as the kernel's; each checks shapes and lengths before it enqueues anything.

mod batch_norm;
mod conv2d;
mod conv2d_direct;
mod conv2d_implicit_gemm;
mod error;
mod modules;
mod span;
pub mod variants;

pub use batch_norm::{BatchNorm, BatchNormArgs};
pub use conv2d::{Conv2dArgs, Epilogue};
pub use conv2d_direct::Conv2dDirect;
pub use conv2d_implicit_gemm::Conv2dImplicitGemm;
pub use error::{CudaError, Unsupported};
pub use modules::{Modules, compiler};
pub use span::{Element, Span, SpanMut};
