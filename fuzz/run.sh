#!/bin/sh
# Fuzzes a parser with libFuzzer, on the stable toolchain (and a C++ compiler); options of libFuzzer follow the target's name:
#
#     sh fuzz/run.sh image -max_total_time=600
#
# Targets: image labels pth ptx safetensors. What is found lies in fuzz/artifacts/TARGET; what covers something new is kept in
# fuzz/corpus/TARGET for the next time.
set -eu
cd "$(dirname "$0")"
target=${1:?which target: image, labels, pth, ptx or safetensors}
shift
case $target in
    # A decoded picture may take 1 GiB, and its decoder as much.
    image) more=../tests/goldens/preprocess/samples limits="-rss_limit_mb=6000 -malloc_limit_mb=3000" ;;
    labels) more=../assets/labels limits= ;;
    pth) more=../tests/goldens/pth limits= ;;
    ptx) more=../crates/cuda-emu/tests/kernels limits= ;;
    safetensors) more= limits= ;;
    *) echo "no target $target" >&2; exit 2 ;;
esac
host=$(rustc -vV | sed -n 's/^host: //p')
coverage=-Cllvm-args=-sanitizer-coverage
export RUSTFLAGS="-Cpasses=sancov-module $coverage-level=4 $coverage-inline-8bit-counters $coverage-pc-table $coverage-trace-compares \
-Cdebug-assertions -Coverflow-checks --cfg fuzzing"
cargo build --release --target "$host" --bin "$target"
mkdir -p "corpus/$target" "artifacts/$target"
# shellcheck disable=SC2086
exec "target/$host/release/$target" -artifact_prefix="artifacts/$target/" $limits "$@" "corpus/$target" "seeds/$target" $more
