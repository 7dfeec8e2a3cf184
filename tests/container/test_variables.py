"""What each variable of a container becomes, and which are refused."""

from __future__ import annotations

import pytest

from configuration.keys import ALONE, FORMER_KEYS, KNOWN_KEYS, MAPPINGS
from configuration.loading import load_config
from container.variables import ROOT, SHORT, TASKS, make_plan, read_keys, variable_of

CONF = {"CONF": "conf/demo.json"}


def _refusal(environment: dict[str, str], root=ROOT) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - every caller looks at the text
        make_plan(environment, root=root)
    return str(caught.value)


def test_keys_of_the_schema_are_those_of_the_configuration():
    keys = read_keys(ROOT / "conf/schema.json")
    assert set(keys) - set(FORMER_KEYS) == set(KNOWN_KEYS) - set(ALONE)
    assert {key for key, has_entries in keys.items() if has_entries} == set(MAPPINGS)


def test_every_key_has_a_variable_of_its_own():
    assert len({variable_of(key) for key in KNOWN_KEYS}) == len(KNOWN_KEYS)


def test_short_variables_name_keys_that_are_there():
    assert {key for task in TASKS.values() for key in task.keys.values()} <= set(KNOWN_KEYS)
    assert all(set(task.keys) <= set(SHORT) for task in TASKS.values())


@pytest.mark.parametrize(
    ("task", "variable", "value", "setting"),
    [
        ("train", "LEARNING_RATE", "1e-4", "train.lr=1e-4"),
        ("train", "VAL_DATASET", "/validation/val.jsonl", "data.val=/validation/val.jsonl"),
        ("train", "SAVE_EVERY", "20", "checkpoint.every_minutes=20"),
        ("train", "VAL_EVERY", "0.5", "checkpoint.every_epochs=0.5"),
        ("train", "VAL_BATCH", "8", "eval.batch_size=8"),
        ("text", "LEARNING_RATE", "1e-4", "train.lr=1e-4"),
        ("text", "VAL_DATASET", "/validation", "documents.val=/validation"),
        ("text", "SAVE_EVERY", "500", "lm.save_every=500"),
        ("text", "VAL_EVERY", "100", "lm.val_every=100"),
        ("text", "VAL_BATCH", "8", "eval.batch_size=8"),
        ("eval", "VAL_DATASET", "val.jsonl", "data.val=val.jsonl"),
        ("eval", "VAL_BATCH", "8", "eval.batch_size=8"),
        ("train", "STYLECAP_TRAIN__WARMUP", "0.1", "train.warmup=0.1"),
        ("train", "STYLECAP_MASKED_LM__WEIGHT", "0.5", "masked_lm.weight=0.5"),
        ("train", "STYLECAP_SCST__REWARDS__CIDER_D", "0.5", "scst.rewards.cider_d=0.5"),
        ("train", "STYLECAP_STYLE__PROMPT", "", "style.prompt="),
        ("eval", "STYLECAP_EVAL__SPLIT", "test", "eval.split=test"),
    ],
)
def test_variable_becomes_a_setting_and_says_so(task, variable, value, setting):
    plan = make_plan(CONF | {"TASK": task, variable: value})
    assert plan.command[-2:] == ["--set", setting]
    assert f"{variable}={value} became {setting.partition('=')[0]}" in plan.told


