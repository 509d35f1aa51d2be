#!/bin/sh
# The gates on the kernels, after a build: their machine code (main_loop.py), and how they used memory in tests that left their reports in
# the folder that CUDA_EMU_REPORT names, if it names one (counters.py; `cargo test --test cuda_counters` judges a pass layer by layer). ptxas
# and nvdisasm are fetched from PyPI into target/ (about 60 MB, once) unless PTXAS and NVDISASM name them or they are on PATH.
#
#   sh tests/gates/run.sh            judge; exit status 1 where something became worse
#   sh tests/gates/run.sh --write    record what is there now, in main_loop.json and network.json
#   sh tests/gates/run.sh --table    print the record of machine code as the tables of docs/performance.md
set -eu
cd "$(dirname "$0")/../.."

if [ -z "${PTXAS:-}" ] && ! command -v ptxas >/dev/null && [ ! -e target/gates/nvidia/cuda_nvcc/bin/ptxas ]; then
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$PWD/target/gates" \
        nvidia-cuda-nvcc-cu12==12.9.86 nvidia-cuda-nvdisasm==13.5.37
    chmod +x target/gates/nvidia/*/bin/ptxas target/gates/nvidia/*/bin/nvdisasm
fi
python3 -m unittest discover --start-directory tests/gates
python3 tests/gates/main_loop.py "$@"
if [ -d "${CUDA_EMU_REPORT:-}" ]; then
    python3 tests/gates/counters.py "$CUDA_EMU_REPORT"
fi
if [ "${1:-}" = --write ]; then
    CAMSHAFT_GATES=write exec sh tests/run.sh --quiet --test cuda_counters
fi
