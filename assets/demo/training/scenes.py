"""Pictures of everyday objects, drawn from emoji sprites: the data of the demo model.

One picture is a pure function of (seed, size, count, photographs): background first, then one to four sprites, each with
its own scale, turn, mirror image and colour, then sensor noise and contrast. Nothing is read but the font and the photographs.

The drawn field is what a network sees after `Resize(256)`, `CenterCrop(224)`. With `margin=True` the whole 256-wide picture
is returned instead, whose border holds background only, so that the ordinary recipe crops exactly the drawn field out of it.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

# Label, code point. Distinct silhouettes or colours; nothing that the background photographs show (a cat, a cup of coffee).
OBJECTS = {
    "dog": 0x1F436, "lion": 0x1F981, "tiger": 0x1F42F, "pig": 0x1F437, "panda": 0x1F43C, "frog": 0x1F438, "elephant": 0x1F418,
    "chick": 0x1F425, "penguin": 0x1F427, "fish": 0x1F420, "whale": 0x1F433, "snail": 0x1F40C, "butterfly": 0x1F98B,
    "ladybug": 0x1F41E, "turtle": 0x1F422, "octopus": 0x1F419, "apple": 0x1F34E, "banana": 0x1F34C, "grapes": 0x1F347,
    "strawberry": 0x1F353, "watermelon": 0x1F349, "pineapple": 0x1F34D, "carrot": 0x1F955, "pizza": 0x1F355,
    "hamburger": 0x1F354, "ice cream": 0x1F366, "birthday cake": 0x1F382, "doughnut": 0x1F369, "car": 0x1F697, "bus": 0x1F68C,
    "bicycle": 0x1F6B2, "airplane": 0x2708, "sailboat": 0x26F5, "house": 0x1F3E0, "umbrella": 0x2614, "alarm clock": 0x23F0,
    "key": 0x1F511, "guitar": 0x1F3B8, "trumpet": 0x1F3BA, "drum": 0x1F941, "soccer ball": 0x26BD, "basketball": 0x1F3C0,
    "camera": 0x1F4F7, "mobile phone": 0x1F4F1, "light bulb": 0x1F4A1, "scissors": 0x2702, "hammer": 0x1F528,
    "sunflower": 0x1F33B, "tree": 0x1F333, "mushroom": 0x1F344, "balloon": 0x1F388, "gift": 0x1F381, "crown": 0x1F451,
    "boot": 0x1F462, "rose": 0x1F339, "cactus": 0x1F335,
}
LABELS = list(OBJECTS)

# Photographs of scikit-image's `data` module whose notices say CC0; UNSEEN are never trained on.
PHOTOS = ("chelsea", "coffee", "brick", "grass", "gravel")
UNSEEN = ("camera",)

STRIKE = 109  # the only bitmap size in the font
SCALE = {0: (0, 0), 1: (0.24, 0.72), 2: (0.22, 0.48), 3: (0.20, 0.40), 4: (0.20, 0.36)}  # object side / picture side, by count


@dataclass
class Scene:
    rgb: np.ndarray  # [H, W, 3] u8
    classes: list  # class index of each object
    masks: list  # [H, W] bool of each object: what is visible of it


def load_photos(names):
    from skimage import data

    return [Image.fromarray(getattr(data, name)()).convert("RGB") for name in names]


def load_sprites(font_path):
    """Per class a pyramid of (premultiplied RGB, alpha) images, each half the size of the one before."""
    font, pyramids = ImageFont.truetype(str(font_path), STRIKE), []
    for label, code in OBJECTS.items():
        glyph = Image.new("RGBA", (180, 180))
        ImageDraw.Draw(glyph).text((20, 20), chr(code), font=font, embedded_color=True)
        if glyph.getbbox() is None:
            raise SystemExit(f"{font_path}: no glyph for {label} (U+{code:X})")
        glyph = glyph.crop(glyph.getbbox())
        pixels = np.asarray(glyph, np.float32)
        alpha = pixels[..., 3:] / 255
        rgb, alpha = Image.fromarray((pixels[..., :3] * alpha).astype(np.uint8)), glyph.getchannel("A")
        pyramid = [(rgb, alpha)]
        for _ in range(2):
            half = [max(2, round(side / 2)) for side in pyramid[-1][1].size]
            pyramid.append(tuple(layer.resize(half, Image.BOX) for layer in pyramid[-1]))
        pyramids.append(pyramid)
    return pyramids


class Scenes:
    def __init__(self, font_path, photos=PHOTOS):
        self.sprites, self.photos = load_sprites(font_path), load_photos(photos)

    def draw(self, seed, size=224, count=None, margin=False, background=None):
        rng = np.random.default_rng(seed)
        if count is None:
            count = int(rng.choice(5, p=[0.04, 0.46, 0.26, 0.15, 0.09]))
        border = round(size / 14) if margin else 0  # (256 - 224) / 2 of a 224-wide field
        full = size + 2 * border
        canvas = np.array(self._background(rng, full, background), np.float32)
        classes, masks, taken = [], [], []
        for cls in rng.choice(len(OBJECTS), count, replace=False):
            placed = self._place(rng, int(cls), size, SCALE[count], taken)
            if placed is None:
                continue
            (x, y), rgb, alpha = placed
            region = np.s_[y + border : y + border + alpha.shape[0], x + border : x + border + alpha.shape[1]]
            canvas[region] = canvas[region] * (1 - alpha[..., None]) + rgb
            mask = np.zeros((full, full), bool)
            mask[region] = alpha > 0.3
            for earlier in masks:
                earlier &= ~mask
            classes.append(int(cls))
            masks.append(mask)
        return Scene(self._sensor(rng, canvas), classes, masks)

    def _place(self, rng, cls, size, scale, taken):
        """One turned, scaled, recoloured sprite at a free place: its corner, premultiplied RGB and alpha."""
        base = self.sprites[cls][0][1]
        for _ in range(40):
            side = size * rng.uniform(*scale)
            turn, mirror = math.radians(rng.uniform(-30, 30)), rng.choice((-1, 1))
            zoom = side / max(base.size)
            cos, sin = math.cos(turn), math.sin(turn)
            w = (abs(cos) * base.width + abs(sin) * base.height) * zoom
            h = (abs(sin) * base.width + abs(cos) * base.height) * zoom
            if max(w, h) >= size - 2:
                continue
            x, y = rng.uniform(0, size - w - 1), rng.uniform(0, size - h - 1)
            if all(min(x + w, c) - max(x, a) < 0.1 * w or min(y + h, d) - max(y, b) < 0.1 * h for a, b, c, d in taken):
                break
        else:
            return None
        taken.append((x, y, x + w, y + h))
        rgb, alpha = self.sprites[cls][0 if zoom > 0.55 else 1 if zoom > 0.28 else 2]
        zoom = side / max(alpha.size)
        x0, y0 = int(x), int(y)
        out = (math.ceil(x + w) + 1 - x0, math.ceil(y + h) + 1 - y0)
        cx, cy = x + w / 2 - x0, y + h / 2 - y0
        a, b, d, e = mirror * cos / zoom, mirror * sin / zoom, -sin / zoom, cos / zoom
        affine = (a, b, alpha.width / 2 - a * cx - b * cy, d, e, alpha.height / 2 - d * cx - e * cy)
        rgb, alpha = (np.asarray(i.transform(out, Image.AFFINE, affine, Image.BILINEAR), np.float32) for i in (rgb, alpha))
        alpha = alpha[: size - y0, : size - x0] / 255
        rgb = rgb[: size - y0, : size - x0]
        grey = rgb.mean(2, keepdims=True)
        rgb = grey + (rgb - grey) * rng.uniform(0.6, 1.3)  # saturation, then brightness and tint
        rgb = rgb * rng.uniform(0.7, 1.2) * rng.uniform(0.9, 1.1, 3).astype(np.float32)
        return (x0, y0), rgb, alpha

    def _background(self, rng, size, kind):
        kind = int(rng.choice(5, p=[0.4, 0.13, 0.2, 0.19, 0.08])) if kind is None else kind
        if kind == 0:
            return self._photo(rng, size)
        if kind == 1:
            return self._gradient(rng, size)
        if kind == 2:
            return self._noise(rng, size)
        if kind == 3:
            return self._shapes(rng, size)
        return Image.new("RGB", (size, size), self._colour(rng))

    @staticmethod
    def _colour(rng):
        return tuple(int(v) for v in rng.integers(0, 256, 3))

    def _photo(self, rng, size):
        photo = self.photos[rng.integers(len(self.photos))]
        side = int(min(photo.size) * rng.uniform(0.3, 1))
        x, y = (int(rng.integers(0, extent - side + 1)) for extent in photo.size)
        image = photo.resize((size, size), Image.BILINEAR, box=(x, y, x + side, y + side))
        if rng.random() < 0.5:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        if rng.random() < 0.35:
            image = image.filter(ImageFilter.BoxBlur(size / 224 * rng.uniform(1, 4)))
        pixels = np.asarray(image, np.float32)
        grey = pixels.mean(2, keepdims=True)
        pixels = grey + (pixels - grey) * rng.uniform(0.2, 1.6)
        tint = rng.uniform(0.6, 1.25, 3 if rng.random() < 0.4 else 1)
        return (pixels * tint + rng.uniform(-25, 25)).clip(0, 255)

    def _gradient(self, rng, size):
        first, second = rng.integers(0, 256, (2, 3))
        angle, axis = rng.uniform(0, 2 * math.pi), np.linspace(-1, 1, size, dtype=np.float32)
        ramp = (math.cos(angle) * axis[None] + math.sin(angle) * axis[:, None]) / 2.83 + 0.5
        return first + (second - first) * ramp[..., None]

    def _noise(self, rng, size):
        total = np.zeros((size, size, 3), np.float32)
        grey = rng.random() < 0.35
        for cells in (3, 7, 18, 47):
            octave = rng.integers(0, 256, (cells, cells, 1 if grey else 3), dtype=np.uint8)
            octave = Image.fromarray(np.broadcast_to(octave, (cells, cells, 3)).copy())
            total += np.asarray(octave.resize((size, size), Image.BICUBIC), np.float32) * (rng.uniform(0.1, 1) / math.sqrt(cells))
        total -= total.min()
        spread = rng.uniform(60, 255)
        return total * (spread / max(total.max(), 1)) + rng.uniform(0, 255 - spread)

    def _shapes(self, rng, size):
        image = Image.new("RGB", (size, size), self._colour(rng))
        draw = ImageDraw.Draw(image)
        for _ in range(rng.integers(3, 15)):
            x, y = rng.uniform(-0.2, 1, 2) * size
            w, h = rng.uniform(0.02, 0.7, 2) * size
            colour, form = self._colour(rng), rng.integers(4)
            if form == 0:
                draw.ellipse((x, y, x + w, y + h), fill=colour)
            elif form == 1:
                draw.rectangle((x, y, x + w, y + h), fill=colour)
            elif form == 2:
                draw.line((x, y, x + w, y + h * rng.choice((-1, 1))), fill=colour, width=int(rng.integers(1, 10)))
            else:
                draw.polygon([tuple(p) for p in (rng.uniform(-0.1, 1.1, (3, 2)) * size).tolist()], fill=colour)
        return image.filter(ImageFilter.BoxBlur(size / 224 * rng.uniform(0.5, 4))) if rng.random() < 0.6 else image

    @staticmethod
    def _sensor(rng, canvas):
        if rng.random() < 0.4:
            canvas = canvas + rng.standard_normal(canvas.shape[:2] + (1,), np.float32) * np.float32(rng.uniform(1, 10))
        canvas = (canvas - 128) * rng.uniform(0.8, 1.15) + 128 + rng.uniform(-15, 15)
        return canvas.clip(0, 255).astype(np.uint8)
