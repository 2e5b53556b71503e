"""Queue messages from the threads of a socket for the one thread of a miner, which judges them.

A miner, its inbox and its ledger belong to one thread. The threads of the socket submit their messages and
wait for the verdict; more than the mailbox holds are refused at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from bcfl.errors import BcflError, RelayError

CAPACITY: Final = 64  # messages that wait
WAIT_SECONDS: Final = 20.0  # until a sender gives up
STEP_SECONDS: Final = 0.5  # of `process`, while the owner waits for somebody's answer
T = TypeVar("T")
log = logging.getLogger(__name__)


class Busy(RelayError):
    """The owner of the mailbox has no time for the message."""


class _Letter:
    """One message as a call to make, and its outcome."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action, self.done = action, threading.Event()
        self.error: BaseException | None = None
        self.dropped = False


class Mailbox:
    """Pass calls from any thread to the owner, the one thread that calls `process`."""

    def __init__(self, capacity: int = CAPACITY, wait_seconds: float = WAIT_SECONDS) -> None:
        self._capacity, self._wait_seconds = capacity, wait_seconds
        self._slots = threading.BoundedSemaphore(capacity)
        self._letters: SimpleQueue[_Letter | None] = SimpleQueue()

    def submit(self, action: Callable[[], None]) -> None:
        """Have `action` called by the owner and wait for it; raises what it raises, or Busy."""
        if not self._slots.acquire(blocking=False):
            raise Busy("too many messages wait here already: try again in a moment")
        letter = _Letter(action)
        self._letters.put(letter)
        if not letter.done.wait(self._wait_seconds):
            letter.dropped = True
            raise Busy("nobody looked at the message in time: try again in a moment")
        if letter.error is not None:
            raise letter.error

    def process(self, seconds: float) -> None:
        """Make the calls that are submitted, for so many seconds; `wake` or a flood ends the wait."""
        end = time.monotonic() + seconds
        for _ in range(self._capacity):
            try:
                letter = self._letters.get(timeout=max(0.0, end - time.monotonic()))
            except Empty:
                return
            if letter is None:
                return
            self._open(letter)
            end = min(end, time.monotonic() + seconds / 4)  # it may be what the owner waits for

    def process_during(self, call: Callable[[], T]) -> T:
        """Return or raise what `call` does in a thread of its own; process messages until it is over.

        An owner that waited for another one's answer and did nothing else would wait for ever if that one
        waited for it, as parties do that are bound to each other.
        """
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(call)
            future.add_done_callback(lambda _: self.wake())
            while not future.done():
                self.process(STEP_SECONDS)
        return future.result()

    def wake(self) -> None:
        """End the owner's wait; safe in a signal handler."""
        self._letters.put(None)

    def _open(self, letter: _Letter) -> None:
        self._slots.release()
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
