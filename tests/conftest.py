"""Fixtures that every test package shares."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TINY_SIDE = {"layers": 1, "attention_heads": 2, "ffn_dim": 48}
TINY_SHAPE = {"d_model": 32, "resnet_width": 4, "resnet_stem_stride": 2, "image_bucket_size": 4, "token_bucket_size": 8}

SMALLEST = {"model": {"preset": "nano"}, "data": {"format": "drawn_scenes"}}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what compares with the official Java programs where they cannot run."""
    if item.get_closest_marker("java") and shutil.which("java") is None:
        pytest.skip("no Java runtime on PATH")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the golden numbers and the real data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("STYLECAP_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no shared data at {folder}; set STYLECAP_SHARED to the folder that holds golden/ and data/")
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 12 training and 3 validation pictures of 32 pixels, in four styles, as JSONL."""
    from preprocessors.pictures.drawn_scenes import write_drawn_scenes

    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_drawn_scenes(folder, num_train=12, num_val=3, size=32, val_size=32)
    return folder


@pytest.fixture
def tiny_document(scenes: Path, tmp_path: Path) -> dict[str, Any]:
    """Configuration of a run that takes seconds: a model of 40,000 parameters on the scenes."""
    shape = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in TINY_SIDE.items()}
    return {
        "model": {"preset": "nano", "bpe_size": 300, "overrides": TINY_SHAPE | shape},
        "data": {
            "format": "jsonl",
            "annotations": str(scenes),
            "images": str(scenes / "images"),
            "picture_record": str(tmp_path / "pictures"),
        },
        "image": {"size": 32, "feature_cache": str(tmp_path / "features")},
        "train": {"epochs": 2, "batch_size": 8, "lr": 2e-3},
        "decode": {"num_beams": 2, "max_length": 12},
        "eval": {"batch_size": 8, "samples": 2, "report_images": 2, "metrics": ["Bleu_4", "CIDEr"]},
        "work_dir": str(tmp_path / "run"),
    }


@pytest.fixture
def toy_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of captioners knows the toy meanwhile."""
    import models

    monkeypatch.setattr(models, "CAPTIONERS", {**models.CAPTIONERS, "toy": "tests.toy_captioner:ToyCaptioner"})


@pytest.fixture
def toy_document(toy_in_the_table: None, tiny_document: dict[str, Any], scenes: Path, tmp_path: Path) -> dict[str, Any]:
    """Configuration of a run that starts from an untrained toy."""
    from models.captioner import NewModel
    from tests.toy_captioner import PROMPT, ToyCaptioner
    from utils.io import read_jsonl

    captions = [text for _, row in read_jsonl(scenes / "train.jsonl") for text in row["captions"]]
    prompts = [PROMPT.format(style) for style in ("neutral", "romantic", "pirate", "robot")]
    prompts.append("what is the complete text of write a reply.")
    ToyCaptioner.new(NewModel("", {}, captions, prompts, 0, 0, 1)).save(tmp_path / "start", None)
    start = {"model": {"name": str(tmp_path / "start")}, "style": {"prompt": PROMPT}}
    return tiny_document | start | {"masked_lm": {"weight": 0.5}}


@pytest.fixture
def seal_checkpoint() -> Callable[..., None]:
    """Writes the manifest that makes a folder ``checkpoint-<step>`` a whole checkpoint; settings of its own win."""
    from utils.manifest import seal

    def write(folder: Path, **about: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        step = int(folder.name.rpartition("-")[2])
        usual = {"step": step, "max_steps": 200, "epoch": step / 100, "processes": 1, "rows_per_step": 8}
        seal(folder, usual | {"settings": "", "score": None, "awaits_validation": False} | about)

    return write


@pytest.fixture
def start_model(tiny_document: dict[str, Any], tmp_path: Path) -> Path:
    """Folder with an untrained model to start a self-critical run from."""
    from configuration.loading import load_config
    from pipeline.prepare import prepare

    conf, folder = tmp_path / "start.json", tmp_path / "start"
    conf.write_text(json.dumps(tiny_document))
    prepare(load_config(conf)).captioner.save_to_dir(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_ofa() -> Callable[..., Any]:
    """Builds an OFA model of 67 tokens with the random weights of a seed; options go to its configuration."""
    import torch

    from models.ofa import OFAConfig, OFAForConditionalGeneration

    def build(seed: int, **options: Any) -> OFAForConditionalGeneration:
        torch.manual_seed(seed)
        shape = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 40, "decoder_ffn_dim": 44}
        heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 2}
        tables = {"max_position_embeddings": 32, "token_bucket_size": 8, "image_bucket_size": 5}
        vision = {"resnet_width": 4, "resnet_layers": [1, 1, 1]}
        config = OFAConfig(vocab_size=67, init_std=0.3, **shape, **heads, **tables, **vision, **options)
        return OFAForConditionalGeneration(config).eval()

    return build


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a CLIP model of random weights that reads letter by letter."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    place = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(33, 127)]
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={name: place for place, name in enumerate(names)}, merges=[])
    end, side = len(names) - 1, {"num_hidden_layers": 1, "num_attention_heads": 2}
    text = side | {"hidden_size": 16, "intermediate_size": 20, "vocab_size": len(names), "eos_token_id": end}
    text |= {"bos_token_id": end - 1, "pad_token_id": end, "max_position_embeddings": 40}
    vision = side | {"hidden_size": 24, "intermediate_size": 36, "image_size": 32, "patch_size": 16}
    torch.manual_seed(9)  # whose captions and pictures are on the same side, so that few scores are 0
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(place)
    tokenizer.save_pretrained(place)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(place)
    return place


@pytest.fixture(scope="session")
def tiny_inputs() -> Callable[[int], dict[str, Any]]:
    """Draws three pictures, the last masked out, and prompts of a given length, the second padded, for ``tiny_ofa``."""
    import torch

    def build(length: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(5)
        input_ids = torch.randint(4, 67, (3, length), generator=generator)
        input_ids[1, 4:] = 1  # padding
        return {
            "input_ids": input_ids,
            "patch_images": torch.randn(3, 3, 64, 48, generator=generator),
            "patch_masks": torch.tensor([True, True, False]),
        }

    return build


@pytest.fixture
def load(tmp_path):
    """Writes a document as conf.json and loads it."""

    def write_and_load(document=SMALLEST, overrides=(), flags=None, **groups):
        from configuration.loading import load_config

        path = tmp_path / "conf.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document | groups))
        return load_config(path, overrides, flags)

    return write_and_load


@pytest.fixture
def faults(load, tmp_path):
    """Loads a document that must be refused; returns the fault lines without the folder of the file."""

    def write_and_fail(*arguments, **groups):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - every caller looks at the lines
            load(*arguments, **groups)
        lines = str(caught.value).replace(f"{tmp_path}{os.sep}", "").splitlines()
        if len(lines) > 1:
            assert lines[0] == f"{len(lines) - 1} faults in the configuration:"
            lines = lines[1:]
        return lines

    return write_and_fail
