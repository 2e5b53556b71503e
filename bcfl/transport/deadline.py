"""Deadlines, and reading from a socket under one: a peer that sends a byte now and then gains nothing."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from typing import Any


class Deadline:
    """An instant `seconds` from now."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    def remaining(self) -> float:
        """Return the seconds until then; raises TimeoutError when there are none."""
        seconds = self._end - self._clock()
        if seconds <= 0:
            raise TimeoutError("timed out")
        return seconds

    def allows(self, seconds: float) -> bool:
        """Return whether more than `seconds` remain."""
        return self._end - self._clock() > seconds


class TimedStream(io.RawIOBase):
    """The bytes that a socket receives; no read waits past `deadline`, which may be replaced."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._socket, self.deadline = connection, deadline

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has come into `buffer` and return its size; raises TimeoutError after the deadline."""
        self._socket.settimeout(self.deadline.remaining())
        return self._socket.recv_into(buffer)
