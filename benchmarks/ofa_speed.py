"""Time our OFA on random weights of a published size: encoder, cross-entropy step, beam search, or the SCST step.

    python benchmarks/ofa_speed.py --size tiny --image 224 --batch 4 --runs 3 --threads 2
    python benchmarks/ofa_speed.py --scst --image 224 --batch 4    # the self-critical step alone, K = 5

Prints one JSON object with the keys of the reference's own benchmark; times are medians in seconds after one warm-up.
Compare only figures of one sitting, in alternating runs (benchmarks/compare.py): single runs drift by tens of percent.
`--freeze_resnet` times the step with frozen vision weights, which is not like for like, and says so in its key.
`--scst` times the trainer's own step with everything in it: encoder, sampling, scoring, decoding, tokenizing, CIDEr-D,
gradients, clipping, AdamW. `--reward_workers 0` computes the rewards in line, which shows what the threads save.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

start = time.perf_counter()
import torch  # noqa: E402

from models.ofa import PRESETS, OFAConfig, OFAForConditionalGeneration, OFATokenizer  # noqa: E402
from models.ofa.captioner import OFACaptioner  # noqa: E402
from trainers.freezing import freeze_parts  # noqa: E402
from trainers.losses.cross_entropy import label_smoothed_cross_entropy  # noqa: E402

import_seconds = time.perf_counter() - start
SHARED = Path(os.environ.get("STYLECAP_SHARED", Path(__file__).resolve().parents[2] / "shared"))

PROMPT = [0, 99, 473, 5, 2274, 6190, 116, 3116, 10, 1437, 50272, 10418, 4, 2]
"""" what does the image describe? write a <code_7> reply." in the published BPE."""
CAPTION_TOKENS = 12


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="tiny", choices=("tiny", "medium", "base"))
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--freeze_resnet", action="store_true")
    parser.add_argument("--scst", action="store_true")
    parser.add_argument("--samples", type=int, default=5, help="captions per image in the SCST step")
    parser.add_argument("--reward_workers", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the SCST step")
    parser.add_argument("--bpe", default=str(SHARED / "data/ofa_bpe"), help="folder with vocab.json and merges.txt")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(measure_scst(options) if options.scst else measure(options)))


def measure(options: argparse.Namespace) -> dict[str, object]:
    """All timings of one process."""
    torch.manual_seed(0)
    device = options.device
    model = OFAForConditionalGeneration(OFAConfig(**PRESETS[options.size])).to(device)
    freeze_parts(OFACaptioner(model, None), ["resnet"] * options.freeze_resnet)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    inputs, labels = make_batch(options)

    def encoder() -> None:
        model.eval()
        with torch.no_grad():
            model.encoder(inputs["input_ids"], inputs["patch_images"], inputs["patch_masks"])

    def xe_step() -> None:
        model.train()
        optimizer.zero_grad()
        entropy = label_smoothed_cross_entropy(model(**inputs).logits, labels, 0.1)
        (entropy.loss / entropy.tokens).backward()
        optimizer.step()

    def beam5() -> None:
        model.eval()
        generation = {key: inputs[key] for key in ("input_ids", "patch_images", "patch_masks")}
        model.generate(**generation, num_beams=5, max_length=18)

    step_key = "xe_step_frozen_resnet_s" if options.freeze_resnet else "xe_step_s"
    timings = {"encoder_forward_s": encoder, step_key: xe_step, "beam5_s": beam5}
    return report(options, timings)


def measure_scst(options: argparse.Namespace) -> dict[str, object]:
    """The self-critical step of the trainer, and the reward call in it by itself."""
    from transformers import TrainingArguments

    from models.settings import Decoding
    from preprocessors.collator import CaptionCollator
    from preprocessors.dataset import CaptionDataset
    from trainers.objective import Objective, StepTokens
    from trainers.rewards.setup import build_rewards
    from trainers.rewards.terms import RewardRequest
    from trainers.sampler import Sampler
    from trainers.scst_trainer import ScstTrainer, SelfCritical

    torch.manual_seed(0)
    tokenizer = OFATokenizer.from_pretrained(options.bpe)
    model = OFAForConditionalGeneration(OFAConfig(**PRESETS[options.size])).to(options.device)
    captioner = OFACaptioner(model, tokenizer)
    freeze_parts(captioner, ["embeddings", "batch_norm", *["resnet"] * options.freeze_resnet])
    inputs, labels = make_batch(options)
    rows = list(range(options.batch))
    references = [[f"a small dog number {row} runs over the green grass near a fence"] for row in range(1000)]
    rewards = build_rewards(references, {"cider_d": 1.0}, styles=["plain"] * 1000, workers=options.reward_workers)
    with tempfile.TemporaryDirectory() as folder, rewards:
        args = TrainingArguments(
            folder, use_cpu=options.device == "cpu", report_to=[], bf16=options.precision == "bf16"
        )
        trainer = ScstTrainer(
            captioner,
            args,
            self_critical=SelfCritical(Sampler(options.samples, "multinomial", Decoding(max_length=16))),
            rewards=rewards,
            train_dataset=CaptionDataset([], None, training=True),
            eval_dataset=None,
            collator=CaptionCollator(tokenizer.pad_token_id),
            objective=Objective(),
        )
        trainer.accelerator.prepare_model(model)  # as Trainer does: the forward pass under autocast
        trainer.current_gradient_accumulation_steps = 1  # the loop does that, and the next two
        trainer._tr_loss = torch.zeros((), device=options.device)
        trainer.optimizer = optimizer = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True
        )
        batch = inputs | {"labels": labels, "rows": torch.tensor(rows)}
        tokens = StepTokens(labels.ne(-100).sum(), torch.zeros(()))
        hypotheses = [f"a small dog number {number} runs over the green grass near a fence" for number in range(20)]
        request = RewardRequest([row % options.batch for row in range(20)], hypotheses, [True] * 20)

        def scst_step() -> None:
            optimizer.zero_grad()
            trainer.begin_step()
            trainer.training_step(model, dict(batch), tokens)
            trainer._clip_grad_norm(model)
            optimizer.step()

        def reward_call() -> None:
            rewards.submit(lambda: request)
            rewards.result()

        return report(options, {"scst_step_s": scst_step, "reward_call_s": reward_call})


def report(options: argparse.Namespace, timings: dict[str, Callable[[], None]]) -> dict[str, object]:
    """Time every call; add what was asked for and the peak memory of the process."""
    settings = {key: value for key, value in vars(options).items() if key != "bpe"}
    result: dict[str, object] = {"ours": "stylecap", "import_s": round(import_seconds, 2), **settings}
    result |= {key: median_seconds(call, options.runs, options.device) for key, call in timings.items()}
    if options.device == "cpu":
        result["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    else:
        result["peak_gpu_mb"] = torch.cuda.max_memory_allocated() // 2**20
    return result


def make_batch(options: argparse.Namespace) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The reference benchmark's batch: one prompt, random pixels, random captions of 12 tokens."""
    generator = torch.Generator().manual_seed(0)
    batch, side = options.batch, options.image
    images = torch.randn(batch, 3, side, side, generator=generator)
    labels = torch.randint(4, 50000, (batch, CAPTION_TOKENS), generator=generator)
    labels[:, -1] = 2
    inputs = {
        "input_ids": torch.tensor([PROMPT]).expand(batch, -1),
        "patch_images": images,
        "patch_masks": torch.ones(batch, dtype=torch.bool),
        "decoder_input_ids": torch.cat([torch.zeros(batch, 1, dtype=torch.long), labels[:, :-1]], 1),
    }
    return {key: tensor.to(options.device) for key, tensor in inputs.items()}, labels.to(options.device)


def median_seconds(call: Callable[[], None], runs: int, device: str) -> float:
    """Median wall time of ``runs`` calls after one that warms up."""
    call()
    times = []
    for _ in range(runs):
        if device != "cpu":
            torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times), 5)


if __name__ == "__main__":
    main()
