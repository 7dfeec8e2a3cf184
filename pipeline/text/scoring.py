"""What documents cost a language model, and whether their next words are among those that it proposes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from metrics.text_lm import Place, TextScore, hit_rates, places_of, text_numbers, total
from models.style_lm import StyleLM
from models.style_lm.words import TOKENS_OF_A_WORD, Entries, next_words
from preprocessors.collator import IGNORE_INDEX
from preprocessors.documents.packing import Packer, mask
from preprocessors.documents.token_bins import TokenBins

LOGITS_AT_ONCE = 1 << 26
"""Most scores in memory, 256 MiB of float32."""
PROPOSED = 5
"""Words that the next one is to be among."""
PLACES_AT_ONCE = 32


class Costs(NamedTuple):
    """Of documents, by number."""

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]


@torch.no_grad()
def document_costs(lm: StyleLM, packer: Packer) -> Costs:
    """Negative log-likelihood and number of the tokens of each document, its EOS included and its control code not.

    Args:
        lm: In evaluation mode.
        packer: Of the documents; those that are cut into windows are put together again.
    """
    plan, number = packer.plan(None), len(packer.bins)
    costs = Costs(np.zeros(number), np.zeros(number, np.int64))
    size = max(1, LOGITS_AT_ONCE // (packer.context * len(lm.tokenizer)))
    for start in range(0, len(plan), size):
        rows = range(start, min(start + size, len(plan)))
        packed = packer.batch(plan, rows)
        ids, positions, documents, targets = (part.to(lm.device) for part in packed[:4])
        ancestors = None if packed.ancestors is None else packed.ancestors.to(lm.device)
        logits = lm.logits(ids, positions, mask(documents, ancestors)).float()
        nll = logits.logsumexp(-1) - logits.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        for row, *parts in zip(rows, nll.double().cpu(), documents.cpu(), targets.cpu(), strict=True):
            _add(costs, packer, plan.row(row), *(part.numpy() for part in parts))
    return costs


def _add(costs: Costs, packer: Packer, windows: list[int], nll: Any, documents: Any, targets: Any) -> None:
    """Give the windows of a row what their tokens cost; documents that are only read have none."""
    learnt = targets != IGNORE_INDEX
    blocks, places = np.unique(documents[learnt], return_inverse=True)
    assert len(blocks) == len(windows)
    owners = packer.windows.document[windows]
    np.add.at(costs.nats, owners, np.bincount(places, weights=nll[learnt]))
    np.add.at(costs.tokens, owners, np.bincount(places))


def styles_of_documents(lm: StyleLM, bins: TokenBins) -> list[str]:
    """The style of each document, by its control code; of a combination the text of the code."""
    names = () if lm.registry is None else lm.registry.names
    found = {tuple(lm.prompt(name)[1:]): name for name in names}
    styles = []
    for number in range(len(bins)):
        code = tuple(bins[number].code.tolist())
        if code not in found:
            found[code] = lm.tokenizer.decode(code).strip()
        styles.append(found[code])
    return styles


def text_results(lm: StyleLM, packer: Packer, most_places: int) -> dict[str, Any]:
    """The numbers of a text run's evaluation.

    Args:
        lm: In evaluation mode.
        packer: Of the documents.
        most_places: At which the next word is looked for.

    Returns:
        ``overall`` and ``per_style`` numbers of :mod:`metrics.text_lm`, ``n`` documents, ``tokens``, ``places``, and
        why numbers are ``unavailable``.
    """
    bins = packer.bins
    costs = document_costs(lm, packer)
    texts = _Bodies(lm, bins)
    scores = [
        TextScore(float(nats), int(tokens), len(texts[number].encode()))
        for number, (nats, tokens) in enumerate(zip(*costs, strict=True))
    ]
    places = [*places_of(texts, most_places)]
    overall = text_numbers(total(scores)) | hit_rates(places, _proposed(lm, bins, places))
    why = "lm.hit_places=0" if most_places == 0 else "no document has a second word"
    return {
        "overall": overall,
        "per_style": _per_style(lm, bins, scores),
        "unavailable": {name: why for name, value in overall.items() if value is None},
        "n": len(bins),
        "tokens": int(costs.tokens.sum()),
        "places": len(places),
    }


class _Bodies(Mapping[int, str]):
    """Texts of documents by number, decoded where they are asked for: all together may be larger than the memory."""

    def __init__(self, lm: StyleLM, bins: TokenBins) -> None:
        self._lm, self._bins = lm, bins

    def __len__(self) -> int:
        return len(self._bins)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._bins)))

    def __getitem__(self, number: int) -> str:
        return self._lm.tokenizer.decode(self._bins[number].body.tolist())


def _per_style(lm: StyleLM, bins: TokenBins, scores: Sequence[TextScore]) -> Mapping[str, Any]:
    if lm.registry is None:
        return {}
    grouped: dict[str, list[TextScore]] = {}
    for style, score in zip(styles_of_documents(lm, bins), scores, strict=True):
        grouped.setdefault(style, []).append(score)
    return {style: text_numbers(total(grouped[style])) | {"n": len(grouped[style])} for style in sorted(grouped)}


def _proposed(lm: StyleLM, bins: TokenBins, places: Sequence[Place]) -> list[list[str]]:
    """Words for each place, behind the document's control code and as much of its text as there are positions for."""
    if not places:
        return []
    entries, found = Entries(lm.tokenizer), list[list[str]]()
    for start in range(0, len(places), PLACES_AT_ONCE):
        part = places[start : start + PLACES_AT_ONCE]
        bodies = lm.tokenizer.encode_batch([place.before for place in part])
        heads = [[lm.tokenizer.bos_id, *bins[place.document].code.tolist()] for place in part]
        prompts = [_shortened(lm, head, body) for head, body in zip(heads, bodies, strict=True)]
        found += next_words(lm, prompts, PROPOSED, entries)
    return found


def _shortened(lm: StyleLM, head: list[int], body: list[int]) -> list[int]:
    """Head and body without so much of the body's beginning that a word has positions behind them.

    Of a head that leaves none the body's last token stands alone: it is what tells most of the next word.
    """
    most = 1 << 30 if lm.positions is None else lm.positions - TOKENS_OF_A_WORD + 1
    room = most - len(head)
    return head + body[max(0, len(body) - room) :] if room > 0 else body[-max(1, most) :]
