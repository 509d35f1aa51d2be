#!/bin/sh
# Compiles the library for 64-bit ARM and runs there, under QEMU's emulation, the tests of the CPU backend: its NEON kernels on every shape of the
# table against the definition, and whole networks against PyTorch's goldens. Emulated time is no speed.
#
#   sh tests/aarch64.sh check    compiles, which needs Rust's standard library for the target and nothing else
#   sh tests/aarch64.sh          compiles and tests (ten minutes of a core for the tests); arguments are passed on to `cargo test`
#
# Uses CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER and QEMU_LD_PREFIX (the folder of the target's C library) if they are set.
set -eu
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu

# WHAT HOW: ends with what is missing and how it is installed.
missing() {
    echo "$0: $1 is missing: $2" >&2
    exit 1
}

library=$(rustc --print target-libdir --target "$target")
ls "$library"/libstd-*.rlib >/dev/null 2>&1 ||
    missing "Rust's standard library for $target" "rustup target add $target (or, for Debian's own rustc, apt install libstd-rust-dev:arm64)"
if [ "${1:-}" = check ]; then
    exec cargo check --lib --no-default-features --target "$target"
fi

if [ "$(uname -m)" != aarch64 ]; then
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-aarch64-linux-gnu-gcc}"
    export QEMU_LD_PREFIX="${QEMU_LD_PREFIX:-/usr/aarch64-linux-gnu}"
    linker=$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER
    command -v "$linker" >/dev/null || missing "$linker" "apt install gcc-aarch64-linux-gnu"
    [ -e "$QEMU_LD_PREFIX/lib/ld-linux-aarch64.so.1" ] ||
        missing "$QEMU_LD_PREFIX/lib/ld-linux-aarch64.so.1" "apt install libc6-dev-arm64-cross, or set QEMU_LD_PREFIX"
    command -v qemu-aarch64 >/dev/null || missing qemu-aarch64 "apt install qemu-user"
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64
fi
exec cargo test --no-default-features --target "$target" --lib --test network --test resnet18 "$@"
