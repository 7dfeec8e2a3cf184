from __future__ import annotations

import pytest

from utils.errors import OutOfMemory
from utils.memory import Halving, is_out_of_memory

FULL = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def squares_of_at_most(most, tried):
    def work(piece):
        tried.append(len(piece))
        if len(piece) > most:
            raise FULL
        return [item**2 for item in piece]

    return work


def test_pieces_are_halved_until_they_fit_and_stay_so(caplog):
    memory, tried = Halving("squares", "Buy memory."), []
    assert memory.in_pieces(range(9), squares_of_at_most(2, tried)) == [item**2 for item in range(9)]
    assert tried == [9, 4, 2, 2, 2, 2, 1]
    assert [record.args[1] for record in caplog.records] == [9, 4]
    assert memory.in_pieces(range(3), squares_of_at_most(2, tried)) == [0, 1, 4]
    assert tried[7:] == [2, 1]


def test_one_row_that_does_not_fit_ends_with_77_and_advice():
    with pytest.raises(OutOfMemory, match=r"squares: one row alone does not fit .*2\.00 GiB\)\. Buy memory\."):
        Halving("squares", "Buy memory.").in_pieces(range(5), squares_of_at_most(0, []))
    assert OutOfMemory.exit_code == 77


def test_other_errors_are_none_of_memory():
    def work(piece):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        Halving("squares", "").in_pieces(range(5), work)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 4 bytes"))
    assert not is_out_of_memory(ValueError("out of memory"))
