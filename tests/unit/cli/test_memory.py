"""Freed memory stays with a run where the C library knows how."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from bcfl.federation.kept_memory import keep_freed_memory

FAULTS = """
import resource
import numpy as np
from bcfl.federation.kept_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(16_000_000, dtype=np.float32)[0] = 2
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

mapped = faults()
assert keep_freed_memory()
faults()
print(mapped, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_pages_are_cleared_once() -> None:
    output = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
    mapped, kept = map(int, output.split())
    assert kept < mapped / 4


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_other_libraries_are_left_alone(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: None) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not keep_freed_memory()
