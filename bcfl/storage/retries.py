"""Try again while a daemon or a gateway is away for a moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import TypeVar

from bcfl.errors import ConfigError
from bcfl.transport.client import Interrupted
from bcfl.transport.deadline import Deadline

MAX_TIMES = 20
T = TypeVar("T")


class TemporaryFailure(Exception):
    """The other side did not do it now and may do it in a moment; the message is the reason."""


@dataclass(frozen=True)
class Retries:
    """How often to try again, after exponential pauses, each cut at random to between half and all of it."""

    times: int = 4
    first_seconds: float = 0.1
    factor: float = 2.0
    longest_seconds: float = 2.0
    jitter: Callable[[], float] = random.random  # 0 to 1
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        if (
            not 0 <= self.times <= MAX_TIMES
            or min(self.first_seconds, self.longest_seconds) < 0
            or self.factor < 1
        ):
            raise ConfigError(f"retries: between 0 and {MAX_TIMES}, with pauses that do not shrink")

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait before each further try."""
        for attempt in range(self.times):
            yield (
                min(self.longest_seconds, self.first_seconds * self.factor**attempt) * (1 + self.jitter()) / 2
            )

    def run(self, action: Callable[[], T], deadline: Deadline) -> T:
        """Return what `action` returns; raises its last TemporaryFailure when no try or no time remains."""
        for pause in self.pauses():
            try:
                return action()
            except TemporaryFailure:
                if not deadline.allows(pause):
                    raise
                self.sleep(pause)
        return action()


def reason(error: OSError | HTTPException) -> str:
    """Return in a few words why an exchange failed."""
    if isinstance(error, Interrupted):
        return str(error)[:200]
    if isinstance(error, HTTPException):
        return f"a broken answer ({type(error).__name__})"
    return (error.strerror or str(error) or type(error).__name__).lower()[:200]
