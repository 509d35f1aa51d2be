"""The whole job as torchcam's README shows it, with its `CAM`: PHOTO STATE_DICT OVERLAY [MAP]."""

import sys

import torch
from torchcam.methods import CAM
from torchcam.utils import overlay_mask
from torchvision.io import decode_image
from torchvision.models import resnet18
from torchvision.transforms.functional import center_crop, normalize, resize, to_pil_image

photo, network, overlay, *rest = sys.argv[1:]
torch.set_num_threads(2)
model = resnet18(weights=None)
model.load_state_dict(torch.load(network))
model.eval()
cam_extractor = CAM(model, target_layer="layer4", fc_layer="fc")

img = center_crop(resize(decode_image(photo), 256), 224)
input_tensor = normalize(img / 255.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
with torch.inference_mode():
    out = model(input_tensor.unsqueeze(0))
    activation_map = cam_extractor(out.squeeze(0).argmax().item())[0]
if rest:
    import numpy

    numpy.save(rest[0], activation_map.squeeze(0).numpy())
result = overlay_mask(to_pil_image(img), to_pil_image(activation_map.squeeze(0), mode="F"), alpha=0.5)
result.save(overlay)
