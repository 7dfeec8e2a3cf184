"""Results of a split that has no captions to compare with, such as a server's test split."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metrics.baselines import group_by_style
from metrics.clip import Sight, describe_sight, look
from metrics.coco import CaptionScores
from metrics.confidence import LEVEL
from metrics.results import confidence_of
from metrics.scores.clip import NO_CLIP
from metrics.style.diversity import caption_diversity
from metrics.table import METRICS
from metrics.tokenizers.ptb import TOKENIZER_NAME, tokenize_many
from preprocessors.examples import CaptionExample
from utils.io import read_json, write_json

REASON = "the split has no captions to compare with"
COCO_NAME = re.compile(r"(?:COCO_[a-z]+\d*_)?(\d+)")
"""Names of COCO's pictures without their ending: their number, mostly behind the name of the split."""


def unscored_results(
    examples: Sequence[CaptionExample],
    hypotheses: Mapping[str, str],
    *,
    metrics: Sequence[str],
    provenance: Mapping[str, Any],
    sight: Sight | str = NO_CLIP,
    resamples: int = 1000,
) -> dict[str, Any]:
    """What can be said of captions alone; the keys are those of ``metrics.results.evaluate_captions``.

    Args:
        examples: What was captioned.
        hypotheses: Caption by example id.
        metrics: That were asked for; those that compare captions are None, and ``unavailable`` says why.
        provenance: Where the captions come from.
        sight: As of ``metrics.results.evaluate_captions``.
        resamples: Of the confidence intervals.
    """
    keys = [example.example_id for example in examples]
    tokenized = dict(zip(keys, tokenize_many([hypotheses[key] for key in keys]), strict=True))
    images = {example.example_id: example.image_name for example in examples}
    styles = {example.example_id: example.style for example in examples}
    free = [name for name in metrics if not METRICS[name].needs_references]
    seen = look(sight, free, dict.fromkeys(keys, ()), {key: hypotheses[key] for key in keys}, images)
    rows = {name: dict(zip(keys, found, strict=True)) for name, found in seen.items() if not isinstance(found, str)}
    scores = _scores(keys, metrics, rows)
    parts = {style: _scores(ids, metrics, rows) for style, ids in group_by_style(keys, styles).items()}
    nothing: dict[str, Any] = {
        "level": LEVEL,
        "resamples": 0,
        "seed": 0,
        "unit": "image",
        "overall": {},
        "per_style": {},
    }
    confidence, unsure = nothing, {"confidence": REASON}
    if rows:
        confidence, unsure = confidence_of(scores, parts, images, resamples, seed=0)
    missing = dict.fromkeys([name for name in metrics if name not in rows], REASON)
    missing |= {name: found for name, found in seen.items() if isinstance(found, str)}
    missing |= dict.fromkeys(["style", "baseline_constant", "baseline_neighbours", "diversity/copied_share"], REASON)
    described = {"tokenizer": TOKENIZER_NAME, "references_sha256": None}
    return {
        "overall": scores.overall,
        "per_style": {style: {**part.overall, "n": len(part.ids)} for style, part in parts.items()},
        "style": {},
        "diversity": caption_diversity(tokenized, images),
        "confidence": confidence,
        "unavailable": missing | unsure,
        "n": len(keys),
        "provenance": {**provenance, "metrics": described | describe_sight(sight, metrics)},
        "baseline_constant": None,
        "baseline_neighbours": None,
    }


def _scores(ids: Sequence[str], metrics: Sequence[str], rows: Mapping[str, Mapping[str, float]]) -> CaptionScores:
    """Of some examples, which have no references, the values that there are."""
    measured = {name: np.array([found[key] for key in ids]) for name, found in rows.items()}
    return CaptionScores(tuple(ids), (), (), tuple(metrics), measured, {})


def write_server_files(
    folder: Path, split: str, examples: Sequence[CaptionExample], hypotheses: Mapping[str, str]
) -> list[Path]:
    """Write captions as COCO's evaluation server takes them: a list of ``{"image_id", "caption"}``, one a picture.

    A picture's id is that of ``images`` in a file as COCO's or nocaps'; elsewhere the number in its name where all
    names are COCO's (``COCO_test2014_000000000001.jpg``, ``000000000001.jpg``), else its name without folder and
    ending, or with the folder where two pictures would have one id.

    Args:
        folder: Where the files go.
        split: Begins their names: ``<split>.coco.json``, and ``<split>.coco.<style>.json`` where there are several
            styles, for the server takes one caption a picture.
        examples: What was captioned.
        hypotheses: Caption by example id.
    """
    by_style: dict[str, list[CaptionExample]] = defaultdict(list)
    for example in examples:
        by_style[example.style].append(example)
    ids = _ids([*dict.fromkeys(example.image_name for example in examples)])
    given = _given_ids({example.source for example in examples})
    files = {name: Path(name).name for name in ids}
    if given.keys() >= {*files.values()} and len({*files.values()}) == len(files):
        ids = {name: given[file] for name, file in files.items()}
    written: list[Path] = []
    for style, group in by_style.items():
        part = "" if len(by_style) == 1 else "." + re.sub(r"[^\w-]+", "_", style)
        path = folder / f"{split}.coco{part}.json"
        if path in written:  # two styles that differ in marks alone
            path = folder / f"{split}.coco{part}.{len(written)}.json"
        rows = [{"image_id": ids[item.image_name], "caption": hypotheses[item.example_id]} for item in group]
        write_json(path, rows)
        written.append(path)
    return written


def _ids(names: Sequence[str]) -> dict[str, int | str]:
    """An id for each picture, of the shortest form by which no two have the same."""
    stems = [Path(name).stem for name in names]
    numbers = [int(found[1]) for stem in stems if (found := COCO_NAME.fullmatch(stem)) is not None]
    forms: tuple[Sequence[int | str], ...] = (
        numbers,
        stems,
        [str(Path(name).with_suffix("")) for name in names],
        names,
    )
    chosen = next(form for form in forms if len({*form}) == len(names))
    return dict(zip(names, chosen, strict=True))


def _given_ids(sources: Iterable[str]) -> dict[str, int | str]:
    """Ids by file name, of annotation files that give them."""
    found: dict[str, int | str] = {}
    for source in sources:
        content = read_json(source) if source.endswith(".json") and Path(source).is_file() else None
        images = content.get("images") if isinstance(content, dict) else None
        for image in images if isinstance(images, list) else ():
            if isinstance(image, dict) and isinstance(image.get("file_name"), str) and "id" in image:
                found[Path(image["file_name"]).name] = image["id"]
    return found