def test_settings_of_variables_are_settings_that_load():
    given = {"LEARNING_RATE": "1e-4", "SAVE_EVERY": "20", "VAL_EVERY": "0.5", "VAL_BATCH": "8"}
    command = make_plan(CONF | given | {"STYLECAP_SCST__REWARDS__STYLE": "0.5"}).command
    settings = [value for word, value in zip(command, command[1:], strict=False) if word == "--set"]
    config = load_config(ROOT / "conf/demo.json", settings)
    assert str(config.work_dir) == "work_dir/demo"
    assert (config.train.lr, config.eval.batch_size) == (1e-4, 8)
    assert (config.checkpoint.every_minutes, config.checkpoint.every_epochs) == (20, 0.5)
    assert config.scst.rewards["style"] == 0.5


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"STYLECAP_TRAIN__LRR": "1"}, "STYLECAP_TRAIN__LRR: unknown variable; did you mean STYLECAP_TRAIN__LR?"),
        ({"STYLECAP_TRIAN__LR": "1"}, "STYLECAP_TRIAN__LR: unknown variable; did you mean STYLECAP_TRAIN__LR?"),
        ({"STYLECAP_LEARNING_RATE": "1"}, "STYLECAP_LEARNING_RATE: unknown variable; did you mean LEARNING_RATE?"),
        ({"STYLECAP_WORK_DIR": "a"}, "STYLECAP_WORK_DIR: unknown variable; did you mean RUN?"),
        ({"STYLECAP_TRAIN__LR__X": "1"}, "STYLECAP_TRAIN__LR__X: unknown variable; did you mean STYLECAP_TRAIN__LR?"),
        ({"TASK": "trian"}, "TASK=trian: unknown; did you mean train? It is one of train, text, eval, serve."),
        (
            {"LEARNING_RATE": "1", "STYLECAP_TRAIN__LR": "2"},
            "LEARNING_RATE and STYLECAP_TRAIN__LR are both train.lr; keep one of the two",
        ),
        ({"CONF": ""}, "CONF is not set"),
        ({"CONF": "", "RUN": "a"}, "CONF is not set"),
        ({"RUN": "../a"}, "RUN=../a: must be a plain name"),
        ({"RUN": ".."}, "RUN=..: must be a plain name"),
        ({"RESTORE_FROM": "latst"}, "RESTORE_FROM=latst: no such folder or archive; did you mean latest?"),
        ({"RESTORE_FROM": "/none/there"}, "RESTORE_FROM=/none/there: no such folder or archive; It is"),
        ({"TASK": "eval", "RESTORE_FROM": "no"}, "RESTORE_FROM=no: TASK=eval needs a trained model"),
        ({"TASK": "serve", "RESTORE_FROM": "no"}, "RESTORE_FROM=no: TASK=serve needs a trained model"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_do(variables, said):
    assert said in _refusal(CONF | variables)


def test_all_faults_are_told_at_once():
    told = _refusal(CONF | {"STYLECAP_A__B": "1", "STYLECAP_C__D": "1", "RUN": "a/b"}).splitlines()
    assert [line.partition(":")[0] for line in told] == ["STYLECAP_A__B", "STYLECAP_C__D", "RUN=a/b"]


@pytest.fixture
def root(tmp_path):
    """A folder with the schema, a run that has begun, and one that has ended."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/schema.json").symlink_to(ROOT / "conf/schema.json")
    (tmp_path / "work_dir/begun/checkpoints").mkdir(parents=True)
    (tmp_path / "work_dir/ended/output").mkdir(parents=True)
    (tmp_path / "work_dir/ended.tar.gz").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "options", "said"),
    [
        ({"RUN": "begun"}, [], "RESTORE_FROM=latest: goes on with work_dir/begun"),
        ({"RUN": "fresh", "RESTORE_FROM": "latest"}, [], "RESTORE_FROM=latest: a new run in work_dir/fresh"),
        ({"RUN": "fresh", "RESTORE_FROM": "no"}, [], "RESTORE_FROM=no: a new run in work_dir/fresh"),
        (
            {"RUN": "fresh", "RESTORE_FROM": "work_dir/ended/"},
            ["--checkpoint", "work_dir/ended/output"],
            "RESTORE_FROM=work_dir/ended/ became --checkpoint work_dir/ended/output",
        ),
        (
            {"RUN": "fresh", "RESTORE_FROM": "work_dir/ended.tar.gz"},
            ["--checkpoint", "work_dir/ended.tar.gz"],
            "RESTORE_FROM=work_dir/ended.tar.gz became --checkpoint work_dir/ended.tar.gz",
        ),
    ],
)
def test_restore_from_says_where_a_run_begins(root, variables, options, said):
    plan = make_plan(CONF | variables, root=root)
    folder = f"work_dir={'work_dir/' + variables['RUN']}"
    assert plan.command[1:] == ["finetune.py", "train", "--conf", "conf/demo.json", "--set", folder, *options]
    assert said in plan.told


def test_restore_from_no_leaves_a_run_as_it_is(root):
    before = sorted(root.rglob("*"))
    assert "RESTORE_FROM=no: work_dir/begun holds a run already" in _refusal(
        CONF | {"RUN": "begun", "RESTORE_FROM": "no"}, root
    )
    assert sorted(root.rglob("*")) == before


def test_evaluation_without_a_configuration_takes_that_of_its_run(root):
    plan = make_plan({"TASK": "eval", "RUN": "ended", "LEARNING_RATE": "1"}, root=root)
    conf = ["--conf", "work_dir/ended/config.json", "--set", "work_dir=work_dir/ended"]
    assert plan.command[1:] == ["finetune.py", "eval", *conf]
    assert "LEARNING_RATE: TASK=eval has no use for it" in plan.told


def test_service_listens_to_others_and_tells_no_token(root):
    secret = "a-long-secret"
    variables = {"TASK": "serve", "RUN": "ended", "PORT": "9000", "STYLECAP_TOKEN": secret, "STYLECAP_TRAIN__LR": "1"}
    plan = make_plan(variables, root=root)
    model = ["--model", "work_dir/ended/output"]
    assert plan.command[1:] == ["finetune.py", "serve", *model, "--host", "0.0.0.0", "--port", "9000"]
    assert "STYLECAP_TRAIN__LR: TASK=serve has no use for it" in plan.told
    assert secret not in " ".join([*plan.told, *plan.command])


def test_service_without_a_token_is_told_of():
    told = make_plan({"TASK": "serve", "RUN": "a"}).told
    assert any(line.startswith("STYLECAP_TOKEN is not set") for line in told)
