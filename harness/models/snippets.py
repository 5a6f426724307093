"""Programs of a few lines that load an exported folder, as its card shows them. Each runs in that folder, beside a picture `image.jpg`."""

from collections.abc import Iterator, Sequence

from harness.backbones.backbone import Kind
from harness.backbones.spellings import own_place
from harness.config import Metric
from harness.models.exported import CONFIG, ONNX, TORCH
from harness.study.model_file import ModelHeader

Snippet = tuple[str, str, str]
"""What it is for, its language, its text."""


def snippets(header: ModelHeader, files: Sequence[str]) -> Iterator[Snippet]:
    """Those whose files are there."""
    if CONFIG in files:
        yield "With timm, from this folder or as `hf-hub:ORGANISATION/NAME`:", "python", _timm(header)
    if ONNX in files and header.preprocess["crop_mode"] != "border":  # which fills in colour
        yield "With onnxruntime:", "python", _ONNX.replace(_ONE, _SEVERAL) if header.thresholds else _ONNX
    if TORCH in files:
        yield "With torch alone:", "python", _TORCH.replace("SIZE", str(header.image_size))
    own = own_place(header.backbone)
    if own is None or own[0] is not Kind.python or CONFIG in files:
        yield "With model-selection-harness:", "sh", _HARNESS


def _timm(header: ModelHeader) -> str:
    if header.thresholds:
        return _TIMM_SEVERAL.replace("THRESHOLDS", str([round(each, 6) for each in header.thresholds]))
    divides = Metric(header.metric) is Metric.balanced_accuracy
    prior = f"\nshares = torch.tensor({[round(share, 6) for share in header.class_prior]})  # of the classes in train" if divides else ""
    return f"""import timm
import torch
from PIL import Image

model = timm.create_model("local-dir:.", pretrained=True).eval()
prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
image = prepare(Image.open("image.jpg").convert("RGB")).unsqueeze(0)
with torch.inference_mode():
    probabilities = model(image).softmax(dim=1)[0]{prior}
names = model.pretrained_cfg["label_names"]
print({{name: round(float(value), 4) for name, value in zip(names, probabilities)}})
print(names[int({"(probabilities.log() - shares.log())" if divides else "probabilities"}.argmax())])"""


_TIMM_SEVERAL = """import timm
import torch
from PIL import Image

model = timm.create_model("local-dir:.", pretrained=True).eval()
prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
image = prepare(Image.open("image.jpg").convert("RGB")).unsqueeze(0)
with torch.inference_mode():
    probabilities = model(image).sigmoid()[0]
names = model.pretrained_cfg["label_names"]
thresholds = THRESHOLDS
print({name: round(float(value), 4) for name, value in zip(names, probabilities)})
print([name for name, value, threshold in zip(names, probabilities, thresholds) if value >= threshold])"""

_ONE = "print(names[label[0]])"
_SEVERAL = "print([name for name, called in zip(names, label[0]) if called])"

_ONNX = """import json

import numpy
import onnxruntime
from PIL import Image

seen = json.load(open("preprocessing.json", encoding="utf-8"))
names, about = seen["class_names"], seen["input"]
image, size, to = Image.open("image.jpg").convert("RGB"), about["crop"], about["resize"]["to"]
short, long = min(image.size), max(image.size)
if about["resize"]["side"] == "both":
    image = image.resize((to, to), Image.Resampling[about["interpolation"].upper()])
else:
    sides = (to, to * long // short) if image.width < image.height else (to * long // short, to)
    image = image.resize(sides, Image.Resampling[about["interpolation"].upper()])
left, top = round((image.width - size) / 2), round((image.height - size) / 2)
pixels = numpy.asarray(image.crop((left, top, left + size, top + size)), dtype=numpy.float32) / 255
pixels = ((pixels - about["mean"]) / about["std"]).astype(numpy.float32).transpose(2, 0, 1)[None]
session = onnxruntime.InferenceSession("model.onnx")
probabilities, label = session.run(["probabilities", "label"], {"images": pixels})
print({name: round(float(value), 4) for name, value in zip(names, probabilities[0])})
print(names[label[0]])"""

_TORCH = """import torch

model = torch.export.load("model.pt2").module()
images = torch.zeros(1, 3, SIZE, SIZE)  # prepared as above
probabilities, label = model(images)"""

_HARNESS = "python -m harness.predict folder=. images=image.jpg to=answers.csv"
