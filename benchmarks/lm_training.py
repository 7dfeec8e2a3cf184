"""Tokens that a language model learns in a second: ours, nanoGPT's way, and transformers' Trainer with padding.

python benchmarks/lm_training.py [--captions FILE] [--preset tiny] [--context 256] [--rows 8] [--steps 30] [--rounds 3]

All three train one shape of network on the same captions from random weights, in float32, with fused AdamW and clipped
gradients, and about the same number of tokens in a step. Ours packs captions that do not see one another and runs in
the trainer of ``finetune.py lm``, checks of numbers included. nanoGPT's way is a bare loop over random windows of one
stream of tokens, in which captions see those before them, with a compact GPT of its own. The Trainer gets a caption a
row, filled up to the longest. The ways take turns. The last line is JSON: tokens of captions that each reads in a CPU
second, the best of the rounds. Ours and the Trainer's captions begin with a BOS that is only read; in the stream there
is one token between two captions, and all are learnt, so the ratio by tokens that are learnt stands there too.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from models.style_lm import SIZES, StyleLM
from models.style_lm.new import new_network
from preprocessors.documents.byte_pairs import BytePairTokenizer
from preprocessors.documents.codes import ControlCodes
from preprocessors.documents.interface import Document
from preprocessors.documents.packed_rows import PackedCollator, TrainingRows, ValidationRows
from preprocessors.documents.packing import Packer
from preprocessors.documents.reading import Batch
from preprocessors.documents.token_bins import TokenBins
from preprocessors.documents.training import train_tokenizer
from preprocessors.documents.writing import Limits, Writer
from trainers.text_trainer import TextObjective, TextTrainer

ENTRIES = 4000
WARM = 5
"""Steps that are not counted."""
RATE = 1e-3
WAYS = ("ours", "nanogpt", "trainer")


class Clock(TrainerCallback):
    """CPU time at the ends of steps: other programs share the machine."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        """Look at it."""
        self.ends.append(time.process_time())

    def seconds(self) -> float:
        """Of the steps that count."""
        return self.ends[-1] - self.ends[WARM - 1]


def captions_of(path: Path) -> list[str]:
    """What stands behind the last tab of each line, without punctuation at its end."""
    return [line.rpartition("\t")[2].strip(" .") for line in path.read_text(encoding="utf-8").splitlines()]


class CompactGPT(nn.Module):
    """A GPT as small programs write it: linear layers, causal attention without a mask, tied embeddings."""

    def __init__(self, entries: int, context: int, n_embd: int, n_layer: int, n_head: int) -> None:
        super().__init__()
        self.heads = n_head
        self.tokens, self.places = nn.Embedding(entries, n_embd), nn.Embedding(context, n_embd)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm_1": nn.LayerNorm(n_embd),
                    "joined": nn.Linear(n_embd, 3 * n_embd),
                    "out": nn.Linear(n_embd, n_embd),
                    "norm_2": nn.LayerNorm(n_embd),
                    "up": nn.Linear(n_embd, 4 * n_embd),
                    "down": nn.Linear(4 * n_embd, n_embd),
                }
            )
            for _ in range(n_layer)
        )
        self.norm = nn.LayerNorm(n_embd)
        for weight in self.parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Scores (B, L, V) of the next tokens of ids (B, L)."""
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        for block in self.blocks:
            parts = block["joined"](block["norm_1"](x)).chunk(3, -1)
            q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
            seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + block["out"](seen.transpose(1, 2).flatten(2))
            x = x + block["down"](F.gelu(block["up"](block["norm_2"](x)), approximate="tanh"))
        return F.linear(self.norm(x), self.tokens.weight)


