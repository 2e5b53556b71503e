"""Take what the product logs as a defect of its own for a broken rule."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World


class Alarm(logging.Handler):
    """Reports what the product logs as a defect of its own."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        """Report a turn or a message that failed for no reason that is foreseen."""
        error = record.exc_info[1] if record.exc_info else None
        self._world.blame("defect", f"{record.getMessage()}: {error!r}", self._world.current)
