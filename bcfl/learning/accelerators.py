"""Choose where torch computes, and keep chance and time there as on the CPU.

Training and judging may run on an accelerator. Vectors, fixed point and aggregation stay on the CPU.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TextIO

import numpy as np

from bcfl.errors import ConfigError

CPU: Final = "cpu"
AUTO: Final = "auto"
NUMPY_SEEDS: Final = 2**32  # its global generator takes no larger one
OUTPUTS: Final = {"stdout": 1, "stderr": 2}  # and their descriptors
PREFERENCE: Final = ("cuda", "mps", CPU)  # of `auto`, the first that is there


def choose(name: str) -> str:
    """Return the name of a torch device: cpu, cuda, cuda:N or mps; `auto` takes the first that is there.

    Raises ConfigError for another name, and for a device that is not there.
    """
    if name == CPU:
        return CPU  # without the import of torch, which takes a second
    kind, colon, number = name.partition(":")
    is_numbered = not colon or (kind == "cuda" and number.isascii() and number.isdecimal())
    if kind not in (*PREFERENCE, AUTO) or not is_numbered:
        raise ConfigError(f"--device {name[:40]} is none of {', '.join(PREFERENCE)} and {AUTO}")
    present = {kind: count for kind in PREFERENCE if (count := _count(kind))}
    if kind == AUTO:
        return next(iter(present))
    if int(number or 0) >= present.get(kind, 0):
        names = [text for kind, count in present.items() for text in _names(kind, count)]
        raise ConfigError(f"--device {name}: there is none here; there is {', '.join(names)}")
    return name


def _count(kind: str) -> int:
    """Return how many devices of a kind torch finds."""
    import torch

    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(kind == CPU or torch.backends.mps.is_available())


def _names(kind: str, count: int) -> list[str]:
    return [kind] if count == 1 else [f"{kind}:{index}" for index in range(count)]


def sow(seed: int) -> None:
    """Put the generators of torch (on the CPU), numpy and Python at `seed`."""
    import torch

    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % NUMPY_SEEDS)


@contextmanager
def isolated(seed: int, device: str = CPU) -> Iterator[None]:
    """Run torch on one thread with all generators at `seed`: its own, numpy's, Python's; put all back.

    What code in it makes torch's type of new floats is put back too, and stdout and stderr if it has
    closed or replaced them: what bcfl writes goes there.
    """
    import torch

    threads, states = torch.get_num_threads(), list[tuple[Callable[[Any], object], Any]]()
    states.append((torch.set_rng_state, torch.get_rng_state()))
    states.append((torch.set_default_dtype, torch.get_default_dtype()))
    states += [(random.setstate, random.getstate()), (np.random.set_state, np.random.get_state())]
    if device == "mps":
        states.append((torch.mps.set_rng_state, torch.mps.get_rng_state()))
    elif device != CPU:
        put = partial(torch.cuda.set_rng_state, device=device)
        states.append((put, torch.cuda.get_rng_state(device)))
    outputs: dict[str, TextIO | None] = {name: getattr(sys, name) for name in OUTPUTS}
    torch.set_num_threads(1)
    sow(seed)
    if device == "mps":
        torch.mps.manual_seed(seed)
    elif device != CPU:
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for restore, state in states:
            restore(state)
        for name, stream in outputs.items():
            setattr(sys, name, _opened(stream, OUTPUTS[name]))


def _opened(stream: TextIO | None, descriptor: int) -> TextIO | None:
    """Return a stream, opened anew on its descriptor where it was closed; Python leaves that one open."""
    if getattr(stream, "closed", False):
        with suppress(OSError):
            return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    return stream


def clock(device: str) -> Callable[[], int]:
    """Return what reads the nanoseconds that computing takes: of the thread's CPU, else of the wall."""
    if device == CPU:
        return time.thread_time_ns
    import torch

    wait = torch.mps.synchronize if device == "mps" else lambda: torch.cuda.synchronize(device)

    def read() -> int:
        wait()  # an accelerator works on after the call returns
        return time.perf_counter_ns()

    return read
