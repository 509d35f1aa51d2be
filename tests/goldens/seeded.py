"""Seeded weights and pictures, the same bits in Python and in Rust.

The goldens need networks of up to 100 MB. Instead of storing them, this file and `tests/common/seeded.rs` make them from the
same rule; the SHA-256 of the bytes is stored with each golden, so that the two cannot drift apart unseen.

The rule
--------
All integers are unsigned 64-bit and wrap. All floats are f32, each operation rounded on its own (add, multiply, divide and
square root are exact by IEEE 754, so every language gives the same bits); `1.0` and the like below are the nearest f32.

    fnv(b)         FNV-1a: h = cbf29ce484222325; for each byte: h = (h ^ byte) * 100000001b3
    key(name, s)   fnv(utf-8 of name, then s as 8 little-endian bytes)
    word(i)        splitmix64: z = key + (i + 1) * 9e3779b97f4a7c15;
                   z = (z ^ z >> 30) * bf58476d1ce4e5b9; z = (z ^ z >> 27) * 94d049bb133111eb; z ^ z >> 31
    u(i)           word(i) >> 40                        24 bits, so that it is exact in f32
    unit(i)        u(i) * 2^-24                         [0, 1)
    sym(i)         (2 * u(i) + 1 - 2^24) * 2^-24        (-1, 1), never 0

Weights: element `i` (row-major) of the tensor `name` under seed `s`, by the tensor's kind:

    convolution [K, C, R, S]    sym(i) * sqrt(6 / (C * R * S))      He uniform: keeps the variance through ReLU
    batch norm weight           0.5 + unit(i), times 0.25 in the last batch norm of a block: else the residual sums grow
    batch norm bias             0.2 * sym(i)
    running_mean                0.3 * sym(i)
    running_var                 0.5 + unit(i)
    num_batches_tracked         100 (i64, scalar)
    fc.weight [classes, C]      sym(i) * sqrt(3 / C)
    fc.bias                     0.1 * sym(i)

An f16 or bf16 file holds the same values rounded to nearest, ties to even.

Pictures: `key("picture.<index>", s)`, u8 `[H, W, 3]`, two triangle waves a channel and noise:

    tri(t)         |t mod 512 - 256|                    0..=256; mod is never negative
    wave k of c    b = 6 * c + 3 * k; fx = 1 + word(b) mod 7; fy = 1 + word(b + 1) mod 7; ph = word(b + 2) mod 512
                   t0 = tri(x * fx + y * fy + ph) for k = 0; t1 = tri(x * fx - y * fy + ph) for k = 1
    pixel          (3 * (t0 + t1) >> 3) + (word(64 + (y * W + x) * 3 + c) >> 58)

Network input: (pixel / 255 - mean[c]) / std[c] in f32, mean .485 .456 .406, std .229 .224 .225 (no resize, no crop).
"""

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def key(name: str, seed: int) -> int:
    h = 0xCBF29CE484222325
    for byte in name.encode() + seed.to_bytes(8, "little"):
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFF_FFFF_FFFF_FFFF
    return h


def words(name: str, seed: int, count: int, start: int = 0) -> np.ndarray:
    """`word(start) .. word(start + count)`, u64."""
    i = np.arange(start + 1, start + count + 1, dtype=np.uint64)
    z = np.uint64(key(name, seed)) + i * GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def unit(w: np.ndarray) -> np.ndarray:
    return (w >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def sym(w: np.ndarray) -> np.ndarray:
    u = (w >> np.uint64(40)).astype(np.int64)
    return (2 * u + 1 - (1 << 24)).astype(np.float32) * np.float32(2.0**-24)


def weight(name: str, shape: tuple[int, ...], last_bn: str, seed: int) -> np.ndarray:
    """One tensor. `last_bn` is the last batch norm of a block: `bn2` (basic) or `bn3` (bottleneck)."""
    f32 = np.float32
    if name.endswith(".num_batches_tracked"):
        return np.array(100, np.int64)
    w = words(name, seed, int(np.prod(shape)))
    if len(shape) == 4:
        v = sym(w) * np.sqrt(f32(6) / f32(shape[1] * shape[2] * shape[3]))
    elif name == "fc.weight":
        v = sym(w) * np.sqrt(f32(3) / f32(shape[1]))
    elif name == "fc.bias":
        v = f32(0.1) * sym(w)
    elif name.endswith(".running_mean"):
        v = f32(0.3) * sym(w)
    elif name.endswith(".running_var"):
        v = f32(0.5) + unit(w)
    elif name.endswith(".bias"):
        v = f32(0.2) * sym(w)
    else:
        v = f32(0.5) + unit(w)
        if name.startswith("layer") and name.endswith(f".{last_bn}.weight"):
            v *= f32(0.25)
    assert v.dtype == np.float32
    return v.reshape(shape)


def picture(index: int, h: int, w: int, seed: int) -> np.ndarray:
    """u8 `[h, w, 3]`."""
    name = f"picture.{index}"
    p = words(name, seed, 18).tolist()
    y, x = np.mgrid[0:h, 0:w].astype(np.int64)
    noise = (words(name, seed, h * w * 3, start=64) >> np.uint64(58)).astype(np.int64).reshape(h, w, 3)
    out = np.empty((h, w, 3), np.int64)
    for c in range(3):
        t = []
        for k in range(2):
            b = 6 * c + 3 * k
            fx, fy, ph = 1 + p[b] % 7, 1 + p[b + 1] % 7, p[b + 2] % 512
            t.append(np.abs((x * fx + (y * fy if k == 0 else -y * fy) + ph) % 512 - 256))
        out[:, :, c] = (3 * (t[0] + t[1]) >> 3) + noise[:, :, c]
    assert out.min() >= 0 and out.max() <= 255
    return out.astype(np.uint8)


def network_input(n: int, h: int, w: int, seed: int) -> np.ndarray:
    """f32 `[n, h, w, 3]`: pictures `0..n`, normalised."""
    pixels = np.stack([picture(i, h, w, seed) for i in range(n)]).astype(np.float32)
    return (pixels / np.float32(255) - MEAN) / STD