def nanogpt(stream: np.ndarray, model: CompactGPT, context: int, rows: int, steps: int) -> float:
    """Tokens a second of a bare loop."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    draws = np.random.default_rng(0)
    clock = Clock()
    for _ in range(steps):
        starts = draws.integers(len(stream) - context - 1, size=rows)
        windows = np.stack([stream[start : start + context + 1].astype(np.int64) for start in starts])
        ids = torch.from_numpy(windows)
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        clock.on_step_end()
    return (steps - WARM) * rows * context / clock.seconds()


def arguments(folder: str, rows: int, steps: int) -> TrainingArguments:
    """What both trainers are told."""
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=rows,
        max_steps=steps,
        learning_rate=RATE,
        weight_decay=0.01,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        logging_steps=10,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=7,
    )


def ours(lm: StyleLM, packer: Packer, rows: int, steps: int) -> float:
    """Tokens a second of the text trainer."""
    counted: list[int] = []

    class Counting(TextTrainer):
        def count_tokens(self, batches: Sequence[dict[str, Tensor]]) -> Sequence[int]:
            counted.append(sum(int(batch["document_ids"].ge(0).sum()) for batch in batches))
            return super().count_tokens(batches)

    with tempfile.TemporaryDirectory() as folder:
        trainer = Counting(
            lm,
            arguments(folder, rows, steps),
            objective=TextObjective(),
            train_dataset=TrainingRows(packer),
            eval_dataset=ValidationRows(packer, 1),
            collator=PackedCollator(lm.tokenizer.bos_id),
        )
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
    return sum(counted[WARM:steps]) / clock.seconds()


def trainer(lm: StyleLM, captions: list[list[int]], rows: int, steps: int) -> float:
    """Tokens a second of transformers' Trainer; a caption a row, filled up to the longest of its batch."""
    counted: list[int] = []

    def collate(batch: list[list[int]]) -> dict[str, Tensor]:
        longest = max(map(len, batch))
        ids = torch.tensor([row + [lm.tokenizer.eos_id] * (longest - len(row)) for row in batch])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch])
        counted.append(sum(map(len, batch)))
        return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}

    with tempfile.TemporaryDirectory() as folder:
        theirs = Trainer(lm.network, arguments(folder, rows, steps), train_dataset=captions, data_collator=collate)
        clock = Clock()
        theirs.add_callback(clock)
        theirs.train()
    return sum(counted[WARM:steps]) / clock.seconds()


def encode(captions: list[str], tokenizer: BytePairTokenizer, folder: Path) -> TokenBins:
    """The captions as ours reads them."""
    writer = Writer(
        folder, ControlCodes(tokenizer, None), key="k", limits=Limits(), on_bad_row="error", about={"source": ""}
    )
    ids = [np.array(row, writer.dtype).tobytes() for row in tokenizer.encode_batch(captions)]
    writer.write(Batch([Document(caption) for caption in captions], [], (1,), 1), ids)
    writer.finish()
    return TokenBins.open(folder, tokenizer, None)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("STYLECAP_SHARED", "../shared"))
    parser.add_argument("--captions", type=Path, default=shared / "data/flickrstyle/Flickr8k.token.txt")
    parser.add_argument("--preset", choices=SIZES, default="tiny")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    captions = captions_of(options.captions)
    tokenizer = train_tokenizer(captions[:5000], ENTRIES)
    ids = [[tokenizer.bos_id, *row, tokenizer.eos_id] for row in tokenizer.encode_batch(captions)]
    stream = np.concatenate([np.array(row[1:], np.uint16) for row in ids])
    per_caption = sum(map(len, ids)) / len(ids)
    padded_rows = round(options.rows * options.context / per_caption)  # as many tokens in a step
    with tempfile.TemporaryDirectory() as scratch:
        bins = encode(captions, tokenizer, Path(scratch) / "bins")
        packer = Packer(bins, options.context, bos=tokenizer.bos_id, eos=tokenizer.eos_id)

        def fresh() -> StyleLM:
            return StyleLM(new_network(tokenizer, options.preset, options.context, 0.0, 1), tokenizer, None)

        ways: dict[str, Callable[[], float]] = {
            "ours": lambda: ours(fresh(), packer, options.rows, options.steps),
            "nanogpt": lambda: nanogpt(
                stream,
                CompactGPT(len(tokenizer), options.context, **SIZES[options.preset]),
                *(options.context, options.rows, options.steps),
            ),
            "trainer": lambda: trainer(fresh(), ids, padded_rows, options.steps),
        }
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way in WAYS:
                found[way].append(ways[way]())
                print(f"{way}: {found[way][-1]:,.0f} tokens/s", file=sys.stderr, flush=True)
    best = {way: max(rates) for way, rates in found.items()}
    told = {"preset": options.preset, "context": options.context, "tokens_per_caption": round(per_caption, 1)}
    told |= {f"{way}_tokens_per_second": round(rate) for way, rate in best.items()}
    told |= {f"times_{way}": round(best["ours"] / best[way], 3) for way in WAYS[1:]}
    told["times_nanogpt_by_learnt"] = round(best["ours"] * (1 - 1 / per_caption) / best["nanogpt"], 3)
    assert all(math.isfinite(rate) for rate in best.values())
    print(json.dumps(told))


if __name__ == "__main__":
    main()
