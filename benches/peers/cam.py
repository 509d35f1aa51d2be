#!/usr/bin/env python3
"""Maps of every method with ResNet-18 beside torchcam and grad-cam, in turns, after checking that the maps agree.

    pip install torch torchvision torchcam==0.5.0 grad-cam==1.5.7 safetensors
    cargo build --release --example peer_cam
    python benches/peers/cam.py

A pass is a forward pass and a map of each image's most probable class, however a library comes to it: most run backwards as well,
Ablation-CAM 512 more forwards. Every engine is a process of its own that is stopped while another one has its turn, and all
have a turn at a method before the next method. A method's cost is its time over that of the engine's forward pass alone.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time

from run import ROOT, WORK, prepare

METHODS = (
    "cam gradcam hirescam xgradcam gradcam++ layercam gradcamelementwise ablationcam eigencam eigengradcam finercam shapleycam fem"
    " randomcam"
).split()
TORCHCAM = {
    "cam": "CAM", "gradcam": "GradCAM", "xgradcam": "XGradCAM", "gradcam++": "GradCAMpp", "layercam": "LayerCAM",
    "scorecam": "ScoreCAM", "sscam": "SSCAM", "iscam": "ISCAM",
}  # fmt: skip
GRAD_CAM = {
    "gradcam": "GradCAM", "hirescam": "HiResCAM", "xgradcam": "XGradCAM", "gradcam++": "GradCAMPlusPlus", "layercam": "LayerCAM",
    "gradcamelementwise": "GradCAMElementWise", "ablationcam": "AblationCAM", "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM", "finercam": "FinerCAM", "shapleycam": "ShapleyCAM", "fem": "FEM", "randomcam": "RandomCAM",
    "scorecam": "ScoreCAM",
}  # fmt: skip
CHECKED = ("gradcam", "layercam")  # that every engine has by the same formula
AGREEMENT = 1e-3  # of maps in 0..1
SLOW = ("ablationcam", "scorecam", "sscam", "iscam")  # hundreds of forward passes


def load_torchcam(net, torch, x):
    import torchcam
    from torchcam import methods

    def explain(name):
        with getattr(methods, TORCHCAM[name])(net, **({"input_shape": (3, 224, 224)} if name not in SLOW else {})) as extractor:
            if name == "cam":
                with torch.no_grad():
                    scores = net(x)
            else:
                scores = net(x.requires_grad_(True))
            return extractor(scores.argmax(1).tolist(), scores)[0]

    def version():
        return torchcam.__version__

    return version(), explain


def load_grad_cam(net, torch, x):
    import importlib.metadata

    import pytorch_grad_cam

    def explain(name):
        with getattr(pytorch_grad_cam, GRAD_CAM[name])(model=net, target_layers=[net.layer4]) as cam:
            if hasattr(cam, "batch_size"):
                cam.batch_size = 64
            cam(input_tensor=x, targets=None)
            # What it returns is enlarged; the maps are compared at their own size.
            if name not in CHECKED:
                return None
            grads = torch.stack([g.detach() for g in cam.activations_and_grads.gradients])
            acts = cam.activations_and_grads.activations[0]
            weights = grads[0].clamp(min=0) if name == "layercam" else grads[0].mean((2, 3), keepdim=True)
            return (weights * acts).sum(1).clamp(min=0)

    return importlib.metadata.version("grad-cam"), explain


LOADERS = {"torchcam": (load_torchcam, TORCHCAM), "grad-cam": (load_grad_cam, GRAD_CAM)}


def worker(args):
    """One library: a line of JSON once it is ready, then one for each line `METHOD PASSES` read from standard input."""
    import contextlib

    import numpy
    import torch
    import torchvision

    torch.set_num_threads(args.threads)
    net = torchvision.models.resnet18(weights=None)
    net.load_state_dict(torch.load(args.pt))
    net.eval()
    for module in net.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False  # torchcam's hooks need what a ReLU would overwrite
    images = numpy.fromfile(args.input, dtype="<f4").reshape(args.batch, 224, 224, 3).transpose(0, 3, 1, 2).copy()
    x = torch.from_numpy(images)
    loader, _ = LOADERS[args.worker]
    version, explain = loader(net, torch, x)
    print(json.dumps({"version": version}), flush=True)
    for line in sys.stdin:
        name, passes = line.split()
        times, maps = [], None
        with contextlib.redirect_stdout(sys.stderr):
            for _ in range(int(passes)):
                start = time.perf_counter()
                if name == "forward":
                    with torch.inference_mode():
                        net(x)
                else:
                    maps = explain(name)
                times.append((time.perf_counter() - start) * 1e3)
        maps = None if maps is None else maps.detach().reshape(args.batch, -1).tolist()
        print(json.dumps({"ms": times, "maps": maps}), flush=True)


class Engine:
    def __init__(self, name, args, files):
        self.name = name
        common = ["--batch", args.batch, "--threads", args.threads, "--input", WORK / "input"]
        if name == "camshaft":
            command, self.methods = [args.camshaft, "--weights", files["safetensors"], *common], args.methods
        else:
            command, self.methods = [sys.executable, __file__, "--worker", name, "--pt", files["pt"], *common], LOADERS[name][1]
        environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([str(c) for c in command], stdin=pipe, stdout=pipe, text=True, env=environment)
        self.version = self.answer()["version"]
        self.turn("forward", 1)

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended early, with code {self.process.wait()}")
        return json.loads(line)

    def turn(self, method, passes):
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.stdin.write(f"{method} {passes}\n")
        self.process.stdin.flush()
        answer = self.answer()
        os.kill(self.process.pid, signal.SIGSTOP)
        return answer

    def end(self):
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()


def shown(numpy, maps):
    """In 0..1, after a ReLU."""
    maps = numpy.maximum(numpy.asarray(maps, dtype="f8"), 0)
    low, high = maps.min(1, keepdims=True), maps.max(1, keepdims=True)
    return (maps - low) / (high - low)


def main():
    import numpy

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=2, help="passes of each engine in a round; of slow methods one in all")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--peers", nargs="*", default=list(LOADERS), choices=list(LOADERS))
    parser.add_argument("--camshaft", default=ROOT / "target/release/examples/peer_cam")
    for internal in ("--worker", "--pt", "--input"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args)
    files = prepare()
    generator = numpy.random.default_rng(1)
    generator.standard_normal((args.batch, 224, 224, 3), dtype="f4").astype("<f4").tofile(WORK / "input")
    engines = [Engine(name, args, files) for name in ["camshaft", *args.peers]]
    for method in CHECKED:
        maps = {e.name: shown(numpy, e.turn(method, 1)["maps"]) for e in engines}
        for name, got in maps.items():
            apart = numpy.abs(got - maps["camshaft"]).max()
            if not apart <= AGREEMENT:
                sys.exit(f"{name} and camshaft disagree about {method}: {apart:.1e}")
    times = {}
    for turn in range(args.rounds):
        for method in ["forward", *args.methods]:
            for engine in engines:
                has = method == "forward" or method in engine.methods
                once = method in SLOW and engine.name != "camshaft"
                if has and not (once and turn):
                    passes = 1 if once else args.passes
                    ms = engine.turn(method, passes)["ms"]
                    times.setdefault((engine.name, method), []).extend(t / args.batch for t in ms)
    median = {key: statistics.median(values) for key, values in times.items()}
    print(f"batch {args.batch}, {args.threads} threads; ms per image, in brackets over the engine's forward pass alone")
    print("| method | " + " | ".join(f"{e.name} {e.version}" for e in engines) + " |")
    print("|---" * (len(engines) + 1) + "|")
    for method in ["forward", *args.methods]:
        cells = []
        for engine in engines:
            ms = median.get((engine.name, method))
            base = median[engine.name, "forward"]
            cells.append("" if ms is None else f"{ms:.2f} ({ms / base:.2f}x)")
        print(f"| {method} | " + " | ".join(cells) + " |")
    for engine in engines:
        engine.end()


if __name__ == "__main__":
    main()
