"""What captioners that have learnt nothing reach: a constant caption, and the captions of similar training pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metrics.coco import score_captions
from metrics.confidence import ImageSums, bootstrap_intervals, paired_tests
from metrics.neighbours import AGREEING, NEAREST, consensus_rows
from metrics.scores.constant import best_constant_caption
from metrics.scores.examples import check_same_ids
from metrics.scores.ngrams import IntArray

Captions = Mapping[str, Sequence[str]]


class LookedUp(NamedTuple):
    """The training pictures nearest to each example's, as found by somebody who can see pictures."""

    captions: Mapping[str, IntArray]
    """By example_id the places of their captions among the training captions of its style, the nearest picture's
    first; none where no picture has one."""
    train_pictures: int
    """Among how many they were looked for."""


class Resampling(NamedTuple):
    """How intervals are drawn."""

    images: Mapping[str, str]
    """By example_id."""
    resamples: int
    seed: int


def group_by_style(example_ids: Sequence[str], styles: Mapping[str, str]) -> dict[str, list[str]]:
    """Ids under their style, in the order of ``example_ids``; {} without styles."""
    grouped: dict[str, list[str]] = {}
    for example_id in example_ids if styles else ():
        grouped.setdefault(styles[example_id], []).append(example_id)
    return grouped


def constant_baseline(
    references: Captions, train_captions: Captions, styles: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The best constant caption by style and overall, and the reasons for those that do not exist."""
    if not styles:
        candidates = [caption for texts in train_captions.values() for caption in texts]
        if not candidates:
            return {"overall": {"CIDEr": None}}, {"baseline_constant/overall": "no training captions"}
        best = best_constant_caption(references, candidates)
        return {"overall": {"caption": best.caption, "CIDEr": best.cider}}, {}
    baselines: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for style, ids in group_by_style([*references], styles).items():
        candidates = [*train_captions.get(style, [])]
        own = {key: references[key] for key in ids}
        if not candidates:
            missing[f"baseline_constant/{style}"] = "no training captions in this style"
        elif not any(text for texts in own.values() for text in texts):
            missing[f"baseline_constant/{style}"] = "no word in any reference of this style"
        else:
            best = best_constant_caption(own, candidates)
            baselines[style] = {"caption": best.caption, "CIDEr": best.cider}
    constants = {key: baselines[styles[key]]["caption"] for key in references if styles[key] in baselines}
    overall = None
    if len(constants) == len(references):
        overall = score_captions(references, constants, metrics=("CIDEr",)).overall["CIDEr"]
    return baselines | {"overall": {"CIDEr": overall}}, missing


def neighbours_baseline(
    references: Captions,
    hypotheses: Mapping[str, str],
    train_captions: Captions,
    styles: Mapping[str, str],
    looked_up: LookedUp | str,
    resampling: Resampling,
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """What the captions that each example's nearest training pictures agree on reach, and how much more a captioner.

    Args:
        references: Human captions by example_id, tokenised.
        hypotheses: The captioner's by example_id, tokenised.
        train_captions: By style, tokenised.
        styles: By example_id.
        looked_up: The nearest pictures, or why they are not known.
        resampling: Of the intervals.

    Returns:
        ``overall`` and ``per_style``, each with ``CIDEr`` and its ``interval``, and ``gain``, by which the captioner's
        CIDEr is higher, with ``gain_interval`` (paired bootstrap over images); how it was done (``nearest``,
        ``agreeing``, ``train_pictures``). None if the nearest pictures are not known. And the reasons for what is
        missing.
    """
    if isinstance(looked_up, str):
        return None, {"baseline_neighbours": looked_up}
    check_same_ids(references, styles, "style")
    check_same_ids(references, looked_up.captions, "list of neighbours")
    answers: dict[str, str] = {}
    per_style: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for style, ids in group_by_style([*references], styles).items():
        candidates = [looked_up.captions[key] for key in ids]
        if all(map(len, candidates)):
            captions = train_captions[style]
            rows = consensus_rows(captions, candidates)
            answers |= {key: captions[row] for key, row in zip(ids, rows, strict=True)}
            own = {key: references[key] for key in ids}
            per_style[style], unsure = _compare(own, answers, hypotheses, resampling, style)
            missing |= unsure
        else:
            per_style[style] = {"CIDEr": None}
            missing[f"baseline_neighbours/{style}"] = "no training picture with a caption in this style was looked at"
    overall: dict[str, Any] = {"CIDEr": None}
    if len(answers) == len(references):
        overall, unsure = _compare(references, answers, hypotheses, resampling, "overall")
        missing |= unsure
    described = {"nearest": NEAREST, "agreeing": AGREEING, "train_pictures": looked_up.train_pictures}
    return {"overall": overall, "per_style": per_style, **described}, missing


def _compare(
    references: Captions, answers: Mapping[str, str], hypotheses: Mapping[str, str], resampling: Resampling, part: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """CIDEr of answers and how much more hypotheses have, and the reasons for what is missing."""
    images, resamples, seed = resampling
    found: dict[str, Any] = {"CIDEr": None}
    try:
        scores = [
            score_captions(references, {key: texts[key] for key in references}, metrics=("CIDEr",))
            for texts in (answers, hypotheses)
        ]
        found["CIDEr"] = scores[0].overall["CIDEr"]
        if found["CIDEr"] is None:
            raise ValueError(scores[0].unavailable["CIDEr"])
        found["interval"] = bootstrap_intervals(scores[0], images, resamples=resamples, seed=seed)["CIDEr"]
    except ValueError as error:
        # No reference has a word, or only one image leaves no interval.
        return found, {f"baseline_neighbours/{part}": str(error)}
    sums = [ImageSums.from_examples([images[key] for key in each.ids], each.per_example) for each in scores]
    test = paired_tests(*sums, resamples=resamples, seed=seed)["CIDEr"]
    return found | {"gain": test.difference, "gain_interval": [test.low, test.high]}, {}


def neighbours_verdict(results: Mapping[str, Any]) -> str:
    """What is to be said of a captioner that does not beat the nearest pictures' captions; "" of every other one.

    Args:
        results: Of an evaluation; an older one knows nothing of neighbours.
    """
    found = (results.get("baseline_neighbours") or {}).get("overall") or {}
    if found.get("gain_interval") is None or found["gain_interval"][0] > 0:
        return ""
    low, high = found["gain_interval"]
    learnt = (
        "it has learnt nothing that looking up would not give"
        if found["gain"] <= 0
        else "it is not certain to have learnt more than looking up would give"
    )
    return (
        f"The captioner does not beat the captions of the nearest training pictures (CIDEr "
        f"{found['CIDEr'] + found['gain']:.3f} against {found['CIDEr']:.3f}, a difference of {found['gain']:+.3f} "
        f"[{low:+.3f}, {high:+.3f}]): {learnt}."
    )
