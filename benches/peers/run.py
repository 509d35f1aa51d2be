#!/usr/bin/env python3
"""Forward passes of ResNet-18 beside other engines, in turns, after checking that all of them agree.

    sh benches/peers/run.sh --batch 1 8 32

installs and builds all of them first, or what you want of it by hand:

    pip install torch torchvision torchcam onnx onnxruntime openvino safetensors
    cargo build --release --example peer_forward
    cargo build --release --manifest-path benches/peers/rust/Cargo.toml      # tract and candle: many crates, minutes
    python benches/peers/run.py --batch 1 8 32

torchcam makes a class activation map of each image's best class with every pass; it is set beside `camshaft-map`, which does the
same, the others beside `camshaft`. What is not installed or built is named and left out.

Every engine is a process of its own that computes when told to and is stopped otherwise, so that a pool that spins between
runs takes nothing from the next one's turn. A turn is some passes; rounds of turns go on for all engines alike. What counts
is the ratio within a round: a shared machine's milliseconds differ from one minute to the next.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import network

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "peers"
GFLOP = 3.628  # of one 224x224 image: 2 per multiply-add of convolutions and linear layer
AGREEMENT = 1e-4  # of the largest logit


def prepare():
    """Weights that keep activations sane (batch norms calibrated on noise), for all engines; made once."""
    files = {name: WORK / f"resnet18.{name}" for name in ("onnx", "safetensors", "pt")}
    if all(f.exists() for f in files.values()):
        return files
    import torch
    from safetensors.torch import save_file

    WORK.mkdir(parents=True, exist_ok=True)
    net = network.resnet18(torch)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, files["safetensors"])
    torch.save(net.state_dict(), files["pt"])
    axes = {"x": {0: "n"}, "y": {0: "n"}}
    image = torch.zeros(1, 3, 224, 224)
    torch.onnx.export(net, image, files["onnx"], input_names=["x"], output_names=["y"], dynamic_axes=axes, dynamo=False)
    return files


def load_onnxruntime(args):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    session = onnxruntime.InferenceSession(args.onnx, options, providers=["CPUExecutionProvider"])
    return onnxruntime.__version__, lambda x: session.run(None, {"x": x})


def load_openvino(args):
    import openvino

    hints = {"INFERENCE_NUM_THREADS": args.threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(args.onnx, "CPU", hints)
    return openvino.__version__.split("-")[0], lambda x: list(model(x).values())


def torch_net(args):
    import torch
    import torchvision

    torch.set_num_threads(args.threads)
    net = torchvision.models.resnet18(weights=None)
    net.load_state_dict(torch.load(args.pt))
    return torch, net.eval()


def load_torch(args):
    torch, net = torch_net(args)

    def run(x):
        with torch.inference_mode():
            return [net(torch.from_numpy(x)).numpy()]

    return torch.__version__, run


def load_torchcam(args):
    from torchcam.methods import CAM

    torch, net = torch_net(args)
    cam = CAM(net, target_layer="layer4", fc_layer="fc")

    def run(x):
        with torch.inference_mode():
            logits = net(torch.from_numpy(x))
            maps = cam(logits.argmax(1).tolist(), normalized=False)[0]
            return [logits.numpy(), maps.numpy()]

    return importlib.metadata.version("torchcam"), run


PYTHON = {"onnxruntime": load_onnxruntime, "openvino": load_openvino, "torch": load_torch, "torchcam": load_torchcam}
RUST = ["tract", "candle"]
OURS = {False: "camshaft", True: "camshaft-map"}  # without and with a map of each image's best class
WITH_MAPS = [OURS[True], "torchcam"]


def worker(args):
    """One Python engine: a line of JSON once it is ready, then one for each number of passes read from standard input."""
    import numpy

    start = time.perf_counter()
    version, run = PYTHON[args.worker](args)
    ready = (time.perf_counter() - start) * 1e3
    x = numpy.fromfile(args.input, dtype="<f4").reshape(args.batch[0], 224, 224, 3).transpose(0, 3, 1, 2).copy()
    for values, path in zip(run(x), (args.logits, args.maps)):
        numpy.asarray(values, dtype="<f4").tofile(path)
    print(json.dumps({"ready_ms": ready, "version": version}), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run(x)
            times.append((time.perf_counter() - start) * 1e3)
        print(json.dumps(times), flush=True)


class Engine:
    def __init__(self, name, args, files, batch):
        self.name, self.maps = name, name in WITH_MAPS
        self.outputs = [WORK / f"{name}.{what}" for what in ("logits", "maps")[: 2 if self.maps else 1]]
        common = ["--batch", batch, "--threads", args.threads, "--input", WORK / "input"]
        for option, path in zip(("--logits", "--maps"), self.outputs):
            common += [option, path]
        if name in OURS.values():
            command = [args.camshaft, "--weights", files["safetensors"], *common]
        elif name in RUST:
            command = [args.rust, name, "--onnx", files["onnx"], "--safetensors", files["safetensors"], *common]
        else:
            here = [sys.executable, __file__, "--worker", name]
            command = [*here, "--onnx", files["onnx"], "--pt", files["pt"], *common]
        environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), str(args.threads))
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([str(c) for c in command], stdin=pipe, stdout=pipe, text=True, env=environment)
        start = time.perf_counter()
        self.about = self.answer()
        self.about["start_ms"] = (time.perf_counter() - start) * 1e3
        # The first pass is part of being ready; more of them warm up.
        self.turn(2)

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended early, with code {self.process.wait()}")
        return json.loads(line)

    def turn(self, passes):
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.stdin.write(f"{passes}\n")
        self.process.stdin.flush()
        times = self.answer()
        os.kill(self.process.pid, signal.SIGSTOP)
        return times

    def end(self):
        """Ends the process; returns its peak resident memory in MB, where the system tells."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status")
        peak = next((int(l.split()[1]) / 1e3 for l in status.read_text().splitlines() if l.startswith("VmHWM")), None) if status.exists() else None
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()
        return peak


