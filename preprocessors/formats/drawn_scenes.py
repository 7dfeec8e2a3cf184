"""The demo's drawn scenes, which are made on the spot and lie as JSON Lines."""

from __future__ import annotations

from pathlib import Path

from preprocessors.formats.jsonl import jsonl_rows
from preprocessors.formats.rows import Format, Generator, file_per_split

FOLDER = Path("work_dir/drawn_scenes")


def scenes_folder(num_images: int | None) -> Path:
    """Where the drawn scenes lie; a folder per number, so that one run does not replace the pictures of another."""
    return FOLDER if num_images is None else FOLDER.with_name(f"{FOLDER.name}_{num_images}")


def draw_scenes(folder: Path, num_images: int | None) -> None:
    """Draw the scenes, unless they are there already; of several processes one draws and the others wait."""
    # The table of formats is imported by every command; neither of these is light.
    from filelock import FileLock

    from preprocessors.pictures.drawn_scenes import write_drawn_scenes

    count = {} if num_images is None else {"num_train": num_images}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # the trials of a sweep start side by side
        write_drawn_scenes(folder, **count)


FORMAT = Format(
    open_rows=jsonl_rows,
    find=file_per_split("{split}.jsonl"),
    data_set="jsonl",
    settings=frozenset({"num_images"}),
    generator=Generator(scenes_folder, draw_scenes),
)
