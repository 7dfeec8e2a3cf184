"""From a sweep file to trials."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configuration.loading import load_config
from reports.sweep.measures import higher_is_better
from sweeps.trials.plan import Plan, check_files, describe_point, load_plan, trial_overrides

REPOSITORY = Path(__file__).resolve().parents[3]
Make = Callable[..., Plan]
LR, WARMUP, LR_END = "train.lr", "train.warmup", "train.lr_end"
RANDOM = {"search": "random", "points": 12}


def settings_of(plan: Plan) -> list[dict[str, Any]]:
    return [trial.settings for trial in plan.trials]


def test_load_plan_grid_is_every_combination_last_axis_fastest(make_plan: Make):
    plan = make_plan(axes={LR: [1e-3, 2e-3], WARMUP: [0.0, 0.1, 0.2]})
    assert settings_of(plan) == [
        {LR: 1e-3, WARMUP: 0.0},
        {LR: 1e-3, WARMUP: 0.1},
        {LR: 1e-3, WARMUP: 0.2},
        {LR: 2e-3, WARMUP: 0.0},
        {LR: 2e-3, WARMUP: 0.1},
        {LR: 2e-3, WARMUP: 0.2},
    ]
    assert [trial.name for trial in plan.trials] == [f"00{number}-seed7" for number in range(1, 7)]
    assert (plan.epochs, plan.select, plan.split) == (2, "loss", "val")


def test_load_plan_seeds_multiply_the_configurations(make_plan: Make):
    plan = make_plan(axes={LR: [1e-3, 2e-3]}, seeds=[5, 11, 3])
    assert [(trial.name, trial.point, trial.seed, trial.settings[LR]) for trial in plan.trials] == [
        ("001-seed5", 1, 5, 1e-3),
        ("001-seed11", 1, 11, 1e-3),
        ("001-seed3", 1, 3, 1e-3),
        ("002-seed5", 2, 5, 2e-3),
        ("002-seed11", 2, 11, 2e-3),
        ("002-seed3", 2, 3, 2e-3),
    ]


def test_load_plan_grid_with_include_begins_with_it_and_has_no_point_twice(make_plan: Make):
    include = [{WARMUP: 0.3, LR: 2e-3}, {LR: 2e-3, WARMUP: 0.1}]
    plan = make_plan(axes={LR: [1e-3, 2e-3], WARMUP: [0.1]}, include=include)
    assert settings_of(plan) == [{LR: 2e-3, WARMUP: 0.3}, {LR: 2e-3, WARMUP: 0.1}, {LR: 1e-3, WARMUP: 0.1}]


def test_load_plan_random_with_include_counts_it_among_the_points(make_plan: Make):
    axes = {LR: {"low": 1e-3, "high": 1e-1}, WARMUP: [0.0, 0.1]}
    plan = make_plan(axes=axes, search="random", points=5, include=[{LR: 0.5, WARMUP: 0.3}, {LR: 0.5, WARMUP: 0.3}])
    found = settings_of(plan)
    assert len(found) == 5
    assert found[0] == {LR: 0.5, WARMUP: 0.3}
    assert {LR: 0.5, WARMUP: 0.3} not in found[1:]


def test_load_plan_more_included_than_points_is_refused(make_plan: Make):
    with pytest.raises(ValueError, match="points=1.*include|include.*points"):
        make_plan(search="random", points=1, include=[{LR: 1e-3}, {LR: 5e-3}])


def test_load_plan_random_is_the_same_with_the_same_draw_seed(make_plan: Make):
    axes = {LR: {"low": 1e-4, "high": 1e-1}, WARMUP: {"low": 0, "high": 0.5, "scale": "linear"}}
    first, again = make_plan(axes=axes, **RANDOM), make_plan(axes=axes, **RANDOM)
    other = make_plan(axes=axes, draw_seed=1, **RANDOM)
    assert settings_of(first) == settings_of(again)
    assert not {point[LR] for point in settings_of(first)} & {point[LR] for point in settings_of(other)}


def test_load_plan_random_points_are_different_and_on_the_axes(make_plan: Make):
    plan = make_plan(axes={LR: [1e-3, 2e-3, 3e-3], WARMUP: [0.0, 0.1, 0.2, 0.3]}, **RANDOM)
    combinations = {(lr, warmup) for lr in (1e-3, 2e-3, 3e-3) for warmup in (0.0, 0.1, 0.2, 0.3)}
    assert {(point[LR], point[WARMUP]) for point in settings_of(plan)} == combinations  # all twelve, each once


def test_load_plan_random_leaves_out_combinations_that_a_rule_refuses(make_plan: Make):
    plan = make_plan(axes={LR: {"low": 1e-6, "high": 1e-2}, LR_END: [0.0, 1e-4]}, search="random", points=20)
    assert all(point[LR_END] <= point[LR] for point in settings_of(plan))
    # Not by leaving the value out: both stand there, and small rates stand with the small one.
    assert {point[LR_END] for point in settings_of(plan)} == {0.0, 1e-4}
    assert min(point[LR] for point in settings_of(plan)) < 1e-4


def test_load_plan_grid_with_a_refused_combination_names_its_values(make_plan: Make):
    message = r"grid.json: the trial with train.lr=0.001, train.lr_end=0.01: .*the learning rate would rise"
    with pytest.raises(ValueError, match=message):
        make_plan(axes={LR: [1e-3], LR_END: [1e-5, 1e-2]})


def test_load_plan_included_point_that_a_rule_refuses_names_its_values(make_plan: Make):
    with pytest.raises(ValueError, match="the trial with train.lr=-1: .*must be greater than 0"):
        make_plan(search="random", points=2, include=[{LR: -1}])


def test_load_plan_more_points_than_there_are_says_how_many(make_plan: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sweeps.trials.plan.MAX_DRAWS", 100)
    with pytest.raises(ValueError, match="points=4: .*3.* the axes do not have so many different points"):
        make_plan(search="random", points=4)


def test_load_plan_random_finds_all_points_of_a_long_list(make_plan: Make, monkeypatch: pytest.MonkeyPatch):
    """300 different values exist; that 1,000 independent draws would meet them all has a probability of about 2e-5."""
    config = load_config(REPOSITORY / "conf/demo.json")
    monkeypatch.setattr("sweeps.trials.plan.load_config", lambda *_: config)  # 2 ms each
    plan = make_plan(axes={"train.batch_size": list(range(1, 301))}, search="random", points=300)
    assert {point["train.batch_size"] for point in settings_of(plan)} == {*range(1, 301)}


def test_load_plan_faulty_value_names_the_trial_and_the_key(make_plan: Make):
    with pytest.raises(ValueError, match='the trial with train.lr="x": --set train.lr="x": must be a valid number'):
        make_plan(axes={LR: [1e-3, "x"]})


def test_load_plan_negative_seed_is_refused(make_plan: Make):
    with pytest.raises(ValueError, match="train.seed=-1: must be greater than or equal to 0"):
        make_plan(seeds=[7, -1])


def test_load_plan_faulty_base_names_file_and_fault(make_plan: Make):
    with pytest.raises(ValueError, match=r"conf.json: train.lrr: unknown key; did you mean train.lr\?"):
        make_plan(base_document={"model": {"preset": "nano"}, "data": {"format": "drawn_scenes"}, "train": {"lrr": 1}})


def test_load_plan_missing_base_names_the_path(make_plan: Make):
    with pytest.raises(FileNotFoundError, match="nowhere/conf.json: no such file"):
        make_plan(base="nowhere/conf.json")


def test_load_plan_set_and_overrides_reach_every_trial(write_sweep: Callable[..., Path]):
    path = write_sweep(set={"train.epochs": 3, "eval.split": "test", "checkpoint.select": "CIDEr"})
    plan = load_plan(path, {"train.epochs": 6})
    assert (plan.epochs, plan.select, plan.split) == (6, "CIDEr", "test")
    assert all("train.epochs=6" in trial_overrides(plan.file, trial) for trial in plan.trials)


def test_load_plan_epochs_are_those_of_the_longest_trial(make_plan: Make):
    assert make_plan(axes={"train.epochs": [3, 8, 5]}).epochs == 8


def test_load_plan_halving_with_trials_of_different_lengths_is_refused(make_plan: Make):
    with pytest.raises(ValueError, match="axes.train.epochs: successive halving compares trials of one length"):
        make_plan(axes={"train.epochs": [2, 4]}, halving={"first": 1})


def test_load_plan_halving_before_the_first_validation_is_refused_with_the_remedy(make_plan: Make):
    with pytest.raises(ValueError, match="halving.first=0.25: .*put checkpoint.every_epochs=0.25 or less into set"):
        make_plan(halving={"first": 0.25})
    assert make_plan(halving={"first": 0.25}, set={"checkpoint.every_epochs": 0.25}).file.halving is not None
    with pytest.raises(ValueError, match="nothing is validated before checkpoint.every_epochs=1"):
        make_plan(halving={"first": 0.5}, axes={"checkpoint.every_epochs": [0.5, 1]})


def test_load_plan_trials_with_different_validation_numbers_are_refused(make_plan: Make):
    """Self-critical runs choose checkpoints by CIDEr unless told otherwise, so the axis changes what is compared."""
    started = {"model.name": "somewhere", "model.preset": None}
    with pytest.raises(ValueError, match="checkpoint.select"):
        make_plan(axes={"scst.enabled": [True, False]}, set=started)
    told = make_plan(axes={"scst.enabled": [True, False]}, set=started | {"checkpoint.select": "CIDEr"})
    assert told.select == "CIDEr"


@pytest.mark.parametrize("metrics", [["Bleu_4"], ["Bleu_4", "ROUGE_L"]])
def test_load_plan_metric_that_no_trial_computes_is_refused(make_plan: Make, metrics: list[str]):
    with pytest.raises(ValueError, match="overall.CIDEr"):
        make_plan(set={"eval.metrics": metrics})


def test_load_plan_axis_does_not_silently_replace_what_set_says_about_its_entries(make_plan: Make):
    with pytest.raises(ValueError, match="model.overrides"):
        make_plan(axes={"model.overrides": [{"dropout": 0.1}]}, set={"model.overrides.attention_dropout": 0.3})


def test_load_plan_axis_over_an_entry_of_a_mapping_reaches_the_configuration(make_plan: Make):
    plan = make_plan(axes={"model.overrides.dropout": [0.1, 0.25]}, set={"model.overrides.attention_dropout": 0.3})
    config = load_config(plan.file.base, trial_overrides(plan.file, plan.trials[1]))
    assert config.model.overrides == {"attention_dropout": 0.3, "dropout": 0.25}


@pytest.mark.parametrize("value", ["a, b {} = 'c' \"d\" ü", "7", "true", "null"])
def test_trial_overrides_text_arrives_as_it_was_written(make_plan: Make, value: str):
    plan = make_plan(axes={"style.neutral": [value]}, seeds=[12])
    config = load_config(plan.file.base, trial_overrides(plan.file, plan.trials[0]))
    assert (config.style.neutral, config.train.seed) == (value, 12)


def test_trial_overrides_list_number_and_null_arrive_as_they_were_written(make_plan: Make):
    axes = {"train.freeze": [["resnet", "batch_norm"]], "train.lr": [1.23e-5], "data.num_images": [None]}
    plan = make_plan(axes=axes, set={"train.lr_end": 0})
    config = load_config(plan.file.base, trial_overrides(plan.file, plan.trials[0]))
    assert config.train.freeze == ["resnet", "batch_norm"]
    assert (config.train.lr, config.train.lr_end, config.data.num_images) == (1.23e-5, 0.0, None)


def test_describe_point_reads_as_json_values():
    assert describe_point({LR: 0.002, "style.inject": "code"}) == 'train.lr=0.002, style.inject="code"'


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("conf/sweep*.json")), ids=lambda path: path.stem)
def test_shipped_sweep_file_loads(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(REPOSITORY)
    document = json.loads(path.read_text())
    plan = load_plan(path, checkpoint=document.get("checkpoint") or "work_dir/somewhere/output")
    assert len(plan.trials) == plan.trials[-1].point * len(document.get("seeds", [7]))
    assert [trial.settings for trial in plan.trials[: len(document.get("include", []))]] == document.get("include", [])


@pytest.mark.parametrize("metric", ["CIDEr", "overal.CIDEr", "provenance.seed"])
def test_load_plan_metric_that_is_in_no_results_is_refused(make_plan: Make, metric: str):
    with pytest.raises(ValueError, match=f"metric={metric}: no trial has it; their results have overall.Bleu_1"):
        make_plan(metric=metric)


def test_load_plan_metric_that_a_clip_model_gives_needs_one(make_plan: Make):
    with pytest.raises(ValueError, match=r"metric=overall\.CLIPScore: no trial has it"):
        make_plan(metric="overall.CLIPScore")
    make_plan(metric="overall.CLIPScore", set={"eval.clip": "my/clip"})
    assert higher_is_better("overall.CLIPScore")


def test_load_plan_number_that_no_sweep_compares_by_is_refused(make_plan: Make):
    with pytest.raises(ValueError, match=r"checkpoint\.select=Bleu_4: a sweep compares trials by loss or CIDEr"):
        make_plan(set={"checkpoint.select": "Bleu_4"})


def test_load_plan_halving_that_would_compare_after_the_end_is_refused(make_plan: Make):
    with pytest.raises(ValueError, match="halving.first=2: trials end after train.epochs=2; compare them earlier"):
        make_plan(halving={"first": 2})


def test_load_plan_likelihoods_of_other_tokens_are_not_compared(make_plan: Make):
    axes = {"model.bpe_size": [300, 400]}
    with pytest.raises(ValueError, match="axes.model.bpe_size: likelihoods of models with different tokens"):
        make_plan(axes=axes, halving={"first": 0.5})
    assert len(make_plan(axes=axes).trials) == 2
    assert make_plan(axes=axes, halving={"first": 0.5}, set={"checkpoint.select": "CIDEr"}).select == "CIDEr"


@pytest.mark.parametrize("key", ["eval.styles", "data.val", "data.split"])
def test_load_plan_axes_over_the_rows_that_trials_are_compared_on_are_refused(make_plan: Make, key: str):
    with pytest.raises(ValueError, match=f"axes.{key}: trials are compared on the same rows"):
        make_plan(axes={key: ["a", "b"]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.format": "jsonl", "data.annotations": "nowhere", "data.images": "."}, "data.annotations=nowhere"),
        ({"data.format": "jsonl", "data.annotations": ".", "data.images": "nowhere"}, "data.images=nowhere"),
        (
            {"model.preset": None, "model.name": "work/run/output"},
            "model.name=work/run/output: there is no such folder",
        ),
        ({"model.preset": None, "model.name": "conf/output"}, "model.name=conf/output: there is no such folder"),
    ],
)
def test_check_files_names_what_every_trial_would_miss(make_plan: Make, settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        check_files(make_plan(set=settings))


def test_check_files_leaves_the_hub_to_finetune(make_plan: Make):
    check_files(make_plan(set={"model.preset": None, "model.name": "damo/ofa_image-caption_coco_large_en"}))
    check_files(make_plan())


def test_load_plan_of_text_runs_compares_what_they_measure(make_plan: Make):
    def plan_of(metric: str, epochs: int | None = 2) -> Plan:
        text = {"task": "text", "model": {"preset": "nano"}, "train": {"epochs": epochs}}
        text["documents"] = {"format": "jsonl", "train": "gone.jsonl"}
        return make_plan(base_document=text, axes={LR: [1e-3, 2e-3]}, metric=metric, halving=None)

    plan = plan_of("overall.bits_per_byte")
    assert (plan.epochs, plan.select, len(plan.trials)) == (2, "loss", 2)
    assert not higher_is_better("overall.bits_per_byte")
    assert higher_is_better("overall.next_word_hit_rate")
    with pytest.raises(ValueError, match="metric=overall.CIDEr: no trial has it; their results have overall.loss"):
        plan_of("overall.CIDEr")
    with pytest.raises(ValueError, match="train.epochs=null: the trials of a sweep need an end"):
        plan_of("overall.loss", None)
    with pytest.raises(ValueError, match=r"documents\.train=gone\.jsonl: is not there"):
        check_files(plan)
