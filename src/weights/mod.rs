//! Weight files, memory-mapped: safetensors and PyTorch `.pth`.
