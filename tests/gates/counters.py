#!/usr/bin/env python3
"""Gate on how every kernel uses memory, counted by the software device while the tests run.

    CUDA_EMU_REPORT=target/gates/reports sh tests/run.sh    leaves a report of each test program in that folder, which must exist
    tests/gates/counters.py target/gates/reports            judge; exit status 1 if a kernel misses a limit or was not run
    tests/gates/counters.py --table FOLDER                  as well, print what was counted as the table of docs/performance.md

No kernel may have a bank conflict, and each must move at least 90 % of the sectors that it touches full, over all launches of all
tests: awkward shapes, and the layers of ResNet-18. Every kernel on record in main_loop.json must have been run. Layer by layer,
`cargo test --test cuda_counters` judges a whole pass.
"""

import argparse
import json
import sys
from pathlib import Path

LEAST_SECTORS = 0.9


def add(kernels, launches):
    """Sums launches, or sums of launches, by kernel."""
    for launch in launches:
        counters = launch["counters"]
        found = kernels.setdefault(launch["kernel"], {"conflicts": 0, "sectors": 0, "ideal_sectors": 0})
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
        if found["conflicts"]:
            missed.append(f"{kernel}: {found['conflicts']} wavefronts more than without bank conflicts")
        if not share(found) >= LEAST_SECTORS:
            missed.append(f"{kernel}: {share(found):.3f} of the sectors are full, expected {LEAST_SECTORS}")
    return missed


def recorded():
    """The kernels on record."""
    return {key.split()[0] for key in json.loads((Path(__file__).parent / "main_loop.json").read_text())}


def table(kernels):
    """How many kernels there are, and the one of which the least sectors are full."""
    worst = min(kernels, key=lambda kernel: share(kernels[kernel]))
    return "\n".join([
        "| kernels | bank conflicts | full sectors at the least | of |",
        "|---|---|---|---|",
        f"| {len(kernels)} | {sum(found['conflicts'] for found in kernels.values())} | {share(kernels[worst]):.2f} | `{worst}` |",
    ])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the reports are")
    parser.add_argument("--table", action="store_true", help="print what was counted")
    arguments = parser.parse_args()
    kernels, ours = {}, recorded()
    for report in sorted(arguments.folder.glob("*.json")):
        add(kernels, (launch for launch in json.loads(report.read_text())["kernels"] if launch["kernel"] in ours))
    if arguments.table and kernels:
        print(table(kernels))
    missed = judge(kernels) + [f"{kernel}: no test ran it" for kernel in sorted(ours - kernels.keys())]
    print("\n".join(missed) or f"{len(kernels)} kernels: no bank conflicts, and full sectors")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
