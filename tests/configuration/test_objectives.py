"""What is learnt beside cross-entropy: masked LM, unlikelihood, self-critical training."""

from __future__ import annotations

from pathlib import Path

import pytest

from configuration.keys import GROUPS, MAPPINGS
from trainers.rewards.table import REWARD_TERMS

SMALLEST = {"model": {"preset": "nano"}, "data": {"format": "drawn_scenes"}}
TRAINED = SMALLEST | {"model": {"name": "work_dir/a/output"}}
NO_CHECKPOINT = (
    "conf.json: model.name: self-critical training starts from a trained captioner: give --checkpoint RUN/output"
)
ONE_BEAM = "scst.num_samples=1: a beam search of one is all but the greedy caption; use 2+ or scst.sampling=multinomial"
KNOWN_TERMS = "known: cider_d, bleu_4, meteor, style, repetition, length, fluency"


def test_load_config_objectives_are_off_unless_asked_for(load):
    config = load()
    assert (config.masked_lm.weight, config.unlikelihood.repetition, config.unlikelihood.leakage) == (0.0, 0.0, 0.0)
    assert (config.scst.enabled, config.scst.kl_weight, config.scst.cross_entropy_weight) == (False, 0.0, 0.0)


def test_load_config_objectives_have_the_documented_defaults(load):
    masked, scst = load().masked_lm, load().scst
    assert (masked.mask_rate, masked.style_word_rate, masked.mask_style_rate) == (0.3, 0.5, 0.15)
    assert (masked.weight_end, masked.corpus, scst.document_frequency) == (None, None, None)
    assert (scst.num_samples, scst.sampling, scst.baseline) == (5, "multinomial", "leave_one_out")
    assert (scst.temperature, scst.top_p, scst.rewards, scst.reward_workers) == (1.0, 1.0, {"cider_d": 1.0}, 2)
    assert (scst.dropout, scst.freeze_batch_norm, scst.freeze_embeddings) == (False, True, True)
    assert load().image.feature_cache_mb == 4096


def test_load_config_objectives_resolved_dict_loads_back_equal(load):
    config = load(
        TRAINED,
        masked_lm={"weight": 0.5, "weight_end": 0.1, "corpus": "a.jsonl"},
        unlikelihood={"leakage": 0.2},
        scst={"enabled": True, "rewards": {"bleu_4": 0.5}, "cross_entropy_weight": 0.1, "document_frequency": "df"},
    )
    assert load(config.to_json_dict()) == config
    assert config.masked_lm.corpus == Path("a.jsonl")


# --- Rules of one group


@pytest.mark.parametrize(
    ("group", "values", "fault"),
    [
        ("masked_lm", {"weight": -0.5}, "masked_lm.weight=-0.5: must be greater than or equal to 0"),
        ("masked_lm", {"mask_rate": 1.0}, "masked_lm.mask_rate=1.0: must be less than 1"),
        ("masked_lm", {"mask_rate": 0}, "masked_lm.mask_rate=0: must be greater than 0"),
        ("masked_lm", {"style_word_rate": 1.5}, "masked_lm.style_word_rate=1.5: must be less than or equal to 1"),
        ("masked_lm", {"mask_style_rate": -1}, "masked_lm.mask_style_rate=-1: must be greater than or equal to 0"),
        ("masked_lm", {"corpus": "a"}, 'masked_lm.corpus="a": only used with a masked-LM loss; set masked_lm.weight'),
        ("masked_lm", {"weight_end": 0.0}, "masked_lm.weight_end=0.0: only used with a masked-LM loss; set masked_lm."),
        ("unlikelihood", {"repetition": -1}, "unlikelihood.repetition=-1: must be greater than or equal to 0"),
        ("image", {"feature_cache_mb": -1}, "image.feature_cache_mb=-1: must be greater than or equal to 0"),
        ("scst", {"enabled": 1}, "scst.enabled=1: must be a valid boolean"),
        ("scst", {"num_samples": 0, "baseline": "greedy"}, "scst.num_samples=0: must be greater than or equal to 1"),
        (
            "scst",
            {"num_samples": 1},
            "scst.num_samples=1: leave_one_out needs at least 2 captions of a picture; use 2+ or scst.baseline=greedy",
        ),
        ("scst", {"num_samples": 1, "baseline": "group_mean"}, "scst.num_samples=1: group_mean needs at least 2"),
        ("scst", {"num_samples": 1, "sampling": "beam"}, ONE_BEAM),
        ("scst", {"num_samples": 1, "sampling": "beam", "baseline": "greedy"}, ONE_BEAM),
        ("scst", {"baseline": "mean"}, "scst.baseline=\"mean\": must be 'leave_one_out', 'greedy' or 'group_mean'"),
        ("scst", {"top_p": 0}, "scst.top_p=0: must be greater than 0"),
        ("scst", {"top_p": 1.01}, "scst.top_p=1.01: must be less than or equal to 1"),
        ("scst", {"temperature": 0}, "scst.temperature=0: must be greater than 0"),
        (
            "scst",
            {"sampling": "beam", "temperature": 0.7},
            "scst.temperature=0.7: only used with scst.sampling=multinomial; remove it",
        ),
        ("scst", {"sampling": "beam", "top_p": 0.9}, "scst.top_p=0.9: only used with scst.sampling=multinomial"),
        ("scst", {"rewards": {}}, "scst.rewards={}: at least one reward term needs a weight above 0"),
        ("scst", {"rewards": {"style": 0}}, 'scst.rewards={"style":0}: at least one reward term needs a weight'),
        (
            "scst",
            {"rewards": {"cider_d": 1.0, "repetition": -0.5}},
            'scst.rewards={"cider_d":1.0,"repetition":-0.5}: repetition: must be greater than or equal to 0',
        ),
        ("scst", {"rewards": None}, "scst.rewards=null: must be an object"),
        ("scst", {"reward_workers": 0}, "scst.reward_workers=0: must be greater than or equal to 1"),
    ],
)
def test_load_config_wrong_objective_names_key_value_and_rule(faults, group, values, fault):
    (line,) = faults(SMALLEST | {group: values})
    assert line.startswith(f"conf.json: {fault}")


