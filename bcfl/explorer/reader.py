"""Read a federation in one thread, and follow it: what was read is not read again.

A thread of its own for every reader: a chain's connection and a history that grows belong to one thread.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, Final, TypeVar

from bcfl.bundle.query import NONSENSE
from bcfl.errors import BcflError, BundleError, LedgerError, Unreachable
from bcfl.explorer.target import Target, is_still
from bcfl.federation.event_stream import BlockId, block_id
from bcfl.federation.query import Query
from bcfl.ledger.federation import SENSELESS
from bcfl.protocol.events import take_in

Answer = TypeVar("Answer")
WAITING: Final = 64  # questions that may wait for the thread
AWAY_SECONDS: Final = 5.0  # between two tries while the node is away


class Crowded(BcflError):
    """More is asked than the explorer answers at a time."""


class Reader:
    """A federation that is opened when it is first asked, and read anew where blocks were taken back."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.cache: dict[Any, Any] = {}  # of views, until blocks are taken back
        self._stack = ExitStack()
        self._query: Query | None = None
        self._head: BlockId | None = None
        self.away: str | None = None  # why the node cannot be asked
        self._patient_until = 0.0  # on a clock of one's own: when it is asked again
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "bcfl-reader")

    async def ask(self, question: Callable[[Query], Answer]) -> Answer:
        """Return what `question` says of the federation as it is now; raises what it raises, or Crowded."""
        if self._waiting >= WAITING:
            raise Crowded("too many requests wait for an answer: try again in a moment")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._answer, question)
        finally:
            self._waiting -= 1

    def look(self, question: Callable[[Query], Answer]) -> Answer:
        """Return the same from a thread without a loop."""
        return self._thread.submit(self._answer, question).result()

    def close(self) -> None:
        """Wait for the question at hand, and close what is open."""
        self._thread.submit(self._forget).result()
        self._thread.shutdown()

    def _answer(self, question: Callable[[Query], Answer]) -> Answer:
        query = self._query or self._open()
        if not is_still(query) and time.monotonic() >= self._patient_until:
            query = self._follow_if_there(query)
        try:
            return question(query)
        except SENSELESS as error:
            if not is_still(query):
                raise
            raise BundleError(f"{NONSENSE} ({type(error).__name__})") from error

    def _follow_if_there(self, query: Query) -> Query:
        """Take in what has come since; while the node is away, leave the federation as it was read."""
        try:
            query = self._follow(query)
            self.away = None
        except LedgerError as error:
            if self._query is None:
                raise
            self.away, self._patient_until = str(error), time.monotonic() + AWAY_SECONDS
        return query

    def _open(self) -> Query:
        query = self._stack.enter_context(self.target.open())
        if not is_still(query):
            self._head = block_id(query.contract, "latest")
        contract = query.contract
        contract.gas_of = functools.cache(contract.gas_of)  # type: ignore[method-assign]
        _ = query.history
        self._query = query
        return query

    def _forget(self) -> None:
        self._query, self._head = None, None
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
            return self._open()
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
