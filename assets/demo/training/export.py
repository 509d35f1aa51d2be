"""Writes the bundled files: f16 weights with their class names, the demo pictures, and the pictures of the pointing-game test.

    python export.py --font NotoColorEmoji.ttf --weights demo.pt --assets .. --tests ../../../tests/pointing
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import evaluate
import scenes

PICTURES = {"meadow": (12, 3), "gravel": (17, 3), "pavement": (27, 2)}  # name: (seed after evaluate.FIRST_SEED + 2 * 10**8, objects)
POINTING = 60


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--font", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--tests", type=Path)
    args = parser.parse_args()
    draw = scenes.Scenes(args.font)
    if args.weights:
        state = torch.load(args.weights, map_location="cpu")
        state = {name: value.half().contiguous() for name, value in state.items() if not name.endswith("num_batches_tracked")}
        metadata = {"labels": "\n".join(scenes.LABELS), "licence": "MIT OR Apache-2.0", "about": "camshaft demo model, see assets/demo/README.md"}
        save_file(state, args.assets / "demo.safetensors", metadata)
    if args.assets:
        for name, (seed, count) in PICTURES.items():
            scene = draw.draw(evaluate.FIRST_SEED + 2 * 10**8 + seed, 448, count, margin=True)
            Image.fromarray(scene.rgb).save(args.assets / f"{name}.jpg", quality=92)
            print(name, [scenes.LABELS[cls] for cls in scene.classes])
    if args.tests:
        args.tests.mkdir(parents=True, exist_ok=True)
        index = []
        for number in range(POINTING):
            count = 1 + number % 3
            scene = draw.draw(evaluate.FIRST_SEED + 3 * 10**8 + number, 224, count, margin=True)
            file = f"{number:02}.jpg"
            Image.fromarray(scene.rgb).save(args.tests / file, quality=85)
            # One mask per object as rows of runs would be larger than one indexed picture: object i has value i + 1.
            owner = np.zeros(scene.rgb.shape[:2], np.uint8)
            for i, mask in enumerate(scene.masks):
                owner[mask] = i + 1
            Image.fromarray(owner[16:240, 16:240]).save(args.tests / f"{number:02}.mask.png", optimize=True)
            mask = f"{number:02}.mask.png"
            objects = [{"class": scenes.LABELS[cls], "mask": mask, "value": i + 1} for i, cls in enumerate(scene.classes)]
            index.append(json.dumps({"image": file, "objects": objects}))
        (args.tests / "annotations.json").write_text("[\n" + ",\n".join(index) + "\n]\n")


if __name__ == "__main__":
    main()
