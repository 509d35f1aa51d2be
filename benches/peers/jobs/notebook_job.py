"""The whole job as notebooks do it, torch and a matplotlib figure: PHOTO STATE_DICT OVERLAY [MAP]."""

import sys

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision import models, transforms

matplotlib.use("Agg")
import matplotlib.pyplot as plt

photo, network, overlay, *rest = sys.argv[1:]
torch.set_num_threads(2)
model = models.resnet18(weights=None)
model.load_state_dict(torch.load(network))
model.eval()

features = []
model.layer4.register_forward_hook(lambda module, inputs, output: features.append(output))

preprocess = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ]
)
image = Image.open(photo).convert("RGB")
with torch.no_grad():
    logits = model(preprocess(image).unsqueeze(0))
    weights = model.fc.weight[logits.argmax(1).item()]
    cam = (weights[:, None, None] * features[0][0]).sum(0)
    if rest:
        np.save(rest[0], cam.numpy())
    cam = F.interpolate(cam[None, None], size=(224, 224), mode="bilinear", align_corners=False)[0, 0]

plt.imshow(image.resize((224, 224)))
plt.imshow(cam.numpy(), cmap="jet", alpha=0.5)
plt.axis("off")
plt.savefig(overlay)
