"""Makes `score_cam/*.safetensors`: Score-CAM and its kin, and smoothing, for one of the networks of `network/`.

    python tests/goldens/make_score_cam.py      (torch, torchvision, numpy, safetensors, torchcam==0.5.0, grad-cam==1.5.7, opencv)

For the classes `cam.class` of the network's golden (the winner `a`, one in between `b`, the loser), [N, h, w] or [N, 128]:

1. `def.METHOD.TARGET`: raw maps by each paper's definition, in f64, one forward pass after the other. Targets: `a`, `a-b`, `pa`.
   IS-CAM with 4 samples, SS-CAM with 3 and a deviation of 0.5. `def.METHOD+aug.a`, `def.METHOD+eigen.a`: smoothed.
2. `torchcam.METHOD.I`, at the size of the features, and `grad-cam.METHOD[+aug][+eigen].I`, at the positions `at` of its [H, W]
   result: what the libraries return for class number I, in f32. torchcam's IS-CAM has 10 samples; its SS-CAM 3, a deviation of 2
   and, instead of torch's, the noise that `noise` states.
"""

import copy
import json
import statistics
from pathlib import Path

import numpy as np
import pytorch_grad_cam
import safetensors.numpy
import torch
import torchcam.methods
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

import seeded
from make_methods import SAMPLES, VERSIONS, component, network, targets
from make_network import CASES

OUT = Path(__file__).parent / "score_cam"
NAME = "resnet18_w8_c10_97x161_n2_f32"
VARIANTS = [(mirrored, factor) for mirrored in (False, True) for factor in (0.9, 1.0, 1.1)]
LEVELS = np.array([statistics.NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)])
GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def mix(z):
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
    return z ^ z >> 31


def noise(channel, sample, h, w):
    """Standard normal noise [h, w] of a channel's sample: splitmix64, 4 positions share a word, 12 bits of which choose a level."""
    stream = mix((mix((mix(GAMMA) + channel) & MASK) + sample) & MASK)  # seed 0
    at = np.arange(h * w, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(stream) + (at // np.uint64(4) + np.uint64(1)) * np.uint64(GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return LEVELS[(z >> (np.uint64(16) * (at % np.uint64(4)) + np.uint64(4))) % np.uint64(4096)].reshape(h, w)


def by_definition(net, x, method, target):
    """Raw map of one image [3, H, W], f64."""
    _, h, w = x.shape
    features = layer4(net, x[None])[0]
    enlarged = torch.nn.functional.interpolate(features[None], (h, w), mode="bilinear", align_corners=False)[0]
    samples = {"scorecam": 1, "iscam": 4, "sscam": 3}[method]
    scores = []
    for channel, mask in enumerate(enlarged):
        low, high = mask.min(), mask.max()
        mask = (mask - low) / (high - low) if features[channel].min() < features[channel].max() else torch.zeros_like(mask)
        score = 0
        for sample in range(samples):
            if method == "iscam":
                seen = mask * ((sample + 1) / samples)
            elif method == "sscam":
                seen = mask + 0.5 * torch.from_numpy(noise(channel, sample, h, w))
            else:
                seen = mask
            score += float(target(net((x * seen)[None])[0]))
        scores.append(score / samples)
    weights = torch.softmax(torch.tensor(scores, dtype=torch.float64), 0)
    return weights, features


def layer4(net, x):
    return net.layer4(net.layer3(net.layer2(net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x))))))))


def weigh(weights, features):
    return (weights[:, None, None] * features).sum(0)


def gradient(net, x, target):
    row = torch.autograd.functional.jacobian(target, net(x[None])[0].detach()) @ net.fc.weight.detach()
    features = layer4(net, x[None])[0].detach()
    return row / features[0].numel(), features


def mirrored_variant(x, mirrored, factor):
    return (x.flip(-1) if mirrored else x) * factor


def definitions(net, xs, classes):
    out = {}
    a, b = classes[:2]
    goals = {name: target for name, target in targets(a, b).items() if name in ("a", "a-b", "pa")}
    with torch.no_grad():
        for method in ("scorecam", "iscam", "sscam"):
            for name, target in goals.items():
                out[f"def.{method}.{name}"] = torch.stack([weigh(*by_definition(net, x, method, target)) for x in xs])
    target = goals["a"]
    means = {"gradcam": [], "scorecam": []}
    eigen = {"gradcam": [], "layercam": [], "scorecam": []}
    for x in xs:
        for method, maps in means.items():
            total = 0
            for mirrored, factor in VARIANTS:
                variant = mirrored_variant(x, mirrored, factor)
                with torch.no_grad():
                    found = by_definition(net, variant, method, target) if method == "scorecam" else gradient(net, variant, target)
                cam = weigh(*found)
                total = total + (cam.flip(-1) if mirrored else cam)
            maps.append(total / len(VARIANTS))
        row, features = gradient(net, x, target)
        with torch.no_grad():
            rows = {"gradcam": row, "layercam": row.relu(), "scorecam": by_definition(net, x, "scorecam", target)[0]}
        for method, maps in eigen.items():
            maps.append(component(rows[method][:, None, None] * features, weigh(rows[method], features)))
    out |= {f"def.{method}+aug.a": torch.stack(maps) for method, maps in means.items()}
    out |= {f"def.{method}+eigen.a": torch.stack(maps) for method, maps in eigen.items()}
    return out


