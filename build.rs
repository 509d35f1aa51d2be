//! Compiles the CUDA kernels with NVRTC and embeds them; without NVRTC the crate builds with its CPU backend alone.
//!
//! Environment:
//! - `CAMSHAFT_NVRTC`: the library's file, or a folder that holds it;
//! - `CAMSHAFT_CUDA_ARCHS`: compute capabilities to make machine code for, such as `86,89`; empty for none; unset for that of
//!   the GPUs present;
//! - `CAMSHAFT_REQUIRE_CUDA=1`: a build without NVRTC fails.

#[cfg(feature = "cuda")]
#[path = "build/kernels.rs"]
mod kernels;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    kernels::main();
}
