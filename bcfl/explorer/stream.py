"""Tell pages that something has changed: server-sent events, to so many pages at most.

A message has no content but numbers: a page that is out of date asks for itself again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final

from bcfl.errors import BcflError
from bcfl.explorer.reader import Reader
from bcfl.federation.query import Query

MOST: Final = 32  # pages that listen at a time
KEEP_ALIVE_SECONDS: Final = 20.0
PROGRESS_SECONDS: Final = 1.0  # between two messages while everything is read for the first time

State = tuple[object, ...]


def state_of(query: Query) -> State:
    """Return what a page is about, as far as it changes: how many events, which phase."""
    clock = query.clock
    return len(query.events), clock.round, int(clock.phase), clock.acted


class Stream:
    """The one watcher of a federation, and the pages that listen to it; `work` is done at every look."""

    def __init__(self, reader: Reader, work: Callable[[Query, dict[Any, Any]], object]) -> None:
        self.reader, self.work = reader, work
        self.version = 0
        self.is_begun = asyncio.Event()  # everything has been read once, or cannot be
        self.away: str | None = None  # why the node cannot be asked
        self._listeners: set[asyncio.Queue[str]] = set()
        self._state: State | None = None

    @property
    def is_full(self) -> bool:
        """Whether no other page may listen."""
        return len(self._listeners) >= MOST

    def changed(self) -> None:
        """Tell all pages to ask again."""
        self.version += 1
        text = self._news()
        for queue in self._listeners:
            with suppress(asyncio.QueueFull):  # one message says as much as several
                queue.put_nowait(text)

    def _news(self) -> str:
        return json.dumps({"version": self.version, "away": self.away is not None})

    async def begin(self) -> None:
        """Wait until everything has been read once; pages that were told to wait hear how far it has come."""
        look = asyncio.ensure_future(self._look())
        try:
            while not (await asyncio.wait({look}, timeout=PROGRESS_SECONDS))[0]:
                if self.reader.kept_waiting:
                    self.changed()
            look.result()
        finally:
            look.cancel()
            self.is_begun.set()
        if self.reader.kept_waiting:
            self.changed()

    async def watch(self) -> None:
        """Look at the chain again and again, until cancelled."""
        await self.begin()
        while True:
            await asyncio.sleep(self.reader.target.poll)
            await self._look()

    async def _look(self) -> None:
        before = self.away
        try:
            state = await self.reader.ask(self._state_and_work)
            self.away = self.reader.away
        except BcflError as error:
            state, self.away = self._state or (), str(error)
        if state != self._state or (before is None) != (self.away is None):
            first, self._state = self._state is None, state
            if not first:
                self.changed()

    def _state_and_work(self, query: Query) -> State:
        """Do what is to be done between two looks, and return what a page is about."""
        return self.work(query, self.reader.cache), *state_of(query)

    async def listen(self) -> AsyncIterator[str]:
        """Yield the messages for one page, with a comment now and then."""
        queue: asyncio.Queue[str] = asyncio.Queue(1)
        self._listeners.add(queue)
        try:
            yield f"retry: 3000\ndata: {self._news()}\n\n"
            while True:
                try:
                    text = await asyncio.wait_for(queue.get(), KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
                else:
                    yield f"data: {text}\n\n"
        finally:
            self._listeners.discard(queue)
