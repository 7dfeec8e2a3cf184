from __future__ import annotations

import pytest

from metrics.coco_format import write_caption_results
from utils.io import read_json

ROMANTIC = {"image_id": "a.jpg", "caption": "my love", "style": "romantic", "example_id": "a.jpg#romantic"}
PIRATE = {"image_id": "a.jpg", "caption": "arr", "style": "pirate", "example_id": "a.jpg#pirate"}


def test_write_caption_results_keeps_both_styles_of_one_image(tmp_path):
    write_caption_results(tmp_path / "val.captions.json", [ROMANTIC, PIRATE])

    assert read_json(tmp_path / "val.captions.json") == [ROMANTIC, PIRATE]


def test_write_caption_results_opens_in_the_coco_api(tmp_path, capsys):
    from pycocotools.coco import COCO

    write_caption_results(tmp_path / "captions.json", [ROMANTIC, PIRATE])
    coco = COCO()
    coco.dataset = {"images": [{"id": "a.jpg"}]}
    coco.createIndex()

    found = coco.loadRes(str(tmp_path / "captions.json"))

    assert [row["caption"] for row in found.imgToAnns["a.jpg"]] == ["my love", "arr"]


def test_write_caption_results_repeated_example_is_refused_and_nothing_written(tmp_path):
    with pytest.raises(ValueError, match="'a.jpg#pirate' comes twice"):
        write_caption_results(tmp_path / "captions.json", [PIRATE, ROMANTIC, PIRATE])

    assert list(tmp_path.iterdir()) == []
