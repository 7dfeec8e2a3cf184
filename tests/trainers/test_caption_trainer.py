from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from captioning.styled import open_styled
from models.ofa.captioner import UNUSED_BY_CAPTIONING, OFACaptioner
from pipeline.prepare import prepare
from pipeline.train import train
from runs.checkpoints import complete_steps
from runs.folder import Run
from trainers.caption_trainer import StyleCaptionTrainer
from trainers.freezing import freeze_parts
from utils.io import read_jsonl

SAME_DRAWS = {"freeze": ["batch_norm"], "warmup": 0.0, "lr": 0.5}


def _variant(document: dict[str, Any], tmp_path: Path, name: str, **changes: Any) -> Path:
    """The document with other training settings, no dropout and frozen batch statistics, as a file."""
    overrides = document["model"]["overrides"] | {"dropout": 0.0}
    train_group = document["train"] | SAME_DRAWS | changes
    changed = document | {"model": document["model"] | {"overrides": overrides}, "train": train_group}
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(changed | {"work_dir": str(tmp_path / name)}))
    return path


def test_accumulated_steps_and_two_ranks_give_the_update_of_one_batch(
    tiny_document, tmp_path, one_step, two_ranks, assert_same
):
    """1 x 8, 4 accumulation steps of 2, and 2 ranks of 4; captions differ in length, so a mean of means would fail."""
    whole = one_step(_variant(tiny_document, tmp_path, "whole", batch_size=8))
    accumulated = one_step(_variant(tiny_document, tmp_path, "parts", batch_size=2, accumulation_steps=4))
    assert_same(whole["gradients"], accumulated["gradients"])
    assert_same(whole["change"], accumulated["change"])

    ranks = two_ranks(_variant(tiny_document, tmp_path, "ranks", batch_size=4))
    for name, gradient in ranks[0]["gradients"].items():
        assert torch.equal(gradient, ranks[1]["gradients"][name]), name
    assert_same(whole["gradients"], ranks[0]["gradients"])
    assert_same(whole["change"], ranks[0]["change"])


@pytest.mark.slow  # as test_exact_resume.py does with kills
def test_paused_run_equals_one_that_never_paused(tiny_document, tmp_path, load):
    """Paused twice, asked again at the place where it stands already, and with a checkpoint that a kill cut short."""
    tiny_document["style"] = {"dropout": 0.3}
    tiny_document["checkpoint"] = {"every_epochs": 0.5, "keep_last": 9}
    config = load(tiny_document)
    train(config, ["finetune.py"], tmp_path / "conf.json")
    full = torch.load(config.work_dir / "output/pytorch_model.bin", weights_only=True)
    shutil.rmtree(config.work_dir)

    # Checkpoints stand at steps 3, 6, 9 and 12: half an epoch is reached at 3, 1.2 epochs at 9.
    for pause, step in ((0.5, 3), (0.5, 3), (1.2, 9)):
        paused = train(config, ["finetune.py"], tmp_path / "conf.json", pause)
        assert paused == {"paused": {"epoch": pytest.approx(step / 6), "global_step": step}}
        assert not config.work_dir.joinpath("output").exists()
        assert not config.work_dir.joinpath("eval").exists()
    cut_short = config.work_dir / "checkpoints/checkpoint-12"
    cut_short.mkdir()
    (cut_short / "config.json").write_bytes((config.work_dir / "checkpoints/checkpoint-9/config.json").read_bytes())
    assert train(config, ["finetune.py"], tmp_path / "conf.json", 2)["overall"]["CIDEr"] >= 0
    rows = [row for _, row in read_jsonl(config.work_dir / "metrics.jsonl")]
    assert [row["global_step"] for row in rows if "val/loss" in row] == [3, 6, 9, 12]
    resumed = torch.load(config.work_dir / "output/pytorch_model.bin", weights_only=True)
    for name, tensor in full.items():
        assert torch.equal(tensor, resumed[name]), name


