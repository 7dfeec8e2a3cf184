"""A captioner with the styles and settings that belong to it: what a model folder holds."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from models import open_captioner
from models.captioner import Captioner
from models.settings import CaptionerSettings, read_settings
from preprocessors.interface import CaptionPreprocessor
from preprocessors.text.styles import FILE_NAME as STYLES_FILE
from preprocessors.text.styles import StyleRegistry
from utils.hub import resolve_model_folder


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
        self.registry.save(folder)

    def save(self, folder: Path) -> None:
        """Write a model folder: aside first, then in place of an older one, which goes only after that."""
        aside, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        self.captioner.save(aside, self.settings)
        self.registry.save(aside)
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def join_styles(captioner: Captioner, registry: StyleRegistry) -> None:
    """Give every style of a registry its token, in place, if styles are injected as tokens."""
    if registry.style_tokens():
        captioner.add_style_tokens({registry.token_of(name): name for name in registry.names})


def open_styled(
    name: str | os.PathLike[str], *, revision: str | None = None, registry: StyleRegistry | None = None
) -> StyledCaptioner:
    """Open a captioner.

    Args:
        name: Folder or hub id.
        revision: Of the hub model.
        registry: Styles for a folder that has no ``styles.json``, such as a published checkpoint.

    Raises:
        FileNotFoundError: If there is neither ``styles.json`` nor ``registry``, or a file of the model is missing.
        ValueError: If files are damaged or do not fit one another.
    """
    folder = resolve_model_folder(os.fspath(name), revision)
    captioner = open_captioner(folder)
    settings = read_settings(folder)
    if registry is None or settings is not None or (folder / STYLES_FILE).is_file():
        registry = StyleRegistry.load(folder)
    join_styles(captioner, registry)
    return StyledCaptioner(captioner, registry, settings)
