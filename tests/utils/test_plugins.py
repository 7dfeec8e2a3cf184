"""Names of a user's own code: what they lead to, and one message where they lead nowhere."""

from __future__ import annotations

from typing import Protocol

import pytest

from utils.plugins import is_plugin, load_class, load_plugin


class Speaks(Protocol):
    name: str

    @classmethod
    def make(cls) -> Speaks: ...

    def speak(self) -> str: ...

    def shout(self) -> str: ...

    def _hidden(self) -> str: ...


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported in this test, and gives its name."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(source: str) -> str:
        written.append(f"own_code_{tmp_path.name}_{len(written)}".replace("-", "_"))
        (tmp_path / f"{written[-1]}.py").write_text(source)
        return written[-1]

    return write


def test_load_plugin_finds_names_and_names_within_them(module):
    name = module("class A:\n    B = 5\n")
    assert load_plugin(f"{name}:A.B") == 5
    assert load_plugin("os.path:join")("a", "b") == "a/b"
    assert is_plugin("a.b:c")
    assert not is_plugin("jsonl")


@pytest.mark.parametrize("name", ["a:", ":a", "a/b:c", "a.py:c d", "a::b", "..a:b", "a:b:c", "a-b:c"])
def test_load_plugin_of_another_form_says_how_it_is_written(name):
    with pytest.raises(ValueError, match="is no name of a plug-in; write package.module:name"):
        load_plugin(name)


def test_load_plugin_that_cannot_be_imported_says_why_and_where(module):
    broken = module("a = 1\nb = a / 0\n")
    with pytest.raises(ValueError, match=rf"{broken} cannot be imported \(ZeroDivisionError.*{broken}.py, line 2\)"):
        load_plugin(f"{broken}:b")
    wrong = module("def f(:\n")
    with pytest.raises(ValueError, match=rf"{wrong} cannot be imported \(SyntaxError.*{wrong}.py, line 1\)"):
        load_plugin(f"{wrong}:f")
    ends = module("raise SystemExit(3)\n")
    with pytest.raises(ValueError, match="cannot be imported .SystemExit: 3"):
        load_plugin(f"{ends}:f")
    lacking = module("import nowhere_to_be_found\n")
    with pytest.raises(ValueError, match=f"{lacking} needs nowhere_to_be_found, which is not installed"):
        load_plugin(f"{lacking}:f")
    with pytest.raises(ValueError, match="there is no module nowhere_at_all; it must be installed, on PYTHONPATH"):
        load_plugin("nowhere_at_all.part:f")
    with pytest.raises(ValueError, match="there is no module os.nothing"):
        load_plugin("os.nothing:f")
    with pytest.raises(ValueError, match="os has no nothing"):
        load_plugin("os:nothing")


def test_load_class_lists_what_is_missing_and_refuses_what_is_no_class(module):
    name = module("class A:\n    def speak(self): return 1\n    shout = 3\ndef f(): pass\n")
    with pytest.raises(ValueError, match=rf"{name}:A: is no Speaks: it lacks make, shout$"):
        load_class(f"{name}:A", Speaks)
    with pytest.raises(ValueError, match=rf"{name}:f: is no class but a function; name a class that is a Speaks"):
        load_class(f"{name}:f", Speaks)
