#!/bin/sh
# Passes the tests. The CUDA kernels are compiled by NVRTC and run on the software device of crates/cuda-emu, so that they are
# tested on every machine; where no NVRTC is found, the one from PyPI is fetched into target/ (about 90 MB, once).
#
# Uses CAMSHAFT_NVRTC if it is set. Arguments are passed on to `cargo test`.
set -eu
cd "$(dirname "$0")/.."

if [ -z "${CAMSHAFT_NVRTC:-}" ]; then
    place="$PWD/target/nvrtc"
    if [ ! -e "$place/nvidia/cuda_nvrtc/lib/libnvrtc.so.12" ]; then
        python3 -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$place" nvidia-cuda-nvrtc-cu12==12.9.86
    fi
    export CAMSHAFT_NVRTC="$place/nvidia/cuda_nvrtc/lib"
fi
# Without NVRTC the build would leave the CUDA backend out; here that is an error.
export CAMSHAFT_REQUIRE_CUDA=1
exec cargo test --workspace "$@"
