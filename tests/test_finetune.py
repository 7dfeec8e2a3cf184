"""The command line: what it prints, what it refuses and with which exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import finetune
from configuration.groups import ModelConfig
from configuration.loading import load_config

REPOSITORY = Path(__file__).resolve().parents[1]
METRICS = ["Bleu_1", "Bleu_4", "ROUGE_L", "CIDEr"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, scenes) -> dict[str, Any]:
    """A finished run of a few steps, and what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    document = {
        "model": {"preset": "nano", "bpe_size": 300, "overrides": {"d_model": 32, "resnet_width": 4}},
        "data": {"format": "jsonl", "annotations": str(scenes), "images": str(scenes / "images")},
        "image": {"size": 32},
        "train": {"epochs": 1, "batch_size": 16, "lr": 2e-3},
        "decode": {"num_beams": 2, "max_length": 8},
        "eval": {"samples": 1, "report_images": 1, "metrics": METRICS},
        "work_dir": str(folder / "run"),
    }
    conf = folder / "conf.json"
    conf.write_text(json.dumps(document))
    done = subprocess.run(
        [sys.executable, "finetune.py", "--conf", str(conf)], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr
    return {"conf": conf, "run": folder / "run", "stdout": done.stdout, "document": document}


def _fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Standard error of a command that must end with code 2 and print no result."""
    assert finetune.main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_help_imports_nothing_heavy():
    """What keeps `--help` under half a second; the time itself is in benchmarks/README.md."""
    program = (
        "import sys, finetune\n"
        "try: finetune.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'PIL', 'modelscope'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY)
    assert "--conf" in done.stdout
    assert done.stderr.splitlines()[-1] == "[]"


def test_train_prints_the_results_as_its_only_line_on_stdout(trained):
    (line,) = trained["stdout"].splitlines()
    results = json.loads(line)
    assert list(results["overall"]) == METRICS
    assert set(results["per_style"]) == {"neutral", "romantic", "pirate", "robot"} == {*results["per_style"]}
    written = json.loads((trained["run"] / "eval/val.json").read_bytes())
    assert len(written.pop("per_image")) == results["n"]
    assert results == written
    assert results["style"]["confusion"]["styles"] == sorted(results["per_style"])
    assert results["baseline_constant"]["overall"]["CIDEr"] > 0
    neighbours = results["baseline_neighbours"]
    assert neighbours["train_pictures"] == 12
    assert set(neighbours["per_style"]) == set(results["per_style"])
    low, high = neighbours["overall"]["interval"]
    assert 0 < low < neighbours["overall"]["CIDEr"] < high
    gained = results["overall"]["CIDEr"] - neighbours["overall"]["CIDEr"]
    assert neighbours["overall"]["gain"] == pytest.approx(gained, abs=1e-9)
    log = (trained["run"] / "log.txt").read_text()
    assert "does not beat the captions of the nearest training pictures" in log  # after a few steps
    assert "does not beat the captions of the nearest training pictures" in (trained["run"] / "report.html").read_text()


def test_eval_of_the_run_gives_its_own_results_again(trained, capsys):
    assert finetune.main(["eval", "--conf", str(trained["run"] / "config.json")]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["overall"] == json.loads(trained["stdout"])["overall"]


def test_eval_with_the_originals_flags_changes_the_decoding(trained, capsys):
    arguments = ["eval", "--conf", str(trained["run"] / "config.json"), "--beam_size", "1", "--max_len", "5"]
    elsewhere = Path(shutil.copytree(trained["run"] / "output", trained["run"].parent / "elsewhere/output"))
    assert finetune.main([*arguments, "--checkpoint", str(elsewhere)]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["provenance"]["decoding"] | {"num_beams": 1, "max_length": 5} == results["provenance"]["decoding"]
    captions = json.loads((trained["run"] / "eval/elsewhere-output/val.captions.json").read_bytes())
    assert max(len(row["caption"].split()) for row in captions) <= 5
    assert json.loads((trained["run"] / "eval/val.json").read_bytes()) != results  # the run keeps its own


def test_eval_with_a_clip_model_scores_the_pictures_as_well(trained, tiny_clip, capsys):
    conf = str(trained["run"] / "config.json")
    error = _fails(capsys, "eval", "--conf", conf, "--set", "eval.clip=./no_clip")
    assert "eval.clip=./no_clip: model ./no_clip: no such folder" in error
    assert finetune.main(["eval", "--conf", conf, "--set", f"eval.clip={tiny_clip}"]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(results["overall"]) == [*METRICS, "CLIPScore", "RefCLIPScore"]
    assert results["provenance"]["metrics"]["clip"]["model"] == str(tiny_clip)
    low, high = results["confidence"]["per_style"]["pirate"]["CLIPScore"]
    assert 0 < low < results["per_style"]["pirate"]["CLIPScore"] < high
    assert "RefCLIPScore" in (trained["run"] / "report.html").read_text(encoding="utf-8")


def test_eval_of_a_model_at_another_picture_size_is_refused(trained, capsys):
    error = _fails(capsys, "eval", "--conf", str(trained["run"] / "config.json"), "--set", "image.size=64")
    assert "image.size: 64 is asked for" in error
    assert "was trained with 32" in error


def test_training_goes_on_from_a_model_folder(trained, tmp_path, capsys):
    arguments = ["--conf", str(trained["conf"]), "--checkpoint", str(trained["run"] / "output")]
    assert finetune.main([*arguments, "--set", f"work_dir={tmp_path / 'second'}", "--lr", "1e-4"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["n"] == 12
    before, after = (
        torch.load(folder / "output/pytorch_model.bin", weights_only=True)
        for folder in (trained["run"], tmp_path / "second")
    )
    assert before.keys() == after.keys()
    assert not torch.equal(before["encoder.image_proj.weight"], after["encoder.image_proj.weight"])


def test_caption_prints_the_caption_alone(trained, scenes, capsys):
    picture = str(scenes / "images/val_0000.png")
    model = str(trained["run"] / "output")
    assert finetune.main(["caption", "--model", model, "--image", picture, "--style", " PIRATE "]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    captions = json.loads((trained["run"] / "eval/val.captions.json").read_bytes())
    assert "\t" not in line
    assert finetune.main(["caption", "--model", model, "--image", picture, "--all-styles"]) == 0
    rows = dict(row.split("\t") for row in capsys.readouterr().out.splitlines())
    assert rows["pirate"] == line
    assert list(rows) == ["neutral", "pirate", "robot", "romantic"]
    assert {row["style"] for row in captions} == set(rows)


def test_caption_of_several_pictures_names_them(trained, scenes, capsys):
    pictures = [str(scenes / f"images/val_000{k}.png") for k in (0, 1)]
    assert finetune.main(["caption", "--model", str(trained["run"] / "output"), "--image", *pictures]) == 0
    assert [row.split("\t")[0] for row in capsys.readouterr().out.splitlines()] == pictures


def test_second_training_into_a_run_with_other_settings_is_refused(trained, capsys):
    error = _fails(capsys, "--conf", str(trained["conf"]), "--set", "train.lr=0.5")
    assert "train.lr: 0.002 -> 0.5" in error
    assert "give another work_dir" in error


def _write(tmp_path: Path, document: dict[str, Any]) -> str:
    path = tmp_path / "conf.json"
    path.write_text(json.dumps(document))
    return str(path)


def test_all_configuration_faults_are_told_at_once(tiny_document, tmp_path, capsys):
    tiny_document["train"] |= {"learning_rate": 1, "epochs": 0}
    tiny_document["img_addr"] = "elsewhere"
    error = _fails(capsys, "--conf", _write(tmp_path, tiny_document), "--set", "decod.num_beams=3")
    assert "4 faults" in error
    assert "train.learning_rate" in error
    assert "train.epochs=0" in error
    assert "img_addr and data.images are the same setting" in error
    assert "decode.num_beams" in error
    assert not Path(tiny_document["work_dir"]).exists()


@pytest.fixture
def broken_scenes(scenes, tmp_path, tiny_document) -> Path:
    """A copy of the scenes that the document points to, to be damaged."""
    folder = Path(shutil.copytree(scenes, tmp_path / "scenes"))
    tiny_document["data"] |= {"annotations": str(folder), "images": str(folder / "images")}
    return folder


def test_missing_picture_is_refused_with_file_row_and_remedy(broken_scenes, tiny_document, tmp_path, capsys):
    (broken_scenes / "images/train_0001.png").unlink()
    error = _fails(capsys, "--conf", _write(tmp_path, tiny_document))
    assert f"{broken_scenes / 'train.jsonl'}, row 5: no picture" in error
    assert "train_0001.png" in error
    assert "data.on_bad_image=skip" in error
    assert not Path(tiny_document["work_dir"]).exists()


def test_truncated_picture_is_refused_before_training(broken_scenes, tiny_document, tmp_path, capsys):
    picture = broken_scenes / "images/train_0002.png"
    picture.write_bytes(picture.read_bytes()[:300])
    error = _fails(capsys, "--conf", _write(tmp_path, tiny_document))
    assert f"{broken_scenes / 'train.jsonl'}, row 9: {picture}: the picture cannot be read" in error
    assert "data.on_bad_image=skip" in error
    assert not Path(tiny_document["work_dir"]).exists()


def test_bad_pictures_are_left_out_and_listed_if_asked(broken_scenes, tiny_document, tmp_path, capsys):
    (broken_scenes / "images/train_0001.png").unlink()
    picture = broken_scenes / "images/val_0002.png"
    picture.write_bytes(picture.read_bytes()[:300])
    tiny_document["train"]["epochs"] = 1
    assert finetune.main(["--conf", _write(tmp_path, tiny_document), "--set", "data.on_bad_image=skip"]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["n"] == 8
    assert results["provenance"]["dropped_rows"] == 4
    dropped = json.loads((Path(tiny_document["work_dir"]) / "dropped_rows.json").read_bytes())
    assert [(row["row"], row["reason"]) for row in dropped] == [
        *((row, "missing picture") for row in (5, 6, 7, 8)),
        *((row, "unreadable picture") for row in (9, 10, 11, 12)),
    ]


def test_unreadable_annotation_row_is_refused_with_file_and_row(broken_scenes, tiny_document, tmp_path, capsys):
    rows = (broken_scenes / "train.jsonl").read_text().splitlines()
    rows[3] = rows[3][:40]
    (broken_scenes / "train.jsonl").write_text("\n".join(rows))
    error = _fails(capsys, "--conf", _write(tmp_path, tiny_document))
    assert "train.jsonl" in error
    assert "4" in error.split("train.jsonl")[1][:20]
    assert not Path(tiny_document["work_dir"]).exists()


def test_unknown_style_in_the_data_is_refused_with_row_and_nearest(broken_scenes, tiny_document, tmp_path, capsys):
    text = (broken_scenes / "val.jsonl").read_text().replace('"pirate"', '"pyrate"', 1)
    (broken_scenes / "val.jsonl").write_text(text)
    error = _fails(capsys, "--conf", _write(tmp_path, tiny_document))
    assert "val.jsonl, row 3: unknown style 'pyrate'; nearest: pirate" in error
    assert not Path(tiny_document["work_dir"]).exists()


def test_unknown_style_on_the_command_line_names_the_nearest(trained, scenes, capsys):
    picture = str(scenes / "images/val_0000.png")
    error = _fails(capsys, "caption", "--model", str(trained["run"] / "output"), "--image", picture, "--style", "Robat")
    assert "unknown style 'Robat'; nearest: robot" in error


def test_caption_in_a_style_that_was_never_trained_is_refused(trained, broken_scenes, tiny_document, tmp_path, capsys):
    tiny_document["data"]["styles"] = ["pirate", "robot"]
    tiny_document["train"]["epochs"] = 1
    assert finetune.main(["--conf", _write(tmp_path, tiny_document)]) == 0
    capsys.readouterr()
    model, picture = f"{tiny_document['work_dir']}/output", str(broken_scenes / "images/val_0000.png")
    error = _fails(capsys, "caption", "--model", model, "--image", picture)
    assert "style 'neutral' was never trained; give a style, one of: pirate, robot" in error
    assert finetune.main(["caption", "--model", model, "--image", picture, "--all-styles"]) == 0
    assert [row.split("\t")[0] for row in capsys.readouterr().out.splitlines()] == ["pirate", "robot"]


def test_caption_of_a_missing_picture_is_refused_and_of_a_broken_one_told(trained, tmp_path, capsys):
    model = str(trained["run"] / "output")
    assert "error: absent.png: picture not found; check the path" in _fails(
        capsys, "caption", "--model", model, "--image", "absent.png"
    )
    (tmp_path / "note.jpg").write_text("no picture")
    assert finetune.main(["caption", "--model", model, "--image", str(tmp_path / "note.jpg")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "note.jpg: the picture cannot be read; it is a text file" in captured.err


def test_model_folder_without_vocabulary_is_refused(trained, scenes, tmp_path, capsys):
    folder = Path(shutil.copytree(trained["run"] / "output", tmp_path / "model"))
    for name in ("merges.txt", "MANIFEST.json"):
        (folder / name).unlink()
    picture = str(scenes / "images/val_0000.png")
    error = _fails(capsys, "caption", "--model", str(folder), "--image", picture)
    assert f"{folder} is not a complete model folder: missing merges.txt" in error


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pytorch_model.bin", b""),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1"),
        ("vocab.json", b"{}"),
        ("merges.txt", b"#version: 0.2\nfoo bar\n"),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "bert"}'),
        ("tokenizer_config.json", b"[]"),
        ("configuration.json", b'{"model": {"style_prompt": "x {}"}}'),
        ("styles.json", b"{}"),
    ],
)
def test_damaged_file_of_a_model_folder_is_refused_naming_the_folder(trained, scenes, tmp_path, capsys, name, content):
    folder = Path(shutil.copytree(trained["run"] / "output", tmp_path / "model"))
    (folder / name).write_bytes(content)
    picture = str(scenes / "images/val_0000.png")
    assert "is damaged" in _fails(capsys, "caption", "--model", str(folder), "--image", picture)
    (folder / "MANIFEST.json").unlink()
    error = _fails(capsys, "caption", "--model", str(folder), "--image", picture)
    assert error.startswith(f"error: {folder}")
    assert len(error.splitlines()) == 1


def test_interrupted_finished_run_is_only_evaluated_again(trained, capsys):
    before = (trained["run"] / "metrics.jsonl").read_bytes()
    assert finetune.main(["--conf", str(trained["conf"])]) == 0
    assert json.loads(capsys.readouterr().out)["overall"] == json.loads(trained["stdout"])["overall"]
    assert (trained["run"] / "metrics.jsonl").read_bytes() == before


def test_changed_captions_are_refused_in_a_run_on_others(broken_scenes, tiny_document, tmp_path, capsys):
    tiny_document["train"]["epochs"] = 1
    conf = _write(tmp_path, tiny_document)
    assert finetune.main(["--conf", conf]) == 0
    capsys.readouterr()
    text = (broken_scenes / "train.jsonl").read_text().replace("arr matey", "yo ho", 1)
    (broken_scenes / "train.jsonl").write_text(text)
    assert "holds a run on other training captions" in _fails(capsys, "--conf", conf)


def test_test_split_is_evaluated_but_never_validated_on(broken_scenes, tiny_document, tmp_path, capsys):
    rows = (broken_scenes / "val.jsonl").read_text().splitlines()
    (broken_scenes / "val.jsonl").write_text("\n".join(rows[:4]))
    (broken_scenes / "test.jsonl").write_text("\n".join(rows[4:]))
    tiny_document["train"]["epochs"] = 1
    assert finetune.main(["--conf", _write(tmp_path, tiny_document), "--set", "eval.split=test"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert (results["n"], results["provenance"]["split_id"]) == (8, "jsonl/test.jsonl")
    samples = (Path(tiny_document["work_dir"]) / "samples.jsonl").read_text()
    assert "val_0000.png" in samples
    assert "val_0001.png" not in samples


def test_eval_needs_no_training_pictures(trained, scenes, tmp_path, capsys):
    folder = Path(shutil.copytree(scenes, tmp_path / "scenes"))
    for picture in (folder / "images").glob("train_*"):
        picture.unlink()
    arguments = ["eval", "--conf", str(trained["conf"]), "--set", f"data.images={folder / 'images'}"]
    assert finetune.main(arguments) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["baseline_constant"]
    assert results["baseline_neighbours"] is None
    assert "picture not found" in results["unavailable"]["baseline_neighbours"]


def test_eval_without_a_look_at_training_pictures_says_so(trained, capsys):
    arguments = ["eval", "--conf", str(trained["run"] / "config.json"), "--set", "eval.neighbours=0"]
    assert finetune.main(arguments) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["baseline_neighbours"] is None
    assert "eval.neighbours is 0" in results["unavailable"]["baseline_neighbours"]


def test_styles_that_differ_in_case_alone_are_one_style(broken_scenes, tiny_document, tmp_path, capsys):
    text = (broken_scenes / "train.jsonl").read_text().replace('"pirate"', '"Pirate"', 2)
    (broken_scenes / "train.jsonl").write_text(text)
    tiny_document["train"]["epochs"] = 1
    assert finetune.main(["--conf", _write(tmp_path, tiny_document)]) == 0
    assert set(json.loads(capsys.readouterr().out)["per_style"]) == {"Pirate", "neutral", "robot", "romantic"}


def test_model_with_a_missing_key_is_refused_before_training(trained, tiny_document, tmp_path, capsys):
    folder = Path(shutil.copytree(trained["run"] / "output", tmp_path / "model"))
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    del state["encoder.image_proj.bias"]
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "MANIFEST.json").unlink()
    error = _fails(capsys, "--conf", _write(tmp_path, tiny_document), "--checkpoint", str(folder))
    assert "parameter encoder.image_proj.bias is missing" in error
    assert not Path(tiny_document["work_dir"]).exists()


def test_model_that_reads_styles_otherwise_is_refused(trained, tiny_document, tmp_path, capsys):
    document = tiny_document | {"style": {"inject": "token"}}
    error = _fails(capsys, "--conf", _write(tmp_path, document), "--checkpoint", str(trained["run"] / "output"))
    assert "the model was made with other styles (inject 'token', there 'words')" in error


def test_model_that_does_not_exist_is_refused(tiny_document, tmp_path, capsys):
    error = _fails(capsys, "--conf", _write(tmp_path, tiny_document), "--checkpoint", str(tmp_path / "nowhere"))
    assert "nowhere: no such folder" in error


def test_picture_size_that_does_not_fit_the_model_is_refused(tiny_document, tmp_path, capsys):
    error = _fails(capsys, "--conf", _write(tmp_path, tiny_document), "--patch_image_size", "48")
    assert "image.size=48: the model takes multiples of 8 up to 32 pixels" in error
    assert not Path(tiny_document["work_dir"]).exists()


def test_unknown_override_of_the_model_is_refused(tiny_document, tmp_path, capsys):
    error = _fails(capsys, "--conf", _write(tmp_path, tiny_document), "--set", "model.overrides.d_modell=8")
    assert "model.overrides.d_modell: cannot be set; did you mean d_model?" in error


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("decode.max_length=200", "decode.max_length=200: the model has positions for 126"),
        (f"style.prompt={'very ' * 140} {{}}", "style.prompt: "),
        ("model.overrides.activation_function=foo", "activation_function='foo'"),
        ("model.overrides.dropout=2", "dropout=2 (must be in [0, 1))"),
        ("model.overrides.d_model=wide", "model.overrides.d_model='wide': must be of type int"),
        ("model.overrides.encoder_layers=1.5", "model.overrides.encoder_layers=1.5: must be of type int"),
        ("model.overrides.pad_token_id=7", "model.overrides.pad_token_id: cannot be set"),
        ("model.overrides.vocab_size=99", "model.overrides.vocab_size: cannot be set"),
        ("train.precision=fp16", "train.precision=fp16: needs a GPU"),
    ],
)
def test_setting_that_the_model_cannot_take_is_refused_before_the_run(
    tiny_document, tmp_path, capsys, setting, message
):
    if "fp16" in setting and torch.accelerator.is_available():
        pytest.skip("fp16 is fine here: there is an accelerator")
    assert message in _fails(capsys, "--conf", _write(tmp_path, tiny_document), "--set", setting)
    assert not Path(tiny_document["work_dir"]).exists()


def test_eval_before_training_is_refused(tiny_document, tmp_path, capsys):
    error = _fails(capsys, "eval", "--conf", _write(tmp_path, tiny_document))
    assert "no trained model there; train first" in error


# Those of sweeps name a base in place of a configuration of their own; tests/sweeps/test_plan.py loads them.
SHIPPED = [
    path
    for path in sorted((REPOSITORY / "conf").glob("*.json"))
    if path.name != "schema.json" and "base" not in json.loads(path.read_bytes())
]


@pytest.mark.parametrize("conf", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configuration_loads_and_builds_its_model(conf):
    from models.ofa import PRESETS, OFAConfig

    # Later stages start from the model that the command line names.
    document = json.loads(conf.read_bytes())
    starts_from = {"checkpoint": "work_dir/a/output"} if "model" not in document else {}
    config = load_config(conf, flags=starts_from)
    for group in ("scst", "preference"):
        assert getattr(config, group).enabled == document.get(group, {}).get("enabled", False)
    assert config.work_dir == Path("work_dir") / conf.stem
    if config.task == "text":
        from models.style_lm import SIZES

        assert config.model.preset in SIZES
    elif config.model.preset:
        ofa = OFAConfig(**PRESETS[config.model.preset] | config.model.overrides)
        stride = ofa.patch_size if config.model.vision is None else 32  # EfficientNet-Lite's
        assert config.image.size % stride == 0
        assert config.image.size // stride <= ofa.image_bucket_size


def test_caption_shrinks_large_photographs(trained, tmp_path, capsys):
    Image.new("L", (900, 300), 128).save(tmp_path / "wide.png")
    model = str(trained["run"] / "output")
    assert finetune.main(["caption", "--model", model, "--image", str(tmp_path / "wide.png")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_self_critical_training_without_a_checkpoint_is_refused(tiny_document, tmp_path, capsys):
    conf = _write(tmp_path, tiny_document)
    before = sorted(tmp_path.rglob("*"))
    error = _fails(capsys, "--conf", conf, "--cider")
    assert "self-critical training starts from a trained captioner: give --checkpoint RUN/output" in error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("conf", "arguments", "name"),
    [
        ("demo", [], None),
        ("demo", ["--checkpoint", "a/output"], None),
        ("flickrstyle_scst", [], "output"),
        ("flickrstyle_scst", ["--checkpoint", "a/output"], "a/output"),
        ("flickrstyle_scst", ["--checkpoint", "a/output", "--set", "model.name=b"], "b"),
    ],
)
def test_eval_keeps_the_model_that_training_starts_from_and_needs_none(monkeypatch, conf, arguments, name):
    from pipeline import evaluate as pipeline

    file, evaluated = REPOSITORY / f"conf/{conf}.json", []
    monkeypatch.setattr(pipeline, "evaluate", lambda *given: evaluated.append(given) or {})
    assert finetune.main(["eval", "--conf", str(file), *arguments]) == 0
    ((config, checkpoint),) = evaluated
    assert config.model == ModelConfig(**{"name": name} | json.loads(file.read_bytes()).get("model", {}))
    assert checkpoint == ("a/output" if arguments else None)


def test_eval_takes_a_self_critical_configuration_without_a_checkpoint(trained, tmp_path, capsys):
    document = {**trained["document"], "model": {}, "scst": {"enabled": True}}
    assert finetune.main(["eval", "--conf", _write(tmp_path, document)]) == 0
    assert json.loads(capsys.readouterr().out)["overall"] == json.loads(trained["stdout"])["overall"]
