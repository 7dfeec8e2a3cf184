"""The engine for a Ray cluster: the jobs of a stretch are the trials of a Ray Tune run.

Every node needs this repository, the Python that runs it, the sweep's folder and what the configurations name (data,
starting checkpoint) under the same paths, that is, on a file system that all nodes share and that knows locks. A trial
whose node is lost therefore goes on elsewhere from its newest checkpoint, as after any interruption; Ray moves nothing.
Trials have the environment of their node, not that of the sweep.

Run the sweep on a machine of the cluster. If that machine or the head node is lost, the trials end too, and the same
command goes on with them.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sweeps.engines.local import (
    END_SECONDS,
    end_jobs,
    leash_command,
    lock_of,
    may_start_again,
    outcome_of,
    start_on_leash,
)
from sweeps.engines.ray_cluster import check_ray, joined, resources_of
from sweeps.engines.table import EngineKind
from sweeps.trials.jobs import Job, Outcome, Watcher
from sweeps.trials.slots import Slot, check_alike, slot_environment
from utils.exit_codes import FINISHED, LOCKED, STOPPED

LOSSES = 20
"""Times that a trial may lose its worker in a stretch; beyond, the trial itself is taken for the reason."""
LOST = 128 + signal.SIGKILL
"""Exit code of a start whose worker was lost."""
LOCK_WAITS = 10
"""Starts, a minute each, that may find a trial still running where it was lost; a node that is cut off ends it then."""


@dataclass(frozen=True)
class _Task:
    """What a worker has to know of a job; made on the machine of the sweep."""

    job: Job
    """With an absolute path."""
    command: tuple[str, ...]
    environment: Mapping[str, str | None]
    """None: not to be set."""
    folder: Path
    """Working directory."""
    retries: int


class RayEngine:
    """Runs jobs on a Ray cluster.

    Args:
        slots: As many jobs run at a time, each with the GPUs of a slot (or its CPUs, if it has no GPU). Which GPUs, and
            on which nodes, is for Ray to choose.
        retries: How often a job that crashed is started again. One whose node was lost is started again anyway.
        watcher: Is told what happens.
        address: Of the cluster, ``host:port``. None: ``RAY_ADDRESS`` in the environment, else the cluster that this
            machine is part of, else one that is started here for as long as jobs run; ``local``: the last of these.

    Raises:
        ValueError: If Ray is not installed, the slots differ, or the address is a Ray Client's.
    """

    def __init__(self, slots: Sequence[Slot], retries: int, watcher: Watcher, address: str | None = None) -> None:
        check_ray(address)
        check_alike(slots, "Ray")
        self.slots, self.retries, self.watcher, self.address = slots, retries, watcher, address

    def run(self, jobs: Sequence[Job]) -> dict[str, Outcome]:
        """Run all jobs; whatever ends this call ends what is running.

        Raises:
            ValueError: If there is no cluster at the address, or no node of it is large enough for a job.
        """
        if not jobs:
            return {}
        records = jobs[0].log.resolve().parent / "ray"
        records.mkdir(parents=True, exist_ok=True)
        events = make_events(jobs, self.watcher)
        try:
            # Ray tells drivers on standard output what befalls its nodes.
            with (records / "messages.txt").open("a") as said, redirect_stdout(said), joined(self.address, self.slots):
                self._tune([self._task(job) for job in jobs], events, records)
        finally:
            wait_until_gone(jobs)
        return events.outcomes

    def _task(self, job: Job) -> _Task:
        slot = self.slots[0]
        there = replace(job, log=job.log.resolve())
        command = leash_command(there, len(slot.devices))
        return _Task(there, tuple(command), trial_environment(slot, self.slots), Path.cwd(), self.retries)

    def _tune(self, tasks: Sequence[_Task], events: _Events, records: Path) -> None:
        from ray import tune
        from ray.tune.logger import JsonLoggerCallback

        by_name = {task.job.name: task for task in tasks}
        tuner = tune.Tuner(
            tune.with_resources(partial(run_task, by_name), resources_of(self.slots[0])),
            param_space={"name": tune.grid_search(list(by_name)), "crashes": 0},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=len(self.slots), trial_dirname_creator=lambda trial: trial.config["name"]
            ),
            run_config=tune.RunConfig(
                storage_path=str(records),
                failure_config=tune.FailureConfig(max_failures=LOSSES),
                callbacks=[events, JsonLoggerCallback()],
                verbose=0,
            ),
        )
        tuner.fit()


def trial_environment(slot: Slot, slots: Sequence[Slot]) -> dict[str, str | None]:
    """What a trial's environment says whatever its worker's does, None to unset; which GPUs it has, Ray says itself."""
    said: dict[str, str | None] = dict(slot_environment(slot, slots))
    if slot.gpus:
        del said["CUDA_VISIBLE_DEVICES"]
    # Ray sets it in all workers, to 1 where it reserves no CPU.
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")} | said


def run_task(tasks: Mapping[str, _Task], config: Mapping[str, Any]) -> None:
    """Run a job in a worker of Ray until it has ended for good, and report each start and end.

    Args:
        tasks: By name of the job.
        config: ``name`` of the job and how often it has crashed already, ``crashes``.
    """
    import ray
    from ray import tune

    task, crashes, waits = tasks[config["name"]], config["crashes"], 0
    environment: dict[str, str | None] = {**os.environ, **task.environment}
    said = {name: value for name, value in environment.items() if value is not None}
    place = {"node": ray.get_runtime_context().get_node_id(), "gpus": ray.get_gpu_ids()}
    again = True
    while again:
        process = start_on_leash(task.command, said, task.folder)
        try:
            tune.report({"event": "started", **place})
            code = process.wait()
        finally:
            end_jobs([process])
        waits += code == LOCKED
        is_held = code == LOCKED and waits < LOCK_WAITS
        outcome = outcome_of(task.job, code, crashes + 1)
        again = is_held or may_start_again(outcome, task.retries)
        crashes += outcome.code not in (FINISHED, STOPPED) and not is_held
        ended = {"code": outcome.code, "message": outcome.message, "again": again, "crashes": crashes}
        tune.report({"event": "ended", **ended})


class _Events:
    """Tells a watcher what Ray Tune tells; its methods are those of ``ray.tune.Callback``."""

    def __init__(self, jobs: Sequence[Job], watcher: Watcher) -> None:
        self.jobs = {job.name: job for job in jobs}
        self.watcher = watcher
        self.outcomes: dict[str, Outcome] = {}
        self._starts: Counter[str] = Counter()
        self._places: dict[str, Slot] = {}
        self._actors: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune writes its settings down with the callbacks, which may hold a terminal

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.watcher.tick()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._actors[trial.config["name"]] = trial.temporary_state.ray_actor

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        name = trial.config["name"]
        if result["event"] == "started":
            self._starts[name] += 1
            self._places[name] = place_of(result)
            self.watcher.started(self.jobs[name], self._places[name], self._starts[name])
        else:
            trial.set_config({**trial.config, "crashes": result["crashes"]})  # for a worker that goes on elsewhere
            self._end(name, Outcome(result["code"], self._starts[name], result["message"]), again=result["again"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._lose(trial, again=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._lose(trial, again=False)

    def _lose(self, trial: Any, *, again: bool) -> None:
        import ray

        name = trial.config["name"]
        if name in self._actors:
            ray.kill(self._actors.pop(name))  # it may only be out of reach, and would go on
        where = f" on {self._places[name]}" if name in self._places else ""
        reason = Path(trial.error_file).read_text().strip().splitlines()[-1].strip()
        self._end(name, Outcome(LOST, self._starts[name], f"its worker{where} was lost: {reason}"), again=again)

    def _end(self, name: str, outcome: Outcome, *, again: bool) -> None:
        if not again:
            self.outcomes[name] = outcome
        self.watcher.ended(self.jobs[name], outcome, again=again)


def make_events(jobs: Sequence[Job], watcher: Watcher) -> _Events:
    """The events of a run as Ray Tune takes them."""
    from ray import tune

    events: _Events = type("Events", (_Events, tune.Callback), {})(jobs, watcher)
    return events


def place_of(result: Mapping[str, Any]) -> Slot:
    """Where a trial says it was started: a node, and its GPUs there, as in ``10.0.0.5:0+1``."""
    import ray

    names = {node["NodeID"]: node["NodeName"] for node in ray.nodes()}
    node = names.get(result["node"], result["node"])
    gpus = "+".join(str(gpu) for gpu in result["gpus"])
    return Slot((f"{node}:{gpus}" if gpus else node,))


def wait_until_gone(jobs: Sequence[Job], seconds: float = END_SECONDS) -> None:
    """Wait until nothing of some jobs is left, wherever they ran, but not for ever."""
    deadline = time.monotonic() + seconds
    for job in jobs:
        if lock_of(job).exists():
            with suppress(Timeout), FileLock(lock_of(job), timeout=max(0.0, deadline - time.monotonic())):
                pass


RAY = EngineKind(
    check=lambda slots, option: check_ray(option or None),
    make=lambda slots, retries, watcher, option: RayEngine(slots, retries, watcher, option or None),
)
