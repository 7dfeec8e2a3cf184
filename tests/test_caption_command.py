"""``finetune.py caption``: many pictures, lists, what goes wrong on the way, and the conversation."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import finetune
from captioning.batches import caption_pictures
from captioning.job import Outcome, caption_into
from captioning.model import CaptionModel
from captioning.outputs.table import open_output
from captioning.outputs.target import Target
from captioning.sources import find_pictures
from captioning.wanted import in_styles
from captioning.writing import Writing
from configuration.loading import load_config
from pipeline.prepare import prepare
from tests.conftest import TINY_SHAPE, TINY_SIDE
from utils.signals import request_stop


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scenes) -> Path:
    """An untrained model whose captions differ by picture and style."""
    place = tmp_path_factory.mktemp("model")
    shape = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in TINY_SIDE.items()}
    document = {
        "model": {"preset": "nano", "bpe_size": 300, "overrides": TINY_SHAPE | shape},
        "data": {"format": "jsonl", "annotations": str(scenes), "images": str(scenes / "images")},
        "image": {"size": 32},
        "decode": {"num_beams": 3, "max_length": 6},
        "work_dir": str(place / "run"),
    }
    (place / "conf.json").write_text(json.dumps(document))
    styled = prepare(load_config(place / "conf.json")).captioner
    torch.manual_seed(1)
    for parameter in styled.captioner.module.parameters():
        if parameter.dim() > 1:  # wide, or an untrained model says the same in every style
            torch.nn.init.normal_(parameter, std=0.3)
    styled.save_to_dir(place / "tiny/output")
    return place / "tiny/output"


@pytest.fixture(scope="module")
def model(folder) -> CaptionModel:
    return CaptionModel.open(folder)


@pytest.fixture
def photos(scenes, tmp_path, monkeypatch) -> Path:
    """Five pictures in two folders, named from the working directory; the third cannot be read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos/more").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "more/d.png", "more/e.png")):
        Image.open(scenes / f"images/train_{number:04d}.png").save(tmp_path / "photos" / name)
    (tmp_path / "photos/c.jpg").write_text("no picture")
    return Path("photos")


READABLE = ["photos/a.png", "photos/b.png", "photos/more/d.png", "photos/more/e.png"]


