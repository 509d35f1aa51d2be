#!/usr/bin/env python3
"""Goldens for tests/preprocess.rs and tests/bad_images.rs, written to the folder `preprocess` beside this script.

    python tests/goldens/make_preprocess.py

Made with Pillow 13.0.0, torch 2.15.0 and torchvision 0.29.2 on x86-64; `preprocess/versions.txt` records the last run.
The pictures come from splitmix64, which the tests repeat bit for bit, so that only hashes need to be stored:
  resize.tsv   Image.resize on noise: size, target, filter, pattern, first 16 hex digits of the SHA-256 of the RGB bytes
  recipe.tsv   torchvision's Resize and CenterCrop: size, resize, crop, filter, resized size, hash of the crop's bytes
  tensor.bin   ToTensor and Normalize of a 16x16 picture that holds every byte in every channel, f32 little endian, HWC
  samples.tsv  a file in samples/, mode that Pillow saw, size, hash of its RGB bytes (EXIF applied)
  samples/     small files in each format, colour mode and EXIF orientation; they seed the property tests as well
"""

import hashlib
import io
import shutil
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, InterpolationMode, Normalize, Resize, ToTensor

OUT = Path(__file__).parent / "preprocess"
SAMPLES = OUT / "samples"
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
GAMMA = np.uint64(0x9E3779B97F4A7C15)


def splitmix64(seed, count):
    """`count` outputs of splitmix64 from `seed`."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + GAMMA * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def picture(w, h, pattern):
    """A `w` x `h` picture: `noise`, or `extreme` (only 0 and 255: overshoot of bicubic is clipped everywhere)."""
    n = w * h * 3
    data = splitmix64(w * 65536 + h, (n + 7) // 8).astype("<u8").tobytes()[:n]
    array = np.frombuffer(data, dtype=np.uint8).reshape(h, w, 3)
    if pattern == "extreme":
        array = np.where(array < 128, 0, 255).astype(np.uint8)
    return Image.fromarray(array)


def digest(image):
    return hashlib.sha256(np.asarray(image).tobytes()).hexdigest()[:16]


def resize_cases():
    """(w, h, target w, target h): by hand first, then drawn from a fixed seed."""
    fixed = [(1, 1, 1, 1), (1, 1, 256, 256), (256, 256, 1, 1), (1, 97, 13, 5), (97, 1, 5, 13), (1, 50, 64, 3200),
             (451, 300, 384, 256), (300, 451, 256, 384), (256, 256, 256, 256), (257, 256, 256, 255), (255, 256, 256, 257),
             (640, 480, 341, 256), (1000, 3, 333, 1), (2000, 1, 1, 1), (1, 2000, 1, 1), (512, 512, 256, 256), (128, 128, 256, 256),
             (2, 2, 3, 3), (3, 3, 2, 2), (7, 5, 700, 500), (700, 500, 7, 5), (224, 224, 235, 235), (33, 17, 17, 33),
             (1024, 40, 20, 300), (40, 1024, 300, 20), (5, 5, 224, 224), (800, 1067, 224, 224)]
    draw = iter(splitmix64(20, 4000).tolist())
    side = lambda: 1 + next(draw) % [3, 20, 90, 320, 700][next(draw) % 5]
    return fixed + [(side(), side(), side(), side()) for _ in range(190)]


def recipe_cases():
    """(w, h, resize, crop, filter); 0 stands for none."""
    standard = [(451, 300), (300, 451), (256, 256), (256, 300), (301, 256), (224, 224), (1, 1), (1, 600), (600, 1), (2, 3), (640, 427),
                (427, 640), (999, 1000), (37, 41), (1280, 11), (500, 375), (333, 500), (257, 259), (258, 261), (259, 263), (260, 265),
                (300, 700), (260, 1000), (513, 1200), (700, 300)]
    out = [(w, h, 256, 224, "bilinear") for w, h in standard] + [(w, h, 235, 224, "bicubic") for w, h in standard]
    # Crops of every parity in both directions, padding on one side or both, and either step left out.
    out += [(40 + i, 50 + 2 * i, 0, crop, "bilinear") for i in range(8) for crop in (31, 32)]
    out += [(40 + i, 57 - i, 0, crop, "bilinear") for i in range(6) for crop in (48, 49, 80, 81)]
    out += [(91, 67, 20, 40, "bilinear"), (91, 67, 33, 40, "bicubic"), (67, 91, 45, 0, "bilinear"), (91, 67, 0, 0, "bilinear")]
    return out


def write_resizes():
    rows = []
    for i, (w, h, tw, th) in enumerate(resize_cases()):
        for name, code in FILTERS.items():
            pattern = "extreme" if i % 3 == 1 else "noise"
            rows.append((w, h, tw, th, name, pattern, digest(picture(w, h, pattern).resize((tw, th), code))))
    tsv("resize.tsv", rows)
    rows = []
    for w, h, resize, crop, name in recipe_cases():
        image = picture(w, h, "noise")
        if resize:
            image = Resize(resize, interpolation=MODES[name])(image)
        size = image.size
        if crop:
            image = CenterCrop(crop)(image)
        rows.append((w, h, resize, crop, name, *size, *image.size, digest(image)))
    tsv("recipe.tsv", rows)


def write_tensor():
    """Every byte value in every channel."""
    v = np.arange(256, dtype=np.uint16)
    array = np.stack([v, (v * 7 + 3) % 256, 255 - v], axis=-1).astype(np.uint8).reshape(16, 16, 3)
    tensor = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(ToTensor()(Image.fromarray(array)))
    (OUT / "tensor.bin").write_bytes(tensor.permute(1, 2, 0).contiguous().numpy().astype("<f4").tobytes())


def smooth(w, h):
    """A soft picture with no symmetry, so that a JPEG decoder has little to round and a wrong orientation shows."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    red, green = 255 * x / max(w - 1, 1), 255 * y / max(h - 1, 1)
    blue = 127.5 + 100 * np.sin(x / 7) * np.cos(y / 9)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).round().astype(np.uint8))


