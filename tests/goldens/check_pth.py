"""Shows torch the `.pth` files that the tests write, and compares every value.

    mkdir /tmp/pth && PTH_FOLDER=/tmp/pth cargo test --test seeded pth
    python tests/goldens/check_pth.py /tmp/pth
"""

import sys
from pathlib import Path

import torch
import torchvision

import seeded
from make_network import build

last_bn, dtypes = "bn2", {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
files = sorted(Path(sys.argv[1]).glob("*.pth"))
assert files, "no .pth files there"
for path in files:
    _form, dtype, *under = path.stem.split(".")
    for weights_only in (True, False):  # torch's restricted reader, and Python's own
        state = torch.load(path, map_location="cpu", weights_only=weights_only)
        if under:
            assert state["epoch"] == 90
            state = state[under[0]]
        assert state._metadata == {"": {"version": 1}}
        state = {k.removeprefix("module."): v for k, v in state.items()}
        net = build(18, 8, 10)
        assert list(state) == list(net.state_dict())
        for name, value in state.items():
            want = torch.from_numpy(seeded.weight(name, tuple(value.shape), last_bn, seed=1))
            want = want.to(dtypes[dtype]) if want.is_floating_point() else want
            assert value.dtype == want.dtype and torch.equal(value, want), f"{path.name}: {name}"
        net.load_state_dict(state)
    print(f"{path.name}: {len(state)} tensors equal, torch {torch.__version__}, torchvision {torchvision.__version__}")
