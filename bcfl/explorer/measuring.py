"""Evaluate the models of a run on its test data, one after the other, in a thread of its own.

The chain does not say how good a model is. A run on this machine has the test data of its task; what it says
stands beside what parties state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from bcfl.errors import BcflError, one_line
from bcfl.explorer.reader import Reader
from bcfl.federation.evaluation import OwnData, evaluate, own_data
from bcfl.federation.query import LocalQuery, Query
from bcfl.federation.views.figures import StatementView

IDLE_SECONDS: Final = 1.0
TESTER: Final = "the run's test data"


class Measuring:
    """What evaluations have said so far, by round; `problem` is why there are none."""

    def __init__(self, reader: Reader, changed: Callable[[], None]) -> None:
        self.reader, self.changed = reader, changed
        self.statements: dict[int, list[StatementView]] = {}
        self.problem: str | None = None
        self._data: OwnData | None = None

    async def follow(self) -> None:
        """Evaluate what there is, and what comes, until cancelled or until it turns out that nobody can."""
        while self.problem is None:
            try:
                count = await self.reader.ask(self._next)
            except Exception as error:  # a task is its user's code: whatever it raises, pages go on
                self.problem = str(error) if isinstance(error, BcflError) else one_line(error)
                count = 0
            if count:
                self.changed()
            else:
                await asyncio.sleep(IDLE_SECONDS)

    def _next(self, query: Query) -> int:
        """Evaluate a few models that have not been; return how many."""
        if not isinstance(query, LocalQuery):
            self.problem = "there are no test data here"
            return 0
        ended = [number for number, round_ in query.history.rounds.items() if round_.closed is not None]
        wanted = [number for number in ended if number not in self.statements][:8]
        if wanted and self._data is None:
            self._data = own_data(query, {})
        for number in wanted:
            assert self._data is not None
            self.statements[number] = [_statement(query, self._data, number)]
        return len(wanted)


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
