"""Makes `metrics.json`: what pytorch-grad-cam and torchcam measure of one of the networks of `network/`, under a given map.

    python tests/goldens/make_metrics.py        (torch, torchvision, numpy, scipy, safetensors, torchcam==0.5.0, grad-cam==1.5.7, opencv)

The map is the same for both images: pixels ranked by an integer function of their place, no two alike, so that no library's rounding
decides about their order (`mask` here, `ranked` in tests/metrics.rs). For each image and each of the classes `cam.class` of the
network's golden, of the class's probability:

- `intact`, `drop`, `increase` (pytorch-grad-cam), `avg_drop`, `conf_increase` (torchcam, one image at a time);
- `insertion`, `deletion`: torchcam's areas, 20 steps from and to zero;
- `most`, `least`: pytorch-grad-cam's ROAD, the scores with `removed` percent of the pixels imputed, without noise.
"""

import contextlib
import json
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import safetensors.numpy
import torch
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
from pytorch_grad_cam.metrics.perturbation_confidence import (
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
)
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from torchcam.metrics import ClassificationMetric, DeletionInsertionMetric

import seeded
from make_methods import network
from make_network import CASES

NAME = "resnet18_w8_c10_97x161_n2_f32"
REMOVED = [10, 30, 50, 70, 90]
STEPS = 20
VERSIONS = {name: version(name) for name in ["torch", "torchvision", "numpy", "scipy", "torchcam", "grad-cam"]} | {"opencv": cv2.__version__}


def mask(h, w):
    """[h, w] in 0..1: far from (30, 100) is less; equal distances by place."""
    y, x = np.mgrid[0:h, 0:w].astype(np.int64)
    key = -((y - 30) ** 2 * 3 + (x - 100) ** 2 * 2) * (h * w) + y * w + x
    rank = np.argsort(np.argsort(key.reshape(-1), kind="stable"), kind="stable")
    return (rank.astype(np.float32) / np.float32(h * w - 1)).reshape(h, w)


class Given:
    """A map in the place of torchcam's extractors."""

    def __init__(self, model, cam):
        self.model, self.cam = model, cam

    def __call__(self, class_idx=None, scores=None, **_):
        return [self.cam]

    def fuse_cams(self, cams):
        return cams[0]

    def _hooks_off(self):
        return contextlib.nullcontext()


def main():
    torch.set_num_threads(1)
    case = next(case for case in CASES if case.name() == NAME)
    net = network(case)
    golden = safetensors.numpy.load_file(Path(__file__).parent / "network" / f"{NAME}.safetensors")
    x = torch.from_numpy(seeded.network_input(case.n, case.h, case.w, case.seed)).permute(0, 3, 1, 2).contiguous()
    cam = mask(case.h, case.w)
    softmax = lambda scores: scores.softmax(-1)
    imputers = {"most": RemoveMostRelevantFirst, "least": RemoveLeastRelevantFirst}
    entries = []
    for image in range(case.n):
        for cls in map(int, golden["cam.class"]):
            one = (x[image : image + 1], cam[None], [ClassifierOutputSoftmaxTarget(cls)], net)
            with torch.no_grad():
                entry = {"image": image, "class": cls, "intact": float(softmax(net(one[0]))[0, cls])}
            entry["drop"] = float(DropInConfidence()(*one)[0])
            entry["increase"] = float(IncreaseInConfidence()(*one)[0])
            extractor = Given(net, torch.from_numpy(cam)[None])
            metric = ClassificationMetric(extractor, softmax)
            metric.update(one[0], cls)
            entry |= metric.summary()
            metric = DeletionInsertionMetric(extractor, softmax, steps=STEPS)
            metric.update(one[0], cls)
            entry |= {name.removesuffix("_auc"): value for name, value in metric.summary().items()}
            for name, remove in imputers.items():
                road = [PerturbationConfidenceMetric(remove(100 - percent, NoisyLinearImputer(noise=0.0))) for percent in REMOVED]
                entry[name] = [float(metric(*one, return_diff=False)[0]) for metric in road]
            entries.append(entry)
    out = {"versions": VERSIONS, "network": NAME, "steps": STEPS, "removed": REMOVED, "entries": entries}
    path = Path(__file__).parent / "metrics.json"
    lines = ",\n".join(f'"{name}": {json.dumps(value)}' for name, value in out.items())
    path.write_text("{" + lines + "}\n")
    for entry in entries:
        print(entry)
    print(path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
