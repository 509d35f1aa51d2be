//! The CUDA backend: kernels of our own, compiled by NVRTC when the crate is built, run through the driver loaded at run time.
//!
//! One type per kernel, its file called as the kernel's; each checks shapes and lengths before it enqueues anything. [`Cuda`] runs
//! whole networks with them: a blueprint chooses a kernel for every layer and a place for everything in one arena, a plan gives it
//! memory, runs it once step by step so that a fault names its kernel, then records it as one graph and replays that.

mod arena;
mod asked;
mod batch_norm;
mod blueprint;
mod cam_eigen;
mod cam_rows;
mod cam_upsample;
mod colormaps;
mod conv2d;
mod conv2d_direct;
mod conv2d_implicit_gemm;
mod conv2d_problem;
mod device;
mod error;
mod executor;
mod facts;
mod forecast;
mod global_avg_pool_nhwc;
mod lane;
mod limits;
mod linear;
mod mark;
mod mask_image;
mod masked;
mod maxpool2d_nhwc;
mod measure;
mod modules;
mod operators;
mod padding;
mod parameters;
mod pipeline;
mod plan;
mod preprocess;
mod preprocess_tables;
mod queue;
mod real;
mod softmax_topk;
mod source;
mod span;
mod staging;
mod stem;
mod stem_filter;
mod tile_choice;
pub mod variants;

pub use asked::{AskedShape, encode as encode_asked};
pub use batch_norm::{BatchNorm, BatchNormArgs};
pub use cam_eigen::{CamEigen, CamEigenArgs};
pub use cam_rows::{CamRows, CamRowsArgs, RowsShape};
pub use cam_upsample::{CamClasses, CamOutput, CamShape, CamUpsample, CamUpsampleArgs};
pub use conv2d::{Conv2dArgs, Epilogue, Projection, Workspace, WorkspaceSize};
pub use conv2d_direct::Conv2dDirect;
pub use conv2d_implicit_gemm::Conv2dImplicitGemm;
pub use conv2d_problem::Conv2dProblem;
pub use error::{CudaError, Unsupported};
pub use executor::{Cuda, Norm, Options, Ticket};
pub use forecast::{Forecast, forecast};
pub use global_avg_pool_nhwc::{GlobalAvgPool, GlobalAvgPoolArgs};
pub use linear::{Linear, LinearArgs, LinearInput, LinearShape};
pub use mask_image::{DeviceMask, DeviceTap, MaskImage, MaskImageArgs, MaskImageShape};
pub use masked::Kept;
pub use maxpool2d_nhwc::{MaxPool2d, MaxPool2dArgs};
pub use measure::{DevicePasses, DeviceTimes};
pub use modules::{Modules, compiler};
pub use preprocess::{Preprocess, PreprocessArgs};
pub use preprocess_tables::PreprocessTables;
pub use queue::Queue;
pub use softmax_topk::{SoftmaxTopk, SoftmaxTopkArgs, TopkShape};
pub use source::{Images, Show};
pub use span::{Element, Span, SpanMut};
pub use stem::{Stem, StemArgs, StemShape};
pub use stem_filter::stem_filter;
