"""The style registry: which styles a model knows, under which ids, and how a style enters the prompt."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from preprocessors.examples import CaptionExample, ExampleColumns, make_example_id, merge_examples
from utils.io import read_json, write_json

Inject = Literal["words", "code", "token"]

FILE_NAME = "styles.json"
TOKEN_TEMPLATES: dict[str, str] = {"words": "{name}", "code": "<code_{id}>", "token": "<style_{id}>"}
NUM_CODES = 8192  # <code_0> .. <code_8191> stand in the vocabulary of every published OFA checkpoint


def fold_name(name: str) -> str:
    """The form in which style names are compared: without case and surrounding space."""
    return name.strip().casefold()


class StyleRegistry:
    """Ordered style names with ids, aliases and the text that stands for each style in the prompt.

    Args:
        names: Style names; the id of a style is its place here. Written as they should appear in results.
        inject: ``words`` puts the lower-cased name into the prompt, ``code`` the reserved ``<code_k>`` of the
            published vocabulary (the original project's way), ``token`` a new vocabulary entry ``<style_k>``.
        aliases: Other spellings, each to one of ``names``.
        neutral: The style that stands for "no style". Added as the last one if it is not among ``names``.

    Raises:
        ValueError: If a name is blank, two names differ only in case or surrounding space, an alias leads to no
            style or hides one, or ``code`` is asked for more styles than there are codes.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        inject: Inject = "words",
        aliases: Mapping[str, str] | None = None,
        neutral: str = "neutral",
    ) -> None:
        if inject not in TOKEN_TEMPLATES:
            raise ValueError(f"style.inject={inject!r}: must be one of {', '.join(TOKEN_TEMPLATES)}.")
        ordered = [name.strip() for name in names]
        if fold_name(neutral) not in {fold_name(name) for name in ordered}:
            ordered.append(neutral.strip())
        self.inject: Inject = inject
        self.names = tuple(ordered)
        self._ids = _index_names(self.names)
        self.aliases = dict(sorted((aliases or {}).items()))
        self._aliases = self._index_aliases()
        self.neutral = self.resolve(neutral)
        if inject == "code" and len(self.names) > NUM_CODES:
            raise ValueError(f"{len(self.names)} styles, but only {NUM_CODES} codes; use style.inject=token or words.")

    def __len__(self) -> int:
        """Number of styles, the neutral one included."""
        return len(self.names)

    def resolve(self, name: str, where: str = "") -> str:
        """The style's name as the registry writes it.

        Args:
            name: A style name or alias in any case, with or without surrounding space.
            where: File and row the name comes from, put before the message.

        Raises:
            ValueError: If no style has that name; the message gives the nearest ones and the remedy.
        """
        key = fold_name(name)
        key = self._aliases.get(key, key)
        if key in self._ids:
            return self.names[self._ids[key]]
        prefix = f"{where}: " if where else ""
        raise ValueError(
            f"{prefix}unknown style {name!r}; nearest: {', '.join(self._nearest(key))}; {len(self)} known. "
            f"Correct the name, or train a model with this style among its styles."
        )

    def id_of(self, name: str) -> int:
        """Id of a style, 0 to ``len(registry) - 1``; ``name`` as in :meth:`resolve`."""
        return self._ids[fold_name(self.resolve(name))]

    def token_of(self, name: str) -> str:
        """Text that stands for a style in the prompt; ``name`` as in :meth:`resolve`."""
        return TOKEN_TEMPLATES[self.inject].format(name=self.resolve(name).lower(), id=self.id_of(name))

    def style_tokens(self) -> list[str]:
        """Entries that the vocabulary needs besides its own, in the order of their ids; none unless ``token``."""
        return [self.token_of(name) for name in self.names] if self.inject == "token" else []

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of everything that decides what the model reads for a style."""
        canonical = json.dumps(self._content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    def check_known_to(self, model: StyleRegistry, where: str) -> None:
        """Refuse a model that lacks some of these styles or reads them otherwise; it may have more of them.

        Args:
            model: The registry of the model that is being opened, which is the one to go on with.
            where: The model's folder, for the message.

        Raises:
            ValueError: Listing what differs first.
        """
        known = {*model._ids, *model._aliases}
        missing = [name for name in self.names if fold_name(name) not in known]
        differing = [f"not in the model: {', '.join(missing[:5])}"] if missing else []
        differing += [f"inject {self.inject!r}, there {model.inject!r}"] if self.inject != model.inject else []
        if fold_name(self.neutral) != fold_name(model.neutral):
            differing.append(f"neutral {self.neutral!r}, there {model.neutral!r}")
        if differing:
            raise ValueError(
                f"{where}: the model was made with other styles ({'; '.join(differing)}). "
                f"Use the styles of its {FILE_NAME}, or start from a model that has none."
            )

    def save(self, folder: Path) -> None:
        """Write ``styles.json`` into a model folder."""
        write_json(Path(folder) / FILE_NAME, {**self._content(), "hash": self.hash})

    @classmethod
    def load(cls, folder: Path) -> StyleRegistry:
        """Read ``styles.json`` from a model folder.

        Raises:
            FileNotFoundError: If the folder has none.
            ValueError: If the file is damaged or was edited: its content does not have the stored hash.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: not found; a model folder needs its styles. Copy it from the training run."
            )
        stored = read_json(path)
        try:
            registry = cls(
                stored["names"], inject=stored["inject"], aliases=stored["aliases"], neutral=stored["neutral"]
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path}: not a style registry ({error!r}). Copy it again from the training run."
            ) from error
        if {**registry._content(), "hash": registry.hash} != stored:
            raise ValueError(
                f"{path}: its content does not match its hash, so it was edited or damaged and the ids may no longer "
                f"be those the model was trained with. Copy it again from the training run."
            )
        return registry

    def _content(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "aliases": self.aliases,
            "ids": {name: number for number, name in enumerate(self.names)},
            "token_template": TOKEN_TEMPLATES[self.inject],
            "inject": self.inject,
            "neutral": self.neutral,
        }

    def _index_aliases(self) -> dict[str, str]:
        index: dict[str, str] = {}
        for alias, name in self.aliases.items():
            if fold_name(name) not in self._ids:
                raise ValueError(f"alias {alias!r} leads to {name!r}, which is no style. Correct it, or add the style.")
            if self._ids.get(fold_name(alias), self._ids[fold_name(name)]) != self._ids[fold_name(name)]:
                raise ValueError(f"alias {alias!r} for {name!r} is itself the name of a style. Remove the alias.")
            if index.setdefault(fold_name(alias), fold_name(name)) != fold_name(name):
                raise ValueError(f"alias {alias!r} is given for two styles. Keep one of them.")
        return index

    def _nearest(self, key: str) -> list[str]:
        found = difflib.get_close_matches(key, self._ids, n=3, cutoff=0.0)
        return [self.names[self._ids[name]] for name in found]


def resolve_styles(examples: Iterable[CaptionExample], registry: StyleRegistry) -> Sequence[CaptionExample]:
    """Write every example's style, and the style in its id, as the registry does.

    Args:
        examples: Examples as a reader gave them.
        registry: The styles of the model.

    Returns:
        Examples with canonical styles; examples whose styles turn out to be the same one are merged.

    Raises:
        ValueError: At the first example with an unknown style, naming its file and row.
    """
    if isinstance(examples, ExampleColumns):
        return examples.with_styles(registry.resolve)
    resolved = []
    for example in examples:
        style = registry.resolve(example.style, where=example.where)
        resolved.append(replace(example, example_id=make_example_id(example.image_name, style), style=style))
    return merge_examples(resolved)


def _index_names(names: Sequence[str]) -> dict[str, int]:
    index: dict[str, int] = {}
    for number, name in enumerate(names):
        key = fold_name(name)
        if not key:
            raise ValueError(f"style number {number} has a blank name. Give every style a name.")
        if key in index:
            raise ValueError(
                f"styles {names[index[key]]!r} and {name!r} differ only in case or space. Keep one of them."
            )
        index[key] = number
    return index
