"""Call an app's code: seeded, on one thread of the CPU, for a bounded time, its output in the log."""

from __future__ import annotations

import ctypes
import io
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, Generic, TypeVar

import numpy as np

from bcfl.errors import ConfigError, own_code

LEAVE_SECONDS = 2.0  # that code has to leave when its time is up
SEEDS = 2**32  # numpy's global generator takes no larger one
Result = TypeVar("Result")
log = logging.getLogger(__name__)


class OutOfTime(BaseException):
    """Raised inside of code whose time is up; no `except Exception` holds it."""


class _Lines(io.TextIOBase):
    """Takes what code prints, and logs it line by line."""

    def __init__(self) -> None:
        super().__init__()
        self._line = ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.strip():
                log.info("app: %s", line.rstrip())
        return len(text)


class _Call(threading.Thread, Generic[Result]):
    """One call in a thread of its own, whose CPU time is that of the call."""

    def __init__(self, work: Callable[[], Result], seed: int) -> None:
        super().__init__(name="flower app", daemon=True)
        self._work, self._seed = work, seed
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.microseconds = 1

    def run(self) -> None:
        """Run the code; what it raises is kept for who waits."""
        try:
            with _on_one_thread():
                _sow(self._seed)
                start = time.thread_time_ns()
                try:
                    self.result = self._work()
                finally:
                    self.microseconds = max(1, (time.thread_time_ns() - start) // 1000)
        except BaseException as error:
            self.error = error

    def interrupt(self) -> None:
        """Raise OutOfTime inside of the code; code that is no Python hears it when it comes back."""
        if self.ident is not None and self.is_alive():
            ident = ctypes.c_ulong(self.ident)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(OutOfTime))


def call(text: str, work: Callable[[], Result], *, seconds: float, seed: int) -> tuple[Result, int]:
    """Return what `work` returns, and its CPU time in microseconds, at least 1.

    Raises ConfigError, one line of `text` and the cause, where it raises, or takes longer than `seconds` of
    wall time.
    """
    thread = _Call(work, seed)
    with _isolated(), redirect_stdout(_Lines()):
        try:
            thread.start()
            thread.join(seconds)
        finally:
            is_late = thread.is_alive()
            thread.interrupt()
            thread.join(LEAVE_SECONDS if is_late else None)
    if is_late:
        raise ConfigError(f"{text}: it has not come back within {seconds:g} seconds: raise flower_seconds")
    with own_code(text):
        if thread.error is not None:
            raise thread.error
    return thread.result, thread.microseconds  # type: ignore[return-value]


def _sow(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % SEEDS)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.default_generator.manual_seed(seed)


@contextmanager
def _isolated() -> Iterator[None]:
    """Put back the generators of random numbers that an app draws from, and torch's type of new floats."""
    torch: Any = sys.modules.get("torch")
    plain, legacy = random.getstate(), np.random.get_state()
    state, kind = (None, None) if torch is None else (torch.get_rng_state(), torch.get_default_dtype())
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(legacy)
        if torch is not None and kind is not None:
            torch.set_rng_state(state)
            torch.set_default_dtype(kind)


@contextmanager
def _on_one_thread() -> Iterator[None]:
    """Hold numeric libraries to the thread that they are called in."""
    from threadpoolctl import threadpool_limits

    torch: Any = sys.modules.get("torch")
    threads = 0 if torch is None else torch.get_num_threads()
    with threadpool_limits(1):
        if torch is not None:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(threads)