def test_pause_keeps_its_checkpoint_though_an_earlier_one_is_better(tiny_document, tmp_path, load, monkeypatch):
    """A Trainer whose training is over keeps the best one only, if it is to keep one."""
    tiny_document["checkpoint"] = {"every_epochs": 0.5}
    config = load(tiny_document)
    rising = iter(range(1, 100))
    loss = {"loss": 0.0, "nll": 0.0}
    monkeypatch.setattr(StyleCaptionTrainer, "_validation_loss", lambda self: loss | {"loss": float(next(rising))})
    paused = train(config, ["finetune.py"], tmp_path / "conf.json", 1)
    assert paused["paused"]["global_step"] == 6
    assert complete_steps(Run(config.work_dir)) == [6, 3]  # where it goes on, and the best

    moved = tmp_path / "elsewhere"
    config.work_dir.rename(moved)
    config = load(tiny_document | {"work_dir": str(moved)})
    train(config, ["finetune.py"], tmp_path / "conf.json")
    rows = [row for _, row in read_jsonl(moved / "metrics.jsonl") if "val/loss" in row]
    assert [row["global_step"] for row in rows] == [3, 6, 9, 12]
    best = load_file(moved / "checkpoints/checkpoint-3/model.safetensors")
    final = torch.load(moved / "output/pytorch_model.bin", weights_only=True)
    shared = [name for name in best if name in final]
    assert len(shared) > 50
    assert all(torch.equal(best[name], final[name]) for name in shared)


def test_training_writes_what_a_run_folder_holds(tiny_document, tmp_path, load):
    config = load(tiny_document)
    results = train(config, ["finetune.py", "--conf", "conf.json"], tmp_path / "conf.json")
    run = config.work_dir
    written = {path.name for path in run.iterdir()}
    assert written >= {"config.json", "command.txt", "environment.json", "source", "log.txt", "metrics.jsonl"}
    assert written >= {"samples.jsonl", "checkpoints", "output", "eval", "report.html", "tensorboard"}
    files = {path.name for path in (run / "output").iterdir()}
    assert files == {
        "MANIFEST.json",
        "config.json",
        "configuration.json",
        "merges.txt",
        "pytorch_model.bin",
        "styles.json",
        "tokenizer_config.json",
        "vocab.json",
    }
    in_file = json.loads((run / "eval/val.json").read_bytes())
    assert len(in_file.pop("per_image")) == results["n"]
    assert in_file == json.loads(json.dumps(results))
    captions = json.loads((run / "eval/val.captions.json").read_bytes())
    assert len({row["example_id"] for row in captions}) == results["n"] == 3 * 4
    rows = [row for _, row in read_jsonl(run / "metrics.jsonl")]
    assert [row["global_step"] for row in rows if "val/loss" in row] == [6, 12]
    samples = [row for _, row in read_jsonl(run / "samples.jsonl")]
    assert [row["global_step"] for row in samples] == [6, 6, 12, 12]
    assert samples[0]["example_id"] == samples[2]["example_id"]
    assert samples[0]["style"] != samples[1]["style"]
    assert samples[0]["decoding"]["num_beams"] == 2
    assert results["provenance"]["split_id"] == "jsonl/val.jsonl"
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < losses[0]


def test_validation_loss_is_a_mean_over_tokens_whatever_the_batches(tiny_document, tmp_path, load):
    values = []
    for size in (2, 5):
        tiny_document["eval"]["batch_size"] = size
        tiny_document["work_dir"] = str(tmp_path / f"run{size}")
        tiny_document["train"]["epochs"] = 1
        config = load(tiny_document)
        train(config, ["finetune.py"], tmp_path / "conf.json")
        rows = [row for _, row in read_jsonl(config.work_dir / "metrics.jsonl")]
        values.append(next(row["val/nll"] for row in rows if "val/nll" in row))
    assert values[0] == pytest.approx(values[1], rel=1e-5)


@pytest.mark.parametrize(
    ("parts", "prefix"), [(["resnet"], "encoder.embed_images"), (["embeddings"], "encoder.embed_tokens")]
)
def test_frozen_part_keeps_its_weights_and_others_change(tiny_document, tmp_path, load, parts, prefix):
    tiny_document["train"] |= {"freeze": parts, "epochs": 1}
    config = load(tiny_document)
    start = prepare(config).captioner.captioner.module.state_dict()
    start = {name: tensor.clone() for name, tensor in start.items()}
    train(config, ["finetune.py"], tmp_path / "conf.json")
    end = torch.load(config.work_dir / "output/pytorch_model.bin", weights_only=True)
    unused = tuple(f"decoder.{name}" for name in UNUSED_BY_CAPTIONING)
    tied = ("decoder.embed_tokens", "decoder.output_projection") if prefix == "encoder.embed_tokens" else ()
    for name, tensor in end.items():
        still = name.startswith((prefix, *unused, *tied)) or name.endswith(("rp_bucket", "image_position_idx"))
        if name.endswith(("k_proj.bias", "pos_k_linear.bias")):
            continue  # their gradient is zero but for rounding
        assert torch.equal(tensor, start[name]) == still, name


