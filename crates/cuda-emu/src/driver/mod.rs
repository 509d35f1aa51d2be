//! The CUDA driver interface: the functions that cudarc looks up in libcuda.
