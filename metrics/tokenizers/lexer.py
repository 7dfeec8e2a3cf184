"""A longest-match lexer whose automaton is built while it reads.

Rules are regular expressions with an optional trailing context, as lex defines them: at each position the rule whose
expression and context together match the most characters wins, the earlier rule among equals, and only the
expression's own characters are consumed. Python's ``re`` takes the first alternative instead of the longest.

Building the whole automaton of a large grammar takes seconds; a text visits a small part of it. So a transition is
computed when a character first asks for it, and kept for all later texts (lazy subset construction: Aho, Sethi and
Ullman 1986, section 3.9).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from metrics.tokenizers.expressions import Grammar, Nfa, Node, sequence


class Rule(NamedTuple):
    """What one kind of token looks like; expressions are written as ``Grammar`` says."""

    name: str
    expression: str
    context: str | None = None
    """What has to follow the token."""


class Match(NamedTuple):
    """The token found at a position."""

    rule: Rule
    end: int
    """Where the token ends. A match that can be divided in several ways gives the longest token."""
    is_settled: bool
    """False if text beyond the limit could have changed the match."""


class _State(dict[str, "_State | None"]):
    """Set of nondeterministic states: next state by character, None where no rule goes on; filled when asked."""

    __slots__ = ("accepts", "automaton", "is_final", "members")

    def __init__(self, automaton: _Automaton, members: frozenset[int]) -> None:
        self.automaton = automaton
        self.members = members
        accepted = [automaton.accepting[state] for state in members if state in automaton.accepting]
        self.accepts = min(accepted, default=None)
        """Index of the first rule that may end here."""
        self.is_final = all(automaton.nfa.edges[state] is None for state in members)

    def __missing__(self, char: str) -> _State | None:
        self[char] = found = self.automaton.step(self, char)
        return found


class _Automaton:
    """Deterministic automaton of several expressions, built as it is used."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nfa = Nfa()
        entry = self.nfa.new_state()
        self.accepting: dict[int, int] = {}
        for index, node in enumerate(nodes):
            first, last = node(self.nfa)
            self.nfa.free[entry].append(first)
            self.accepting[last] = index
        self._sets = list(self.nfa.sets.values())
        self._memberships: dict[str, frozenset[int]] = {}
        self._closures: dict[int, frozenset[int]] = {}
        self._states: dict[frozenset[int], _State] = {}
        self._steps: dict[tuple[frozenset[int], frozenset[int]], _State | None] = {}
        self.start = self._state(self._closure(entry))

    def step(self, state: _State, char: str) -> _State | None:
        """Where a character leads; characters of the same sets share the answer."""
        member_of = self._memberships.get(char)
        if member_of is None:
            member_of = frozenset(index for index, contains in self._sets if contains(char))
            self._memberships[char] = member_of
        key = (state.members, member_of)
        if key not in self._steps:
            edges = [edge for member in state.members if (edge := self.nfa.edges[member])]
            reached = [self._closure(target) for index, target in edges if index in member_of]
            self._steps[key] = self._state(frozenset().union(*reached)) if reached else None
        return self._steps[key]

    def _state(self, members: frozenset[int]) -> _State:
        if members not in self._states:
            self._states[members] = _State(self, members)
        return self._states[members]

    def _closure(self, state: int) -> frozenset[int]:
        """States reached without reading that read or accept; the others have served their purpose."""
        if state not in self._closures:
            found, open_states = {state}, [state]
            while open_states:
                fresh = [target for target in self.nfa.free[open_states.pop()] if target not in found]
                found.update(fresh)
                open_states.extend(fresh)
            matters = (each for each in found if self.nfa.edges[each] is not None or each in self.accepting)
            self._closures[state] = frozenset(matters)
        return self._closures[state]


class Lexer:
    """Finds tokens by the rules of a grammar.

    Args:
        grammar: What the rules' expressions may name.
        rules: Earlier ones win among equally long matches.
    """

    def __init__(self, grammar: Grammar, rules: Sequence[Rule]) -> None:
        self._rules = rules
        tokens = [grammar.parse(rule.expression) for rule in rules]
        contexts = [None if rule.context is None else grammar.parse(rule.context) for rule in rules]
        pairs = list(zip(tokens, contexts, strict=True))
        self._all = _Automaton(token if context is None else sequence([token, context]) for token, context in pairs)
        self._parts = [
            None if context is None else (_Automaton([token]), _Automaton([context])) for token, context in pairs
        ]

    def match(self, text: str, start: int, limit: int) -> Match:
        """The longest match at ``start`` that does not go beyond ``limit``.

        Args:
            text: What is read.
            start: Index of the token's first character.
            limit: Index after the last character that may be looked at.

        Returns:
            The match.

        Raises:
            ValueError: If no rule matches.
        """
        state: _State | None = self._all.start
        accepted, end, at = None, start, start
        while at < limit:
            state = state[text[at]]  # type: ignore[index]
            if state is None:
                break
            at += 1
            if state.accepts is not None:
                accepted, end = state.accepts, at
        if accepted is None:
            raise ValueError(f"no rule matches {text[start:limit][:20]!r}.")
        is_settled = state is None or state.is_final
        return Match(self._rules[accepted], self._token_end(accepted, text, start, end), is_settled)

    def _token_end(self, index: int, text: str, start: int, end: int) -> int:
        """Where the token of a match that includes its context ends."""
        parts = self._parts[index]
        if parts is None:
            return end
        token, context = parts
        ends = _accepted_ends(token, text, start, end)
        return max(at for at in ends if end in _accepted_ends(context, text, at, end))


def _accepted_ends(automaton: _Automaton, text: str, start: int, limit: int) -> list[int]:
    """All ends, up to ``limit``, of what matches at ``start``."""
    state: _State | None = automaton.start
    ends = [start] if automaton.start.accepts is not None else []
    for at in range(start, limit):
        state = state[text[at]]  # type: ignore[index]
        if state is None:
            break
        if state.accepts is not None:
            ends.append(at + 1)
    return ends
