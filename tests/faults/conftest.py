from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import tiny
from tests.faults.stops import PROGRAM
from tests.faults.tally import Tally
from tests.faults.warm import Warm


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    process = Warm()
    yield process
    process.close()


@pytest.fixture(scope="session")
def counts() -> Iterator[Tally]:
    kept = Tally()
    yield kept
    kept.write()


@pytest.fixture
def tally(counts: Tally) -> Iterator[Callable[..., None]]:
    """Enters tries; the test fails in the end if one was wrong, and says which."""
    before = len(counts.wrong)
    yield counts.add
    wrong = counts.wrong[before:]
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_scenes(tmp_path_factory.mktemp("data") / "scenes")


@pytest.fixture(scope="session")
def whole(warm: Warm, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """Digest of an undisturbed run by (processes, data workers, more settings of training), each run once."""
    kept: dict[str, dict[str, str]] = {}

    def digest(ranks: int = 1, workers: int = 0, **train: int) -> dict[str, str]:
        key = json.dumps([ranks, workers, train])
        if key not in kept:
            folder = tmp_path_factory.mktemp("whole")
            conf = tiny.write_conf(tiny.document(scenes, workers, **train), folder, "whole")
            code = warm.call(PROGRAM, folder / "log", arguments=["--conf", str(conf)], ranks=ranks)
            assert code == 0, (folder / "log").read_text()[-3000:]
            kept[key] = tiny.digest(tiny.Run(folder / "whole"))
        return kept[key]

    return digest
