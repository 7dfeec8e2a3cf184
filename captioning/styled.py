"""A captioner with the styles and settings that belong to it: what a model folder holds."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from models import open_captioner
from models.bounds import STYLES
from models.captioner import Captioner
from models.settings import FILE_NAME as SETTINGS_FILE
from models.settings import CaptionerSettings, read_settings
from preprocessors.interface import CaptionPreprocessor
from preprocessors.text.styles import FILE_NAME as STYLES_FILE
from preprocessors.text.styles import StyleRegistry
from utils.durable import replaced_folder
from utils.hub import resolve_model_folder
from utils.manifest import check_sealed, seal
from utils.saved import Saved
from utils.small_json import check_against, read_small_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StyledCaptioner:
    """A captioner, its styles, and how it is to be used.

    Attributes:
        captioner: Knows the registry's style tokens, if styles are injected as tokens.
        registry: Styles.
        settings: None for other people's folders, which do not say how a style enters the prompt.
    """

    captioner: Captioner
    registry: StyleRegistry
    settings: CaptionerSettings | None = None

    def with_settings(self, settings: CaptionerSettings) -> StyledCaptioner:
        """The same captioner, to be used otherwise."""
        return replace(self, settings=settings)

    def with_styles(self, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> StyledCaptioner:
        """The same captioner with further styles, which it has yet to learn; what it says in the others stays.

        Where a style has a token or code, its embedding starts as the mean of its name's sub-words, in place.

        Args:
            names: Styles; those that are known add nothing.
            aliases: Other spellings, each to the style's name.

        Raises:
            ValueError: If names or aliases cannot be told apart, or there is no code left.
        """
        registry = self.registry.extended(names, aliases)
        fresh = registry.names[len(self.registry) :]
        if registry.inject != "words":
            self.captioner.start_style_tokens({registry.token_of(name): name for name in fresh})
        return replace(self, registry=registry)

    def doubt_of_guidance(self, weight: float) -> str | None:
        """Why captions should not be guided so, if they should not: nothing is known of a neutral style never learnt.

        Args:
            weight: ``decode.guidance``; 1 guides nothing.
        """
        neutral = self.registry.neutral
        if weight == 1.0 or self.settings is None or neutral in self.settings.trained_styles:
            return None
        return f"decode.guidance={weight:g}: compares with the neutral style {neutral!r}, which is never trained on"

    def preprocessor(
        self, *, style_dropout: float = 0.0, random_crop_from: int | None = None, seed: int = 0
    ) -> CaptionPreprocessor:
        """The preprocessor that the settings ask for; the arguments matter to training alone.

        Raises:
            ValueError: If there are no settings.
        """
        if self.settings is None:
            raise ValueError("the captioner has no settings, which say how a style enters its prompt")
        return self.captioner.preprocessor(
            self.registry,
            self.settings,
            style_dropout=style_dropout,
            random_crop_from=random_crop_from,
            seed=seed,
        )

    def save_companions(self, folder: Path) -> None:
        """Write what makes a folder with weights a captioner: vocabulary, styles, settings."""
        self.captioner.save_companions(folder, self.settings)
        self.registry.save_to_dir(folder)

    @classmethod
    def load_from_dir(cls, folder: Path, *, registry: StyleRegistry | None = None, kind: str | None = None) -> Self:
        """Open a model folder.

        Args:
            folder: The folder.
            registry: Styles for a folder that has no ``styles.json``, such as a published checkpoint.
            kind: As for :func:`models.captioner_class`; None = what the folder says.

        Raises:
            FileNotFoundError: If there is neither ``styles.json`` nor ``registry``, or a file of the model is missing.
            ValueError: If files are damaged or do not fit one another, or do not have the content they were saved with.
            NoNumbers: If a weight is NaN or infinite.
        """
        check_sealed(folder)
        settings = read_settings(folder)
        has_own = (folder / STYLES_FILE).is_file()
        if has_own:
            check_against(STYLES, read_small_json(folder / STYLES_FILE), folder / STYLES_FILE)
            registry = StyleRegistry.load_from_dir(folder)
        captioner = open_captioner(folder, kind)
        if settings is not None:
            _check_fits(settings, captioner, folder)
        if registry is None or (settings is not None and not has_own):
            registry = StyleRegistry.load_from_dir(folder)  # which says that there is none
        join_styles(captioner, registry)
        return cls(captioner, registry, settings)

    def save_to_dir(self, folder: Path, also: Callable[[Path], None] | None = None) -> None:
        """Write a model folder: aside first, sealed, then in place of an older one, which goes only after that.

        Args:
            folder: The folder.
            also: Writes more into it.
        """
        with replaced_folder(folder) as aside:
            self.captioner.save(aside, self.settings)
            self.registry.save_to_dir(aside)
            if also is not None:
                also(aside)
            seal(aside, {"kind": "model"})


def join_styles(captioner: Captioner, registry: StyleRegistry) -> None:
    """Give every style of a registry its token, in place, if styles are injected as tokens."""
    if registry.style_tokens():
        captioner.add_style_tokens({registry.token_of(name): name for name in registry.names})


def open_styled(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    registry: StyleRegistry | None = None,
    kind: str | None = None,
) -> StyledCaptioner:
    """Open a captioner, see :meth:`StyledCaptioner.load_from_dir`.

    Args:
        name: Folder, archive or hub id.
        revision: Of the hub model.
        registry: Styles for a folder that has none.
        kind: Of captioner; None = what the folder says.
    """
    folder = resolve_model_folder(os.fspath(name), revision)
    return StyledCaptioner.load_from_dir(folder, registry=registry, kind=kind)


def _check_fits(settings: CaptionerSettings, captioner: Captioner, folder: Path) -> None:
    """Refuse settings that the captioner's tables do not cover: pictures of that size would fill the memory first."""
    limits, where = captioner.limits(), folder / SETTINGS_FILE
    size, length = settings.image_size, settings.decoding.max_length
    if size % limits.image_multiple or size > limits.image_size:
        raise ValueError(
            f"{where}: model.patch_image_size={size}: the model takes multiples of {limits.image_multiple} up to "
            f"{limits.image_size} pixels"
        )
    if length > limits.text_length:
        raise ValueError(f"{where}: model.beam_search.max_len_b={length}: the model has {limits.text_length} positions")


if TYPE_CHECKING:
    _: type[Saved] = StyledCaptioner
