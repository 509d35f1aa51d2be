#!/bin/sh
# Installs every engine that run.py knows, builds ours and those in Rust, and runs run.py with the arguments given:
#
#   sh benches/peers/run.sh --batch 1 8 32
#
# Python packages go into target/peers/venv: PyTorch with all it brings is some gigabytes, and tract and candle take minutes to build.
set -eu
cd "$(dirname "$0")/../.."
venv=target/peers/venv
[ -e "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch torchvision torchcam==0.5.0 onnx onnxruntime openvino safetensors
cargo build --release --example peer_forward
cargo build --release --manifest-path benches/peers/rust/Cargo.toml
exec "$venv/bin/python" benches/peers/run.py "$@"
