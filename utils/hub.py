"""Finds a model's folder, on disk or on the ModelScope hub."""

from __future__ import annotations

from pathlib import Path

from utils.durable import recover_folder

SUFFIXES = (".tar", ".tar.gz", ".tgz")
"""Ends of the names of model archives."""


def resolve_model_folder(name: str, revision: str | None = None) -> Path:
    """The local folder of a model; downloads it from the ModelScope hub if ``name`` is an id there.

    An existing folder is taken as it is, also if it looks like a hub id. A model archive is unpacked once.

    Args:
        name: A folder, an archive (``.tar``, ``.tar.gz``), or a hub id such as ``damo/ofa_pretrain_tiny_en``.
        revision: Revision on the hub; None = the newest. A folder has none.

    Raises:
        FileNotFoundError: If ``name`` is written as a path and there is no such folder, or it is a file.
        ValueError: If the hub does not give the model; names id, cause and remedy. If an archive is damaged.
    """
    folder = Path(name).expanduser()
    if folder.is_dir() or recover_folder(folder):
        return folder
    if folder.name.endswith(SUFFIXES) and folder.is_file():
        from utils.unpacked import open_archive  # here: only archives need it

        return open_archive(folder)
    if folder.exists():
        raise FileNotFoundError(
            f"model {name}: is a file; give the folder that holds it ({folder.parent}), or an archive that ends in "
            f"{', '.join(SUFFIXES)}"
        )
    if name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1:
        raise FileNotFoundError(f"model {name}: no such folder; check the path, or give a hub id (owner/name)")
    return _download(name, revision)


def _download(name: str, revision: str | None) -> Path:
    wanted = f"model {name}" + (f", revision {revision}" if revision else "")
    try:
        # Imported here: only hub models need it.
        from modelscope import snapshot_download

        folder = Path(snapshot_download(name, revision=revision))
    except Exception as error:
        # The hub client raises whatever its HTTP library does; to the user all of it means "no model".
        cause = f"{type(error).__name__}: {error}".strip(": ")
        raise ValueError(
            f"{wanted}: there is no such folder, and the ModelScope hub did not give it ({cause}); "
            f"check the name and the network, or download the model by hand and give its folder"
        ) from error
    if not folder.is_dir():
        raise ValueError(f"{wanted}: the ModelScope hub client returned {folder}, which is no folder; download by hand")
    return folder


def refuse_adapters(folder: Path) -> None:
    """Refuse a folder of transformers with adapters of peft beside its weights, before the library opens it.

    Where peft is installed the library would add them without a word, and elsewhere not: two models by one name.

    Raises:
        ValueError: If there are any.
    """
    if (path := folder / "adapter_config.json").exists():
        raise ValueError(
            f"{path}: the folder holds adapters beside its weights, which count where peft is installed and nowhere "
            "else. Merge them into the weights (peft: merge_and_unload), or remove their files"
        )
