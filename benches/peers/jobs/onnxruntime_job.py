"""The whole job with ONNX Runtime, PIL and numpy, as somebody who cares for speed would write it: PHOTO NETWORK OVERLAY [MAP].

NETWORK is an ONNX file whose outputs are the logits and layer4; beside it lies `fc.npy`, the classifier's weights [1000, 512].
"""

import pathlib
import sys

import numpy
import onnxruntime
from PIL import Image

photo, network, overlay, *rest = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = 2, 1
session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])

image = Image.open(photo).convert("RGB")
scale = 256 / min(image.size)
image = image.resize([int(side * scale) for side in image.size], Image.Resampling.BILINEAR)
left, top = (round((side - 224) / 2) for side in image.size)
image = numpy.asarray(image.crop((left, top, left + 224, top + 224)), dtype="f4")
mean, std = numpy.array([0.485, 0.456, 0.406], "f4"), numpy.array([0.229, 0.224, 0.225], "f4")
x = ((image / 255 - mean) / std).transpose(2, 0, 1)[None]

logits, features = session.run(None, {"x": numpy.ascontiguousarray(x)})
weights = numpy.load(pathlib.Path(network).parent / "fc.npy")[logits[0].argmax()]
cam = numpy.tensordot(weights, features[0], 1)
if rest:
    numpy.save(rest[0], cam)
cam = numpy.asarray(Image.fromarray(cam).resize((224, 224), Image.Resampling.BILINEAR))
cam = (cam - cam.min()) / (cam.max() - cam.min())
jet = numpy.clip(1.5 - numpy.abs(4 * cam[..., None] - [3, 2, 1]), 0, 1)
Image.fromarray((0.5 * image + 127.5 * jet).astype("u1")).save(overlay)
