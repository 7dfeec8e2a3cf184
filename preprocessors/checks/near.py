"""Pictures that look alike: small distances between hashes, found without comparing each with each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BANDS = 4
BAND_BITS = 16
NEAR = 3
"""Most bits of 64 that differ in ``across``: less than there are bands, so that two such hashes have one band alike."""
NEAR_BOTH = 8
"""Most bits of 128 that differ in ``across`` and ``down``."""
CROWD = 4_000
"""Most hashes of one band that are compared each with each; of more, each with the next so many."""


def near_pairs(rows: NDArray[Any]) -> list[tuple[int, int]]:
    """Places of pictures that look alike and are not the same.

    Args:
        rows: Of ``preprocessors.pictures.record.FACTS``. Pictures of one file or pixel hash count once, flat ones not.

    Returns:
        Pairs, the lower place first, in ascending order. Each picture is the second of one pair at most.
    """
    places = np.flatnonzero((rows["key"] != 0) & ~rows["is_flat"])
    for name in ("file_hash", "pixel_hash"):
        _, firsts = np.unique(rows[name][places], return_index=True)
        places = places[np.sort(firsts)]
    across, down = rows["across"][places], rows["down"][places]
    found: dict[int, int] = {}
    for band in range(BANDS):
        values = (across >> np.uint64(band * BAND_BITS)) & np.uint64(2**BAND_BITS - 1)
        for first, second in _alike(values, across, down):
            low, high = sorted((int(places[first]), int(places[second])))
            found[high] = min(low, found.get(high, low))
    return sorted((low, high) for high, low in found.items())


def _alike(
    values: NDArray[np.uint64], across: NDArray[np.uint64], down: NDArray[np.uint64]
) -> Iterator[tuple[int, int]]:
    order = np.argsort(values, kind="stable")
    cuts = np.flatnonzero(np.diff(values[order])) + 1
    for group in np.split(order, cuts):
        for step in range(1, min(len(group), CROWD)):
            one, other = group[:-step], group[step:]
            bits = np.bitwise_count(across[one] ^ across[other])
            close = np.flatnonzero(bits <= NEAR)
            if len(close):
                both = bits[close] + np.bitwise_count(down[one[close]] ^ down[other[close]])
                for place in close[both <= NEAR_BOTH]:
                    yield int(one[place]), int(other[place])
