"""Measure time and memory, and lay a model out as one tensor: what several benchmarks need."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

from bcfl.protocol.types import Layout, TensorSpec

MIB = 1 << 20


def best_seconds(action: Callable[[], object], repeat: int = 3) -> float:
    """Return the seconds of the fastest of `repeat` runs of `action`."""
    fastest = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        action()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def peak_bytes() -> int:
    """Return the largest resident memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def flat_layout(parameters: int) -> Layout:
    """Return a layout of one tensor."""
    return Layout((TensorSpec("weight", (parameters,)),))
