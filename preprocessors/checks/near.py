"""Pictures that look alike: small distances between hashes, found without comparing each with each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR = 14
"""Most bits of 128 that differ. Of Flickr8k's 8,091 photos no two that differ come nearer than 17. Saved again at
JPEG quality 40, at half or three times the size, 15% brighter, or with 3% cut off each side, 98 to 100% stay so near.
"""
BAND_BITS = 16
"""Two hashes are compared if one of their eight bands is alike: all that differ in 7 bits are, and most in 14."""
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
    hashes = np.stack([rows["across"][places], rows["down"][places]])
    found: dict[int, int] = {}
    for half in hashes:
        for shift in range(0, 64, BAND_BITS):
            band = (half >> np.uint64(shift)) & np.uint64(2**BAND_BITS - 1)
            for first, second in _alike(band, hashes):
                low, high = sorted((int(places[first]), int(places[second])))
                found[high] = min(low, found.get(high, low))
    return sorted((low, high) for high, low in found.items())


def _alike(band: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    order = np.argsort(band, kind="stable")
    ordered, places = band[order], np.arange(len(band))
    for step in range(1, CROWD):
        # Those of one band stand together: whoever has no partner at one step has none at the next.
        places = places[places + step < len(band)]
        places = places[ordered[places] == ordered[places + step]]
        if not len(places):
            return
        one, other = order[places], order[places + step]
        bits = np.bitwise_count(hashes[:, one] ^ hashes[:, other]).sum(axis=0)
        close = np.flatnonzero(bits <= NEAR)
        yield from zip(one[close].tolist(), other[close].tolist(), strict=True)
