"""What a contract is made of: clauses that are checked one by one, and what came of each."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Broken(Exception):
    """A clause does not hold; the message says where and what was found."""


class Clause(NamedTuple):
    """A sentence that holds, and how it is found out."""

    sentence: str
    check: Callable[[Any], None]
    """Takes the subject; raises :class:`Broken`, or whatever the subject raises."""


class Outcome(NamedTuple):
    """What came of a clause."""

    sentence: str
    why: str
    """Why it does not hold; "" if it holds."""


def require(holds: object, message: str) -> None:
    """Break the clause unless something holds."""
    if not holds:
        raise Broken(message)


def check(clauses: Sequence[Clause], subject: Any) -> list[Outcome]:
    """Check every clause, whatever came of those before it."""
    return [Outcome(clause.sentence, _why_not(clause, subject)) for clause in clauses]


def _why_not(clause: Clause, subject: Any) -> str:
    try:
        clause.check(subject)
    except Broken as broken:
        return str(broken)
    except Exception as error:  # of somebody's code, which may raise anything
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"raises {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
    return ""


def describe(outcomes: Sequence[Outcome]) -> str:
    """A line for each clause, and how many do not hold."""
    lines = [f"failed  {one.sentence}: {one.why}" if one.why else f"passed  {one.sentence}" for one in outcomes]
    failed = sum(bool(one.why) for one in outcomes)
    return "\n".join([*lines, f"{len(outcomes)} clauses, {failed} failed"])
