"""Find out how good the models are, in a thread of its own: by asking, or by evaluating them here.

The chain does not say it. In a run's folder the owner states it, and where it does not, the run's test data
are on this machine. Of a deployment the miners' inboxes list what parties state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from bcfl.errors import BcflError, LedgerError, one_line
from bcfl.explorer.facts import Statements
from bcfl.explorer.reader import Crowded, Reader
from bcfl.federation.evaluation import OwnData, evaluate, own_data
from bcfl.federation.query import LocalQuery, Query, RemoteQuery
from bcfl.federation.subject import first_stated
from bcfl.federation.views.figures import StatementView

IDLE_SECONDS: Final = 1.0
INBOX_SECONDS: Final = 30.0  # between two times that the miners' inboxes are asked
AT_ONCE: Final = 4  # models evaluated before a page hears of it
TESTER: Final = "the run's test data"


class Measuring:
    """What is known so far, by round; `problem` is why models cannot be evaluated here."""

    def __init__(self, reader: Reader, changed: Callable[[], None]) -> None:
        self.reader, self.changed = reader, changed
        self.statements = Statements()
        self.problem: str | None = None
        self._data: OwnData | None = None
        self._ended = 0  # rounds, when the index of a run was last read
        self._stated: set[int] = set()
        self._asked = -INBOX_SECONDS

    async def follow(self) -> None:
        """Find out what there is, and what comes, until cancelled or until it turns out that nobody can."""
        while self.problem is None:
            try:
                news = await self.reader.ask(self._next)
            except (Crowded, LedgerError):
                news = False  # the node is away, or many ask for downloads: a moment ends nothing
            except Exception as error:  # a task is its user's code: whatever it raises, pages go on
                self.problem = str(error) if isinstance(error, BcflError) else one_line(error)
                news = True
            if news:
                self.changed()
            else:
                await asyncio.sleep(IDLE_SECONDS)

    def _next(self, query: Query) -> bool:
        """Find out a little more; return whether there was anything."""
        if isinstance(query, RemoteQuery):
            return self._ask(query)
        if isinstance(query, LocalQuery):
            return self._evaluate(query)
        self.problem = "a bundle has no test data"
        return False

    def _ask(self, query: RemoteQuery) -> bool:
        """Ask the miners' inboxes, now and then."""
        now = time.monotonic()
        if now - self._asked < INBOX_SECONDS:
            return False
        self._asked = now
        before = len(self.statements), self.statements.unreachable
        collection = query.statements(first_stated(query))
        self.statements.update(collection.by_round())
        self.statements.unreachable = tuple(item["miner"] for item in collection.unreachable)
        return (len(self.statements), self.statements.unreachable) != before

    def _evaluate(self, query: LocalQuery) -> bool:
        """Evaluate a few models of which nobody has said how good they are."""
        ended = [number for number, round_ in query.history.rounds.items() if round_.closed is not None]
        if len(ended) != self._ended:
            self._ended, self._stated = len(ended), set(query.statements().by_round())
        wanted = [number for number in ended if number not in self.statements and number not in self._stated]
        if wanted and self._data is None:
            self._data = own_data(query, {})
        for number in wanted[:AT_ONCE]:
            assert self._data is not None
            self.statements[number] = [_statement(query, self._data, number)]
        return bool(wanted)


def _statement(query: Query, data: OwnData, number: int) -> StatementView:
    view = evaluate(query, data, number)
    metrics = {name: view[name] for name in view if name not in ("round", "block_round", "root", "loss")}
    loss = view["loss"]
    return {
        "round": number,
        "party": TESTER,
        "role": "owner",
        "samples": data.samples,
        "loss": loss,
        "metrics": metrics,
        "cid": "",
    }