def write_samples():
    rgb = picture(9, 7, "noise")
    alpha = picture(9, 7, "extreme").getchannel(0)
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    grey = rgb.getchannel(1)
    la = Image.merge("LA", (grey, alpha))
    palette = Image.frombytes("P", (9, 7), bytes(v % 16 for v in grey.tobytes()))
    palette.putpalette(rgb.tobytes()[:48])
    grey16 = Image.fromarray((np.asarray(grey).astype(np.uint16) << 8) + 77)
    bits = grey.convert("1", dither=Image.Dither.NONE)
    cmyk = Image.fromarray(np.asarray(picture(12, 7, "noise")).reshape(7, 9, 4), "CMYK")
    soft = smooth(25, 19)
    soft_cmyk = Image.fromarray(np.dstack([np.asarray(soft), np.asarray(soft)[:, :, 0] // 3]), "CMYK")

    for ext in ("png", "webp", "bmp", "tif", "gif"):
        lossless = {"lossless": True, "exact": True} if ext == "webp" else {}
        rgb.save(SAMPLES / f"rgb.{ext}", **lossless)
        grey.save(SAMPLES / f"grey.{ext}", **lossless)
        if ext != "gif":
            rgba.save(SAMPLES / f"rgba.{ext}", **lossless)
        if ext not in ("webp", "tif"):
            palette.save(SAMPLES / f"palette.{ext}")
            bits.save(SAMPLES / f"bits.{ext}")
    bits.save(SAMPLES / "bits.tif")
    palette.save(SAMPLES / "palette-trns.png", transparency=3)
    palette.save(SAMPLES / "palette-trns.gif", transparency=3)
    palette.save(SAMPLES / "two-frames.gif", save_all=True, append_images=[palette.rotate(180)])
    rgb.save(SAMPLES / "rgb-trns.png", transparency=rgb.getpixel((0, 0)))
    rgb.save(SAMPLES / "deflate.tif", compression="tiff_adobe_deflate")
    rgb.save(SAMPLES / "lzw.tif", compression="tiff_lzw")
    la.save(SAMPLES / "la.png")
    grey16.save(SAMPLES / "grey16.png")
    grey16.save(SAMPLES / "grey16.tif")
    cmyk.save(SAMPLES / "cmyk.tif")
    write_png16(SAMPLES / "rgb16.png", 2)
    write_png16(SAMPLES / "rgba16.png", 6)
    Image.fromarray(np.linspace(0, 1, 63, dtype=np.float32).reshape(7, 9)).save(SAMPLES / "float.tif")

    soft.save(SAMPLES / "rgb.jpg", quality=95, subsampling=0)
    soft.save(SAMPLES / "rgb-420.jpg", quality=90, subsampling=2)
    soft.save(SAMPLES / "progressive.jpg", quality=95, subsampling=0, progressive=True)
    soft.getchannel(0).save(SAMPLES / "grey.jpg", quality=95)
    soft_cmyk.save(SAMPLES / "cmyk.jpg", quality=95)
    soft.save(SAMPLES / "lossy.webp", quality=90)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        soft.save(SAMPLES / f"orientation-{orientation}.jpg", quality=95, subsampling=0, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(SAMPLES / "orientation-6.png", exif=exif)
    rgb.save(SAMPLES / "orientation-6.webp", lossless=True, exact=True, exif=exif)
    rgb.save(SAMPLES / "orientation-6.tif", exif=exif)

    rows = []
    for path in sorted(SAMPLES.iterdir()):
        opened = Image.open(path)
        mode = opened.mode
        if mode == "F":
            continue
        if mode == "I;16":  # convert("RGB") would clip at 255; the tests take the high byte and say why
            opened = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
        image = ImageOps.exif_transpose(opened).convert("RGB")
        # Lossy formats are compared by value, within a tolerance: their decoders may round differently.
        lossy = path.suffix == ".jpg" or path.name == "lossy.webp" or path.name == "cmyk.tif"
        if lossy:
            path.with_suffix(path.suffix + ".rgb").write_bytes(np.asarray(image).tobytes())
        rows.append((path.name, mode, *image.size, digest(image)))
    tsv("samples.tsv", rows)


def write_png16(path, colour):
    """16-bit colour, which Pillow reads (high byte) but does not write."""
    import zlib
    channels = {2: 3, 6: 4}[colour]
    data = splitmix64(colour, (9 * 7 * channels * 2 + 7) // 8).astype("<u8").tobytes()
    stride = 9 * channels * 2
    raw = b"".join(b"\0" + data[y * stride:(y + 1) * stride] for y in range(7))
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    header = struct.pack(">IIBBBBB", 9, 7, 16, colour, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def tsv(name, rows):
    (OUT / name).write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))


def main():
    warnings.simplefilter("ignore", DeprecationWarning)
    shutil.rmtree(OUT, ignore_errors=True)
    SAMPLES.mkdir(parents=True)
    write_resizes()
    write_tensor()
    write_samples()
    (OUT / "versions.txt").write_text(
        f"python {sys.version.split()[0]}\nPillow {PIL.__version__}\ntorch {torch.__version__}\n"
        f"torchvision {torchvision.__version__}\nnumpy {np.__version__}\n")


if __name__ == "__main__":
    main()
