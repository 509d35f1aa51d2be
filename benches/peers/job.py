#!/usr/bin/env python3
"""The whole job as a process, a JPEG in and an overlay as PNG out, beside scripts that do the same with other libraries.

    pip install torch torchvision torchcam matplotlib onnx onnxruntime safetensors
    cargo build --release
    python benches/peers/job.py

Processes take turns on one photograph, two threads each, files in the page cache. First it is checked that all of them find the
same map, in a PNG of the photograph, because decoders of JPEG differ by a level or two. CPU is user and system time of the whole process; peak memory is its largest resident set, code included.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import network
import run

ROOT = pathlib.Path(__file__).resolve().parents[2]
JOBS = pathlib.Path(__file__).resolve().parent / "jobs"
WORK = ROOT / "target" / "peers" / "job"
AGREEMENT = 1e-4  # of maps between 0 and 1
TORCHCAM = 0.05  # it resizes tensors, not pictures, by a level more or less here and there


def prepare():
    """The networks' files, made once: the same weights for all."""
    files = run.prepare() | {"layer4": WORK / "layer4.onnx", "fc": WORK / "fc.npy"}
    if all(f.exists() for f in files.values()):
        return files
    import numpy
    import torch

    WORK.mkdir(parents=True, exist_ok=True)
    net = network.resnet18(torch)
    net.load_state_dict(torch.load(files["pt"]))
    numpy.save(files["fc"], net.fc.weight.detach().numpy())
    names = {"input_names": ["x"], "output_names": ["y", "layer4"]}
    torch.onnx.export(network.with_features(torch, net), torch.zeros(1, 3, 224, 224), files["layer4"], dynamo=False, **names)
    return files


def commands(args, files):
    """What is run for each row: without and with the raw map to be written too."""
    out = WORK / "out"
    python = lambda script, weights: [sys.executable, JOBS / f"{script}_job.py", args.photo, weights, WORK / f"{script}.png"]
    ours = [args.camshaft, "cam", args.photo, "--device=cpu", "--threads=2", "--top=1", "--force", "--out", out, "--weights"]
    return {
        "camshaft, bundled model": [*ours, "demo", "--save=overlay"],
        "camshaft": [*ours, files["safetensors"], "--save=overlay"],
        "ONNX Runtime, PIL, numpy": python("onnxruntime", files["layer4"]),
        "torchcam": python("torchcam", files["pt"]),
        "notebook (torch, matplotlib)": python("notebook", files["pt"]),
    }


def check(args, found):
    """Every process's map against that of the notebook's way, both scaled to [0, 1]."""
    import numpy
    from PIL import Image

    photo = WORK / "photo.png"
    Image.open(args.photo).convert("RGB").save(photo)
    maps = {}
    for name, command in found.items():
        command = [str(photo) if part == str(args.photo) else part for part in command]
        if name.endswith("bundled model"):
            continue
        path = WORK / "map.npy"
        if name == "camshaft":
            shutil.rmtree(WORK / "out", ignore_errors=True)
            subprocess.run([*command[:-1], "--save=cam"], check=True, capture_output=True)
            path = next((WORK / "out").glob("*.npy"))
        else:
            subprocess.run([*command, path], check=True, capture_output=True)
        values = numpy.load(path).astype("f8")
        maps[name] = (values - values.min()) / (values.max() - values.min())
    *_, want = maps.values()
    for name, got in maps.items():
        if got.shape != want.shape or not abs(got - want).max() <= (TORCHCAM if name == "torchcam" else AGREEMENT):
            sys.exit(f"{name} finds another map")


def timed(command):
    """Wall and CPU milliseconds and peak memory in MB of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return wall * 1e3, (used.ru_utime + used.ru_stime) * 1e3, used.ru_maxrss / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--camshaft", type=pathlib.Path, default=ROOT / "target/release/camshaft")
    parser.add_argument("--photo", type=pathlib.Path, default=ROOT / "assets/demo/chelsea.jpg")
    parser.add_argument("--only", nargs="*", help="rows whose names begin so")
    args = parser.parse_args()
    # PyTorch stays out of this process: what is resident here counts as the first resident set of every process that it starts.
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        files = apart.submit(prepare).result()
    found = {name: [str(part) for part in command] for name, command in commands(args, files).items()}
    if args.only:
        found = {name: command for name, command in found.items() if name.startswith(tuple(args.only))}
    check(args, found)
    runs = {name: [] for name in found}
    for turn in range(args.rounds + 1):
        for name, command in found.items():
            # The first turn fills the page cache. Processes of a tenth of a second take more turns than those of five.
            for _ in range(4 if name.startswith("camshaft") else 1):
                sample = timed(command)
                if turn:
                    runs[name].append(sample)
    print("| process | wall ms, median | least | CPU ms, median | peak memory, MB |")
    print("|---|---|---|---|---|")
    for name, samples in runs.items():
        wall, cpu, memory = zip(*samples)
        print(f"| {name} | {statistics.median(wall):.0f} | {min(wall):.0f} | {statistics.median(cpu):.0f} | {max(memory):.0f} |")


if __name__ == "__main__":
    main()
