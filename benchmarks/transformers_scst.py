"""What one pass of a picture is worth: a self-critical step of a tiny SmolVLM, over the same by its own class.

    python benchmarks/transformers_scst.py --batch 4 --samples 5 --pairs 5

Prints one JSON object. Both draw K captions of T tokens for each of B pictures, score them and go backwards, with
random weights and one thread. The class does it as trainers of language models do: pictures and prompts repeated K
times for ``generate``, and again for the scores. Medians are seconds of computing time of alternating pairs, so that
other programs on the machine matter little; the ratio is the median of the pairs' with its range.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

from models.captioner import VisionInfo
from models.hf.smolvlm import SmolVLMCaptioner, SmolVLMNetwork, Template
from preprocessors.pictures.images import MEAN_STD
from utils.io import encode_json

ENTRIES, LENGTH, PROMPT = 8192, 16, 12
BOS, PAD, EOS, IMAGE, AROUND, WHOLE = range(6)
DEEP = {"num_hidden_layers": 12, "num_attention_heads": 4, "hidden_size": 64, "intermediate_size": 256}


def main() -> None:
    """Measure in pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("batch", 4), ("samples", 5), ("pairs", 5), ("image", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    captioner = make_captioner(options.image)
    pixels = torch.randn(options.batch, 3, options.image, options.image)
    prompts = torch.randint(10, ENTRIES, (options.batch, PROMPT))
    prompts[:, 0], prompts[:, -1] = BOS, EOS
    own = SmolVLMForConditionalGeneration(captioner.module.config).eval()
    own.load_state_dict(captioner.module.state_dict())
    steps = {
        "ours": lambda: share_pictures(captioner, pixels, prompts, options.samples),
        "theirs": lambda: repeat_pictures(own, captioner.module.template, pixels, prompts, options.samples),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for pair in range(options.pairs + 1):  # the first warms up
        for name, step in steps.items():
            start = time.process_time()
            step()
            times[name] += [time.process_time() - start] if pair else []
    ratios = [theirs / ours for ours, theirs in zip(times["ours"], times["theirs"], strict=True)]
    medians = {f"{name}_s": round(statistics.median(taken), 3) for name, taken in times.items()}
    spread = {"ratio": round(statistics.median(ratios), 2), "range": [round(min(ratios), 2), round(max(ratios), 2)]}
    print(encode_json({**vars(options), **medians, **spread}).decode())


def make_captioner(image: int) -> SmolVLMCaptioner:
    """Twelve layers of 64 on both sides, 16 pixels a patch, four patches for each place among the tokens."""
    torch.manual_seed(0)
    text = DEEP | {"vocab_size": ENTRIES, "model_type": "llama", "pad_token_id": PAD, "bos_token_id": BOS}
    vision = DEEP | {"image_size": image, "patch_size": 16}
    config = SmolVLMConfig(text_config=text, vision_config=vision, image_token_id=IMAGE, scale_factor=2)
    network = SmolVLMNetwork(config).eval()
    network.template = Template([20, 21], [AROUND, WHOLE], [AROUND], [22, 23])
    tokenizer = SimpleNamespace(eos_token_id=EOS, pieces=lambda: [b""] * 10 + [b" x"] * (ENTRIES - 10))
    return SmolVLMCaptioner(network, tokenizer, VisionInfo(image, MEAN_STD["half"], is_pretrained=False))


def share_pictures(captioner: SmolVLMCaptioner, pixels: Tensor, prompts: Tensor, samples: int) -> None:
    """A step of ours."""
    encoded = captioner.encode({"input_ids": prompts, "patch_images": pixels})
    drawn = captioner.sample(encoded, torch.rand(len(pixels), samples, LENGTH, dtype=torch.float64))
    captioner.token_log_probs(encoded, drawn).sum().backward()


def repeat_pictures(
    network: SmolVLMForConditionalGeneration, template: Template, pixels: Tensor, prompts: Tensor, samples: int
) -> None:
    """The same by the class, each caption a row of its own."""
    places = (pixels.shape[-1] // 32) ** 2
    before = [BOS, *template.before, *template.opening, *[IMAGE] * places, *template.closing]
    frame = [torch.tensor(part).expand(len(prompts), -1) for part in (before, template.answer)]
    ids = torch.cat([frame[0], prompts[:, 1:], frame[1]], 1).repeat_interleave(samples, 0)
    pictures = pixels[:, None].repeat_interleave(samples, 0)
    rules = {"do_sample": True, "top_k": 0, "min_new_tokens": LENGTH, "max_new_tokens": LENGTH, "eos_token_id": EOS}
    drawn = network.generate(input_ids=ids, pixel_values=pictures, attention_mask=torch.ones_like(ids), **rules)
    logits = network(input_ids=drawn[:, :-1], pixel_values=pictures).logits[:, -LENGTH:]
    logits.log_softmax(-1).gather(-1, drawn[:, -LENGTH:, None]).sum().backward()


if __name__ == "__main__":
    main()