def is_there(name, args):
    """Whether an engine can take part; says so if not."""
    if name in OURS.values():
        return True
    if name in RUST:
        if not pathlib.Path(args.rust).exists():
            print(f"{name}: left out, {args.rust} is not built")
        return pathlib.Path(args.rust).exists()
    if importlib.util.find_spec(name) is None:
        print(f"{name}: left out, it is not installed")
    return importlib.util.find_spec(name) is not None


def check(engines, what):
    """Logits, or maps, of all engines that make them, against those of the last one."""
    import numpy

    found = {e.name: numpy.fromfile(e.outputs[what], dtype="<f4") for e in engines if what < len(e.outputs)}
    if not found:
        return
    last, want = list(found.items())[-1]
    for name, got in found.items():
        apart = numpy.abs(got - want).max() / numpy.abs(want).max() if got.shape == want.shape else float("nan")
        if not apart <= AGREEMENT:
            sys.exit(f"{name} and {last} disagree: {apart:.1e} of the largest {('logit', 'value of a map')[what]}")


def compare(args, batch, files):
    import numpy

    generator = numpy.random.default_rng(1)
    generator.standard_normal((batch, 224, 224, 3), dtype="f4").astype("<f4").tofile(WORK / "input")
    names = [*OURS.values(), *args.peers] if "torchcam" in args.peers else [OURS[False], *args.peers]
    engines = [Engine(name, args, files, batch) for name in names if is_there(name, args)]
    for what in (0, 1):
        check(engines, what)
    times = {e.name: [] for e in engines}
    for _ in range(args.rounds):
        for engine in engines:
            times[engine.name].append([t / batch for t in engine.turn(args.passes)])
    print(f"\nbatch {batch}, {args.threads} threads, {args.rounds} rounds x {args.passes} passes; ms per image")
    print("| engine | median | least | GFLOP/s | camshaft's time / its time | peak RSS MB | load ms |")
    print("|---|---|---|---|---|---|---|")
    for engine in engines:
        turns, ours = times[engine.name], times[OURS[engine.maps]]
        every = sorted(t for turn in turns for t in turn)
        ratio = statistics.median(statistics.median(a) / statistics.median(b) for a, b in zip(ours, turns))
        least = min(t for turn in ours for t in turn) / every[0]
        median, peak = statistics.median(every), engine.end()
        peak = "" if peak is None else f"{peak:.0f}"
        version, ready = engine.about["version"], engine.about["ready_ms"]
        print(
            f"| {engine.name} {version} | {median:.2f} | {every[0]:.2f} | {GFLOP / median * 1e3:.0f}"
            f" | {ratio:.2f} (of the least {least:.2f}) | {peak} | {ready:.0f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--passes", type=int, default=8, help="passes of each engine in a round")
    peers = [*PYTHON, *RUST]
    parser.add_argument("--peers", nargs="*", default=peers, choices=peers)
    parser.add_argument("--camshaft", default=ROOT / "target/release/examples/peer_forward")
    parser.add_argument("--rust", default=ROOT / "benches/peers/rust/target/release/camshaft-peers")
    for internal in ("--worker", "--onnx", "--pt", "--input", "--logits", "--maps"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args)
    files = prepare()
    for batch in args.batch:
        compare(args, batch, files)


if __name__ == "__main__":
    main()
