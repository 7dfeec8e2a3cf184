"""Record `ofa_options.json` from ModelScope's own OFA.

Run in an environment in which modelscope 1.40.2 imports (transformers 4.48.3, torch 2.13.0, CPU), from the root:

    PYTHONPATH=tests/golden python tests/golden/record_ofa_options.py > tests/golden/ofa_options.json

Re-record only when a case is added, and only from the reference: never from our own model.
"""

from __future__ import annotations

import json
import sys

import torch
import transformers
from modelscope.models.multi_modal.ofa import OFAModel
from modelscope.models.multi_modal.ofa.configuration_ofa import OFAConfig
from ofa_options import BASE, CASES, fill_weights, gradient_norms, make_inputs

torch.set_num_threads(1)
cases = {}
for name, case in CASES.items():
    model = OFAModel(OFAConfig(**BASE | case["config"])).eval()
    model.load_state_dict(fill_weights(model.state_dict()), strict=False)
    output = model(**make_inputs(case))
    cases[name] = {
        "logits": output.logits[:, :, :12].tolist(),
        "logits_norm": float(output.logits.norm()),
        "encoder": output.encoder_last_hidden_state[:, ::5, :6].tolist(),
        "encoder_norm": float(output.encoder_last_hidden_state.norm()),
        "gradient_norms": gradient_norms(model, output.logits),
    }
about = f"modelscope 1.40.2 OFAModel, transformers {transformers.__version__}, torch {torch.__version__}, float32, CPU"
json.dump({"recorded_with": about, "date": "2026-11-22", "cases": cases}, sys.stdout, indent=1)
