"""Memory that training steps use again."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from trainers.memory import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told")
def test_keep_freed_memory_second_tensor_of_a_size_needs_no_fresh_pages():
    keep_freed_memory()
    torch.ones(2**24)  # 64 MB, more than malloc keeps by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 2**24 * 4 // resource.getpagesize() // 10
