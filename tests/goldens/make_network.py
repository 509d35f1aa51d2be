"""Makes `network/*.safetensors` and `network/deviation.json`: what PyTorch computes for seeded ResNets.

    python tests/goldens/make_network.py        (torch, torchvision, numpy, safetensors; versions are stored in each file)

Every value is computed in f64 from the (rounded) weights and stored as f32. `deviation.json` holds how far torch's own f32
forward pass is from that, so that the tolerance of the tests is derived and not guessed.

A file holds, with activations as NHWC whatever torch uses inside:

    meta                 JSON: the case, SHA-256 of weights and input, layer names with shapes, versions
    layer.index [L, 16]  flat NHWC positions, i32      layer.value [L, 16]      layer.stats [L, 2]: mean, largest magnitude
    layer4      [N, H, W, C]  where the case is small  logits [N, classes]
    cam.class   [3] i32       cam.raw [N, 3, h, w]     cam.up.index [64] i32 into [N, 3, H, W]     cam.up.value [64]
    cam.up.range [N, 3, 2]: least and largest          cam.up [N, 3, H, W] where the case asks for it

Layers are torchvision's module names; `bn1`, `layer1.0.bn2`, `layer2.0.downsample.1` are batch norm outputs before any ReLU
or residual sum, that is, what a folded convolution gives; `layer1.0` is the block after its last ReLU.
"""

import copy
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
import torchvision
from torch.nn.functional import interpolate
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

import seeded

OUT = Path(__file__).parent / "network"
DEPTHS = {
    18: (BasicBlock, [2, 2, 2, 2]),
    34: (BasicBlock, [3, 4, 6, 3]),
    50: (Bottleneck, [3, 4, 6, 3]),
    101: (Bottleneck, [3, 4, 23, 3]),
    152: (Bottleneck, [3, 8, 36, 3]),
}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


@dataclass
class Case:
    depth: int
    width: int  # channels of the stem: 64 in the published networks
    classes: int
    n: int
    h: int
    w: int
    dtype: str
    seed: int
    full_layer4: bool = False
    full_up: bool = False

    def name(self) -> str:
        return f"resnet{self.depth}_w{self.width}_c{self.classes}_{self.h}x{self.w}_n{self.n}_{self.dtype}"


CASES = [
    Case(18, 64, 1000, 1, 224, 224, "f32", 1, full_layer4=True),
    Case(18, 64, 10, 2, 97, 161, "f16", 2, full_layer4=True),
    Case(34, 64, 10, 1, 160, 160, "bf16", 3),
    Case(34, 64, 1000, 2, 97, 161, "f32", 4),
    Case(50, 64, 1000, 1, 224, 224, "f32", 5),
    Case(50, 64, 10, 2, 97, 161, "f16", 6),
    Case(18, 8, 10, 2, 97, 161, "f32", 7, full_layer4=True),
    Case(18, 24, 10, 1, 33, 224, "bf16", 8, full_layer4=True, full_up=True),
    Case(50, 16, 10, 2, 65, 96, "f32", 9, full_layer4=True),
    Case(101, 8, 10, 1, 64, 64, "f32", 10),
    Case(152, 8, 10, 1, 64, 64, "f16", 11),
    Case(18, 5, 10, 2, 65, 96, "f32", 12, full_layer4=True),
    Case(50, 3, 10, 2, 65, 96, "f32", 13, full_layer4=True),
]


def build(depth: int, width: int, classes: int) -> ResNet:
    """torchvision's network with `width` channels in the stem; its own constructor knows only 64."""
    block, layers = DEPTHS[depth]
    if width == 64:
        return ResNet(block, layers, num_classes=classes)
    net = ResNet(block, layers)
    net.inplanes = width
    net.conv1 = torch.nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
    net.bn1 = torch.nn.BatchNorm2d(width)
    for i, blocks in enumerate(layers):
        setattr(net, f"layer{i + 1}", net._make_layer(block, width << i, blocks, stride=1 if i == 0 else 2))
    net.fc = torch.nn.Linear((width << 3) * block.expansion, classes)
    return net


def fold(net: ResNet) -> ResNet:
    """The same network with each batch norm folded into its convolution, in the precision that `net` has."""
    net = copy.deepcopy(net)
    modules = dict(net.named_modules())
    for name, conv in modules.items():
        if isinstance(conv, torch.nn.Conv2d):
            parent, _, leaf = name.rpartition(".")
            bn_leaf = "1" if leaf == "0" else leaf.replace("conv", "bn")
            owner = modules[parent]
            bn = owner.get_submodule(bn_leaf)
            fused = torch.nn.utils.fuse_conv_bn_eval(conv.eval(), bn.eval())
            setattr(owner, leaf, fused)
            setattr(owner, bn_leaf, torch.nn.Identity())
    return net


def is_recorded(name: str) -> bool:
    leaf = name.rpartition(".")[2]
    parts = name.split(".")
    return (
        name in ("bn1", "maxpool", "avgpool")
        or (name.startswith("layer") and len(parts) == 2)
        or (len(parts) == 3 and leaf in ("bn1", "bn2", "bn3"))
        or name.endswith("downsample.1")
    )


def forward(net: ResNet, x: torch.Tensor) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Recorded layers as NHWC arrays in the order in which they finish, and the logits."""
    layers: dict[str, np.ndarray] = {}

    def hook(name):
        # A copy, because the ReLU that follows works in place.
        return lambda _module, _input, y: layers.__setitem__(name, y.permute(0, 2, 3, 1).contiguous().numpy().copy())

    handles = [m.register_forward_hook(hook(k)) for k, m in net.named_modules() if is_recorded(k)]
    with torch.no_grad():
        logits = net.eval()(x).numpy()
    for handle in handles:
        handle.remove()
    return layers, logits


def maps(layer4: np.ndarray, fc: np.ndarray, classes: list[int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Raw maps `[N, classes, h, w]` and the same up-sampled to `size`."""
    raw = torch.einsum("nhwc,kc->nkhw", torch.from_numpy(layer4), torch.from_numpy(fc[classes]))
    return raw.numpy(), interpolate(raw, size=size, mode="bilinear", align_corners=False).numpy()


