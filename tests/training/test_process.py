"""The process of a verb that runs a model."""

import os
import platform
import subprocess
import sys

import pytest

# Page faults of a block that is made and freed again and again, once the heap is large enough.
FAULTS = """
import resource
import torch
from detr_diff.training.process import prepare_process

prepare_process()
def write(times):
    for _ in range(times):
        torch.ones(12_000_000)
write(20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
write(20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 12_000_000 * 4 // os.sysconf("SC_PAGE_SIZE")


def faults(**environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_the_next_tensor_has_the_memory_of_the_last_one() -> None:
    assert faults() < PAGES


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_what_the_user_has_said_of_the_allocator_counts_more() -> None:
    assert faults(MALLOC_MMAP_THRESHOLD_="1000000") > 10 * PAGES