def by_torchcam(net, x, method, class_idx):
    kind = {"scorecam": "ScoreCAM", "iscam": "ISCAM", "sscam": "SSCAM"}[method]
    more = {"num_samples": 3} if method == "sscam" else {}
    with getattr(torchcam.methods, kind)(net, "layer4", **more) as extractor:
        if method == "sscam":
            state = {"sample": 0}

            def sample(size):
                n, channels, h, w = size
                one = np.stack([2.0 * noise(channel, state["sample"], h, w) for channel in range(channels)])
                state["sample"] += 1
                return torch.from_numpy(np.broadcast_to(one, size).astype(np.float32))

            extractor._distrib = type("Noise", (), {"sample": staticmethod(sample)})
        with torch.no_grad():
            scores = net(x)
        return extractor(class_idx, scores)[0].detach().numpy()


GRAD_CAM = {
    "scorecam": "ScoreCAM", "gradcam": "GradCAM", "gradcam++": "GradCAMPlusPlus", "layercam": "LayerCAM", "hirescam": "HiResCAM",
    "xgradcam": "XGradCAM", "gradcamelementwise": "GradCAMElementWise", "shapleycam": "ShapleyCAM", "ablationcam": "AblationCAM",
}


def by_grad_cam(net, x, method, class_idx, aug, eigen):
    from pytorch_grad_cam.utils.image import scale_cam_image

    with getattr(pytorch_grad_cam, GRAD_CAM[method])(net, [net.layer4]) as extractor:
        if eigen:  # the library takes whatever sign LAPACK gives: here that of the weighted sum
            projections = extractor.get_cam_image

            def get_cam_image(*args, **kwargs):
                *rest, smooth = args
                map_, plain = projections(*rest, True), projections(*rest, False)
                sign = np.sign((map_ * plain).sum(axis=(1, 2), keepdims=True))
                return map_ * sign

            extractor.get_cam_image = get_cam_image
        return extractor(x, targets=[ClassifierOutputTarget(class_idx)] * len(x), aug_smooth=aug, eigen_smooth=eigen)


def main():
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    (case,) = [case for case in CASES if case.name() == NAME]
    net = network(case)
    golden = safetensors.numpy.load_file(Path(__file__).parent / "network" / f"{NAME}.safetensors")
    classes = [int(c) for c in golden["cam.class"]]
    x = torch.from_numpy(seeded.network_input(case.n, case.h, case.w, case.seed)).permute(0, 3, 1, 2).contiguous()
    f32 = lambda a: np.ascontiguousarray(a, np.float32)
    tensors = {name: f32(maps.detach().numpy()) for name, maps in definitions(copy.deepcopy(net).double(), x.double(), classes).items()}
    tensors["at"] = np.sort(seeded.words("sample.methods", case.seed, SAMPLES) % np.uint64(case.h * case.w)).astype(np.int32)
    for number, class_idx in enumerate(classes):
        for method in ("scorecam", "iscam", "sscam"):
            if number < 2:
                tensors[f"torchcam.{method}.{number}"] = f32(by_torchcam(net, x, method, class_idx))
        for method in GRAD_CAM:
            for aug in (False, True):
                for eigen in (False, True):
                    if (number > 0 or not (aug or eigen)) and method != "scorecam" or number > 1:
                        continue  # those without smoothing are in `methods/`
                    if method == "shapleycam" and eigen:
                        continue  # its graph is gone after the first of the two maps that the sign takes
                    name = f"grad-cam.{method}{'+aug' * aug}{'+eigen' * eigen}.{number}"
                    result = by_grad_cam(net, x, method, class_idx, aug, eigen)
                    tensors[name] = f32(result.reshape(case.n, -1)[:, tensors["at"]])
    path = OUT / f"{NAME}.safetensors"
    safetensors.numpy.save_file(tensors, path, metadata={"versions": json.dumps(VERSIONS)})
    path.chmod(0o644)
    print(path.name, path.stat().st_size, len(tensors))


if __name__ == "__main__":
    main()
