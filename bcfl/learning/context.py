"""Tell a training loop of one's own where it runs, and let it say how far it has come."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

PROGRESS_SECONDS = 5.0  # between two lines of a loop's progress
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitContext:
    """What a loop of one's own is told: where it runs, and what the task and the options of the run say."""

    round: int
    seed: int  # another in each round and at each party; torch's generator is already set to it
    epochs: int
    batch_size: int
    learning_rate: float
    steps: int | None = None
    device: str = "cpu"
    _said: list[float] = field(default_factory=lambda: [time.monotonic()], repr=False)

    def progress(self, done: int, total: int) -> None:
        """Say how far the loop has come; a line of the log every few seconds at most."""
        now = time.monotonic()
        if now - self._said[-1] >= PROGRESS_SECONDS:
            self._said.append(now)
            log.info("training for round %s: %s of %s", self.round, done, total)
