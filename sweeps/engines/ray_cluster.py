"""Joining a Ray cluster, or starting one."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sweeps.trials.slots import Slot
from utils.environment import REPOSITORY

ANSWER_SECONDS = 10.0
OBJECT_STORE_BYTES = 100_000_000
"""Shared memory of a Ray that is started here: nothing of ours lies in it."""
WORKER_ENVIRONMENT = {
    "PYTHONPATH": str(REPOSITORY),
    # Else a worker that ends kills its direct children first: the leash, which then can end nothing and frees its lock.
    "RAY_kill_child_processes_on_worker_exit": "0",
}
DRIVER_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # it prints a table to standard output even when asked to be silent
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would let Ctrl-C end the run as if the trials had ended
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


def check_ray(address: str | None) -> None:
    """Refuse what cannot work before anything is started.

    Raises:
        ValueError: If Ray is not installed, or the address is a Ray Client's.
    """
    try:
        import ray.tune  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "--engine ray: Ray is not installed; run .venv/bin/pip install -r requirements-ray.txt"
        ) from error
    given = address or os.environ.get("RAY_ADDRESS", "")
    if given.startswith("ray://"):
        raise ValueError(
            f"--address {given}: is the address of a Ray Client server; "
            "run the sweep on a machine of the cluster, with its host:port or no address"
        )


@contextmanager
def joined(address: str | None, slots: Sequence[Slot]) -> Iterator[None]:
    """Be a driver of a cluster; leaving it ends what was started there, and a cluster that was started here.

    Args:
        address: As ``RayEngine`` takes it.
        slots: What trials need; a cluster that is started here has the CPUs of all.

    Raises:
        ValueError: If there is no cluster at the address, or it has no node for a trial.
    """
    import ray

    stop = signal.getsignal(signal.SIGTERM)
    place = find_cluster(address)
    own = {} if place else _own_cluster(slots)
    with _environment(DRIVER_ENVIRONMENT):
        try:
            try:
                ray.init(
                    address=place or "local",
                    runtime_env={"env_vars": WORKER_ENVIRONMENT},
                    log_to_driver=False,
                    logging_level="WARNING",
                    **own,
                )
            except (ConnectionError, RuntimeError) as error:
                raise ValueError(f"--engine ray: {error}") from error
            signal.signal(signal.SIGTERM, stop)  # Ray put its own there
            check_nodes(ray.nodes(), slots[0])
            yield
        finally:
            ray.shutdown()
            signal.signal(signal.SIGTERM, stop)


def find_cluster(address: str | None) -> str | None:
    """Where the cluster to join answers; None if one has to be started.

    Raises:
        ValueError: If none answers at the address, or at ``RAY_ADDRESS``.
    """
    from ray._private import services

    place = services.canonicalize_bootstrap_address(address)  # as ray.init does, which waits for ever if none answers
    if place is None:
        return None
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except OSError as error:
        if address or os.environ.get("RAY_ADDRESS"):
            raise ValueError(
                f"--address {place}: no Ray cluster answers there ({error}); "
                "give the address that `ray start --head` printed"
            ) from error
        return None  # the last cluster of this machine is gone
    return str(place)


def resources_of(slot: Slot) -> dict[str, int]:
    """What Ray reserves for a trial."""
    return {"GPU": len(slot.gpus), "CPU": 0} if slot.gpus else {"CPU": len(slot.devices)}


def check_nodes(nodes: Sequence[Mapping[str, Any]], slot: Slot) -> None:
    """Refuse a cluster of which no node can ever run a trial.

    Args:
        nodes: As ``ray.nodes()`` describes them.
        slot: Of a trial.

    Raises:
        ValueError: Saying what the largest has.
    """
    kind, wanted = next((kind, wanted) for kind, wanted in resources_of(slot).items() if wanted)
    most = max((node["Resources"].get(kind, 0) for node in nodes if node["Alive"]), default=0)
    if most < wanted:
        raise ValueError(
            f"GPU_IDS: a trial on {slot} needs {wanted} {kind}s of one node; "
            f"the largest node of this Ray cluster has {most:g}"
        )


def _own_cluster(slots: Sequence[Slot]) -> dict[str, Any]:
    settings = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    cpus = sum(len(slot.devices) for slot in slots if not slot.gpus)
    return settings | {"num_cpus": cpus} if cpus else settings


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