@pytest.fixture
def caption(folder, model, capsys, monkeypatch):
    """Runs the command on the model, opened once for all; returns exit code, standard output and standard error."""
    monkeypatch.setattr(CaptionModel, "open", lambda given, kind: model)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = finetune.main(["caption", "--model", str(folder), *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def rows_in(path: str) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


def test_folder_is_captioned_around_a_bad_picture_as_each_picture_alone(photos, model, caption):
    code, out, error = caption("--image", photos, "--style", "robot", "--style", "PIRATE", "--out", "x.jsonl")
    assert (code, out) == (1, "")
    rows = rows_in("x.jsonl")
    (bad,) = [row for row in rows if "error" in row]
    assert bad == {"image": "photos/c.jpg", "error": "the picture cannot be read; it is a text file"}
    (line,) = [line for line in error.splitlines() if "c.jpg" in line]
    assert line.endswith("photos/c.jpg: the picture cannot be read; it is a text file")
    assert "Traceback" not in error
    written = {(row["image"], row["style"]): row["captions"] for row in rows if "error" not in row}
    assert list(written) == [(name, style) for name in READABLE for style in ("robot", "pirate")]
    for (name, style), captions in written.items():
        (alone,) = model.write([(model.read(name), style)], Writing())[0]
        assert captions == [alone.text]
    assert len({tuple(captions) for captions in written.values()}) > 2


def test_picture_passes_the_vision_network_once_for_all_its_styles(photos, folder):
    model = CaptionModel.open(folder)
    passed = []
    vision = model._captioner.module.encoder.embed_images
    vision.register_forward_hook(lambda module, given, out: passed.append(len(out)))
    pictures = in_styles(find_pictures([photos]), model.styles, model.style)
    answers = [*caption_pictures(model, pictures, Writing(), batch_size=3)]
    assert passed == [2, 2]  # of five pictures one is bad, and three of them make a group
    assert [answer.picture.name for answer in answers] == [picture.name for picture in pictures]
    assert [len(answer.captions) for answer in answers] == [4, 4, 0, 4, 4]


def test_run_that_was_stopped_goes_on_to_what_it_would_have_been(photos, caption, monkeypatch):
    arguments = ("--image", photos, "--all-styles", "--batch-size", 1, "--skip-existing")
    assert caption(*arguments, "--out", "whole.jsonl")[0] == 1
    write, calls = CaptionModel.write, []

    def write_and_stop(self, requests, *rest, **options):
        calls.append(len(requests))
        if len(calls) == 2:
            request_stop()
        return write(self, requests, *rest, **options)

    monkeypatch.setattr(CaptionModel, "write", write_and_stop)
    code, _, error = caption(*arguments, "--out", "part.jsonl")
    assert code == 130
    assert "--skip-existing goes on" in error
    part = Path("part.jsonl").read_bytes()
    assert part == b"".join(Path("whole.jsonl").read_bytes().splitlines(keepends=True)[:4])  # of one picture
    Path("part.jsonl").write_bytes(part[:-5])
    assert caption(*arguments, "--out", "part.jsonl")[0] == 1
    assert calls == [4, 4, 1, 4, 4, 4]  # the caption that was cut short, and the others

    def content(name: str) -> list[str]:
        return sorted(json.dumps(row) for row in rows_in(name))

    assert content("part.jsonl") == content("whole.jsonl")
    assert caption(*arguments, "--out", "part.jsonl")[0] == 1  # the bad picture is tried again
    assert content("part.jsonl") == content("whole.jsonl")


def test_bar_counts_captions_and_stands_at_the_end_of_them(photos, model):
    pictures = in_styles(find_pictures([photos]), ["robot", "pirate"], model.style)
    terminal = io.StringIO()
    output = open_output("jsonl", Target(Path("x.jsonl"), io.StringIO(), pictures))
    outcome = caption_into(output, model, pictures, Writing(), progress=terminal)
    assert outcome == Outcome(pictures=4, captions=8, failed=1)
    assert "captions:   0%|" in terminal.getvalue()
    assert "/10 [" in terminal.getvalue()


def test_sidecars_are_written_and_what_is_there_is_not_captioned_again(photos, caption, monkeypatch):
    assert caption("--image", photos, "--format", "sidecar")[0] == 1
    assert {path.name for path in photos.rglob("*.txt")} == {"a.txt", "b.txt", "d.txt", "e.txt"}
    code, _, error = caption("--image", photos, "--format", "sidecar")
    assert code == 2
    assert "photos/a.txt: is there already (4 of 5 such files are)" in error
    (photos / "b.txt").unlink()
    (photos / "a.txt").write_text("mine")
    monkeypatch.setattr(CaptionModel, "caption", None)
    code, _, error = caption("--image", photos, "--format", "sidecar", "--skip-existing")
    assert code == 1
    told = "pictures: 1 captioned (1 captions); had everything already: 3; could not be captioned, as told above: 1"
    assert told in error
    assert (photos / "a.txt").read_text() == "mine"
    assert (photos / "b.txt").read_text()


def test_list_on_standard_input_is_captioned_in_the_styles_of_its_rows(photos, caption, monkeypatch):
    rows = [{"image": "a.png", "style": "robot", "reference": "r"}, {"image": "more/d.png"}, {"image": "gone.png"}]
    sent = io.TextIOWrapper(io.BytesIO(b"\n".join(json.dumps(row).encode() for row in rows)))
    monkeypatch.setattr(sys, "stdin", sent)
    arguments = ("--list", "-", "--images", photos, "--style", "pirate", "--format", "json")
    code, out, error = caption(*arguments)
    assert code == 1
    found = json.loads(out)
    assert [(row["image"], row.get("style"), row.get("reference")) for row in found] == [
        *(("a.png", "robot", "r"), ("more/d.png", "pirate", None), ("gone.png", None, None))
    ]
    assert "gone.png: picture not found" in error
    Path("l.json").write_text('[{"image": "photos/a.png", "style": "Robat"}]')
    code, out, error = caption("--list", "l.json")
    assert (code, out) == (2, "")
    assert "error: l.json, row 1: unknown style 'Robat'; nearest: robot" in error


def test_text_names_pictures_and_styles_where_there_are_several(photos, caption):
    alone = caption("--image", "photos/a.png")[1]
    assert "\t" not in alone
    assert caption("--image", "photos/a.png", "photos/b.png")[1].splitlines()[0] == f"photos/a.png\t{alone.strip()}"
    assert caption("--image", "photos/more", "--style", "robot")[1].startswith("photos/more/d.png\t")
    drawn = caption("--image", "photos/a.png", "--num", 3, "--sampling", "multinomial", "--style", "robot")[1]
    assert len(drawn.splitlines()) == 3
    begun = caption("--image", "photos/a.png", "--num", 2, "--prefix", "a red")[1].splitlines()
    assert len({*begun}) == 2
    assert all(line.startswith("a red") for line in begun)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to caption: give --image, --list or --interactive"),
        (("--image", "photos", "--format", "html"), "--format html: name the file with --out"),
        (("--image", "photos", "--out", "x.doc"), ".doc is the suffix of no format"),
        (("--image", "photos", "--num", "9"), "num=9"),
        (("--image", "photos", "--style", "Robat"), "unknown style 'Robat'; nearest: robot"),
        (("--image", "photos", "--out", "x.csv", "--skip-existing"), "not with csv"),
        (("--image", "photos/more/x.png"), "picture not found; check the path"),
        (("--list", "absent.json"), "absent.json: no such file"),
        (("--interactive", "--out", "x.txt"), "leave --list, --out and --format out"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(photos, caption, arguments, message):
    code, out, error = caption(*arguments)
    assert (code, out) == (2, "")
    assert message in error
    assert not [*Path().glob("x.*")]


def test_pipe_that_nobody_reads_any_more_ends_quietly(photos, folder, monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(os.fdopen(writing, "wb")))
    assert finetune.main(["caption", "--model", str(folder), "--image", "photos/more"]) == 0
    assert "roken pipe" not in capsys.readouterr().err


def test_console_that_is_not_utf8_gets_captions_and_names(photos, folder, monkeypatch):
    (photos / "a.png").rename(photos / "café.png")
    console = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", console)
    assert finetune.main(["caption", "--model", str(folder), "--image", "photos", "--style", "robot"]) == 1
    console.flush()
    lines = console.buffer.getvalue().decode("ascii").splitlines()
    assert [line.split("\t")[0] for line in lines] == ["photos/b.png", "photos/caf\\xe9.png", *READABLE[2:]]


def test_page_shows_every_picture_with_its_styles(photos, caption):
    assert caption("--image", photos, "--all-styles", "--out", "page.html")[0] == 1
    page = Path("page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    assert page.count(">robot</span>") == 4
    assert "<title>Captions: tiny" in page
    assert "Beam search with 3 beams." in page
    assert "1 picture could not be captioned" in page
    code, _, error = caption("--image", photos, "--out", "page.html")
    assert code == 2
    assert "page.html: is there already; name another file, or --overwrite replaces it" in error


def test_conversation_keeps_picture_and_style_and_survives_mistakes(photos, model, caption, monkeypatch):
    said = iter(
        [
            *(":styles ro", "photos/none.png", "photos/a.png", "robat", "photos/a.png", "robot, PIRATE"),
            *("", "", "photos/b.png", ":help", "all", ":quit"),
        ]
    )
    monkeypatch.setattr("builtins.input", lambda question: next(said))
    code, out, _ = caption("--interactive")
    assert code == 0
    lines = out.splitlines()
    assert "robot, romantic" in lines
    assert any(line.startswith("photos/none.png: picture not found") for line in lines)
    assert any("unknown style 'robat'; nearest: robot" in line for line in lines)
    (robot,) = model.write([(model.read("photos/a.png"), "robot")], Writing())[0]
    assert [line for line in lines if line.startswith("  robot\t")][:2] == [f"  robot\t{robot.text}"] * 2  # by Enter
    assert len([line for line in lines if line.startswith("  neutral\t")]) == 1
    assert "Tab completes both" in out


def test_completion_knows_paths_and_the_last_of_several_styles(photos):
    from commands.asking import complete_path, completer

    assert complete_path("photos/m") == ["photos/more/"]
    assert complete_path("photos/more/") == ["photos/more/d.png", "photos/more/e.png"]
    assert completer(["Romantic", "robot", "all"])("ro") == ["Romantic", "robot"]
    assert completer(["Romantic", "robot", "all"])("pirate, ROM") == ["pirate, Romantic"]


def test_conversation_of_no_style_keeps_the_last_and_ends_quietly_where_nobody_reads(
    photos, model, caption, monkeypatch
):
    said = iter(["photos/a.png", " , ", ":quit"])
    monkeypatch.setattr("builtins.input", lambda question: next(said))
    code, out, _ = caption("--interactive", "--style", "robot")
    (robot,) = model.write([(model.read("photos/a.png"), "robot")], Writing())[0]
    assert (code, out.splitlines()[1]) == (0, f"  {robot.text}")
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writing, "w", buffering=1))
    assert caption("--interactive")[0] == 0


def test_list_on_closed_standard_input_is_refused(photos, caption, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    code, _, error = caption("--list", "-")
    assert code == 2
    assert "standard input is closed; name a file with --list" in error
