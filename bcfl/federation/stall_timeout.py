"""Give up waiting for other processes (`bcfl up`) after long without any progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

LONGEST_GAP: Final = 5.0  # the most seconds that count between two updates


class StallTimeout:
    """Runs out when there has been no progress for `seconds`.

    A machine that was suspended, or stood still because its host did, is no reason to give up: the others
    stood still too. So the time between two updates counts for a few seconds at most.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._last, self._progress = clock(), 0
        self.waited_seconds = 0.0  # that count, since the last progress

    def update(self, progress: int) -> None:
        """Count the time since the last update, or start anew where there is more progress than ever."""
        now = self._clock()
        self.waited_seconds += min(now - self._last, LONGEST_GAP)
        self._last = now
        if progress > self._progress:
            self._progress, self.waited_seconds = progress, 0.0

    @property
    def is_half_over(self) -> bool:
        """Whether half of the time is used up."""
        return self.waited_seconds > self._seconds / 2

    @property
    def is_over(self) -> bool:
        """Whether all of the time is used up."""
        return self.waited_seconds > self._seconds
