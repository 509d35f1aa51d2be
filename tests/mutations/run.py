#!/usr/bin/env python3
"""Applies the small faults of mutations.toml one at a time and shows which test notices each.

    tests/mutations/run.py                 all of them; writes docs/mutations.md
    tests/mutations/run.py NAME...         those whose name begins so
    tests/mutations/run.py --list          names and descriptions

The faults go into a copy of the checkout, target/mutations/tree, built in target/mutations/build; trial.py says how. Results are
kept in target/mutations/results.json and used again until the fault changes, or what it is in: the units of a kernel, or else any
source that the tests run (more tests cannot miss more); --again runs regardless. The table is written once every fault has a result. Exit status 1 if one survived or
does not build, 2 if the run itself could not be made.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trial import Bench, changed, stop

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "mutations"
TREE, BUILD, RESULTS = WORK / "tree", WORK / "build", WORK / "results.json"
TABLE = ROOT / "docs" / "mutations.md"
# What the tests named in mutations.toml run. Of src/ all but the folders below.
TESTED = ("kernels/", "build", "src/", "crates/cuda-emu/src/", "Cargo.lock")
UNTESTED = ("src/cli/", "src/main.rs", "src/sources/", "src/output/", "src/pipeline/", "src/bench", "src/engine/")
FIELDS = {"name", "kind", "file", "what", "old", "new", "tests"}

# The headings of the software device's findings.
FINDING = re.compile(
    r"========= (Out-of-bounds access|Misaligned access|Access through a null pointer|Use after free|Access to unallocated memory"
    r"|Write to read-only memory|Uninitialised (?:global|shared) memory read|Host copy of uninitialised device memory"
    r"|Shared memory race|Global memory race between blocks|Lanes of one store write different values to one place"
    r"|Divergent barrier|Barrier mismatch|Exit before a barrier|Deadlock|Invalid member mask"
    r"|Access to shared memory with an asynchronous copy in flight|Asynchronous copy never waited for|Iteration limit reached"
    r"|Invalid launch|Invalid driver call|Module refused)"
)


def load():
    mutations = tomllib.loads((ROOT / "tests/mutations/mutations.toml").read_text())["mutation"]
    for mutation in mutations:
        if set(mutation) != FIELDS or mutation["old"] == mutation["new"] or not mutation["tests"]:
            stop(f"{mutation.get('name')}: expected {sorted(FIELDS)}, with a change and a test")
        count = (ROOT / mutation["file"]).read_text().count(mutation["old"])
        if count != 1:
            stop(f"{mutation['name']}: its text occurs {count} times in {mutation['file']}, expected once")
    if len({mutation["name"] for mutation in mutations}) != len(mutations):
        stop("two mutations have one name")
    return mutations


def sources():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    return sorted(name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file())


def copy(names):
    """Makes the copy what the checkout is; files that agree keep their times, so that cargo builds no more than it must."""
    wanted = set(names)
    for path in list(TREE.rglob("*")):
        if path.is_file() and str(path.relative_to(TREE)) not in wanted:
            path.unlink()
    for name in names:
        content, target = changed(name, (ROOT / name).read_bytes()), TREE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_file() or target.read_bytes() != content:
            target.write_bytes(content)


def digest(names):
    """Of sources."""
    total = hashlib.sha256()
    for name in sorted(names):
        total.update(name.encode() + b"\0" + hashlib.sha256((ROOT / name).read_bytes()).digest())
    return total


def included(name):
    """A kernel's file and all that it includes."""
    found, left = set(), [name]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [f"kernels/{header}" for header in re.findall(r'^#include "(.+)"', (ROOT / name).read_text(), re.MULTILINE)]
    return found


def depends(mutation, names):
    """What a fault's result depends on: of a fault in a kernel the units that have it in them, of another one everything that the
    tests run."""
    if mutation["file"].startswith("kernels/"):
        units = [included(name) for name in names if name.startswith("kernels/") and name.endswith(".cu")]
        return set().union(*(unit for unit in units if mutation["file"] in unit))
    return {name for name in names if name.startswith(TESTED) and not name.startswith(UNTESTED)}


