from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metrics.coco import score_captions
from metrics.evaluate import main
from metrics.tokenizers.ptb import tokenize_many
from utils.io import read_json

REPOSITORY = Path(__file__).resolve().parents[2]
REFERENCES = {
    "images": [{"id": 1}, {"id": 2}, {"id": 3}],
    "annotations": [
        {"image_id": 1, "id": 1, "caption": "A red circle."},
        {"image_id": 2, "id": 2, "caption": "A blue star, isn't it?"},
        {"image_id": 1, "id": 3, "caption": "A big red circle"},
        {"image_id": 3, "id": 4, "caption": "A green square"},
    ],
}
HYPOTHESES = [
    {"image_id": 3, "caption": "a green circle"},
    {"image_id": 1, "caption": "A red circle"},
    {"image_id": 2, "caption": ""},
]
PLAIN_REFERENCES = {"1": ["a red circle", "a big red circle"], "2": ["a blue star is n't it"], "3": ["a green square"]}
PLAIN_HYPOTHESES = {"1": "a red circle", "2": "", "3": "a green circle"}
STYLED = [
    {"image_id": name, "caption": f"{text} {name[0]}", "style": style, "example_id": f"{name}#{style}"}
    for name in ("a.jpg", "b.jpg")
    for style, text in (("romantic", "my love"), ("pirate", "arr"))
]


@pytest.fixture
def evaluate(tmp_path, capsys):
    """Run the command line on these contents; gives the exit code, standard output, standard error."""

    def evaluate(references, hypotheses, *options, metrics=("Bleu_4", "CIDEr")):
        arguments = [*options, "--metrics", *metrics]
        for name, content in {"references": references, "hypotheses": hypotheses}.items():
            path = tmp_path / f"{name}.json"
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            arguments += [f"--{name}", str(path)]
        code = main(arguments)
        return code, *capsys.readouterr()

    return evaluate


def results_of(outcome) -> dict:
    code, out, error = outcome
    assert code == 0, error
    return json.loads(out.splitlines()[-1])


def fault_of(outcome) -> str:
    """The one line that says what is wrong, with nothing on standard output."""
    code, out, error = outcome
    assert (code, out) == (2, "")
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def write(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_evaluate_coco_files_score_ptb_text(evaluate):
    code, out, _ = evaluate(REFERENCES, HYPOTHESES)

    results = json.loads(out)
    assert (code, out.count("\n")) == (0, 1)
    assert results["overall"] == score_captions(PLAIN_REFERENCES, PLAIN_HYPOTHESES, metrics=("Bleu_4", "CIDEr")).overall
    assert (results["n"], results["per_style"]) == (3, {})
    assert set(results["confidence"]["overall"]) == {"Bleu_4", "CIDEr"}
    assert "per_image" not in results


def test_evaluate_maps_give_the_same_as_coco_files(evaluate):
    hypotheses = {"1": "A red circle", "2": [""], "3": ["a green circle"]}
    references = {"1": ["A red circle.", "A big red circle"], "2": ["A blue star, isn't it?"], "3": "A green square"}

    maps, rows = results_of(evaluate(references, hypotheses)), results_of(evaluate(REFERENCES, HYPOTHESES))

    assert maps["overall"] == rows["overall"]
    assert maps["confidence"] == rows["confidence"]
    hashes = [results["provenance"]["metrics"]["references_sha256"] for results in (maps, rows)]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    "references", [{row["example_id"]: [row["caption"]] for row in STYLED}, {"annotations": STYLED}]
)
def test_evaluate_captions_file_of_ours_has_styles_and_images(evaluate, references):
    results = results_of(evaluate(references, STYLED, "--per-image"))

    assert {style: scores["n"] for style, scores in results["per_style"].items()} == {"romantic": 2, "pirate": 2}
    assert {row["image"] for row in results["per_image"].values()} == {"a.jpg", "b.jpg"}
    assert results["per_image"]["b.jpg#pirate"]["style"] == "pirate"


def test_evaluate_train_captions_give_copies_judge_and_constant(evaluate, tmp_path):
    train = write(tmp_path / "train.json", {"romantic": ["My love a", "My dear"], "pirate": ["Arr b", "Ahoy"]})

    results = results_of(evaluate({"annotations": STYLED}, STYLED, "--train-captions", train))

    assert results["diversity"]["copied_share"] == 2 / 4
    assert set(results["baseline_constant"]) == {"romantic", "pirate", "overall"}
    assert set(results["style"]["per_style"]) == {"romantic", "pirate"}
    assert results["provenance"]["train_captions"] == train


