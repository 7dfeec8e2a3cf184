"""Pairs of captions: their file, and the rows that they become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from preprocessors.collator import CaptionCollator
from preprocessors.ofa import OFAStylePreprocessor
from preprocessors.pairs import PairDataset, read_pairs
from preprocessors.pictures.drawn_scenes import write_drawn_scenes
from preprocessors.pictures.images import ImageTransform
from preprocessors.text.styles import StyleRegistry
from tests.toy_captioner import SPECIAL, ToyTokenizer

WORDS = "a dog cat sits runs very far in pirate romantic".split()
PAIR = {"image": "p.png", "style": "Pirate", "chosen": "A dog sits.", "rejected": "a cat runs very far"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_drawn_scenes(tmp_path / "scenes", num_train=1, num_val=1, size=32, val_size=32)
    folder = tmp_path / "scenes/images"
    next(iter(sorted(folder.iterdir()))).rename(folder / "p.png")
    return folder


@pytest.fixture
def preprocessor() -> OFAStylePreprocessor:
    return OFAStylePreprocessor(
        ToyTokenizer([*SPECIAL, "A", *WORDS]),
        StyleRegistry(["pirate", "romantic"], aliases={"buccaneer": "pirate"}),
        image_transform=ImageTransform(32),
        prompt=" in {}",
    )


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_read_pairs_gives_examples_of_the_chosen_captions(tmp_path, images, preprocessor):
    path = write(tmp_path, PAIR | {"by": "me"}, "", PAIR | {"style": "buccaneer", "chosen": " a cat "})
    first, second = read_pairs(path, images, preprocessor)
    assert (first.example.captions, first.rejected) == (("A dog sits.",), "a cat runs very far")
    assert first.example.example_id == "p.png#pirate"
    assert first.example.image_path == images / "p.png"
    assert (second.example.style, second.example.captions) == ("pirate", ("a cat",))
    assert second.example.where == f"{path}, row 3"


def test_read_pairs_leaves_out_other_styles(tmp_path, images, preprocessor):
    path = write(tmp_path, PAIR, PAIR | {"style": "romantic", "image": "not there.png"})
    (pair,) = read_pairs(path, images, preprocessor, styles=["buccaneer"])
    assert pair.example.style == "pirate"
    with pytest.raises(ValueError, match=r"pairs\.jsonl: there are no pairs to learn, all 1 in other styles than"):
        read_pairs(write(tmp_path, PAIR), images, preprocessor, styles=["romantic"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**PAIR, "style": "pirat"}, r"unknown style 'pirat'; nearest: pirate"),
        (
            {name: PAIR[name] for name in ("image", "style", "chosen")},
            r"'rejected' is missing \(keys: image, style, ch",
        ),
        (PAIR | {"chosen": ["a dog"]}, r"'chosen' must be text, got \['a dog'\]"),
        (PAIR | {"image": " "}, "'image' is blank"),
        (PAIR | {"rejected": "?!"}, r"'rejected' has no words: '\?!'"),
        (PAIR | {"rejected": PAIR["chosen"]}, "'chosen' and 'rejected' are the same caption to the model"),
        (
            PAIR | {"rejected": "A dog sits!"},
            r"'chosen' and 'rejected' are the same caption to the model \('A dog sits\.' and 'A dog sits!'\)",
        ),
        (["a", "b"], r"must be a JSON object, got \['a', 'b'\]"),
        ('{"image": ', "column 11: not valid JSON"),
    ],
)
def test_read_pairs_bad_line_is_named(tmp_path, images, preprocessor, row, message):
    with pytest.raises(ValueError, match=rf"pairs\.jsonl, line 2[:,] {message}"):
        read_pairs(write(tmp_path, PAIR, row), images, preprocessor)


def test_read_pairs_without_picture_file_or_rows_is_refused(tmp_path, images, preprocessor):
    path = write(tmp_path, PAIR, PAIR | {"image": "gone.png"}, PAIR | {"image": "gone too.png"})
    with pytest.raises(FileNotFoundError, match=r"pairs\.jsonl, line 2: no picture .*gone\.png \(2 of 3 pairs have"):
        read_pairs(path, images, preprocessor)
    with pytest.raises(ValueError, match=r"pairs\.jsonl, row 1: the picture '\.\./p\.png' lies outside"):
        read_pairs(write(tmp_path, PAIR | {"image": "../p.png"}), images, preprocessor)
    with pytest.raises(ValueError, match=r"pairs\.jsonl: there are no pairs to learn\. Check preference\.pairs"):
        read_pairs(write(tmp_path, ""), images, preprocessor)
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl: no such file"):
        read_pairs(tmp_path / "none.jsonl", images, preprocessor)


def test_pairs_become_rows_with_both_captions_padded_together(tmp_path, images, preprocessor):
    rows = read_pairs(write(tmp_path, PAIR, PAIR | {"chosen": "a cat"}), images, preprocessor)
    data = PairDataset(rows, preprocessor)
    batch = CaptionCollator(preprocessor.tokenizer.pad_token_id)(data.__getitems__([0, 1]))
    ids, eos = preprocessor.tokenizer.ids, preprocessor.tokenizer.eos_token_id
    rejected = [*(ids[word] for word in ("a", "cat", "runs", "very", "far")), eos]
    assert batch["pair_labels"].tolist() == [
        [[ids["A"], ids["dog"], ids["sits"], eos, -100, -100], rejected],
        [[ids["a"], ids["cat"], eos, -100, -100, -100], rejected],
    ]
    # What is learnt of captions beside is learnt of the chosen ones.
    assert torch.equal(batch["labels"], batch["pair_labels"][:, 0, :4])
    assert (data.caption_length(0, 1), data.caption_tokens(0, 1)) == (6, 9)