def relative(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got.astype(np.float64) - want).max() / np.abs(want).max())


def make(case: Case) -> dict:
    net = build(case.depth, case.width, case.classes)
    last_bn = "bn2" if DEPTHS[case.depth][0] is BasicBlock else "bn3"
    digest = hashlib.sha256()
    state = {}
    for name, like in net.state_dict().items():
        value = torch.from_numpy(seeded.weight(name, tuple(like.shape), last_bn, case.seed))
        if value.is_floating_point():
            value = value.to(DTYPES[case.dtype])
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        state[name] = value.float() if value.is_floating_point() else value
    net.load_state_dict(state)
    net.eval()

    x = seeded.network_input(case.n, case.h, case.w, case.seed)
    x32 = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
    net64 = copy.deepcopy(net).double()
    layers, logits = forward(net64, x32.double())
    fc = net64.fc.weight.detach().numpy()
    layer4 = layers[[k for k in layers if k.startswith("layer4.") and k.count(".") == 1][-1]]
    # The winner of the first picture, the loser, and one in between.
    order = np.argsort(-logits[0], kind="stable")
    classes = [int(order[0]), int(order[case.classes // 2]), int(order[-1])]
    raw, up = maps(layer4, fc, classes, (case.h, case.w))
    invariant = raw.mean(axis=(2, 3)) + net64.fc.bias.detach().numpy()[classes]
    assert relative(invariant, logits[:, classes]) < 1e-12, "mean of the map + bias = logit"

    index, value, stats, shapes = [], [], [], []
    for name, y in layers.items():
        assert np.isfinite(y).all() and 0.05 < np.abs(y).max() < 500, f"{case.name()}: {name} is not a healthy activation"
        at = (seeded.words(f"sample.{name}", case.seed, 16) % np.uint64(y.size)).astype(np.int32)
        index.append(at)
        value.append(y.reshape(-1)[at])
        stats.append([y.mean(), np.abs(y).max()])
        shapes.append([name, *y.shape])
    up_at = (seeded.words("sample.cam.up", case.seed, 64) % np.uint64(up.size)).astype(np.int32)

    f32 = lambda a: np.ascontiguousarray(a, np.float32)
    tensors = {
        "layer.index": np.stack(index),
        "layer.value": f32(np.stack(value)),
        "layer.stats": f32(stats),
        "logits": f32(logits),
        "cam.class": np.array(classes, np.int32),
        "cam.raw": f32(raw),
        "cam.up.index": up_at,
        "cam.up.value": f32(up.reshape(-1)[up_at]),
        "cam.up.range": f32(np.stack([up.min(axis=(2, 3)), up.max(axis=(2, 3))], axis=-1)),
    }
    if case.full_layer4:
        tensors["layer4"] = f32(layer4)
    if case.full_up:
        tensors["cam.up"] = f32(up)
    meta = {
        **{k: v for k, v in asdict(case).items() if not k.startswith("full")},
        "weights_sha256": digest.hexdigest(),
        "input_sha256": hashlib.sha256(x.tobytes()).hexdigest(),
        "layers": shapes,
        "parameters": sum(p.numel() for p in net.parameters()),
        "versions": VERSIONS,
    }
    path = OUT / f"{case.name()}.safetensors"
    safetensors.numpy.save_file(tensors, path, metadata={"meta": json.dumps(meta)})
    path.chmod(0o644)

    deviation = {}
    for label, other, wide in [
        ("torch_f32", net, x32),
        ("torch_f32_folded", fold(net), x32),
        ("torch_f64_folded", fold(net64), x32.double()),
    ]:
        got_layers, got_logits = forward(other, wide)
        got_layer4 = got_layers[[k for k in got_layers if k.startswith("layer4.") and k.count(".") == 1][-1]]
        got_raw, got_up = maps(got_layer4, other.fc.weight.detach().numpy(), classes, (case.h, case.w))
        worst = max(layers, key=lambda k: relative(got_layers[k], layers[k]))
        deviation[label] = {
            "worst_layer": worst,
            "layers": relative(got_layers[worst], layers[worst]),
            "layer4": relative(got_layer4, layer4),
            "logits": relative(got_logits, logits),
            "cam": relative(got_raw, raw),
            "cam_up": relative(got_up, up),
        }
    assert max(v for v in deviation["torch_f64_folded"].values() if isinstance(v, float)) < 1e-12, "folded == unfolded"
    # What a test can see at all: two pictures, or two places of one map, must differ by far more than the tolerance.
    spread = float((up.max(axis=(2, 3)) - up.min(axis=(2, 3))).min() / np.abs(up).max())
    magnitudes = {"logits": float(np.abs(logits).max()), "layer4": float(np.abs(layer4).max()), "cam": float(np.abs(raw).max())}
    assert spread > 0.02, f"{case.name()}: the maps are nearly constant"
    return {"largest": magnitudes, "least_map_spread": spread, **deviation}


VERSIONS = {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__}


def main() -> None:
    torch.set_num_threads(2)
    OUT.mkdir(exist_ok=True)
    report = {
        "about": "largest |difference| / largest |value| against f64, by case; see make_network.py",
        "versions": VERSIONS,
        "cases": {},
    }
    for case in CASES:
        report["cases"][case.name()] = make(case)
        print(case.name(), json.dumps(report["cases"][case.name()], indent=1), flush=True)
    (OUT / "deviation.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
