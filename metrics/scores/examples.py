"""That the things to compare belong to the same examples."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def check_same_ids(expected: Collection[str], given: Collection[str], what: str) -> None:
    """Refuse ``given`` unless it has exactly the ids of ``expected``.

    Args:
        expected: The example_ids that have references.
        given: The example_ids that have a ``what``.
        what: Singular noun for the message: "hypothesis", "style".

    Raises:
        ValueError: Counting and listing (first five) the ids that are missing and those that are too many.
    """
    known, found = set(expected), set(given)
    missing = [example_id for example_id in expected if example_id not in found]
    extra = [example_id for example_id in given if example_id not in known]
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {len(known)} examples have no {what} ({first_five(missing)})")
    if extra:
        faults.append(f"{len(extra)} have a {what} but no references ({first_five(extra)})")
    if faults:
        raise ValueError("; ".join(faults) + f". Every example_id needs its references and one {what}.")


def first_five(ids: Sequence[str]) -> str:
    """Ids for a message, the first five of them."""
    return ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
