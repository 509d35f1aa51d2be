#!/usr/bin/env python3
"""Gate on the machine code of the kernels: registers, spills, and the instruction mix of main loops. Needs no GPU.

    tests/gates/main_loop.py            compare with tests/gates/main_loop.json; exit status 1 where something became worse
    tests/gates/main_loop.py --write    record what is there now
    tests/gates/main_loop.py --table    print the record's main loops and registers as the tables of docs/performance.md

Every PTX unit that the build made is assembled for each device that would compile it. No kernel may spill or have a stack frame.
Of a kernel with tensor-core instructions, one trip through the main loop of one warp is counted, and what the loop asks of a
multiprocessor is put beside what the tensor cores ask (see LIMITS). The counts are exact; they are a ceiling, not a speed.

ptxas and nvdisasm are looked for in $PTXAS and $NVDISASM, on PATH, and in target/gates (see tests/gates/run.sh).
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_suffix(".json")

# The PTX that a device's driver compiles, as src/cuda/modules.rs chooses it.
DEVICES = {75: 75, 80: 80, 86: 80, 89: 80, 90: 90, 120: 90}

# Per multiprocessor and clock: tensor-core multiply-adds (f16, sums in f32), bytes of shared memory. Four schedulers issue one
# instruction each. Professional cards where GeForce differs: it has half the multiply-adds, so nothing else is nearer.
LIMITS = {75: (512, 64), 80: (1024, 128), 86: (512, 128), 89: (512, 128), 90: (1288, 128), 120: (512, 128)}
FMA = {"1688": 16 * 8 * 8, "16816": 16 * 8 * 16}

# Fields in which more is worse, with the change that passes: compilers round differently.
WORSE_IF_MORE = {"registers": 0, "other_per_mma": 0.02, "cycles_per_mma": 0.05, "shared": 0.005}
WORSE_IF_LESS = {"bound": 0.005}

INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)([^;]*);\s*/\* 0x([0-9a-f]{16}) \*/")
CONTROL = re.compile(r"^\s*/\* 0x([0-9a-f]{16}) \*/")
LABEL = re.compile(r"^\s*(\.L_[\w$]+):")


class Instruction:
    def __init__(self, address, guard, opcode, operands):
        self.address, self.guard, self.opcode, self.operands = address, guard, opcode, operands
        self.name, *self.modifiers = opcode.split(".")
        self.stall = 0

    def bytes(self):
        """Of a memory access, over the warp."""
        if self.name == "LDSM":
            return 128 * int(self.modifiers[-1]) if self.modifiers[-1].isdigit() else 128
        width = next((int(part) for part in self.modifiers if part in ("64", "128")), 32)
        return 32 * width // 8


def functions(text):
    """`{entry: (instructions, {label: address})}` of what `nvdisasm -c -hex` says."""
    found, code, labels, waiting = {}, None, None, []
    for line in text.splitlines():
        if section := re.match(r"\s*\.section\s+\.text\.([^,\s]+)", line):
            code, labels, waiting = [], {}, []
            found[section[1].strip('"')] = (code, labels)
        elif re.match(r"\s*\.section\s", line):
            code = None
        elif code is None:
            continue
        elif label := LABEL.match(line):
            waiting.append(label[1])
        elif match := INSTRUCTION.match(line):
            address = int(match[1], 16)
            labels.update((label, address) for label in waiting)
            waiting = []
            code.append(Instruction(address, match[2], match[3], match[4].strip()))
        elif code and (match := CONTROL.match(line)):
            code[-1].stall = int(match[1], 16) >> 41 & 15
    return found


def main_loop(code, labels):
    """The instructions from the target of a backward branch to the branch: of all such runs the shortest with the most MMAs."""
    best, rank = [], (0, 0)
    at = {instruction.address: index for index, instruction in enumerate(code)}
    for end, branch in enumerate(code):
        target = re.search(r"`\((\.L_[\w$]+)\)", branch.operands) if branch.name == "BRA" else None
        start = at.get(labels.get(target[1])) if target else None
        if start is None or start >= end:
            continue
        run = code[start : end + 1]
        mmas = sum(instruction.name == "HMMA" for instruction in run)
        if mmas and (mmas, -len(run)) > rank:
            best, rank = run, (mmas, -len(run))
    return best


def measure(loop, capability):
    """What one warp issues in one trip, and what that asks of the multiprocessor."""
    count = lambda *names: sum(instruction.name in names for instruction in loop)
    mma = [instruction for instruction in loop if instruction.name == "HMMA"]
    fma_rate, shared_rate = LIMITS[capability]
    fma = sum(next(FMA[part] for part in one.modifiers if part in FMA) for one in mma)
    shared = sum(one.bytes() for one in loop if one.name in ("LDSM", "LDS", "STS", "LDGSTS") and one.guard != "@!PT")
    # Clocks of a multiprocessor with one warp on each of its four schedulers.
    tensor, issue, memory = 4 * fma / fma_rate, len(loop), 4 * shared / shared_rate
    return {
        "mma": len(mma),
        "ldsm": count("LDSM"),
        "copies": count("LDGSTS", "LDG"),
        "other_per_mma": round((len(loop) - len(mma)) / len(mma), 3),
        "cycles_per_mma": round(sum(one.stall for one in loop) / len(mma), 2),
        "shared": round(memory / tensor, 3),
        "bound": round(tensor / max(tensor, issue, memory), 3),
    }


def resources(log):
    """`{entry: (registers, bytes of stack frame, bytes of spills)}` of what `ptxas -v` says."""
    found = {}
    for part in re.split(r"Compiling entry function ", log)[1:]:
        entry = re.match(r"'(\S+)'", part)[1]
        frame, stores, loads = map(int, re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+)", part).groups())
        found[entry] = (int(re.search(r"Used (\d+) registers", part)[1]), frame, stores + loads)
    return found


def tool(name):
    places = [os.environ.get(name.upper()), shutil.which(name), *(ROOT / "target/gates").glob(f"nvidia/*/bin/{name}")]
    for place in filter(None, places):
        return str(place)
    sys.exit(f"{name} not found: set {name.upper()}, or let tests/gates/run.sh fetch it")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stderr}")
    return done


def judge(ptx, capability, folder):
    """`{entry: fields}` of one unit on one device."""
    cubin = Path(folder) / f"{ptx.stem}.{capability}.cubin"
    log = run(tool("ptxas"), "-v", f"-arch=sm_{capability}", str(ptx), "-o", str(cubin)).stderr
    entries = {}
    for entry, (registers, frame, spills) in resources(log).items():
        entries[entry] = {"registers": registers} | ({"frame": frame, "spills": spills} if frame or spills else {})
    if "mma.sync" in ptx.read_text():
        for entry, (code, labels) in functions(run(tool("nvdisasm"), "-c", "-hex", str(cubin)).stdout).items():
            if loop := main_loop(code, labels):
                entries[entry] |= measure(loop, capability)
    return entries


def units(folder):
    """The PTX files of a build by capability."""
    found = {75: [], 80: [], 90: []}
    for path in sorted(folder.glob("*.ptx")):
        if match := re.search(r"\.compute_(\d+)\.", path.name):
            found[int(match[1])].append(path)
    return found


def newest_build():
    """Of the build script's last run: cargo touches a file then, what is in the folder may be older."""
    runs = sorted(ROOT.glob("target/*/build/camshaft-*/invoked.timestamp"), key=lambda path: path.stat().st_mtime)
    folders = [run.parent / "out/kernels" for run in runs if (run.parent / "out/kernels").is_dir()]
    if not folders:
        sys.exit("no kernels under target/: run `cargo build` first, or name a folder with --ptx")
    return folders[-1]