def verdict(target, names, status, output):
    """Which of the tests failed, and why. (A test may run others in a process of their own and show what they said.)"""
    failed = set(re.findall(r"^test (\S+) \.\.\. FAILED", output, re.MULTILINE))
    by = ", ".join(f"`{target}::{name}`" for name in names if name in failed or not failed)
    if status is None:
        return f"{by}: does not end"
    found = FINDING.search(output)
    return f"{by}: {found[1].lower() if found else reason(output)}"


def reason(output):
    """Why a test failed that the software device had nothing to say about."""
    for text, why in [
        (r"shared_(load|store) of ", "bank conflicts"),
        (r"guard (before|after) \d+ elements was overwritten", "writes outside its buffer"),
        (r"holds \d+ elements, expected|Length \{", "the launcher refuses a length"),
        (r"not \d+-byte aligned|Alignment \{", "the launcher refuses an address"),
        (r"differ; first at|outside the allowance|assertion `left|Overflow", "wrong values"),
        (r"panicked at (?!tests/)", "an assertion outside the tests"),
    ]:
        if re.search(text, output):
            return why
    return "a check fails"


def write(mutations, results):
    caught = sum(results[mutation["name"]]["result"] not in ("SURVIVED", "does not build") for mutation in mutations)
    rows = [f"| {m['what']} | {m['kind']} | `{m['file']}` | {results[m['name']]['result']} |" for m in mutations]
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(
        f"""# Mutation check

Do the tests notice small faults? `tests/mutations/run.py` puts the faults of `tests/mutations/mutations.toml` into a copy of the
sources, one at a time, and runs the tests that should fail. It is no part of continuous integration. This table is what it wrote:
**{caught} of {len(mutations)} are noticed.**

A test fails for one of two reasons: what it computed is wrong, or the software device met something that is a fault whatever the
result, such as a race. Where both hold, the device's finding is named.

| Fault | Kind | File | Noticed by |
| --- | --- | --- | --- |
"""
        + "\n".join(rows)
        + "\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of names")
    parser.add_argument("--again", action="store_true", help="run what already has a result, too")
    parser.add_argument("--jobs", type=int, default=2, help="faults at a time (2)")
    parser.add_argument("--list", action="store_true", help="show the faults and run nothing")
    arguments = parser.parse_args()
    mutations = load()
    if arguments.list:
        for mutation in mutations:
            print(f"{mutation['name']:28} {mutation['what']}")
        return 0

    TREE.mkdir(parents=True, exist_ok=True)
    names = sources()
    copy(names)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}

    # Of the sources as they were copied, whatever becomes of the checkout meanwhile.
    keys = {}
    for mutation in mutations:
        total = digest(depends(mutation, names))
        total.update(json.dumps(mutation, sort_keys=True).encode())
        keys[mutation["name"]] = total.hexdigest()

    def known(mutation):
        return results.get(mutation["name"], {}).get("key") == keys[mutation["name"]]

    chosen = [m for m in mutations if not arguments.names or m["name"].startswith(tuple(arguments.names))]
    due = [m for m in chosen if arguments.again or not known(m) or results[m["name"]]["result"] in ("SURVIVED", "does not build")]
    lock = threading.Lock()

    def note(mutation, result, log):
        with lock:
            print(f"{mutation['name']:28} {result}", flush=True)
            (WORK / f"{mutation['name']}.log").write_text(log)
            results[mutation["name"]] = {"key": keys[mutation["name"]], "result": result}
            RESULTS.write_text(json.dumps(results, indent=1))

    if due:
        bench = Bench(TREE, BUILD, WORK)
        bench.prepare(due)
        kernels = [m for m in due if m["file"].startswith("kernels/")]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            # One of them builds with cargo what is no kernel, one fault after the other.
            rest = [m for m in due if m not in kernels]
            jobs = [pool.submit(lambda: [note(m, *bench.try_source(m, verdict)) for m in rest])]
            jobs += [pool.submit(lambda m=m: note(m, *bench.try_kernel(m, verdict))) for m in kernels]
            for job in jobs:
                job.result()
    failed = [m["name"] for m in mutations if known(m) and results[m["name"]]["result"] in ("SURVIVED", "does not build")]
    missing = [m["name"] for m in mutations if not known(m)]
    if missing:
        print(f"no result yet: {', '.join(missing)}")
    else:
        write(mutations, results)
    print(f"not noticed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
