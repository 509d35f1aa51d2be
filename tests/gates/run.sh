#!/bin/sh
# The gate on the kernels' machine code, after a build; ptxas and nvdisasm are fetched from PyPI into target/ (about 60 MB, once)
# unless PTXAS and NVDISASM name them or they are on PATH. Arguments are passed on.
set -eu
cd "$(dirname "$0")/../.."

if [ -z "${PTXAS:-}" ] && ! command -v ptxas >/dev/null && [ ! -e target/gates/nvidia/cuda_nvcc/bin/ptxas ]; then
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$PWD/target/gates" \
        nvidia-cuda-nvcc-cu12==12.9.86 nvidia-cuda-nvdisasm==13.5.37
    chmod +x target/gates/nvidia/*/bin/ptxas target/gates/nvidia/*/bin/nvdisasm
fi
python3 -m unittest discover --start-directory tests/gates
exec python3 tests/gates/main_loop.py "$@"
