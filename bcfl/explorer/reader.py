"""Read a federation in one thread, and follow it: what was read is not read again.

A thread of its own for every reader: a chain's connection and a history that grows belong to one thread. The
first reading may take long; whoever asks meanwhile is told how far it has come.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from bcfl.bundle.query import NONSENSE
from bcfl.errors import BcflError, BundleError, LedgerError, Unreachable
from bcfl.explorer.target import Target, is_still
from bcfl.federation.event_stream import BlockId, block_id
from bcfl.federation.query import Query
from bcfl.federation.views.source import taken_in
from bcfl.ledger.contract import Event
from bcfl.ledger.federation import SENSELESS
from bcfl.protocol.events import take_in
from bcfl.protocol.rounds import History

Answer = TypeVar("Answer")
Cache = dict[Any, Any]
Prepare = Callable[[Query, Cache, Callable[[int, int], None]], object]
WAITING: Final = 64  # questions that may wait for the thread
AWAY_SECONDS: Final = 5.0  # between two tries while the node is away


class Crowded(BcflError):
    """More is asked than the explorer answers at a time."""


@dataclass(frozen=True)
class Progress:
    """How far the first reading has come: `done` of `total` blocks or rounds; 0 of 0 before it is known."""

    unit: Literal["blocks", "rounds"]
    done: int
    total: int

    @property
    def text(self) -> str:
        """Return it in words."""
        if not self.total:
            return "it has just begun"
        return f"{self.unit} {self.done:,} of {self.total:,}" if self.done else f"{self.total:,} {self.unit}"


class StillReading(BcflError):
    """The first reading has not come to its end."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(f"the federation is still being read ({progress.text}): ask again in a moment")
        self.progress = progress


class Reader:
    """A federation that is opened when it is first asked, and read anew where blocks were taken back.

    `prepare` is done at the end of the first reading, and tells how far it has come.
    """

    def __init__(self, target: Target, prepare: Prepare = lambda *_: None) -> None:
        self.target, self.prepare = target, prepare
        self.progress = Progress("blocks", 0, 0)
        self.kept_waiting = False  # whether anybody was told to ask again
        self.is_read = False
        self._reading: asyncio.Future[None] | None = None
        self.cache: Cache = {}  # of views, until blocks are taken back
        self._stack = ExitStack()
        self._query: Query | None = None
        self._head: BlockId | None = None
        self.away: str | None = None  # why the node cannot be asked
        self._patient_until = 0.0  # on a clock of one's own: when it is asked again
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "bcfl-reader")

    async def ask(self, question: Callable[[Query], Answer], patience: float | None = None) -> Answer:
        """Return what `question` says of the federation as it is now; raises what it raises, or Crowded.

        Raises StillReading where the first reading takes more than `patience` seconds; None waits for it.
        """
        if not self.is_read:
            await self._first_reading(patience)
        if self._waiting >= WAITING:
            raise Crowded("too many requests wait for an answer: try again in a moment")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._answer, question)
        finally:
            self._waiting -= 1

    async def _first_reading(self, patience: float | None) -> None:
        """Wait until everything has been read once; raises StillReading, or what the reading raises."""
        reading = self._reading
        if reading is None or reading.done():
            loop = asyncio.get_running_loop()
            reading = self._reading = loop.run_in_executor(self._thread, self._read)
            reading.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody looked
        done, _ = await asyncio.wait({reading}, timeout=patience)
        if not done:
            self.kept_waiting = True
            raise StillReading(self.progress)
        reading.result()

    def look(self, question: Callable[[Query], Answer]) -> Answer:
        """Return the same from a thread without a loop."""
        return self._thread.submit(self._answer, question).result()

    def opened(self, question: Callable[[Query], Answer]) -> Answer:
        """Return what `question` says of the federation as it is opened, before anything of it is read."""
        return self._thread.submit(lambda: question(self._query or self._open())).result()

    def close(self) -> None:
        """Wait for the question at hand, and close what is open."""
        self._thread.submit(self._forget).result()
        self._thread.shutdown()
        gc.unfreeze()

    def _answer(self, question: Callable[[Query], Answer]) -> Answer:
        query = self._query or self._open()
        if not self.is_read:
            self._read()
        if not is_still(query) and time.monotonic() >= self._patient_until:
            query = self._follow_if_there(query)
        with _in_words(query):
            return question(query)

    def _follow_if_there(self, query: Query) -> Query:
        """Take in what has come since; while the node is away, leave the federation as it was read."""
        try:
            query = self._follow(query)
            self.away = None
        except LedgerError as error:
            if not self.is_read:
                raise
            self.away, self._patient_until = str(error), time.monotonic() + AWAY_SECONDS
        return query

    def _open(self) -> Query:
        query = self._stack.enter_context(self.target.open())
        contract = query.contract
        contract.gas_of = functools.cache(contract.gas_of)  # type: ignore[method-assign]
        self._query = query
        return query

    def _read(self) -> None:
        """Read all that has happened so far, once."""
        if self.is_read:
            return
        query = self._query or self._open()
        if not is_still(query):
            self._head = block_id(query.contract, "latest")
            self._read_events(query, self._head[0])
        with _in_words(query):
            self.prepare(query, self.cache, lambda done, total: self._tell("rounds", done, total))
        self.is_read = True
        gc.freeze()  # what was read stays: looking for cycles in it took 0.2 s, again and again

    def _read_events(self, query: Query, last: int) -> None:
        """Take in the events up to the block `last`, which makes the history; one that is there stays."""
        if "history" in vars(query):
            return
        history, known = History.under(query.terms), list[Event]()
        first = query.first_block
        self._tell("blocks", 0, last - first + 1)
        for end, events in query.contract.pieces(first, last):
            taken_in(history, events)
            known += events
            self._tell("blocks", end - first + 1, last - first + 1)
        query.history, query.events = history, known

    def _tell(self, unit: Literal["blocks", "rounds"], done: int, total: int) -> None:
        self.progress = Progress(unit, done, total)

    def _again(self) -> Query:
        query = self._open()
        self._read()
        return query

    def _forget(self) -> None:
        self._query, self._head, self.is_read = None, None, False
        self.cache.clear()
        self._stack.close()

    def _follow(self, query: Query) -> Query:
        """Take in what has come since; open anew where blocks were taken back, or events make no sense."""
        head, last = block_id(query.contract, "latest"), self._head
        clock = query.ledger.clock()
        with suppress(AttributeError):
            del query.clock
        query.clock = clock
        if head == last:
            return query
        if last is None or block_id(query.contract, hex(last[0])) != last:
            self._forget()
            return self._again()
        events = list(query.contract.events(last[0] + 1, head[0]))
        try:
            take_in(query.history, events)
        except SENSELESS:
            self._forget()
            raise Unreachable("the node's events are those of no chain: they are read again") from None
        query.events.extend(events)
        if query.layout is None:
            del query.layout
        self._head = head
        return query


@contextmanager
def _in_words(query: Query) -> Iterator[None]:
    """Say of a file whose events make no sense what is wrong with it; raises BundleError."""
    try:
        yield
    except SENSELESS as error:
        if not is_still(query):
            raise
        raise BundleError(f"{NONSENSE} ({type(error).__name__})") from error
