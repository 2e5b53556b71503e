"""When to give up waiting for other processes (`bcfl up`): after long without any progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

MOMENT: Final = 5.0  # the most seconds that count between two looks


class StallTimeout:
    """Runs out when nothing has got on for `seconds`.

    A machine that was suspended, or stood still because its host did, is no reason to give up: whoever is
    waited for stood still too. So the time between two looks counts for a moment at most.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._last, self._reached = clock(), 0
        self.waited = 0.0  # seconds that count, since the last progress

    def look(self, reached: int) -> None:
        """Count the time since the last look, or begin anew where more has been reached than ever before."""
        now = self._clock()
        self.waited += min(now - self._last, MOMENT)
        self._last = now
        if reached > self._reached:
            self._reached, self.waited = reached, 0.0

    @property
    def half(self) -> bool:
        """Whether half of it is used up."""
        return self.waited > self._seconds / 2

    @property
    def over(self) -> bool:
        """Whether all of it is."""
        return self.waited > self._seconds
