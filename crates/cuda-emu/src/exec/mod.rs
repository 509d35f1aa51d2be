//! Runs kernels: warps, divergence, barriers, instructions.
