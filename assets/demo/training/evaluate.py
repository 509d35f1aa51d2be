"""Measures the demo model on freshly drawn pictures that no training run has seen.

    python evaluate.py --font NotoColorEmoji.ttf --weights ../demo.safetensors --pictures 1000

The weights are used as they are stored, rounded to f16, in f32 arithmetic. Pointing game (Zhang et al. 2018): the largest value
of the class's up-sampled map lies on the object's visible pixels grown by 15 pixels. Intervals are Wilson's, 95 %.
"""

import argparse
import math

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import scenes
import train

FIRST_SEED = 500 * 10**9  # training draws from 1 to 9 * 10**9 on
GROWN = 15


def wilson(hits, total, z=1.96):
    share = hits / total
    middle = (share + z * z / 2 / total) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / 4 / total**2) / (1 + z * z / total)
    return f"{100 * share:.1f} % ({100 * (middle - half):.1f} to {100 * (middle + half):.1f}, {hits} of {total})"


def points_at(mask, cam):
    y, x = np.unravel_index(cam.argmax(), cam.shape)
    ys, xs = np.nonzero(mask)
    return len(ys) > 0 and ((ys - y) ** 2 + (xs - x) ** 2).min() <= GROWN**2


@torch.no_grad()
def measure(net, draw, pictures, counts, seed, background=None):
    first = exact = point = objects = 0
    sure = []
    for start in range(0, pictures, 50):
        batch = [draw.draw(seed + i, 224, counts[i % len(counts)], background=background) for i in range(start, min(start + 50, pictures))]
        maps = train.features(net, torch.from_numpy(np.stack([scene.rgb for scene in batch])))
        logits = net.fc(maps.mean((2, 3)))
        cams = torch.einsum("nchw,kc->nkhw", maps, net.fc.weight)
        for scene, logit, cam in zip(batch, logits, cams):
            order = logit.argsort(descending=True).tolist()
            sure.append(logit.softmax(0).max().item())
            if not scene.classes:
                continue
            first += order[0] in scene.classes
            exact += set(order[: len(scene.classes)]) == set(scene.classes)
            up = F.interpolate(cam[None, scene.classes], (224, 224), mode="bilinear", align_corners=False)[0].numpy()
            point += sum(points_at(mask, one) for mask, one in zip(scene.masks, up))
            objects += len(scene.classes)
    return first, exact, point, objects, np.array(sure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--font", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--pictures", type=int, default=1000)
    args = parser.parse_args()
    net = train.build()
    if args.weights.endswith(".pt"):
        state = {name: value.half().float() if value.is_floating_point() else value for name, value in torch.load(args.weights).items()}
    else:
        state = {name: value.float() for name, value in load_file(args.weights).items()}
    net.load_state_dict(state, strict=False)
    net.eval()
    seen, unseen = scenes.Scenes(args.font), scenes.Scenes(args.font, scenes.UNSEEN)
    n = args.pictures
    for name, draw, counts, pictures, background in (
        ("one object", seen, [1], n, None),
        ("two or three objects", seen, [2, 3], n, None),
        ("one object on a photograph never trained on", unseen, [1], n // 2, 0),
        ("two or three objects on a photograph never trained on", unseen, [2, 3], n // 2, 0),
    ):
        first, exact, point, objects, _ = measure(net, draw, pictures, counts, FIRST_SEED, background)
        print(f"{name}: top-1 among the present {wilson(first, pictures)}; present = top-k {wilson(exact, pictures)}; pointing {wilson(point, objects)}", flush=True)
    for name, draw, counts, background in (("no object", seen, [0], None), ("one object", seen, [1], None)):
        sure = measure(net, draw, n // 4, counts, FIRST_SEED + 10**8, background)[4]
        print(f"{name}: largest probability, median {np.median(sure):.2f}, 5th and 95th percentile {np.percentile(sure, 5):.2f}, {np.percentile(sure, 95):.2f}")


if __name__ == "__main__":
    main()
