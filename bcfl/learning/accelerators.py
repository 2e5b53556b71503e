"""Choose where torch computes, and keep chance and time there as on the CPU.

Training and judging may run on an accelerator. Vectors, fixed point and aggregation stay on the CPU.
"""

from __future__ import annotations

import ctypes
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any, Final, TextIO

import numpy as np
from numpy.random.mtrand import get_bit_generator, set_bit_generator

from bcfl.errors import ConfigError

CPU: Final = "cpu"
AUTO: Final = "auto"
NUMPY_SEEDS: Final = 2**32  # its global generator takes no larger one
NUMPY_STATE_BYTES: Final = 4 * 624 + 4  # of its Mersenne twister: words, and the place in them
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
    states.append((random.setstate, random.getstate()))
    states.append(_numpy_state())
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


def _numpy_state() -> tuple[Callable[[Any], object], Any]:
    """Return what puts numpy's global generator back, and what it takes; that one is to be seeded next.

    Its state is copied by its address: numpy makes a list of its numbers, which takes longer than all else
    that `isolated` does. The spare normal number that it may hold has no address: it is drawn, which
    leaves the state alone where there was one.
    """
    generator = get_bit_generator()
    if not _has_known_layout(generator):
        return np.random.set_state, np.random.get_state()
    address = generator.ctypes.state_address
    content = ctypes.string_at(address, NUMPY_STATE_BYTES)
    spare = np.random.standard_normal()
    if ctypes.string_at(address, NUMPY_STATE_BYTES) == content:
        words, place = np.frombuffer(content[:-4], np.uint32), int.from_bytes(content[-4:], sys.byteorder)
        return np.random.set_state, ("MT19937", words, place, 1, spare)

    def put(content: bytes) -> None:
        if get_bit_generator() is not generator:
            set_bit_generator(generator)
        np.random.seed(0)  # also without a spare number
        ctypes.memmove(address, content, NUMPY_STATE_BYTES)

    return put, content


@cache
def _has_known_layout(generator: Any) -> bool:
    """Whether a generator's memory is its 624 words and the place in them."""
    if type(generator) is not np.random.MT19937:
        return False
    state = generator.state["state"]
    content: bytes = state["key"].astype(np.uint32).tobytes() + int(state["pos"]).to_bytes(4, sys.byteorder)
    return ctypes.string_at(generator.ctypes.state_address, NUMPY_STATE_BYTES) == content


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
