"""Vision networks by name, by folder and by hub id: what they are, how they are built, and where their weights are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

from models.vision.efficientnet_lite import DEVIATION, MEAN, SHAPES, EfficientNetLite
from models.vision.network import VisionNetwork, hash_weights
from models.vision.pictures import read_pictures
from models.vision.published import load_published
from utils.errors import first_line
from utils.hub import resolve_model_folder

TRANSFORMERS = "transformers"
PUBLISHED = tuple(f"efficientnet_{size}" for size in SHAPES)
"""Names of networks whose weights come in a package."""


class VisionDescription(TypedDict):
    """A vision network as it stands in a model's ``config.json``.

    ``kind`` is a name of :data:`PUBLISHED` or ``transformers``, then with ``config``, its own configuration. ``source``
    is where it came from and ``sha256`` that of its weights. ``size`` pixels, ``mean`` and ``std`` are what it was
    trained with; ``channels`` and ``stride`` its features. ``named`` is True where a folder names the weights and does
    not hold them.
    """

    kind: str
    config: NotRequired[dict[str, Any]]
    source: str
    sha256: str
    size: int
    mean: list[float]
    std: list[float]
    channels: int
    stride: int
    named: bool


class PretrainedVision(NamedTuple):
    """A network with its weights, and what it is."""

    description: VisionDescription
    network: VisionNetwork


def open_vision(name: str, *, named: bool = False) -> PretrainedVision:
    """A pretrained network.

    Args:
        name: One of :data:`PUBLISHED`, a folder of transformers, or a hub id.
        named: Folders are to name its weights, not to hold them.

    Raises:
        FileNotFoundError: If its package is not installed, or its folder is not there.
        ValueError: If its weights are not the published ones, its folder cannot be opened, or no hub knows it.
    """
    network, facts = _open_published(name) if name in PUBLISHED else _open_transformers(name, _find_folder(name))
    seen = {"channels": network.out_channels, "stride": network.stride, "sha256": hash_weights(network), "named": named}
    return PretrainedVision(cast(VisionDescription, facts | seen), network)


def build_vision(description: VisionDescription) -> VisionNetwork:
    """The network with random weights."""
    if description["kind"] in PUBLISHED:
        return EfficientNetLite(SHAPES[description["kind"].removeprefix("efficientnet_")])
    from models.vision import transformers_networks as networks  # seconds of imports, which most models can do without

    config = networks.config_from(description["config"])
    return networks.TransformersNetwork(config, description["channels"], description["stride"])


def load_named(description: VisionDescription, where: Path) -> VisionNetwork:
    """The network that a model folder names.

    Args:
        description: Of the folder.
        where: The folder, for messages.

    Raises:
        FileNotFoundError: If the network is gone.
        ValueError: If its weights are not those that the folder was trained with.
    """
    try:
        found = open_vision(description["source"], named=True)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{where}: the weights of its vision network are not in it, and: {error}") from error
    if found.description["sha256"] != description["sha256"]:
        raise ValueError(
            f"{where}: was trained with other weights of the vision network {description['source']} (sha256 "
            f"{description['sha256'][:12]}..., found {found.description['sha256'][:12]}...); bring those back"
        )
    return found.network


def _open_published(name: str) -> tuple[VisionNetwork, dict[str, Any]]:
    size = name.removeprefix("efficientnet_")
    facts = {"kind": name, "source": name, "size": SHAPES[size].image_size}
    return load_published(size), facts | {"mean": [MEAN] * 3, "std": [DEVIATION] * 3}


def _find_folder(name: str) -> Path:
    try:
        folder = resolve_model_folder(name)
    except (FileNotFoundError, ValueError) as error:
        known = ", ".join(PUBLISHED)
        raise type(error)(f"model.vision={name}: {error}. Known by name: {known}") from error
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"model.vision={name}: {folder} has no config.json; give a folder of transformers")
    return folder


def _open_transformers(name: str, folder: Path) -> tuple[VisionNetwork, dict[str, Any]]:
    from models.vision import transformers_networks as networks

    with _told_as(f"model.vision={name}: cannot be used"):
        config = networks.read_config(folder)
        pictures = read_pictures(folder, getattr(config, "image_size", None))
    with _told_as(f"model.vision={name}: the weights cannot be opened"):
        model = networks.load(folder, config)
    with _told_as(f"model.vision={name}: cannot be used"):
        network = networks.network_of(model, config, pictures["size"])
    # A folder or archive by its whole path, to be found from anywhere; a hub id as it is, to be found from any machine.
    source = str(Path(name).resolve()) if Path(name).exists() else name
    return network, {"kind": TRANSFORMERS, "config": config.to_dict(), "source": source, **pictures}


@contextmanager
def _told_as(fault: str) -> Iterator[None]:
    """Configurations and models of transformers raise whatever they do; to the user all of it means one thing."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{fault}: {first_line(error)}") from error