def test_load_config_one_drawn_sample_is_enough_beside_the_greedy_caption(load):
    scst = load(scst={"num_samples": 1, "baseline": "greedy"}).scst
    assert (scst.num_samples, scst.sampling) == (1, "multinomial")


# --- Rewards


@pytest.mark.parametrize(
    ("term", "hint"),
    [
        ("styel", "did you mean style? "),
        ("cider", "did you mean cider_d? "),
        ("Bleu_4", "did you mean bleu_4? "),
        ("repetitions", "did you mean repetition? "),
        ("xqzj", ""),
        ("", ""),
    ],
)
def test_load_config_unknown_reward_names_the_nearest_and_the_known(faults, term, hint):
    expected = f": {term}: unknown reward term; {hint}{KNOWN_TERMS}"
    (line,) = faults(SMALLEST | {"scst": {"rewards": {term: 1.0}}})
    assert line == f'conf.json: scst.rewards={{"{term}":1.0}}{expected}'
    (line,) = faults(SMALLEST, [f"scst.rewards.{term}=1.0"])
    assert line == f'--set scst.rewards={{"cider_d":1.0,"{term}":1.0}}{expected}'


def test_load_config_every_reward_term_is_known(load):
    rewards = {term: 0.5 for term in REWARD_TERMS}
    assert load(scst={"rewards": rewards, "fluency_lm": "lm"}).scst.rewards == rewards


@pytest.mark.parametrize("scst", [{"rewards": {"fluency": 1.0}}, {"fluency_lm": "lm"}])
def test_load_config_fluency_and_its_language_model_go_together(faults, scst):
    (line,) = faults(SMALLEST | {"scst": scst})
    assert "scst.fluency_lm" in line
    assert "goes with scst.rewards.fluency; give both" in line


@pytest.mark.parametrize("weight", ['"much"', "true", "null", "NaN", "Infinity", "1e999"])
def test_load_config_reward_weight_that_is_no_finite_number_names_its_term(faults, weight):
    (line,) = faults(SMALLEST, [f"scst.rewards.length={weight}"])
    assert line.startswith('--set scst.rewards={"cider_d":1.0,"length":')
    assert line.endswith("}: length: must be a valid number")


def test_load_config_set_of_a_reward_joins_the_default_and_the_file(load):
    assert load(overrides=["scst.rewards.style=0.5"]).scst.rewards == {"cider_d": 1.0, "style": 0.5}
    held = {"rewards": {"bleu_4": 2.0}}
    overrides = ["scst.rewards.style=1", "scst.rewards.bleu_4=3"]
    assert load(scst=held, overrides=overrides).scst.rewards == {"bleu_4": 3.0, "style": 1.0}
    assert load(scst=held, overrides=['scst.rewards={"style": 1}']).scst.rewards == {"style": 1.0}
    assert load().scst.rewards == {"cider_d": 1.0}


def test_load_config_misspelt_name_before_an_entry_leads_to_it(faults):
    assert faults(SMALLEST, ["scst.reward.style=1", "model.override.d_model=8"]) == [
        "--set scst.reward.style: unknown key; did you mean scst.rewards?",
        "--set model.override.d_model: unknown key; did you mean model.overrides?",
    ]


def test_mappings_are_the_settings_that_hold_a_dict():
    defaults = {
        f"{group}.{name}": field.default
        for group, fields in GROUPS.items()
        for name, field in fields.model_fields.items()
    }
    assert {key for key, default in defaults.items() if isinstance(default, dict)} == set(MAPPINGS)


# --- Rules between groups


