#!/usr/bin/env python3
"""Gate on how every kernel uses memory, counted by the software device while the kernels' own tests run.

    tests/gates/counters.py            run the tests of SUITES and judge; exit status 1 if a kernel misses a limit
    tests/gates/counters.py --table    as well, print what was counted

No kernel may have a bank conflict, and each must move at least 90 % of the sectors that it touches full, over all shapes of its tests:
awkward ones, and the layers of ResNet-18. EXCUSED lists what may not be had, with the reason. Kernels on record in main_loop.json
that these tests do not run are named. Layer by layer, `cargo test --test cuda_counters` judges a whole pass. Takes minutes, and is
no part of continuous integration.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "target" / "gates" / "reports"
LEAST_SECTORS = 0.9

# Test targets, and devices that they run on: what the kernels for 7.5 have of their own is the convolution.
SUITES = [
    ("cuda_kernels", "A100"), ("cuda_kernels", "T4"), ("cuda_split", "A100"), ("cuda_projection", "A100"), ("cuda_stem", "A100"),
    ("cuda_stem", "T4"), ("cuda_head", "A100"), ("cuda_cam", "A100"), ("cuda_preprocess", "A100"),
]  # fmt: skip
# Tests that run others again or take the counts away.
SKIPPED = ["other_", "conflicts", "counters"]

# Beginnings of names, the least share of full sectors, whether bank conflicts are excused, and why.
EXCUSED = [
    ("resize_horizontal", 0.35, False, "lanes read pixels that lie apart by the picture's scale; the rest of a sector is their next tap"),
    ("conv2d_direct_f32_nhwc_v1", 0.15, False, "odd channels: a lane reads a number of a row of its own; the rest of the sector is its next read"),
    ("conv2d_direct_f32_nhwc_v4", 0.5, False, "a lane reads 16 bytes of a row of its own; the other half of the sector is its next read"),
    ("cam_", 0.25, True, "the tests' odd widths are written one by one, and maps that are enlarged less than fourfold share banks"),
    ("linear_f32_f16", 0.8, False, "the tests' odd channels and classes"),
    ("maxpool2d_f16_nhwc_scalar", 0.85, False, "odd channels"),
    ("maxpool2d_f32_nhwc_scalar", 0.85, False, "odd channels"),
]


def excuse(kernel):
    return next((one for one in EXCUSED if kernel.startswith(one[0])), ("", LEAST_SECTORS, False, ""))


def run(target, device):
    """The launches of a suite."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / f"{target}.{device}.json"
    report.unlink(missing_ok=True)
    command = ["sh", "tests/run.sh", "--quiet", "--test", target, "--", *(part for name in SKIPPED for part in ("--skip", name))]
    environment = os.environ | {"CUDA_EMU_REPORT": str(report), "CUDA_EMU_DEVICE": device}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} on {device}:\n{done.stdout}{done.stderr}")
    return json.loads(report.read_text())["launches"]


def add(kernels, launches):
    """Sums launches by kernel."""
    for launch in launches:
        counters = launch["counters"]
        found = kernels.setdefault(launch["kernel"], {"launches": 0, "conflicts": 0, "sectors": 0, "ideal_sectors": 0})
        found["launches"] += 1
        for access in ("shared_load", "shared_store", "shared_atomic"):
            found["conflicts"] += counters[access]["wavefronts"] - counters[access]["ideal_wavefronts"]
        for access in ("global_load", "global_store"):
            for field in ("sectors", "ideal_sectors"):
                found[field] += counters[access][field]


def share(found):
    """Of the touched sectors, those that the same bytes would fill: above 1 where lanes read the same."""
    return found["ideal_sectors"] / found["sectors"] if found["sectors"] else 1.0


def judge(kernels):
    """What is missed, as sentences."""
    missed = []
    for kernel, found in sorted(kernels.items()):
        _, least, conflicts, _ = excuse(kernel)
        if found["conflicts"] and not conflicts:
            missed.append(f"{kernel}: {found['conflicts']} wavefronts more than without bank conflicts")
        if not share(found) >= least:
            missed.append(f"{kernel}: {share(found):.3f} of the sectors are full, expected {least}")
    return missed


def recorded():
    """Kernels on record for the devices that the suites play."""
    names = (key.split() for key in json.loads((Path(__file__).parent / "main_loop.json").read_text()))
    return {kernel for kernel, target in names if target in ("sm_75", "sm_80")}


def table(kernels):
    rows = ["| kernel | launches | bank conflicts | full sectors | excused |", "|---|---|---|---|---|"]
    for kernel, found in sorted(kernels.items()):
        rows.append(f"| `{kernel}` | {found['launches']} | {found['conflicts']} | {share(found):.3f} | {excuse(kernel)[3]} |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print what was counted")
    arguments = parser.parse_args()
    kernels = {}
    for target, device in SUITES:
        add(kernels, run(target, device))
    if arguments.table:
        print(table(kernels))
    print("not run here:", ", ".join(sorted(recorded() - kernels.keys())) or "none")
    missed = judge(kernels)
    print("\n".join(missed) or f"{len(kernels)} kernels: no bank conflicts, full sectors")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
