"""How one fault is put to the tests: see run.py.

A fault in a kernel needs no new build of the program. The copy of the sources is built once, changed in few places: the build
script compiles what CAMSHAFT_FAULT_STAGE names, and the program takes intermediate code from the folder CAMSHAFT_FAULT where there
is some. A fault is then compiled by that build script from kernels of its own, only the units that it changes, and the tests run
that were built before: first with two tiles of the convolution and every other kernel for capability 8.0, which the software device
plays unless it is told otherwise, then, as long as they pass, with all tiles, and with the code for other capabilities. Any other
fault is built by cargo.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

SECONDS = 300  # for one target; a fault may hang
# Architecture, and which tiles of the convolution.
STAGES = ["compute_80 f16_nhwc_64x64", "compute_80 ", "compute_75 ", "compute_90 "]
CARGO = ["cargo", "test", "--no-run", "--message-format", "json-render-diagnostics"]
# Quick to build; the software device, which takes the time of the tests, and other crates are built as for all tests.
CARGO += ["--config", "profile.dev.package.camshaft.opt-level=0"]

# What the copy differs in: file, text, what takes its place.
CHANGES = [
    (
        "build/compile.rs",
        ".flat_map(|unit| targets.iter().filter(|target| target.suits(unit)).map(move |&target| (unit, target)))\n",
        ".flat_map(|unit| targets.iter().filter(|target| target.suits(unit)).map(move |&target| (unit, target)))\n"
        '        .filter(|(unit, target)| std::env::var("CAMSHAFT_FAULT_STAGE").map_or(true, |stage| {\n'
        "            let (base, tiles) = stage.split_once(' ').expect(\"two words\");\n"
        "            let is_chosen = !unit.name.starts_with(\"conv2d_implicit_gemm\") || unit.name.contains(tiles);\n"
        "            target.architecture() == base && is_chosen\n"
        "        }))\n",
    ),
    (
        "src/cuda/modules.rs",
        "    fn code(&self) -> Result<Ptx, DriverError> {\n",
        "    fn code(&self) -> Result<Ptx, DriverError> {\n"
        '        if let (Target::Ptx(base), Some(folder)) = (self.target, std::env::var_os("CAMSHAFT_FAULT")) {\n'
        '            let path = std::path::Path::new(&folder).join(format!("{}.compute_{base}.ptx", self.unit));\n'
        "            if let Ok(text) = std::fs::read_to_string(path) {\n"
        "                return Ok(Ptx::from_src(text.trim_end_matches('\\0')));\n"
        "            }\n"
        "        }\n",
    ),
]


def stop(why):
    print(why, file=sys.stderr)
    sys.exit(2)


def changed(name, content):
    """What the copy has for a file of the checkout."""
    for file, old, new in CHANGES:
        if name == file:
            text = content.decode()
            if text.count(old) != 1:
                stop(f"{name}: the text that the copy changes occurs {text.count(old)} times, expected once: {old}")
            content = text.replace(old, new).encode()
    return content


def wanted(tests):
    """`target::test` names by target, in order."""
    targets = {}
    for name in tests:
        target, _, test_name = name.partition("::")
        targets.setdefault(target, []).append(test_name)
    return targets


def passed(output):
    return sum(int(count) for count in re.findall(r"^test result: ok\. (\d+) passed", output, re.MULTILINE))


class Bench:
    """The copy of the checkout, with what was built from it."""

    def __init__(self, tree, build, work):
        self.tree, self.build, self.work = tree, build, work
        self.pristine = {}  # by file name, the units as they are

    def cargo(self, targets):
        """Builds test targets: whether that worked, what was said, and the messages."""
        command = CARGO + [part for target in targets for part in (("--lib",) if target == "lib" else ("--test", target))]
        environment = os.environ | {
            "CARGO_TARGET_DIR": str(self.build),
            "CARGO_TERM_COLOR": "never",
            "CARGO_INCREMENTAL": "1",
            "CAMSHAFT_REQUIRE_CUDA": "1",
        }
        done = subprocess.run(command, cwd=self.tree, env=environment, capture_output=True, text=True)
        messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return done.returncode == 0, done.stderr, messages

    def prepare(self, mutations):
        """Builds everything without a fault. Every test that is to notice something must pass then."""
        everything = wanted(sorted({name for mutation in mutations for name in mutation["tests"]}))
        worked, said, messages = self.cargo(everything)
        if not worked:
            stop(said)
        # Copies, which later builds do not touch; the software device is looked for beside them.
        tests = self.work / "tests"
        tests.mkdir(exist_ok=True)
        self.programs = {}
        for target, program in executables(messages).items():
            shutil.copy2(program, tests / target)
            self.programs[target] = tests / target
        for library in (self.build / "debug/deps").glob("libcuda_emu.so"):
            shutil.copy2(library, tests)
        self.script, out = build_script(messages, self.tree)
        shutil.copy2(self.script, self.work / "build-script")
        self.script = self.work / "build-script"
        self.pristine = {path.name: path for path in keep(out / "kernels", self.work / "pristine")}
        for target, names in everything.items():
            status, output = self.run(self.programs[target], names, None, 3 * SECONDS)
            if status != 0 or passed(output) != len(names):
                stop(f"{output}\n{target}: without a fault {len(names)} tests must pass: {', '.join(names)}")
            print(f"without a fault: {target}: {len(names)} pass", flush=True)

    def run(self, program, names, fault, seconds=SECONDS):
        """Runs some tests: exit status, None after the time is over, and the output."""
        environment = os.environ | ({"CAMSHAFT_FAULT": str(fault)} if fault else {})
        process = subprocess.Popen(
            [program, "--exact", *names],
            cwd=self.tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=seconds)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[0]

    def try_tests(self, mutation, programs, fault, verdict):
        """The verdict of the first target that notices, or None, and what was said."""
        log = ""
        for target, names in wanted(mutation["tests"]).items():
            status, output = self.run(programs[target], names, fault)
            log += output
            if status != 0:
                return verdict(target, names, status, output), log
        return None, log

    def try_kernel(self, mutation, verdict):
        place = self.work / "faults" / mutation["name"]
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.tree / "kernels", place / "kernels")
        path = place / mutation["file"]
        path.write_text(path.read_text().replace(mutation["old"], mutation["new"]))
        (place / "code").mkdir()
        units, log = dict(self.pristine), ""
        for stage in STAGES:
            out = place / "out"
            (out / "kernels").mkdir(parents=True)
            for name, unit in units.items():
                os.link(unit, out / "kernels" / name)
            environment = os.environ | {"OUT_DIR": str(out), "CAMSHAFT_FAULT_STAGE": stage, "CAMSHAFT_CUDA_ARCHS": ""}
            built = subprocess.run([self.script], cwd=place, env=environment, capture_output=True, text=True)
            log += built.stderr
            if built.returncode != 0:
                return "does not build", log
            new = [path for path in (out / "kernels").glob("*.ptx") if path.name not in units]
            for path in new:
                name, architecture, _, _ = path.name.rsplit(".", 3)
                units[path.name] = place / "code" / f"{name}.{architecture}.ptx"
                shutil.move(path, units[path.name])
            shutil.rmtree(out)
            # Where a stage changes no unit there is nothing to notice.
            result, said = self.try_tests(mutation, self.programs, place / "code", verdict) if new else (None, "")
            log += said
            if result:
                shutil.rmtree(place)
                return result, log
        return "SURVIVED", log

    def try_source(self, mutation, verdict):
        path = self.tree / mutation["file"]
        original = path.read_text()
        path.write_text(original.replace(mutation["old"], mutation["new"]))
        try:
            worked, log, messages = self.cargo(wanted(mutation["tests"]))
            if not worked:
                return "does not build", log
            result, said = self.try_tests(mutation, executables(messages), None, verdict)
            return result or "SURVIVED", log + said
        finally:
            path.write_text(original)


def executables(messages):
    """Test programs by target; the library's own tests are `lib`."""
    tests = [one for one in messages if one.get("executable") and one["profile"]["test"]]
    return {"lib" if "lib" in one["target"]["kind"] else one["target"]["name"]: Path(one["executable"]) for one in tests}


def build_script(messages, tree):
    """The crate's build script and where it wrote."""
    of_crate = [one for one in messages if f"{tree}#" in one.get("package_id", "")]
    script = [one for one in of_crate if one["reason"] == "compiler-artifact" and "custom-build" in one["target"]["kind"]]
    ran = [one for one in of_crate if one["reason"] == "build-script-executed"]
    if not script or not ran:
        stop("cargo did not tell of the build script")
    return Path(script[0]["filenames"][0]), Path(ran[0]["out_dir"])


def keep(folder, place):
    """A copy of the units in a folder."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    return sorted(place.iterdir())
