from __future__ import annotations

import logging
import random
import sys
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import CallbackHandler

from configuration.changes import describe_changes
from configuration.groups import TrainConfig
from pipeline.training import training_arguments
from trainers import mirrors
from trainers.hf_trainer import TrainerCallback, TrainerControl, TrainerState
from trainers.mirrors import EVENTS, Mirror, check_installed

NAMES = get_args(get_args(TrainConfig.model_fields["report_to"].annotation)[0])


def mirror_of(monkeypatch, integration: type) -> Mirror:
    monkeypatch.setattr(mirrors, "get_reporting_integration_callbacks", lambda names: [integration])
    return Mirror("tool")


def raising(event: str, error: BaseException) -> type:
    """An integration that raises at one event and counts what it hears."""

    class Integration(TrainerCallback):
        heard: list[str] = []

    def method(name: str):
        def hear(self, *_, **__):
            self.heard.append(name)
            if name == event:
                raise error

        return hear

    for name in EVENTS:
        setattr(Integration, name, method(name))
    return Integration


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == mirrors.__name__]


def call(mirror: Mirror, event: str, **others) -> TrainerControl:
    control = TrainerControl()
    handler = CallbackHandler([mirror], None, None, None, None)
    return handler.call_event(event, SimpleNamespace(), TrainerState(), control, **others)


@pytest.mark.parametrize("event", EVENTS)
def test_integration_that_raises_at_an_event_is_told_once_and_hears_no_more(monkeypatch, caplog, event):
    integration = raising(event, RuntimeError("no room"))
    mirror = mirror_of(monkeypatch, integration)
    for name in EVENTS:
        call(mirror, name)
    for name in EVENTS:
        call(mirror, name)
    assert integration.heard == [*EVENTS[: EVENTS.index(event) + 1]]
    (message,) = told(caplog)
    assert message.startswith("tool failed (RuntimeError: no room) and gets no more numbers")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SystemExit(1), ImportError("broken")])
def test_integration_that_cannot_be_set_up_is_told_and_dropped(monkeypatch, caplog, error):
    class Integration(TrainerCallback):
        def __init__(self) -> None:
            raise error

    mirror = mirror_of(monkeypatch, Integration)
    assert call(mirror, "on_log", logs={}).should_training_stop is False
    assert len(told(caplog)) == 1


def test_interrupt_is_no_failure_of_the_integration(monkeypatch):
    mirror = mirror_of(monkeypatch, raising("on_log", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        call(mirror, "on_log")


def test_integration_changes_nothing_of_the_run_and_prints_beside_the_results(monkeypatch, capsys):
    class Integration(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **_):
            sys.stdout.write("hello\n")
            logs["loss"] = 0.0
            state.global_step = 99
            control.should_training_stop = True
            random.seed(1)
            torch.manual_seed(1)
            return control

    mirror = mirror_of(monkeypatch, Integration)
    logs, state, control = {"loss": 2.0}, TrainerState(global_step=3), TrainerControl()
    before = random.getstate(), torch.get_rng_state()
    handler = CallbackHandler([mirror], None, None, None, None)
    assert handler.call_event("on_log", SimpleNamespace(), state, control, logs=logs) is control
    assert (logs, state.global_step, control.should_training_stop) == ({"loss": 2.0}, 3, False)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_tensorboard_on_a_full_disk_is_dropped(monkeypatch, caplog, capfd, tmp_path):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path))
    mirror = Mirror("tensorboard")
    state, control = TrainerState(), TrainerControl()
    args = SimpleNamespace(to_json_string=lambda: "{}")
    mirror.on_train_begin(args, state, control)
    writer = mirror._inner.tb_writer.file_writer.event_writer._async_writer._writer
    with open("/dev/full", "wb", buffering=0) as full:
        writer._writer = full
        with caplog.at_level(logging.WARNING):
            for step in range(20):
                mirror.on_log(args, TrainerState(global_step=step), control, logs={"loss": 1.0})
        mirror.on_train_end(args, state, control)
    (message,) = told(caplog)
    assert "No space left on device" in message
    assert "Exception in thread" not in capfd.readouterr().err


def test_tensorboard_gets_what_it_gets_without_a_mirror(monkeypatch, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path))
    mirror = Mirror("tensorboard")
    assert isinstance(mirror._inner, TensorBoardCallback)
    args = SimpleNamespace(to_json_string=lambda: "{}")
    mirror.on_train_begin(args, TrainerState(), TrainerControl())
    mirror.on_log(args, TrainerState(global_step=5), TrainerControl(), logs={"loss": 2.0, "eval_loss": 3.0})
    mirror.on_train_end(args, TrainerState(), TrainerControl())
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    points = {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert points == {"train/loss": [(5, 2.0)], "eval/loss": [(5, 3.0)]}


def test_every_name_of_the_configuration_is_one_of_transformers():
    assert set(NAMES) == {"tensorboard", "wandb", "mlflow", "trackio"}
    assert len(mirrors.get_reporting_integration_callbacks([*NAMES])) == len(NAMES)


def test_names_that_are_not_installed_are_refused_with_the_command(monkeypatch):
    monkeypatch.setattr(mirrors, "find_spec", lambda name: None if name in ("wandb", "mlflow") else object())
    check_installed(["tensorboard"])
    with pytest.raises(ValueError, match=r"train\.report_to: wandb, mlflow .* pip install wandb mlflow, or take"):
        check_installed(["wandb", "tensorboard", "mlflow"])


def test_run_with_a_mirror_that_is_not_installed_is_refused_before_anything_is_written(load, monkeypatch, tmp_path):
    monkeypatch.setattr(mirrors, "find_spec", lambda name: None)
    document = {"model": {"preset": "nano"}, "data": {"format": "drawn_scenes"}, "train": {"report_to": ["wandb"]}}
    config = load(document | {"work_dir": str(tmp_path / "run")})
    with pytest.raises(ValueError, match="pip install wandb"):
        training_arguments(config)
    assert not (tmp_path / "run").exists()


def test_tools_may_change_while_a_run_is_interrupted(load):
    document = {"model": {"preset": "nano"}, "data": {"format": "drawn_scenes"}, "work_dir": "run"}
    with_tools = load(document | {"train": {"report_to": ["wandb", "tensorboard"]}})
    assert describe_changes(load(document), with_tools) == []
    assert load(document).train.report_to == ["tensorboard"]