def test_evaluate_train_captions_of_a_plain_list_give_copies_and_constant(evaluate, tmp_path):
    train = write(tmp_path / "train.json", ["a red circle", "A green circle!", "other"])

    results = results_of(evaluate(REFERENCES, HYPOTHESES, "--train-captions", train))

    assert results["diversity"]["copied_share"] == 2 / 3
    assert results["baseline_constant"]["overall"]["caption"] == "a red circle"
    assert results["style"] == {}


def test_evaluate_out_is_written_with_its_folder(evaluate, tmp_path):
    out = tmp_path / "new" / "folder" / "results.json"

    results = results_of(evaluate(REFERENCES, HYPOTHESES, "--out", str(out)))

    assert read_json(out) == results


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".", "is a folder; name a file"),
        ("references.json", "is one of the files to read"),
        ("references.json/x", "its folder cannot be made"),
    ],
)
def test_evaluate_out_that_cannot_be_written_is_refused_first(evaluate, tmp_path, name, message):
    fault = fault_of(evaluate(REFERENCES, HYPOTHESES, "--out", str(tmp_path / name)))

    assert message in fault
    assert name in fault
    assert read_json(tmp_path / "references.json") == REFERENCES


def test_evaluate_out_that_fails_in_the_end_loses_no_results(evaluate, tmp_path, monkeypatch):
    def fail(path, content):
        raise OSError(f"{path}: no space left")

    monkeypatch.setattr("metrics.results.write_results", fail)

    code, out, error = evaluate(REFERENCES, HYPOTHESES, "--out", str(tmp_path / "results.json"))

    assert code == 2
    assert json.loads(out)["n"] == 3
    assert "results.json: no space left" in error


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("Bleu4", "--metrics Bleu4: unknown; did you mean Bleu_4? Known: Bleu_1, "),
        ("cider", "did you mean CIDEr?"),
        ("rouge", "did you mean ROUGE_L?"),
        ("xyz", "--metrics xyz: unknown; Known: Bleu_1"),
    ],
)
def test_evaluate_unknown_metric_names_the_nearest(evaluate, given, message):
    assert message in fault_of(evaluate("not read", "not read", metrics=["CIDEr", given]))


def test_evaluate_metrics_come_once_in_the_usual_order(evaluate):
    assert list(results_of(evaluate(REFERENCES, HYPOTHESES, metrics=["CIDEr", "Bleu_1", "CIDEr"]))["overall"]) == [
        "Bleu_1",
        "CIDEr",
    ]


def test_evaluate_ids_of_one_side_are_counted_and_listed(evaluate):
    hypotheses = [{"image_id": number, "caption": "a"} for number in (1, *range(10, 17))]

    fault = fault_of(evaluate(REFERENCES, hypotheses))

    assert "2 ids ('2', '3') only in " in fault
    assert "7 ids ('10', '11', '12', '13', '14', ...) only in " in fault
    assert "Use --allow-missing to score the 1 that both files have." in fault


def test_evaluate_allow_missing_scores_the_common_ids_and_says_so(evaluate):
    code, out, error = evaluate(
        REFERENCES,
        [*HYPOTHESES[1:], {"image_id": 9, "caption": "a"}, {"image_id": 8, "caption": "b"}],
        "--allow-missing",
    )

    results = json.loads(out)
    common = {key: PLAIN_REFERENCES[key] for key in ("1", "2")}
    plain = {key: PLAIN_HYPOTHESES[key] for key in common}
    assert code == 0
    assert results["overall"] == score_captions(common, plain, metrics=("Bleu_4", "CIDEr")).overall
    assert results["provenance"]["unmatched"] == {"references_only": 1, "hypotheses_only": 2}
    assert "1 id ('3') only in" in error
    assert "2 ids ('9', '8') only in" in error


def test_evaluate_nothing_in_common_is_refused_even_if_missing_is_allowed(evaluate):
    fault = fault_of(evaluate(REFERENCES, {"a.jpg": ["a"]}, "--allow-missing"))

    assert "no id in common: 3 ids ('1', '2', '3') only in" in fault
    assert "1 id ('a.jpg') only in" in fault


@pytest.mark.parametrize(
    ("references", "hypotheses", "message"),
    [
        ("{", HYPOTHESES, "references.json, line 1, column"),
        (REFERENCES, [*HYPOTHESES, HYPOTHESES[0]], "hypotheses.json: 1 id ('3') with more than one caption"),
        (REFERENCES, [{"image_id": 1, "caption": None}], "[0] has null as 'caption'"),
        ({"a\nb": [1]}, HYPOTHESES, "'a\\nb' [0] is 1, not a string"),
        ({"1": ["?"], "2": ["!"], "3": ["."]}, HYPOTHESES, "none of the 3 examples has a reference with a word"),
        (
            [*STYLED, {"image_id": "c.jpg", "caption": "x"}],
            [*STYLED, {"image_id": "c.jpg", "caption": "x"}],
            "1 of 5 examples have no style (c.jpg)",
        ),
    ],
)
def test_evaluate_bad_input_is_one_line_and_exit_code_2(evaluate, references, hypotheses, message):
    assert message in fault_of(evaluate(references, hypotheses))


