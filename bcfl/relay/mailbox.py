"""Where a miner's one thread meets those of its socket (steps 3 to 7): messages wait in line to be judged.

A miner, its inbox and its ledger belong to one thread. The threads of the socket hand their messages over
and wait for the verdict; more than there is room for are refused at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from bcfl.errors import BcflError, RelayError

ROOM: Final = 64  # messages that wait
PATIENCE: Final = 20.0  # seconds until a sender gives up
log = logging.getLogger(__name__)


class Busy(RelayError):
    """The owner of the mailbox does not get round to it."""


class _Letter:
    """One message as something to do, and what came of it."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action, self.done = action, threading.Event()
        self.error: BaseException | None = None
        self.dropped = False


class Mailbox:
    """Passes calls from any thread to the one that waits in `attend`."""

    def __init__(self, room: int = ROOM, patience: float = PATIENCE) -> None:
        self._room, self._patience = room, patience
        self._places = threading.BoundedSemaphore(room)
        self._letters: SimpleQueue[_Letter | None] = SimpleQueue()

    def hand(self, action: Callable[[], None]) -> None:
        """Have `action` called by the owner, and wait for it; raises what it raises, or Busy."""
        if not self._places.acquire(blocking=False):
            raise Busy("too many messages wait here already: try again in a moment")
        letter = _Letter(action)
        self._letters.put(letter)
        if not letter.done.wait(self._patience):
            letter.dropped = True
            raise Busy("nobody looked at the message in time: try again in a moment")
        if letter.error is not None:
            raise letter.error

    def attend(self, seconds: float) -> None:
        """Do what is handed in, as it comes, for so many seconds; `wake` or a flood ends the wait."""
        until = time.monotonic() + seconds
        for _ in range(self._room):
            try:
                letter = self._letters.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                return
            if letter is None:
                return
            self._open(letter)
            until = min(until, time.monotonic() + seconds / 4)  # a message may be what one has waited for

    def wake(self) -> None:
        """End the owner's wait; safe in a signal handler."""
        self._letters.put(None)

    def _open(self, letter: _Letter) -> None:
        self._places.release()
        if letter.dropped:
            return
        try:
            letter.action()
        except BcflError as error:
            letter.error = error
        except Exception:  # a defect that somebody's message has found must not stop the miner
            log.exception("a message could not be judged")
            letter.error = RelayError("the message could not be judged")
        finally:
            letter.done.set()
