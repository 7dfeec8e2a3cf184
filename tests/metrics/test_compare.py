from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metrics.compare import main
from metrics.results import evaluate_captions
from utils.io import read_json, write_json

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ("Bleu_1", "Bleu_4", "ROUGE_L", "CIDEr")
WORDS = "a red blue dog cat runs sits on the grass".split()


def captions(seed: int) -> dict[str, str]:
    draw = np.random.default_rng(seed)
    return {f"{number % 6}.jpg#{number // 6}": " ".join(draw.choice(WORDS, size=6)) for number in range(12)}


REFERENCES = {key: [text] for key, text in captions(0).items()}


def results(hypotheses: dict[str, str], references: dict[str, list[str]] = REFERENCES, **other) -> dict:
    other = {"images": {key: key.split("#")[0] for key in references}, "per_image": True, "metrics": NAMES} | other
    return evaluate_captions(
        references, hypotheses, None, train_captions=None, provenance={}, resamples=10, **other
    )  # fmt: skip


@pytest.fixture(scope="module")
def scored() -> dict[str, dict]:
    return {"a": results(captions(1)), "b": results(captions(0) | dict(list(captions(1).items())[:4]))}


@pytest.fixture
def files(tmp_path, scored) -> list[str]:
    for name, content in scored.items():
        write_json(tmp_path / f"{name}.json", content)
    return [str(tmp_path / "a.json"), str(tmp_path / "b.json")]


def edit(path: str, change) -> None:
    content = read_json(path)
    change(content)
    write_json(path, content)


def fault(arguments: list[str], capsys) -> str:
    """What the one line says that such a comparison is refused with."""
    code = main(arguments)
    out, error = capsys.readouterr()
    assert (code, out) == (2, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_compare_prints_each_metric_of_both_files(files, scored, capsys):
    code = main([*files, "--resamples", "200"])

    out, error = capsys.readouterr()
    found = json.loads(out)
    assert code == 0
    assert list(found["metrics"]) == list(NAMES)
    assert {name: found[name] for name in ("n", "images", "a", "b", "resamples", "level", "seed")} == {
        "n": 12, "images": 6, "a": files[0], "b": files[1], "resamples": 200, "level": 0.95, "seed": 0,
    }  # fmt: skip
    for name, test in found["metrics"].items():
        assert list(test) == ["a", "b", "difference", "low", "high", "p"]
        assert [test["a"], test["b"]] == pytest.approx([scored[file]["overall"][name] for file in "ab"], rel=1e-12)
        assert test["difference"] == test["b"] - test["a"]
        assert 1 / 201 <= test["p"] <= 1
    ciders = found["metrics"]["CIDEr"]
    assert f"CIDEr    {ciders['a']:8.4f} {ciders['b']:8.4f} {ciders['difference']:+8.4f}" in error


def test_compare_six_images_have_at_least_two_swaps_in_64_as_large(files, capsys):
    main([*files, "--metrics", "CIDEr"])

    # Swapping all images or none gives the largest difference there is if every image gains, which happens here.
    rows = [read_json(path)["per_image"] for path in files]
    gains = [
        sum(rows[1][key]["CIDEr"] - rows[0][key]["CIDEr"] for key in rows[0] if key[0] == name) for name in "012345"
    ]
    assert all(gain > 0 for gain in gains)
    p = json.loads(capsys.readouterr().out)["metrics"]["CIDEr"]["p"]
    assert p == pytest.approx(2 / 64, abs=4 * (2 / 64 * 62 / 64 / 10_000) ** 0.5)


def test_compare_file_with_itself_finds_no_difference(files, capsys):
    assert main([files[0], files[0], "--resamples", "100"]) == 0

    for test in json.loads(capsys.readouterr().out)["metrics"].values():
        assert (test["difference"], test["low"], test["high"], test["p"]) == (0, 0, 0, 1)


def test_compare_same_files_give_the_same_numbers(files, capsys):
    outputs = []
    for _ in range(2):
        main([*files, "--resamples", "100"])
        outputs.append(capsys.readouterr().out)

    assert outputs[0] == outputs[1]


def test_compare_metrics_asked_for_are_the_only_ones(files, capsys):
    assert main([*files, "--resamples", "100", "--metrics", "CIDEr", "Bleu_4"]) == 0

    assert list(json.loads(capsys.readouterr().out)["metrics"]) == ["Bleu_4", "CIDEr"]


def test_compare_metric_that_one_file_lacks_is_left_out_with_a_warning(files, capsys):
    edit(files[1], lambda content: content["overall"].update(ROUGE_L=None))

    assert main([*files, "--resamples", "100"]) == 0

    out, error = capsys.readouterr()
    assert list(json.loads(out)["metrics"]) == ["Bleu_1", "Bleu_4", "CIDEr"]
    assert "not in both files: ROUGE_L" in error


def test_compare_metric_asked_for_that_one_file_lacks_is_refused(files, capsys):
    edit(files[1], lambda content: content["overall"].update(ROUGE_L=None))

    message = fault([*files, "--metrics", "CIDEr", "ROUGE_L", "Bleu4"], capsys)

    assert "ROUGE_L, Bleu4: not in both files; both have: Bleu_1, Bleu_4, CIDEr" in message


def test_compare_file_without_single_images_is_refused_with_the_remedy(files, capsys):
    edit(files[1], lambda content: content.pop("per_image"))

    assert "b.json: has no scores of single images; make it again with metrics.evaluate --per-image" in fault(
        files, capsys
    )


def test_compare_other_examples_are_counted_and_listed(files, capsys):
    for key in ("0.jpg#0", "1.jpg#0"):
        edit(files[0], lambda content, key=key: content["per_image"].pop(key))
    edit(files[1], lambda content: content["per_image"].pop("2.jpg#0"))

    message = fault(files, capsys)

    assert "1 id ('2.jpg#0') only in" in message
    assert "2 ids ('0.jpg#0', '1.jpg#0') only in" in message


def test_compare_other_references_are_refused(files, tmp_path, capsys):
    write_json(tmp_path / "b.json", results(captions(1), REFERENCES | {"0.jpg#0": ["other words"]}))

    message = fault(files, capsys)

    assert "scored against other references or with another tokenizer" in message
    assert "references_sha256: " in message


def test_compare_other_tokenizer_is_refused(files, capsys):
    edit(files[1], lambda content: content["provenance"]["metrics"].update(tokenizer="white space"))

    assert "and 'white space')" in fault(files, capsys)


def test_compare_other_version_is_a_warning(files, capsys):
    edit(files[1], lambda content: content["provenance"]["metrics"].update(java="11"))

    assert main([*files, "--resamples", "100"]) == 0
    assert "other versions: java: None and '11'" in capsys.readouterr().err


def test_compare_other_images_are_refused(files, capsys):
    edit(files[1], lambda content: content["per_image"]["3.jpg#1"].update(image="x.jpg"))

    assert "disagree about the image of 1 id ('3.jpg#1')" in fault(files, capsys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("overall"), "is not a results file"),
        (lambda content: content.pop("provenance"), "is not as metrics.evaluate --per-image writes it"),
        (lambda content: content.update(per_image=[1]), "is not as metrics.evaluate --per-image writes it"),
        (lambda content: content["per_image"]["0.jpg#0"].pop("image"), "is not as metrics.evaluate --per-image writes"),
        (lambda content: content["provenance"]["metrics"].pop("references_sha256"), "does not say which references"),
        (lambda content: content["per_image"]["0.jpg#0"].update(CIDEr=None), "a number as 'CIDEr'"),
        (lambda content: content["per_image"]["0.jpg#0"].pop("bleu_statistics"), "numbers as 'bleu_statistics'"),
        (lambda content: content["per_image"]["0.jpg#0"].update(bleu_statistics=[1]), "numbers as 'bleu_statistics'"),
    ],
)
def test_compare_damaged_file_is_refused_by_name(files, capsys, change, message):
    edit(files[1], change)

    found = fault(files, capsys)

    assert message in found
    assert "b.json: " in found