def test_load_config_self_critical_training_without_a_model_asks_for_a_checkpoint(faults):
    data = {"data": SMALLEST["data"]}
    assert faults(data | {"scst": {"enabled": True}}) == [NO_CHECKPOINT]
    assert faults(SMALLEST | {"scst": {"enabled": True}}) == [NO_CHECKPOINT]
    assert faults(SMALLEST, (), {"cider": True}) == [NO_CHECKPOINT]


@pytest.mark.parametrize(
    ("groups", "overrides", "selected"),
    [
        ({}, (), "loss"),
        ({"scst": {"enabled": False}}, (), "loss"),
        ({"scst": {"enabled": True}}, (), "CIDEr"),
        ({}, ("scst.enabled=true",), "CIDEr"),
        ({"scst": {"enabled": True}, "checkpoint": {"select": "loss"}}, (), "loss"),
        ({"scst": {"enabled": True}}, ("checkpoint.select=loss",), "loss"),
        ({"checkpoint": {"select": "CIDEr"}}, (), "CIDEr"),
    ],
)
def test_load_config_self_critical_training_selects_by_cider_unless_told(load, groups, overrides, selected):
    config = load(TRAINED, overrides, **groups)
    assert config.checkpoint.select == selected
    assert load(config.to_json_dict()) == config


def test_load_config_self_critical_training_takes_a_checkpoint_in_place_of_a_preset(load):
    config = load(flags={"cider": True, "checkpoint": "work_dir/a/output"})
    assert (config.scst.enabled, config.model.name, config.model.preset) == (True, "work_dir/a/output", None)
    assert load(TRAINED, scst={"enabled": True}).model.name == "work_dir/a/output"


def test_load_config_self_critical_training_with_two_models_asks_for_one(faults):
    two = {"model": {"name": "a", "preset": "nano"}, "scst": {"enabled": True}}
    (line,) = faults(SMALLEST | two)
    assert line.startswith('conf.json: model.name="a": give exactly one of model.name (folder or hub id)')


@pytest.mark.parametrize("name", ["rdrop", "drop_worst"])
def test_load_config_self_critical_training_refuses_losses_it_does_not_have(faults, load, name):
    scst = {"enabled": True, "cross_entropy_weight": 1.0}
    lines = faults(TRAINED | {"train": {name: 0.5}, "scst": scst})
    assert lines == [f"conf.json: train.{name}=0.5: not used in self-critical training; set it to 0"]
    assert getattr(load(TRAINED, train={name: 0.5}).train, name) == 0.5


@pytest.mark.parametrize("name", ["repetition", "leakage"])
def test_load_config_unlikelihood_needs_captions_to_score(faults, load, name):
    weights = {"unlikelihood": {name: 0.5}}
    assert faults(TRAINED | weights | {"scst": {"enabled": True}}) == [
        f"conf.json: unlikelihood.{name}=0.5: unlikelihood is computed on people's captions, which this self-critical "
        "run does not score; set scst.cross_entropy_weight above 0, or this to 0"
    ]
    mixed = load(TRAINED | weights, scst={"enabled": True, "cross_entropy_weight": 0.1})
    assert getattr(mixed.unlikelihood, name) == getattr(load(TRAINED | weights).unlikelihood, name) == 0.5


def test_load_config_several_captions_in_self_critical_training_need_cross_entropy(faults, load):
    several = {"train": {"captions_per_row": 5}}
    (line,) = faults(TRAINED | several | {"scst": {"enabled": True}})
    assert line.startswith("conf.json: train.captions_per_row=5: this self-critical run learns from no captions of")
    mixed = load(TRAINED | several, scst={"enabled": True, "cross_entropy_weight": 0.1})
    assert mixed.train.captions_per_row == load(TRAINED | several).train.captions_per_row == 5


def test_load_config_grouped_pictures_and_random_crops_exclude_each_other(faults, load):
    crop = {"image": {"size": 64, "max_size": 80, "random_crop": True}}
    (line,) = faults(SMALLEST | crop | {"train": {"group_pictures": True}})
    assert line.startswith("conf.json: train.group_pictures=true: every row has a crop of its own")
    assert load(SMALLEST | crop).image.random_crop
    assert load(SMALLEST, train={"group_pictures": True}).train.group_pictures


def test_load_config_faults_within_and_between_groups_are_reported_at_once(faults):
    document = SMALLEST | {
        "train": {"rdrop": 0.5, "drop_worst": "x"},
        "scst": {"num_samples": 1, "cross_entropy_weight": -1},
        # Depends on a weight that is itself at fault: nothing can be said.
        "unlikelihood": {"leakage": 1.0},
    }
    lines = faults(document, ["scst.rewards.styel=1"], {"cider": True, "lr": "1e-9"})
    assert [line.removeprefix("conf.json: ").split(":")[0].split("=")[0] for line in lines] == [
        "train.drop_worst",
        "--set scst.rewards",
        "scst.cross_entropy_weight",
        "train.lr_end",
        "scst.num_samples",
        "model.name",
        "train.rdrop",
    ]
