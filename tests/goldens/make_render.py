"""Colour tables of src/render/tables and the goldens of tests/render.rs.

    python -m venv v && v/bin/pip install torch numpy matplotlib Pillow opencv-python-headless
    v/bin/python tests/goldens/make_render.py

Everything is seeded; the versions used are written to tests/goldens/render/goldens.json.
opencv may live in another environment: pass its COLORMAP_JET, a .npy (256, 3) of RGB bytes, and its version
with --opencv-jet.
"""
import argparse, json, pathlib
import numpy as np, matplotlib, torch, PIL
import torch.nn.functional as F
from PIL import Image

HERE = pathlib.Path(__file__).parent
TABLES = HERE.parent.parent / "src/render/tables"
OUT = HERE / "render"
NAMES = ["jet", "turbo", "viridis", "inferno", "magma", "gray"]

parser = argparse.ArgumentParser()
parser.add_argument("--opencv-jet", nargs=2, metavar=("FILE", "VERSION"))
args = parser.parse_args()
if args.opencv_jet:
    opencv_jet, opencv = np.load(args.opencv_jet[0]).astype(np.uint8), args.opencv_jet[1]
else:
    import cv2
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    opencv_jet, opencv = cv2.applyColorMap(ramp, cv2.COLORMAP_JET)[:, 0, ::-1], cv2.__version__

rng = np.random.default_rng(7)
floats, info = [], {"versions": {"torch": torch.__version__, "numpy": np.__version__, "matplotlib": matplotlib.__version__,
                                 "Pillow": PIL.__version__, "opencv": opencv}}


def put(array):
    """Appends f32 values to goldens.f32 and returns where they start."""
    at = sum(a.size for a in floats)
    floats.append(np.ascontiguousarray(array, "<f4"))
    return at


def upsample(m, h, w):
    return F.interpolate(torch.from_numpy(m)[None, None], size=(h, w), mode="bilinear", align_corners=False)[0, 0].numpy()


# Tables: those with a file, and all of them in one file for the test.
tables = {n: matplotlib.colormaps[n](np.arange(256), bytes=True)[:, :3] for n in NAMES} | {"jet-opencv": opencv_jet}
for name in ["turbo", "viridis", "inferno", "magma", "jet-opencv"]:
    (TABLES / f"{name}.bin").write_bytes(tables[name].tobytes())
info["tables"] = list(tables)
(OUT / "tables.bin").write_bytes(b"".join(t.tobytes() for t in tables.values()))

# Which entry a value takes: ends, boundaries between entries and one ulp to each side, values outside, random ones.
edges = np.arange(257, dtype=np.float32) / np.float32(256)
values = np.concatenate([edges, np.nextafter(edges, np.float32(-1)), np.nextafter(edges, np.float32(2)),
                         np.float32([-3, 5, -0.0]), rng.random(200, dtype=np.float32)])
info["lookup"] = {"at": put(values), "count": len(values)}
(OUT / "lookup.bin").write_bytes(matplotlib.colormaps["viridis"](np.clip(values, 0, 1), bytes=True)[:, :3].tobytes())

# Up-sampling: even and odd ratios, up and down, not square, one cell. `step`: every step-th row is kept.
info["upsample"] = []
for h, w, to_h, to_w, step in [(7, 7, 224, 224, 15), (7, 7, 56, 56, 1), (7, 7, 31, 45, 1), (1, 1, 5, 3, 1), (3, 5, 1, 1, 1),
                               (2, 1, 7, 9, 1), (1, 6, 4, 13, 1), (13, 4, 5, 3, 1), (10, 7, 33, 16, 1), (8, 8, 8, 8, 1)]:
    m = (rng.standard_normal((h, w)) * 4).astype(np.float32)
    info["upsample"].append({"h": h, "w": w, "to_h": to_h, "to_w": to_w, "step": step, "in": put(m),
                             "out": put(upsample(m, to_h, to_w)[::step])})


# The seed article's picture: one photograph enlarged, one reduced. `photo` is repeated in Rust.
def photo(w, h):
    y, x, c = np.mgrid[0:h, 0:w, 0:3]
    return (((x * 7 + y * 13 + c * 29) ^ (x * y // 16)) & 255).astype(np.uint8)


info["seed"] = []
for i, (w, h) in enumerate([(37, 23), (400, 300), (224, 224)]):
    m = (rng.standard_normal((7, 7)) * 3).astype(np.float32)
    base = np.asarray(Image.fromarray(photo(w, h)).resize((224, 224), Image.Resampling.BICUBIC))
    full = upsample(m, 224, 224)
    heat = matplotlib.colormaps["jet"](matplotlib.colors.Normalize()(full))[..., :3]
    overlay = np.floor(base * 0.5 + heat * 255 * 0.5 + 0.5).astype(np.uint8)
    (OUT / f"seed{i}.bin").write_bytes(base[::17].tobytes() + overlay[::17].tobytes())
    info["seed"].append({"w": w, "h": h, "step": 17, "map": put(m)})

(OUT / "goldens.f32").write_bytes(b"".join(a.tobytes() for a in floats))
(OUT / "goldens.json").write_text(json.dumps(info, indent=1) + "\n")