def all_kernels(folder):
    """`{"entry sm_NN": fields}`."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        by_ptx = units(folder)
        jobs = [(device, pool.submit(judge, path, device, scratch)) for device, ptx in DEVICES.items() for path in by_ptx[ptx]]
        for device, job in jobs:
            found.update({f"{entry} sm_{device}": fields for entry, fields in job.result().items()})
    return dict(sorted(found.items()))


def compare(recorded, found):
    """What became worse, as sentences."""
    worse = [f"{name}: {fields[what]} bytes of {what}" for name, fields in found.items() for what in ("frame", "spills") if what in fields]
    for name in sorted(recorded.keys() ^ found.keys()):
        worse.append(f"{name}: " + ("no longer there" if name in recorded else "not recorded") + "; record it with --write")
    for name in sorted(recorded.keys() & found.keys()):
        old, new = recorded[name], found[name]
        if missing := old.keys() - new.keys():
            worse.append(f"{name}: no main loop found, {', '.join(sorted(missing))} expected")
            continue
        for field, slack in WORSE_IF_MORE.items():
            if field in old and not new[field] <= old[field] + slack:
                worse.append(f"{name}: {field} {new[field]}, recorded {old[field]}")
        for field, slack in WORSE_IF_LESS.items():
            if field in old and not new[field] >= old[field] - slack:
                worse.append(f"{name}: {field} {new[field]}, recorded {old[field]}")
    return worse


def table(found):
    fields = ("registers", "mma", "ldsm", "copies", "other_per_mma", "cycles_per_mma", "shared", "bound")
    rows = ["| kernel | " + " | ".join(fields).replace("_", " ") + " |", "|---" * (len(fields) + 1) + "|"]
    for name, values in found.items():
        if "mma" in values:
            rows.append(f"| `{name}` | " + " | ".join(str(values[field]) for field in fields) + " |")
    return "\n".join(rows)


def registers(found):
    """Of every kernel on every device that it is compiled for."""
    kernels = {}
    for name, fields in found.items():
        kernel, device = name.split(" sm_")
        kernels.setdefault(kernel, {})[int(device)] = fields["registers"]
    rows = ["| kernel | " + " | ".join(f"{device / 10}" for device in DEVICES) + " |", "|---" * (len(DEVICES) + 1) + "|"]
    rows += [f"| `{kernel}` | " + " | ".join(str(of.get(device, "")) for device in DEVICES) + " |" for kernel, of in kernels.items()]
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptx", type=Path, help="folder with the units; otherwise that of the newest build under target/")
    parser.add_argument("--write", action="store_true", help="record what is there now")
    parser.add_argument("--table", action="store_true", help="print the record as tables")
    arguments = parser.parse_args()
    if arguments.table:
        record = json.loads(RECORD.read_text())
        print(table(record), registers(record), sep="\n\n")
        return 0
    found = all_kernels(arguments.ptx or newest_build())
    if arguments.write:
        lines = (f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in found.items())
        RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    worse = compare(json.loads(RECORD.read_text()), found)
    print("\n".join(worse) or f"{len(found)} kernels: none spills, none is worse than recorded")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
