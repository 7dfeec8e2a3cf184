"""Regular expressions as nondeterministic automata (Thompson's construction)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

CharSet = Callable[[str], bool]
"""Whether a character belongs to the set."""


class Nfa:
    """States, numbered from 0, with at most one edge that reads a character."""

    def __init__(self) -> None:
        self.free: list[list[int]] = []
        """By state, the states reached without reading."""
        self.edges: list[tuple[int, int] | None] = []
        """By state, (index of a character set, target)."""
        self.sets: dict[str, tuple[int, CharSet]] = {}

    def new_state(self) -> int:
        """Add a state without edges."""
        self.free.append([])
        self.edges.append(None)
        return len(self.edges) - 1


Fragment = tuple[int, int]
"""Entry and exit state of a part of an automaton."""
Node = Callable[[Nfa], Fragment]
"""A parsed expression: adds itself to an automaton, as often as it is called."""


class Grammar:
    r"""Expressions made of named parts.

    Syntax: ``|``, ``*``, ``+``, ``?``, ``{m,n}``, ``{m}``, groups, ``[...]`` and ``[^...]`` with ranges, ``\`` before
    a special character, ``\uXXXX``, ``{NAME}`` for a part or a named character set. Letters outside brackets match
    either case; inside brackets they match themselves alone.

    Args:
        parts: Expressions by name; each may use those before it.
        char_sets: Predicates by name.
        case_variants: By lower-case letter, what it matches beside its two ASCII cases.

    Raises:
        ValueError: If an expression is not closed, or names what is not there.
    """

    def __init__(
        self, parts: Mapping[str, str], char_sets: Mapping[str, CharSet], case_variants: Mapping[str, str]
    ) -> None:
        self.case_variants = case_variants
        self.named: dict[str, Node] = {name: _read("{" + name, chosen) for name, chosen in char_sets.items()}
        for name, expression in parts.items():
            self.named[name] = self.parse(expression)

    def parse(self, expression: str) -> Node:
        """Parse one expression."""
        return _Parser(self, expression).parse()


def _read(key: str, contains: CharSet) -> Node:
    """Read one character of a set; equal keys mean equal sets."""

    def build(nfa: Nfa) -> Fragment:
        index, _ = nfa.sets.setdefault(key, (len(nfa.sets), contains))
        entry, end = nfa.new_state(), nfa.new_state()
        nfa.edges[entry] = (index, end)
        return entry, end

    return build


def sequence(nodes: Sequence[Node]) -> Node:
    """One expression after the other."""

    def build(nfa: Nfa) -> Fragment:
        entry = end = nfa.new_state()
        for node in nodes:
            first, last = node(nfa)
            nfa.free[end].append(first)
            end = last
        return entry, end

    return build


def _choice(nodes: Sequence[Node]) -> Node:
    def build(nfa: Nfa) -> Fragment:
        entry, end = nfa.new_state(), nfa.new_state()
        for node in nodes:
            first, last = node(nfa)
            nfa.free[entry].append(first)
            nfa.free[last].append(end)
        return entry, end

    return build


def _repeat(node: Node, low: int, high: int | None) -> Node:
    """``low`` to ``high`` times; None for no upper bound."""

    def build(nfa: Nfa) -> Fragment:
        entry = end = nfa.new_state()
        exits = []
        for copy in range(max(low, 1) if high is None else high):
            if copy >= low:
                exits.append(end)
            first, last = node(nfa)
            nfa.free[end].append(first)
            end = last
        if high is None:
            nfa.free[end].append(first)
        final = nfa.new_state()
        for state in (*exits, end):
            nfa.free[state].append(final)
        return entry, final

    return build


class _Parser:
    """Recursive descent over one expression."""

    def __init__(self, grammar: Grammar, source: str) -> None:
        self.grammar = grammar
        self.source = source
        self.at = 0

    def parse(self) -> Node:
        node = self._alternatives()
        if self.at < len(self.source):
            raise ValueError(f"expression {self.source!r}: {self._peek()!r} at {self.at} closes nothing.")
        return node

    def _peek(self) -> str:
        return self.source[self.at : self.at + 1]

    def _take(self) -> str:
        if self.at >= len(self.source):
            raise ValueError(f"expression {self.source!r} ends too early.")
        self.at += 1
        return self.source[self.at - 1]

    def _take_until(self, closing: str) -> str:
        begin = self.at
        while self._take() != closing:
            pass
        return self.source[begin : self.at - 1]

    def _alternatives(self) -> Node:
        branches = [self._concatenation()]
        while self._peek() == "|":
            self._take()
            branches.append(self._concatenation())
        return branches[0] if len(branches) == 1 else _choice(branches)

    def _concatenation(self) -> Node:
        nodes = []
        while self._peek() not in ("", "|", ")"):
            nodes.append(self._repeated())
        return sequence(nodes)

    def _repeated(self) -> Node:
        node = self._atom()
        following = self._peek()
        if following and following in "*+?":
            self._take()
            return _repeat(node, int(following == "+"), 1 if following == "?" else None)
        if following == "{" and self.source[self.at + 1 : self.at + 2].isdigit():
            self._take()
            low, _, high = self._take_until("}").partition(",")
            return _repeat(node, int(low), int(high or low))
        return node

    def _atom(self) -> Node:
        char = self._take()
        if char == "(":
            node = self._alternatives()
            if self._take() != ")":
                raise ValueError(f"expression {self.source!r}: a group is not closed.")
            return node
        if char == "[":
            return self._bracket()
        if char == "{":
            name = self._take_until("}")
            if name not in self.grammar.named:
                raise ValueError(f"expression {self.source!r}: no part or character set is named {name!r}.")
            return self.grammar.named[name]
        if char == "\\":
            char = self._escaped()
        chars = frozenset({char.lower(), char.upper(), *self.grammar.case_variants.get(char.lower(), "")})
        return _read("".join(sorted(chars)), chars.__contains__)

    def _bracket(self) -> Node:
        begin = self.at
        is_negated = self._peek() == "^"
        self.at += is_negated
        ranges = []
        while self._peek() != "]":
            low = high = self._bracket_char()
            if self._peek() == "-" and self.source[self.at + 1 : self.at + 2] != "]":
                self._take()
                high = self._bracket_char()
            ranges.append((low, high))
        self._take()
        return _read(
            "[" + self.source[begin : self.at],
            lambda char: any(low <= char <= high for low, high in ranges) != is_negated,
        )

    def _bracket_char(self) -> str:
        char = self._take()
        return self._escaped() if char == "\\" else char

    def _escaped(self) -> str:
        char = self._take()
        return chr(int("".join(self._take() for _ in range(4)), 16)) if char == "u" else char