@pytest.mark.parametrize(("content", "message"), [("{", "not valid JSON"), ("[]", "is not a results file")])
def test_compare_other_content_is_refused(files, tmp_path, capsys, content, message):
    (tmp_path / "a.json").write_text(content)

    assert message in fault(files, capsys)


def test_compare_one_image_is_refused(files, capsys):
    for path in files:
        edit(path, lambda content: [row.update(image="x") for row in content["per_image"].values()])

    assert "only one image" in fault(files, capsys)


def test_compare_no_resamples_is_refused(files, capsys):
    assert "--resamples 0: from 100" in fault([*files, "--resamples", "0"], capsys)


@pytest.mark.parametrize("how", ["broken", "none"])
def test_compare_closed_standard_output_is_told_in_one_line(files, how):
    reader, writer = os.pipe()
    os.close(reader)
    program = "import sys; from metrics.compare import main; " + ("sys.stdout = None; " if how == "none" else "")
    program += f"sys.exit(main({[*files, '--resamples', '100']!r}))"
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=REPOSITORY, stdout=closed, stderr=subprocess.PIPE, text=True
        )

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: standard output is closed, so the result could not be written there"
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["overall"].update(CIDEr=9.9), "CIDEr is 9.9, but per_image gives"),
        (lambda content: content["overall"].update(Bleu_1="x"), "Bleu_1 is 'x', but per_image gives"),
        (lambda content: first(content).update(CIDEr=[1, 2]), "has a number as 'CIDEr'"),
        (lambda content: first(content).update(CIDEr="3.5"), "has a number as 'CIDEr'"),
        (lambda content: [row["bleu_statistics"].append(1) for row in content["per_image"].values()], "has 10 numbers"),
    ],
)
def test_compare_edited_file_is_refused_by_name(files, capsys, change, message):
    edit(files[1], change)
    error = fault(files, capsys)
    assert "b.json" in error
    assert message in error


def first(content):
    return next(iter(content["per_image"].values()))
