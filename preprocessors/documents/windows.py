"""Documents cut into windows that fit a model's context, each of whose ids is learnt once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessors.documents.token_bins import TokenBins

Numbers = NDArray[np.int64]
AROUND = 2
"""BOS and EOS."""


@dataclass(frozen=True)
class Windows:
    """Windows in the order of their documents; all int64 (W,).

    Attributes:
        document: Of which a window is.
        start: First id of the body that is learnt there.
        end: Behind the last one.
        before: Ids of the body before ``start`` that are only read.
        code: Ids of the control code.
        first: The first window of each document, int64 (D,).
    """

    document: Numbers
    start: Numbers
    end: Numbers
    before: Numbers
    code: Numbers
    first: Numbers

    def __len__(self) -> int:
        return len(self.document)

    def lengths(self, body_lengths: Numbers, without_code: NDArray[np.bool_] | None = None) -> Numbers:
        """Ids of each window with all that stands around it.

        Args:
            body_lengths: Of the documents.
            without_code: Windows that are read without their control code, (W,).
        """
        code = self.code if without_code is None else np.where(without_code, 0, self.code)
        around = (self.start == 0).astype(np.int64) + (self.end == body_lengths[self.document])
        lengths: Numbers = around + code + self.before + self.end - self.start
        return lengths


def cut_windows(bins: TokenBins, context: int, overlap: int = 0) -> Windows:
    """Cut documents that are longer than a context.

    The first window begins with BOS, the last one ends with EOS, and all have the control code. A window that goes on
    with a document repeats the last ids before it, at least one, which are read there and not learnt again.

    Args:
        bins: The documents.
        context: Most ids of a window, with all that stands around them.
        overlap: Ids that a window repeats; 0 cuts the document into consecutive windows.

    Raises:
        ValueError: If a control code and what is repeated leave no room for anything new.
    """
    bodies, codes = bins.body_lengths(), bins.code_lengths.astype(np.int64)
    repeated = max(1, overlap)
    room = context - AROUND - codes - repeated
    if (tight := bodies > room + repeated).any() and room[tight].min() < 1:
        longest = int(codes[tight].max())
        raise ValueError(
            f"a context of {context} ids has no room beside a control code of {longest}, {repeated} repeated ones, BOS "
            "and EOS. Make the context longer, or documents.max_meta_len or documents.overlap smaller."
        )
    # A window has room for BOS and EOS whether or not it has them, so that all are alike.
    further = np.maximum(0, -(-(bodies - room - repeated) // np.maximum(1, room)))
    counts = further + 1
    first = np.cumsum(counts) - counts
    document = np.repeat(np.arange(len(bodies)), counts)
    place = np.arange(len(document)) - first[document]
    head = (room + repeated)[document]
    start = np.where(place == 0, 0, head + (place - 1) * room[document])
    end = np.minimum(bodies[document], head + place * room[document])
    return Windows(document, start, end, np.minimum(start, repeated), codes[document], first)


def ids_of(
    bins: TokenBins, windows: Windows, number: int, ends: tuple[int, int], *, with_code: bool
) -> tuple[Numbers, int]:
    """The ids of a window, int64 (T,), and how many at its head are only read, before the first that is learnt.

    Args:
        bins: The documents.
        windows: Of them.
        number: Of a window.
        ends: BOS and EOS.
        with_code: Whether the control code stands before the body.
    """
    code, body = bins[int(windows.document[number])]
    start, end = int(windows.start[number]), int(windows.end[number])
    bos, eos = ends
    parts: list[Any] = [[bos]] if start == 0 else []
    parts += [code] if with_code else []
    parts.append(body[start - int(windows.before[number]) : start])
    read = sum(map(len, parts))
    parts += [body[start:end], [eos] if end == len(body) else []]
    return np.concatenate([np.asarray(part, np.int64) for part in parts]), read
