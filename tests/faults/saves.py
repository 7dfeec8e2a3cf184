"""Saves of a checkpoint store in a child process, without a model, through the writers that a trainer uses."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from runs.folder import Run
from tests.faults.kill_points import KillPoints
from trainers.checkpoints import CheckpointStore
from utils.durable import recover_folder, replaced_folder
from utils.io import append_jsonl, read_jsonl, write_text
from utils.manifest import find_faults, read_manifest, seal

SCORES = {3: 0.5, 6: 0.2, 9: 0.4, 10: None, 12: 0.3}
"""Validation loss by step: the lowest is best, and comes second."""
ORDER = (3, 6, 9, 10, 10, 12)
"""Step 10 is saved twice, as one that awaits its validation is."""
JOURNAL = "saved.jsonl"


def make_store(root: Path, keep_last: int = 2) -> CheckpointStore:
    """A store of a run of 12 steps."""
    about = {"processes": 1, "rows_per_step": 8, "settings": "abc"}
    return CheckpointStore(Run(root), about, keep_last=keep_last)


def write_files(folder: Path, step: int) -> None:
    """What stands in for a model, its optimizer and its numbers."""
    save_file({"weights": torch.full((64, 8), float(step))}, folder / "model.safetensors")
    torch.save({"moments": torch.full((64, 8), float(step))}, folder / "optimizer.pt")
    write_text(folder / "trainer_state.json", f'{{"global_step": {step}}}')


def save_step(store: CheckpointStore, step: int, score: float | None, awaits: bool = False) -> None:
    about = {"max_steps": 12, "epoch": step / 6, "score": score, "awaits_validation": awaits}
    store.save(step, lambda folder: write_files(folder, step), about, 10_000)


def save_all(root: str, at: int = 0, tally: str | None = None) -> int:
    """The saves of ``ORDER``, noted outside of the run folder when each is done; the process dies at one change."""
    store = make_store(Path(root))
    journal = Path(f"{root}.{JOURNAL}")
    points = KillPoints(root + "/", at, tally).install()
    for step in ORDER:
        save_step(store, step, SCORES[step])
        append_jsonl(journal, {"step": step})
    points.note()
    return 0


def saved_by(run: Run) -> list[int]:
    """Steps whose save had ended when the process died."""
    journal = Path(f"{run.root}.{JOURNAL}")
    return [row["step"] for _, row in read_jsonl(journal)] if journal.exists() else []


def best_of(saved: list[int]) -> int | None:
    """The best of the steps that were saved."""
    return min((step for step in saved if SCORES[step] is not None), key=lambda step: SCORES[step] or 0.0, default=None)


def replace_folder(folder: str, generation: int, at: int = 0) -> int:
    """Write a sealed folder in place of an older one; the process dies at one change."""
    place = Path(folder)
    KillPoints(str(place.parent), at).install()
    recover_folder(place)
    with replaced_folder(place) as aside:
        write_files(aside, generation)
        seal(aside, {"generation": generation})
    return 0


def wrong_folder(folder: Path, code: int | None) -> str:
    """What is wrong with a folder whose second writing was cut short."""
    recover_folder(folder)
    if not folder.is_dir():
        return "is gone"
    generation = read_manifest(folder).about["generation"]
    if code == 0 and generation != 2:
        return "is the old one though the writing ended well"
    return "; ".join(find_faults(folder))
