"""Writes the small .pth files that tests/weights.rs reads, and what they hold, into tests/goldens/pth/
(and three seeds into fuzz/seeds/pth/).

    python tests/goldens/make_pth.py

Everything is made by torch.save itself, in its zip form and in the legacy form from before PyTorch 1.6, so that the Rust
reader is checked against the real writer. `expected.json` holds names, types, shapes and values as PyTorch sees them, and the
versions used. Values are small fractions that f16 and bf16 hold exactly. The storage keys in legacy files are memory
addresses, so those files differ from run to run.
"""

import collections
import io
import json
import pathlib
import platform
import zipfile

import torch
from torch import nn

OUT = pathlib.Path(__file__).parent / "pth"
SEEDS = pathlib.Path(__file__).parents[2] / "fuzz" / "seeds" / "pth"
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.uint16: "U16",
    torch.bool: "BOOL",
}
expected = {"versions": {"torch": torch.__version__, "python": platform.python_version()}, "cases": []}


def ramp(*shape, dtype=torch.float32):
    n = 1
    for d in shape:
        n *= d
    return ((torch.arange(n) % 97 - 48) / 8).reshape(shape).to(dtype)


def save(names, obj, tensors, **how):
    """Saves `obj` under each name, in the form the name begins with; `tensors` is what a reader must find."""
    for name in names:
        torch.save(obj, OUT / name, _use_new_zipfile_serialization=name.startswith("zip"), **how)
    found = {
        key: {
            "dtype": DTYPES[t.dtype],
            "shape": list(t.shape),
            "values": [int(v) if v == int(v) else v for v in t.detach().to(torch.float64).flatten().tolist()],
        }
        for key, t in tensors.items()
    }
    for case in expected["cases"]:
        if case["tensors"] == found:
            case["files"] += names
            return
    expected["cases"].append({"files": names, "tensors": found})


class Net(nn.Module):
    """The kinds of layer a ResNet has."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)
        for p in self.parameters():
            p.data = ramp(*p.shape)
        self.bn1.running_mean = ramp(4) + 1
        self.bn1.running_var = ramp(4) + 9


def main():
    OUT.mkdir(exist_ok=True)
    net = Net()

    # a bare state dict: an OrderedDict with `_metadata`, and a counter of type int64
    save(["zip_plain.pth", "legacy_plain.pth"], net.state_dict(), net.state_dict())
    save(["zip_protocol4.pth", "legacy_protocol4.pth"], net.state_dict(), net.state_dict(), pickle_protocol=4)
    save(["zip_protocol5.pth"], net.state_dict(), net.state_dict(), pickle_protocol=5)

    # what a training script saves, from a DataParallel model; Parameters, not only tensors
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    weights = {key: t.clone() for key, t in net.state_dict().items()}
    optimizer.step()
    parallel = collections.OrderedDict(("module." + key, t) for key, t in weights.items())
    parallel["module.fc.weight"] = nn.Parameter(parallel["module.fc.weight"])
    tagged = nn.Parameter(parallel["module.fc.bias"])
    tagged.note = "an attribute"
    parallel["module.fc.bias"] = tagged
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [30, 60])
    checkpoint = {
        "epoch": 90,
        "arch": "resnet18",
        "best_acc1": torch.tensor(69.75),
        "lr": 1e-3,
        "done": True,
        "note": None,
        "big": 1 << 200,
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "size": torch.Size([2, 3]),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "state_dict": parallel,
    }
    save(["zip_checkpoint.pth", "legacy_checkpoint.pth"], checkpoint, weights)
    # before protocol 4 a set is a call of builtins.set, and before 3 bytes are one of _codecs.encode
    checkpoint |= {"seen": {1, 2, 3}, "raw": b"\x00\xff"}
    save(["legacy_checkpoint4.pth"], checkpoint, weights, pickle_protocol=4)

    # one prefix missing: the name is the model's own
    half_prefixed = {"module.a": ramp(2), "b": ramp(3)}
    save(["zip_half_prefixed.pth"], half_prefixed, half_prefixed)

    # views of every kind under `model`
    base = ramp(6, 8)
    views = {
        "transposed": base.t(),
        "rows": base[2:4],
        "columns": base[:, 1::3],
        "channels_last": ramp(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "one": base[3, 5],
        "unit_dims": base[1:2].t(),
        "f16": ramp(3, 7, dtype=torch.float16),
        "f16_transposed": ramp(3, 7, dtype=torch.float16).t(),
        "bf16": ramp(5, 3, dtype=torch.bfloat16),
        "bf16_odd": ramp(9, dtype=torch.bfloat16)[1::2],
        "counter": torch.tensor(7),
        "f64": ramp(3, dtype=torch.float64),
        "flags": torch.tensor([True, False]),
    }
    save(["zip_views.pth", "legacy_views.pth"], {"epoch": 1, "model": views}, views)
    # types newer than their storage classes are views of plain bytes
    u16 = {"weight": ramp(4), "u16": torch.arange(4).to(torch.uint16)}
    save(["zip_untyped.pth"], {"model_state_dict": u16}, u16)

    # files to refuse
    torch.save({"fine": ramp(2), "expanded": ramp(1).expand(1000)}, OUT / "bad_expanded.pth")
    torch.save({"fine": ramp(2), "nothing": torch.zeros(0, 3)}, OUT / "bad_zero.pth")
    torch.save({"epoch": 3, "names": ["a", "b"]}, OUT / "bad_no_tensors.pth")
    torch.save([ramp(2)], OUT / "bad_list.pth")
    torch.save(net.fc, OUT / "bad_whole_model.pth")

    class Evil:
        def __reduce__(self):
            import os

            return os.system, ("touch camshaft-was-here",)

    torch.save({"weight": ramp(2), "evil": Evil()}, OUT / "bad_evil_zip.pth")
    torch.save({"weight": ramp(2), "evil": Evil()}, OUT / "bad_evil_legacy.pth", _use_new_zipfile_serialization=False)

    stored = io.BytesIO()
    torch.save({"weight": ramp(64)}, stored)
    with zipfile.ZipFile(stored) as old, zipfile.ZipFile(OUT / "bad_deflated.pth", "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))

    # the smallest files of both forms, from which a fuzzer starts
    SEEDS.mkdir(parents=True, exist_ok=True)
    torch.save({"w": ramp(2)}, SEEDS / "zip.pth")
    torch.save({"w": ramp(2, 2).t()}, SEEDS / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"model": {"w": nn.Parameter(ramp(2))}}, SEEDS / "legacy4.pth", pickle_protocol=4, _use_new_zipfile_serialization=False)

    (OUT / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
    total = sum(f.stat().st_size for f in OUT.iterdir())
    print(f"{len(list(OUT.iterdir()))} files, {total} bytes")


if __name__ == "__main__":
    main()
