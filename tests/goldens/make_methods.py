"""Makes `methods/*.safetensors`: what autograd, torchcam and pytorch-grad-cam compute for two of the networks of `network/`.

    python tests/goldens/make_methods.py        (torch, torchvision, numpy, safetensors, torchcam==0.5.0, grad-cam==1.5.7, opencv)

Two things are in a file, for the classes `cam.class` of the network's golden (the winner `a`, one in between `b`, the loser):

1. `def.METHOD.TARGET` [N, h, w]: raw signed maps by each paper's definition, in f64, by autograd through the network's end or by
   real ablations, with no closed form anywhere. Targets: `a`, `-a`, `a-b`, `a+b` (logits), `pa`, `pa-pb` (softmax), `ra` (ReST).
2. `torchcam.METHOD.I`, `grad-cam.METHOD.I`: what the libraries return for class number I, in f32. torchcam [N, h, w]; grad-cam
   [N, 128], at the positions `at` of its [H, W] result. `grad-cam.gradcam.pa`, `torchcam.gradcam.pa`: for the softmax target.
   `LIBRARY.overlay` [rows, W, 3] u8: its overlay of every 8th row of `photo` by the first image's Grad-CAM, and `LIBRARY.mask`
   [rows, W] f32, the enlarged map that it was drawn from.
"""

import json
import math
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytorch_grad_cam
import safetensors.numpy
import torch
import torchcam.methods
from PIL import Image
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget, ClassifierOutputTarget
from torchcam.utils import overlay_mask

import seeded
from make_network import CASES, DEPTHS, DTYPES, build

OUT = Path(__file__).parent / "methods"
NAMES = ["resnet18_w8_c10_97x161_n2_f32", "resnet18_w64_c1000_224x224_n1_f32"]
SAMPLES = 128
VERSIONS = {name: version(name) for name in ["torch", "torchvision", "numpy", "torchcam", "grad-cam", "opencv-python", "pillow"]
            if name != "opencv-python"} | {"opencv": cv2.__version__}


