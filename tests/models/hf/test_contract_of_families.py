"""What everybody may ask of a captioner, asked of transformers' too; a user asks it of a plug-in in the same words."""

from __future__ import annotations

from tests.contract.__main__ import main


def test_every_clause_holds(case, capsys):
    name = f"{type(case.captioner).__module__}:{type(case.captioner).__name__}"
    assert main([name, "--model", str(case.folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "31 clauses, 0 failed"
