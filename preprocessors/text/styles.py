"""The style registry: which styles a model knows, under which ids, and how a style enters the prompt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from preprocessors.examples import CaptionExample, ExampleColumns, make_example_id, merge_examples
from preprocessors.text.style_names import fold_name, index_aliases, index_names, nearest_names
from utils.io import read_json, write_json
from utils.saved import Saved

Inject = Literal["words", "code", "token"]

FILE_NAME = "styles.json"
TOKEN_TEMPLATES: dict[str, str] = {"words": "{name}", "code": "<code_{id}>", "token": "<style_{id}>"}
NUM_CODES = 8192  # <code_0> .. <code_8191> stand in the vocabulary of every published OFA checkpoint
COMBINED = "+"
"""Between the styles of a combination, as in ``romantic+humorous``."""
BETWEEN: dict[str, str] = {"words": " and ", "code": " ", "token": " "}
"""What stands between them in the prompt."""


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
        self._ids = index_names(self.names)
        self.aliases = dict(sorted((aliases or {}).items()))
        self._aliases = index_aliases(self.aliases, self._ids)
        self.neutral = self.resolve(neutral)
        if inject == "code" and len(self.names) > NUM_CODES:
            raise ValueError(f"{len(self.names)} styles, but only {NUM_CODES} codes; use style.inject=token or words.")

    def __len__(self) -> int:
        """Number of styles, the neutral one included."""
        return len(self.names)

    def find(self, name: str) -> str | None:
        """The style of that name or alias as the registry writes it, in any case; None if there is none."""
        key = fold_name(name)
        number = self._ids.get(self._aliases.get(key, key))
        return None if number is None else self.names[number]

    def resolve(self, name: str, where: str = "") -> str:
        """The style's name as the registry writes it, or those of a combination with ``+`` between.

        Args:
            name: A style name or alias in any case, with or without surrounding space; or several with ``+`` between
                them, in any order.
            where: File and row the name comes from, put before the message.

        Raises:
            ValueError: If no style has that name; the message gives the nearest ones and the remedy.
        """
        return COMBINED.join(self.parts_of(name, where))

    def parts_of(self, name: str, where: str = "") -> tuple[str, ...]:
        """The styles that a name stands for, one or those of a combination, in the order of their ids.

        A style whose own name has a ``+`` goes before a combination.

        Args:
            name: As in :meth:`resolve`.
            where: File and row the name comes from, put before the message.

        Raises:
            ValueError: If one of them is unknown, or one of several is the neutral style.
        """
        known = self.find(name)
        if known is not None:
            return (known,)
        prefix = f"{where}: " if where else ""
        found = {part.strip(): self.find(part) for part in name.split(COMBINED)}
        for part, style in found.items():
            if style is None:
                within = f" in {name!r}" if len(found) > 1 else ""
                raise ValueError(
                    f"{prefix}unknown style {part!r}{within}; nearest: {', '.join(self._nearest(part))}; {len(self)} "
                    "known. Correct the name, or train a model with this style among its styles."
                )
        parts = sorted({style for style in found.values() if style is not None}, key=self.names.index)
        if len(parts) > 1 and self.neutral in parts:
            raise ValueError(
                f"{prefix}style {name!r}: {self.neutral!r} stands for no style, so there is nothing to combine. Leave "
                "it out."
            )
        whole = self.find(COMBINED.join(parts))
        return tuple(parts) if whole is None else (whole,)

    def id_of(self, name: str) -> int:
        """Id of a style, 0 to ``len(registry) - 1``; ``name`` as in :meth:`resolve`, but no combination."""
        parts = self.parts_of(name)
        if len(parts) > 1:
            raise ValueError(f"style {name!r}: a combination has no id of its own")
        return self._ids[fold_name(parts[0])]

    def token_of(self, name: str) -> str:
        """Text that stands for a style, or a combination, in the prompt; ``name`` as in :meth:`resolve`."""
        template, parts = TOKEN_TEMPLATES[self.inject], self.parts_of(name)
        return BETWEEN[self.inject].join(template.format(name=part.lower(), id=self.id_of(part)) for part in parts)

    def extended(self, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> StyleRegistry:
        """A registry with further styles behind these, which keep their ids, and further aliases.

        Args:
            names: Those that are known already, by name or alias, add nothing.
            aliases: Besides the registry's own.

        Raises:
            ValueError: As when a registry is made; if an alias has led to another style until now.
        """
        fresh = [name for name in names if self.find(name) is None]
        for alias, name in (aliases or {}).items():
            before = self._aliases.get(fold_name(alias))
            if before is not None and fold_name(self.find(name) or name) != before:
                raise ValueError(
                    f"alias {alias!r} leads to {name!r}, and to {self.find(before)!r} in the model, which was trained "
                    "so. Remove the alias."
                )
        joined = {**self.aliases, **(aliases or {})}
        return StyleRegistry([*self.names, *fresh], inject=self.inject, aliases=joined, neutral=self.neutral)

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
        missing = [name for name in self.names if model.find(name) is None]
        self._refuse(model, where, [f"not in the model: {', '.join(missing[:5])}"] if missing else [])

    def check_read_as_in(self, model: StyleRegistry, where: str) -> None:
        """Refuse a model that reads styles otherwise; it may lack some of these, and have others.

        Args:
            model: The registry of the model that is being opened.
            where: The model's folder, for the message.

        Raises:
            ValueError: Listing what differs.
        """
        self._refuse(model, where, [])

    def _refuse(self, model: StyleRegistry, where: str, differing: list[str]) -> None:
        differing += [f"inject {self.inject!r}, there {model.inject!r}"] if self.inject != model.inject else []
        if fold_name(self.neutral) != fold_name(model.neutral):
            differing.append(f"neutral {self.neutral!r}, there {model.neutral!r}")
        if differing:
            raise ValueError(
                f"{where}: the model was made with other styles ({'; '.join(differing)}). "
                f"Use the styles of its {FILE_NAME}, or start from a model that has none."
            )

    def save_to_dir(self, folder: Path) -> None:
        """Write ``styles.json`` into a model folder."""
        write_json(Path(folder) / FILE_NAME, {**self._content(), "hash": self.hash})

    @classmethod
    def load_from_dir(cls, folder: Path) -> Self:
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

    def _nearest(self, name: str) -> list[str]:
        """The most similar styles, by their names and aliases, each once."""
        found = nearest_names(name, {**self._ids, **dict.fromkeys(self._aliases, 0)})
        return list(dict.fromkeys(style for key in found if (style := self.find(key)) is not None))


if TYPE_CHECKING:
    _: type[Saved] = StyleRegistry


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