def photo(w, h):
    """As in make_render.py and tests/render.rs."""
    y, x, c = np.mgrid[0:h, 0:w, 0:3]
    return (((x * 7 + y * 13 + c * 29) ^ (x * y // 16)) & 255).astype(np.uint8)


def network(case):
    net = build(case.depth, case.width, case.classes)
    last_bn = "bn2" if DEPTHS[case.depth][0].expansion == 1 else "bn3"
    state = {}
    for name, like in net.state_dict().items():
        value = torch.from_numpy(seeded.weight(name, tuple(like.shape), last_bn, case.seed))
        state[name] = value.to(DTYPES[case.dtype]).float() if value.is_floating_point() else value
    net.load_state_dict(state)
    return net.eval()


# ---- the papers' definitions ---------------------------------------------------------------------------------------------


def targets(a, b):
    """Scores of one image's logits [K]."""
    p = lambda y: torch.softmax(y, -1)
    return {
        "a": lambda y: y[a],
        "-a": lambda y: -y[a],
        "a-b": lambda y: y[a] - y[b],
        "a+b": lambda y: y[a] + y[b],
        "pa": lambda y: p(y)[a],
        "pa-pb": lambda y: p(y)[a] - p(y)[b],
        "ra": lambda y: y[a] - torch.nn.functional.cross_entropy(y[None], torch.tensor([a])),
    }


def component(weighted, cam):
    """First principal component of [C, h, w], signed so that it covaries with `cam`."""
    c, h, w = weighted.shape
    m = weighted.reshape(c, h * w).T
    m = m - m.mean(axis=0)
    _, _, vt = torch.linalg.svd(m, full_matrices=False)
    projection = (m @ vt[0]).reshape(h, w)
    return projection * torch.sign((projection * cam).sum())


def definitions(head, features, target, looks_at_classes_only):
    """Raw maps of one image: `features` [C, h, w] in f64, `head` from features [1, C, h, w] to logits [1, K]."""
    A = features.clone().requires_grad_(True)
    value = target(head(A[None])[0])
    (g,) = torch.autograd.grad(value, A, create_graph=True)
    hvp = torch.autograd.grad((g * features).sum(), A, allow_unused=True)[0] if g.requires_grad else None
    hvp = torch.zeros_like(g) if hvp is None else hvp.detach()
    g, value = g.detach(), float(value.detach())
    S = features.sum(dim=(1, 2), keepdim=True)
    weigh = lambda w: (w[:, None, None] * features).sum(0)
    cam = (g * features).sum(0)
    # Grad-CAM++: the powers of the gradient, 0/0 where a channel's gradient is 0.
    alpha = torch.where(g != 0, g**2 / (2 * g**2 + S * g**3), torch.zeros_like(g))
    # XGrad-CAM: nothing is to be weighed where a channel is off.
    share = torch.where(S > 0, features / S.clamp_min(1e-300), torch.zeros_like(features))
    with torch.no_grad():
        losses = []
        for k in range(len(features)):
            without = features.clone()
            without[k] = 0
            losses.append((value - float(target(head(without[None])[0]))) / value)
    out = {
        "gradcam": weigh(g.mean(dim=(1, 2))),
        "hirescam": cam,
        "xgradcam": weigh((g * share).sum(dim=(1, 2))),
        "gradcam++": weigh((alpha * g.relu()).sum(dim=(1, 2))),
        "layercam": (g.relu() * features).sum(0),
        "gradcamelementwise": (g * features).relu().sum(0),
        "ablationcam": weigh(torch.tensor(losses, dtype=torch.float64)),
        "eigengradcam": component(g * features, cam),
        "shapleycam": weigh((g - 0.5 * hvp).mean(dim=(1, 2))),
    }
    if looks_at_classes_only:
        return out
    mean = features.mean(dim=(1, 2), keepdim=True)
    std = ((features - mean) ** 2).mean(dim=(1, 2), keepdim=True).sqrt()
    out["fem"] = weigh((features > mean + 2 * std).double().mean(dim=(1, 2)))
    out["eigencam"] = component(features, cam)
    # Finer-CAM (arXiv 2501.11309): the class's logit less 0.6 times the mean of the three nearest.
    y = head(features[None])[0].detach()
    a = int((y == value).nonzero()[0])
    near = (y - y[a]).abs()
    near[a] = math.inf
    near = near.topk(3, largest=False).indices
    A = features.clone().requires_grad_(True)
    logits = head(A[None])[0]
    (g,) = torch.autograd.grad(logits[a] - 0.6 * logits[near].mean(), A)
    out["finercam"] = weigh(g.mean(dim=(1, 2)))
    return out


# ---- the libraries -------------------------------------------------------------------------------------------------------

GRAD_CAM = {
    "gradcam": "GradCAM", "hirescam": "HiResCAM", "xgradcam": "XGradCAM", "gradcam++": "GradCAMPlusPlus", "layercam": "LayerCAM",
    "gradcamelementwise": "GradCAMElementWise", "ablationcam": "AblationCAM", "eigencam": "EigenCAM", "shapleycam": "ShapleyCAM",
    "eigengradcam": "EigenGradCAM", "finercam": "FinerCAM", "fem": "FEM",
}
TORCHCAM = {"cam": "CAM", "gradcam": "GradCAM", "xgradcam": "XGradCAM", "gradcam++": "GradCAMpp", "layercam": "LayerCAM", "finercam": "FinerCAM"}


def by_torchcam(net, x, method, **what):
    extra = ["fc"] if method == "cam" else []
    with getattr(torchcam.methods, TORCHCAM[method])(net, "layer4", *extra) as extractor:
        scores = net(x)
        if "class_idx" in what:
            return extractor(what["class_idx"], scores)[0].detach().numpy()
        return extractor(None, scores, targets=what["target"])[0].detach().numpy()


def by_grad_cam(net, x, method, **what):
    kind = getattr(pytorch_grad_cam, GRAD_CAM[method], None)
    if kind is None:
        kind = {"FinerCAM": lambda: __import__("pytorch_grad_cam.finer_cam", fromlist=["FinerCAM"]).FinerCAM,
                "FEM": lambda: __import__("pytorch_grad_cam.fem", fromlist=["FEM"]).FEM,
                "ShapleyCAM": lambda: __import__("pytorch_grad_cam.shapley_cam", fromlist=["ShapleyCAM"]).ShapleyCAM}[GRAD_CAM[method]]()
    with kind(net, [net.layer4]) as extractor:
        if method == "finercam":
            return extractor(x, target_idx=what["class_idx"])
        target = what.get("target") or ClassifierOutputTarget(what["class_idx"])
        return extractor(x, targets=[target] * len(x))


def signed(result, features, weights, cam, size):
    """grad-cam's Eigen maps have whatever sign LAPACK gives. This is its own code with the sign of the definitions."""
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    raw = get_2d_projection(features * weights)
    want = scale_cam_image(scale_cam_image(np.maximum(raw, 0), size))
    other = scale_cam_image(scale_cam_image(np.maximum(-raw, 0), size))
    for i, _ in enumerate(result):  # the library's own result is one of the two
        assert min(np.abs(result[i] - want[i]).max(), np.abs(result[i] - other[i]).max()) < 1e-4
    keep = (raw * cam).sum(axis=(1, 2), keepdims=True) > 0
    return np.where(keep, want, other)


def make(case):
    net = network(case)
    golden = safetensors.numpy.load_file(Path(__file__).parent / "network" / f"{case.name()}.safetensors")
    classes = [int(c) for c in golden["cam.class"]]
    x = torch.from_numpy(seeded.network_input(case.n, case.h, case.w, case.seed)).permute(0, 3, 1, 2).contiguous()
    layer4 = torch.from_numpy(golden["layer4"]).permute(0, 3, 1, 2).double()
    end64 = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(1), torch.nn.Linear(net.fc.in_features, case.classes).double())
    end64[2].load_state_dict({k: v.double() for k, v in net.fc.state_dict().items()})
    tensors = {}
    f32 = lambda a: np.ascontiguousarray(a, np.float32)

    for name, target in targets(*classes[:2]).items():
        maps = [definitions(end64, image, target, name != "a") for image in layer4]
        for method in maps[0]:
            tensors[f"def.{method}.{name}"] = f32(torch.stack([m[method] for m in maps]).numpy())

    at = np.sort(seeded.words("sample.methods", case.seed, SAMPLES) % np.uint64(case.h * case.w)).astype(np.int32)
    tensors["at"] = at
    size = (case.w, case.h)
    with torch.no_grad():
        features = net.layer4(net.layer3(net.layer2(net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x)))))))).numpy()
    assert features.min() == 0, "grad-cam ablates by other means where no feature is 0"
    for number, class_idx in enumerate(classes):
        for method in TORCHCAM:
            tensors[f"torchcam.{method}.{number}"] = f32(by_torchcam(net, x, method, class_idx=class_idx))
        for method in GRAD_CAM:
            if method == "ablationcam" and case.width == 64 and number > 0:
                continue  # 512 forward passes each
            result = by_grad_cam(net, x, method, class_idx=class_idx)
            row = net.fc.weight.detach().numpy()[class_idx][None, :, None, None]
            if method.startswith("eigen"):
                weights = row / features[0, 0].size if method == "eigengradcam" else np.ones_like(row)
                result = signed(result, features, weights, (row * features).sum(axis=1), size)
            assert result.shape == (case.n, case.h, case.w), (method, result.shape)
            tensors[f"grad-cam.{method}.{number}"] = f32(result.reshape(case.n, -1)[:, at])
    a = classes[0]
    tensors["grad-cam.gradcam.pa"] = f32(by_grad_cam(net, x, "gradcam", target=ClassifierOutputSoftmaxTarget(a)).reshape(case.n, -1)[:, at])
    tensors["torchcam.gradcam.pa"] = f32(by_torchcam(net, x, "gradcam", target=lambda scores: scores.softmax(-1)[..., a]))

    picture = photo(*size)
    mask = by_torchcam(net, x, "gradcam", class_idx=a)[0]
    tensors["torchcam.overlay"] = np.asarray(overlay_mask(Image.fromarray(picture), Image.fromarray(mask), alpha=0.7))[::8].copy()
    tensors["torchcam.mask"] = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BICUBIC))[::8].copy()
    mask = by_grad_cam(net, x, "gradcam", class_idx=a)[0][::8]
    tensors["grad-cam.overlay"] = show_cam_on_image(np.float32(picture[::8]) / 255, mask, use_rgb=True)
    tensors["grad-cam.mask"] = f32(mask)
    if case.width == 64:
        for library in ["torchcam", "grad-cam"]:  # one case is enough
            del tensors[f"{library}.overlay"], tensors[f"{library}.mask"]
    path = OUT / f"{case.name()}.safetensors"
    safetensors.numpy.save_file(tensors, path, metadata={"versions": json.dumps(VERSIONS)})
    path.chmod(0o644)
    print(path.name, path.stat().st_size, len(tensors))


def main():
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    for case in CASES:
        if case.name() in NAMES:
            make(case)


if __name__ == "__main__":
    main()