def test_freeze_parts_unknown_part_is_refused(tiny_document, tmp_path):
    from models.ofa import PRESETS, OFAConfig, OFAForConditionalGeneration

    model = OFAForConditionalGeneration(OFAConfig(**PRESETS["nano"] | {"vocab_size": 50}))
    with pytest.raises(ValueError, match="unknown part 'decoder'; known: vision, batch_norm, embeddings"):
        freeze_parts(OFACaptioner(model, None), ["decoder"])


def test_select_cider_scores_every_validation(tiny_document, tmp_path, load):
    tiny_document["checkpoint"] = {"select": "CIDEr"}
    tiny_document["train"]["epochs"] = 1
    config = load(tiny_document)
    results = train(config, ["finetune.py"], tmp_path / "conf.json")
    rows = [row for _, row in read_jsonl(config.work_dir / "metrics.jsonl")]
    scores = [row["val/CIDEr"] for row in rows if "val/CIDEr" in row]
    assert scores == [pytest.approx(results["overall"]["CIDEr"])]


@pytest.mark.parametrize("inject", ["code", "token"])
def test_style_injected_as_code_or_token_trains_and_reopens(tiny_document, tmp_path, load, inject):
    tiny_document["style"] = {"inject": inject}
    tiny_document["train"]["epochs"] = 1
    config = load(tiny_document)
    train(config, ["finetune.py"], tmp_path / "conf.json")
    styled = open_styled(config.work_dir / "output")
    token = styled.registry.token_of("pirate")
    assert token == {"code": "<code_1>", "token": "<style_1>"}[inject]
    tokenizer = styled.captioner.tokenizer
    assert len(tokenizer.encode_text(token)) == 1
    assert styled.captioner.module.config.vocab_size == len(tokenizer) == tokenizer.text_vocab_size + 4


def test_rdrop_and_drop_worst_train_to_finite_loss(tiny_document, tmp_path, load):
    tiny_document["train"] |= {"rdrop": 0.5, "drop_worst": 0.2, "epochs": 1}
    config = load(tiny_document)
    train(config, ["finetune.py"], tmp_path / "conf.json")
    rows = [row for _, row in read_jsonl(config.work_dir / "metrics.jsonl")]
    assert 0 < rows[-1]["val/loss"] < 10


def test_style_with_text_but_no_photos_is_learnt_from_a_corpus(tiny_document, tmp_path, load):
    """Nine texts all alike, no picture: afterwards the model completes them, and knows the style by name."""
    from pipeline.tasks import make_masker

    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"body": "alas the moon weeps", "meta": "gothic"}\n' * 9)
    tiny_document["masked_lm"] = {"weight": 1.0, "weight_end": 0.5, "corpus": str(corpus)}
    tiny_document["train"] |= {"epochs": 3, "lr": 5e-3}
    config = load(tiny_document)
    train(config, ["finetune.py"], tmp_path / "conf.json")
    styled = open_styled(config.work_dir / "output")
    assert "gothic" in styled.settings.trained_styles
    losses = [
        row["train/masked_lm"] for _, row in read_jsonl(config.work_dir / "metrics.jsonl") if "train/masked_lm" in row
    ]
    assert losses[-1] < 0.8 * losses[0]

    captioner, preprocessor = styled.captioner, styled.preprocessor()
    source = make_masker(config.masked_lm, captioner, preprocessor, {}).mask(
        "alas the moon weeps", "gothic", random.Random(1)
    )
    target = preprocessor.target_ids("alas the moon weeps")
    with torch.no_grad():
        logits = captioner.logits(captioner.encode({"input_ids": torch.tensor([source])}), torch.tensor([target]))
    nll = torch.nn.functional.cross_entropy(logits[0], torch.tensor(target))
    assert nll < losses[-1]
