"""State how good each new model is on the party's own data, as far as the party is asked to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from bcfl.errors import BcflError, RelayError
from bcfl.ports import Learner, Ledger
from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import History
from bcfl.relay.statements import Figure, Statement, bounded, finite, seal
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal

RECORD: Final = "stated.json"
MAX_TRIES: Final = 3  # to hand a statement over
log = logging.getLogger(__name__)
Deliver = Callable[[bytes, History], None]  # raises RelayError where nobody takes it
Report = Callable[[Statement], None]


class Stating:
    """Evaluates the model after each final round with `learner`, and has the statement delivered.

    A learner that fails ends nothing: that round goes without a statement. `report` gets what was stated.
    """

    def __init__(
        self,
        account: Account,
        role: str,
        learner: Learner,
        ledger: Ledger,
        archive: Archive,
        journal: Journal,
        deliver: Deliver,
        report: Report = lambda _: None,
    ) -> None:
        self.account, self.role, self.learner, self.ledger = account, role, learner, ledger
        self.archive, self.journal, self._deliver, self._report = archive, journal, deliver, report
        self._last = 0
        record = journal.read_json(RECORD) or {}
        with journal.reading(RECORD):
            self._last = int(record.get("round", 0))
        self._pending: bytes | None = None
        self._tries = 0

    def act(self, history: History) -> str | None:
        """State how good the last model is, once; None if there is nothing to say."""
        number = history.head.round
        if self._pending is not None:
            return self._hand_over(history)
        if number <= self._last:
            return None
        self._last = number
        self.journal.write_json(RECORD, {"round": number})
        statement = self._statement(history)
        if statement is None:
            return None
        self._pending, self._tries = seal(statement, self.account, self.ledger.domain), 0
        cid = self.archive.store.put(self._pending)
        self.archive.on_touch(cid)
        self._report(statement)
        return self._hand_over(history)

    def end(self, history: History) -> None:
        """Leave what has not been said unsaid."""

    def _hand_over(self, history: History) -> str | None:
        """Have the statement that is due delivered; it is let go after some tries."""
        data, self._tries = self._pending or b"", self._tries + 1
        try:
            self._deliver(data, history)
        except RelayError as error:
            if self._tries < MAX_TRIES:
                return None
            log.warning("nobody lists the statement: %s", error, extra={"account": self.account.address})
            self._pending = None
            return None
        self._pending = None
        return "stated how good the model is"

    def _statement(self, history: History) -> Statement | None:
        """Return what the own data say of the last model; None where they cannot say anything."""
        block = history.head
        values = self.archive.values(block, history)
        try:
            evaluation = self.learner.evaluate(values)
            metrics: dict[str, Figure] = finite(evaluation.metrics)
            loss = bounded(evaluation.loss)
        except (BcflError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
            log.warning("no statement: %s", error, extra={"account": self.account.address})
            return None
        if not evaluation.samples:
            return None
        return Statement(
            block.round, block.root, self.role, self.account.address, evaluation.samples, loss, metrics
        )
