"""Which references belong to which hypotheses, where two files name their pictures differently."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from metrics.caption_table import CaptionTable

logger = logging.getLogger(__name__)

COCO_NUMBER = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?0*(\d+)")


def _plain(name: str) -> str:
    return name.replace("\\", "/")


def _number(name: str) -> str:
    found = COCO_NUMBER.fullmatch(PurePosixPath(_plain(name)).stem)
    return found[1] if found else ""


WAYS: dict[str, Callable[[str], str]] = {
    "the picture": _plain,
    "the picture's file name": lambda name: PurePosixPath(_plain(name)).name,
    "the picture's file name without its ending": lambda name: PurePosixPath(_plain(name)).stem,
    "the number in the picture's file name": _number,
}
"""How pictures are recognised, the surest first: what of a name must be equal."""


def match_pictures(references: CaptionTable, hypotheses: CaptionTable) -> tuple[CaptionTable, str]:
    """References under the example_ids of the hypotheses, where no example_id is in both.

    A hypothesis belongs to the references of its picture in its style; where these have no style, to all of them.

    Returns:
        The references, those of pictures without a hypothesis under their own ids, and what of the pictures' names was
        compared; "" if the ids are the same already, or nothing fits.
    """
    if references.captions.keys() & hypotheses.captions.keys():
        return references, ""
    for way, name_of in WAYS.items():
        found = _match(references, hypotheses, name_of)
        if found:
            logger.warning(
                "%s and %s name pictures differently: matched %s of %s hypotheses by %s",
                *(references.path, hypotheses.path),
                *(f"{len(found):,}", f"{len(hypotheses.captions):,}", way),
            )
            return _rekeyed(references, hypotheses, found), way
    return references, ""


def keep_used_splits(references: CaptionTable, hypotheses: CaptionTable) -> CaptionTable:
    """References without the splits that no hypothesis is of: captions of a test split are scored on that alone."""
    used = {references.splits[key] for key in hypotheses.captions if key in references.splits}
    left_out = {*references.splits.values()} - used
    if not used or not left_out:
        return references
    kept = [key for key in references.captions if references.splits.get(key) not in left_out]
    logger.info("%s: its split %s only", references.path, ", ".join(sorted(used)))
    return replace(references, captions={key: references.captions[key] for key in kept})


def _match(references: CaptionTable, hypotheses: CaptionTable, name_of: Callable[[str], str]) -> dict[str, list[str]]:
    """By hypothesis the ids of its references; {} if names are not equal, or one name is of several pictures."""
    known: dict[str, list[str]] = {}
    pictures: dict[str, set[str]] = {}
    for key in references.captions:
        for name in _names(references, key, name_of):
            known.setdefault(name, []).append(key)
            pictures.setdefault(name, set()).add(references.picture(key))
    found = {}
    for key in hypotheses.captions:
        style = hypotheses.styles.get(key)
        named = next((name for name in _names(hypotheses, key, name_of) if name in known), None)
        if named is None:
            continue
        own = [other for other in known[named] if _fits(references.styles.get(other), style)]
        if len(pictures[named]) > 1:
            return {}
        if own:
            found[key] = own
    return found


def _names(table: CaptionTable, key: str, name_of: Callable[[str], str]) -> Iterable[str]:
    names = [table.picture(key), *([table.files[key]] if key in table.files else [])]
    return [name for name in dict.fromkeys(map(name_of, names)) if name]


def _fits(reference: str | None, hypothesis: str | None) -> bool:
    return reference is None or (hypothesis is not None and reference.casefold() == hypothesis.casefold())


def _rekeyed(references: CaptionTable, hypotheses: CaptionTable, found: dict[str, list[str]]) -> CaptionTable:
    used = {key for keys in found.values() for key in keys}
    rest = {key: captions for key, captions in references.captions.items() if key not in used}
    matched = {key: [text for other in keys for text in references.captions[other]] for key, keys in found.items()}
    firsts = {key: keys[0] for key, keys in found.items()}
    pictures = {key: references.picture(first) for key, first in firsts.items()}
    return replace(
        references,
        captions=matched | rest,
        images=references.images | pictures,
        styles=references.styles | {key: hypotheses.styles[key] for key in found if key in hypotheses.styles},
        splits=references.splits | {k: references.splits[f] for k, f in firsts.items() if f in references.splits},
        domains=references.domains | {k: references.domains[f] for k, f in firsts.items() if f in references.domains},
    )
