#!/usr/bin/env python3
"""Score-CAM of one image by ResNet-18 on the CPU, beside torchcam, in one run, after checking that both find the same map.

    pip install torch torchvision torchcam safetensors pillow
    cargo build --release
    python benches/peers/score_cam.py

Both get the same picture and weights, and score every channel of layer4 that is not constant (torchcam: every channel), in batches
of the same size on the same number of threads. What counts is the time of one masked image, beside that of one image in a plain
forward pass of the same batch size: the rest is what masks cost. camshaft's time for a whole map is that of the program, from the
picture to the map in a file; torchcam's begins with the picture in memory.
"""

import argparse
import importlib.metadata
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import time

import network

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "peers"
PICTURE = WORK / "score_cam.png"  # decoders differ in what they make of a JPEG, not of this


def prepared(torch):
    """What both see of the picture."""
    import torchvision.transforms as T
    from PIL import Image

    steps = [T.Resize(256), T.CenterCrop(224), T.ToTensor(), T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    return T.Compose(steps)(Image.open(PICTURE).convert("RGB"))[None]


def torchcam_run(torch, net, x, args):
    from torchcam.methods import ScoreCAM

    with torch.inference_mode():
        batch = x.repeat(args.batch, 1, 1, 1)
        plain = []
        for _ in range(args.passes + 2):
            start = time.perf_counter()
            net(batch)
            plain.append((time.perf_counter() - start) / args.batch)
        with ScoreCAM(net, "layer4", batch_size=args.batch) as extractor:
            scores = net(x)
            start = time.perf_counter()
            (found,) = extractor(int(scores.argmax()), scores)
            seconds = time.perf_counter() - start
    # 512 masked images, and the image itself once more.
    return {"plain_ms": statistics.median(plain[2:]) * 1e3, "masked_ms": seconds / 513 * 1e3, "seconds": seconds, "map": found[0]}


def camshaft_run(files, args):
    common = ["--device", "cpu", "--threads", str(args.threads), "--weights", files]
    bench = [args.camshaft, "bench", *common, "--batch", str(args.batch), "--iters", str(args.passes), "--warm-up", "2", "--maps", "0", "--json"]
    row = json.loads(subprocess.run([str(c) for c in bench], check=True, capture_output=True, text=True).stdout)
    out = WORK / "score_cam"
    shutil.rmtree(out, ignore_errors=True)
    cam = [args.camshaft, "cam", PICTURE, *common, "--batch", str(args.batch), "-k1", "-m", "scorecam", "--save", "cam", "-o", out]
    cam += ["--compat", "torchcam"]
    start = time.perf_counter()
    told = subprocess.run([str(c) for c in cam], check=True, capture_output=True, text=True).stderr
    seconds = time.perf_counter() - start
    forwards, inside = re.search(r"(\d+) forward passes in ([0-9.]+) s", told).groups()
    (file,) = out.glob("*.cam.npy")
    import numpy

    return {"row": row, "masked_ms": float(inside) / int(forwards) * 1e3, "seconds": seconds, "forwards": int(forwards), "map": numpy.load(file)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=10, help="plain passes that count")
    parser.add_argument("--camshaft", type=pathlib.Path, default=ROOT / "target" / "release" / "camshaft")
    args = parser.parse_args()
    import numpy
    import torch
    from safetensors.torch import save_file

    from PIL import Image

    WORK.mkdir(parents=True, exist_ok=True)
    Image.open(ROOT / "assets" / "demo" / "chelsea.jpg").convert("RGB").save(PICTURE)
    torch.set_num_threads(args.threads)
    net = network.resnet18(torch)
    files = WORK / "resnet18.score_cam.safetensors"
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, files)
    ours = camshaft_run(files, args)
    theirs = torchcam_run(torch, net, prepared(torch), args)
    worst = float(numpy.abs(ours["map"] - theirs["map"].numpy()).max())
    if not worst < 1e-3:
        raise SystemExit(f"the maps differ by {worst}")
    plain = ours["row"]["spread"]["median"]
    print(f"batch {args.batch}, {args.threads} threads; maps agree within {worst:.1e}")
    print("| | plain, ms an image | masked, ms an image | plain / masked | whole map, s |")
    print("|---|---|---|---|---|")
    for name, plain, run in [("camshaft", plain, ours), (f"torchcam {importlib.metadata.version('torchcam')}", theirs["plain_ms"], theirs)]:
        print(f"| {name} | {plain:.2f} | {run['masked_ms']:.2f} | {plain / run['masked_ms']:.2f} | {run['seconds']:.1f} |")


if __name__ == "__main__":
    main()
