from __future__ import annotations

from sweeps.engines.leash import LOCKED
from utils import exit_codes


def test_no_code_has_two_meanings():
    # What went through and has something to tell is to end with 1, whatever 1 means elsewhere.
    told = ("FINDINGS", "PARTLY")
    codes = [value for name, value in vars(exit_codes).items() if name.isupper() and name not in told]
    assert len({*codes}) == len(codes) >= 8
    assert (exit_codes.STOPPED, exit_codes.OUT_OF_MEMORY, exit_codes.NO_NUMBERS) == (75, 77, 78)


def test_leash_which_cannot_import_it_has_the_same_code():
    assert LOCKED == exit_codes.LOCKED