def test_evaluate_missing_file_is_one_line_and_exit_code_2(tmp_path, capsys):
    code = main(["--references", str(tmp_path / "none.json"), "--hypotheses", str(tmp_path / "neither.json")])

    assert "none.json: no such file" in fault_of((code, *capsys.readouterr()))


def test_evaluate_per_image_and_counts_of_coco_example(shared, tmp_path, capsys):
    folder = shared / "data" / "coco_fakecap"
    arguments = ["--references", str(folder / "captions_val2014_fakecap1000.json"), "--per-image"]
    arguments += ["--hypotheses", str(folder / "captions_val2014_fakecap_results.json")]

    code = main([*arguments, "--metrics", "Bleu_1", "Bleu_4", "ROUGE_L", "CIDEr"])

    results = json.loads(capsys.readouterr().out)
    assert code == 0
    published = {"Bleu_1": "0.579", "Bleu_4": "0.191", "ROUGE_L": "0.396", "CIDEr": "0.600"}
    assert {name: f"{value:.3f}" for name, value in results["overall"].items()} == published
    assert len(results["per_image"]) == 1000


def test_command_lines_load_nothing_heavy_before_they_know_what_to_do():
    program = "import sys, metrics.evaluate, metrics.compare; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True, capture_output=True, text=True)

    assert {"numpy", "scipy", "sklearn", "orjson", "tqdm", "pydantic", "pycocoevalcap"}.isdisjoint(
        loaded.stdout.split()
    )


def test_plain_captions_are_what_the_tokenizer_gives():
    written = [row["caption"] for row in REFERENCES["annotations"]]
    a, b, c, d = tokenize_many(written)
    assert {"1": [a, c], "2": [b], "3": [d]} == PLAIN_REFERENCES


@pytest.mark.java
@pytest.mark.slow
def test_evaluate_by_javas_meteor_gives_the_same_and_says_which_it_was(evaluate):
    references = {"1": ["A man's dog runs.", "the dog, running"], "2": ["A big car"], "3": ["the blue sofa"]}
    hypotheses = {"1": "the man's dog ran", "2": "a big automobile", "3": ""}

    def scored(*options):
        return results_of(evaluate(references, hypotheses, "--per-image", *options, metrics=("METEOR",)))

    ours, theirs = scored(), scored("--meteor", "java")
    assert 0.1 < ours["overall"]["METEOR"] < 0.9
    assert {key: ours[key] for key in ("overall", "confidence", "per_image")} == {
        key: theirs[key] for key in ("overall", "confidence", "per_image")
    }
    said = [found["provenance"]["metrics"] for found in (ours, theirs)]
    assert [each["meteor"] for each in said] == [
        "1.5, without Java (metrics.meteor)",
        "1.5, the Java program of pycocoevalcap",
    ]
    assert said[0]["java"] is None
    assert said[1]["java"]


def test_evaluate_by_javas_meteor_without_java_is_null_with_the_reason(evaluate, fake_java):
    fake_java(None)
    found = results_of(evaluate({"1": ["a dog"]}, {"1": "a dog"}, "--meteor", "java", metrics=("METEOR", "ROUGE_L")))
    assert found["overall"] == {"METEOR": None, "ROUGE_L": 1.0}
    assert "install a Java runtime" in found["unavailable"]["METEOR"]


def test_evaluate_told_to_stop_ends_its_java(hanging_java, all_ended, tmp_path):
    for name, content in {"r.json": {"1": ["a dog"]}, "h.json": {"1": "a dog"}}.items():
        (tmp_path / name).write_text(json.dumps(content))
    command = [sys.executable, "-m", "metrics.evaluate", "--metrics", "METEOR", "--meteor", "java"]
    command += ["--references", str(tmp_path / "r.json"), "--hypotheses", str(tmp_path / "h.json")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]) as running:
        process_ids = hanging_java()
        running.terminate()
        _, error = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"interrupted" in error
    assert all_ended(process_ids)


def test_evaluate_out_that_is_a_pipe_is_refused(evaluate, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    code, _, error = evaluate(REFERENCES, HYPOTHESES, "--out", str(tmp_path / "pipe"))
    assert code == 2
    assert "pipe: is no regular file" in error
    assert (tmp_path / "pipe").is_fifo()
