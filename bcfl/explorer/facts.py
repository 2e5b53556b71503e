"""Gather what most pages need: the summary of the training, whom it waits for, and how good its models are.

What a summary took is kept until something happens. A node across a network is asked for few receipts at a
time, so that no page waits for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from bcfl.bundle.query import BundleQuery
from bcfl.errors import LedgerError
from bcfl.federation.query import LocalQuery, Query, RemoteQuery
from bcfl.federation.statements import Collection
from bcfl.federation.subject import Subject, of_bundle, of_deployment, of_run
from bcfl.federation.views.digests import Digests, Progress
from bcfl.federation.views.figures import StatementView
from bcfl.federation.views.status import CurrentView, current_view
from bcfl.federation.views.summary import Summary, summary

AT_ONCE: Final = 100  # receipts
PATIENCE: Final = 10  # times what it took, before a summary is made again
# The phases in the order of a round, each with its colour on every page; two that are rare share one.
PHASE_TONES: Final = {
    "commit": 0,
    "reveal": 1,
    "vote": 2,
    "unveil": 3,
    "tally": 7,
    "elect": 5,
    "propose": 4,
    "attest": 5,
    "finalize": 6,
    "void": 7,
}
Cache = dict[Any, Any]


class Statements(dict[int, Sequence[StatementView]]):
    """What is stated of the models, by round; `unreachable` are the miners that could not be asked for it."""

    unreachable: tuple[str, ...] = ()


class Receipts:
    """The gas of transactions on a node's chain, as far as it has been read; the latest are read first."""

    def __init__(self) -> None:
        self.gas: dict[bytes, int] = {}

    def read(self, query: Query) -> None:
        """Read the next few receipts."""
        wanted = [
            transaction
            for number in sorted(query.history.rounds, reverse=True)
            for transaction in query.history.rounds[number].transactions
            if transaction not in self.gas
        ]
        for transaction in wanted[:AT_ONCE]:
            self.gas[transaction] = query.contract.gas_of(transaction)


@dataclass(frozen=True)
class Kept:
    """A summary, of which state it is, when it was made (on a clock of one's own), and how long that took."""

    state: tuple[int, ...]
    made: float
    seconds: float
    view: Summary

    @property
    def is_good_enough(self) -> bool:
        """Whether making another would take more than a share of the time."""
        return time.monotonic() - self.made < PATIENCE * self.seconds


def prepare(query: Query, cache: Cache, progress: Progress) -> None:
    """Make the first summary, which reads every round; `progress` hears how far that has come."""
    digests_of(cache).progress = progress
    summary_of(query, cache, Statements())


def keep_up(query: Query, cache: Cache, statements: Statements) -> object:
    """Read a few receipts of a node's chain, and make the summary anew where it is time; return its state."""
    receipts: Receipts = cache.setdefault("receipts", Receipts())
    if isinstance(query, RemoteQuery):
        with suppress(LedgerError):  # it is away, or does not know them any more
            receipts.read(query)
    summary_of(query, cache, statements)
    return cache["summary"].state


def summary_of(query: Query, cache: Cache, statements: Statements) -> Summary:
    """Return the summary of the training; `statements` say how good its models are, by round.

    The first one reads every round, later ones those in which something has happened. One that takes long
    nevertheless is made again after ten times that time, whatever happens.
    """
    receipts: Receipts = cache.setdefault("receipts", Receipts())
    state = len(query.events), len(receipts.gas), len(statements), len(statements.unreachable)
    kept: Kept | None = cache.get("summary")
    if kept is None or (kept.state != state and not kept.is_good_enough):
        begin = time.monotonic()
        subject = _subject(query, receipts)
        subject = replace(
            subject,
            statements={**statements, **subject.statements},
            unreachable=statements.unreachable or subject.unreachable,
        )
        view = summary(subject, most_votes=0, digests=digests_of(cache))
        now = time.monotonic()
        kept = cache["summary"] = Kept(state, now, 0.0 if kept is None else now - begin, view)
    return kept.view


def digests_of(cache: Cache) -> Digests:
    """Return what has been read of the rounds."""
    digests: Digests = cache.setdefault("digests", Digests())
    return digests


def chain_time(query: Query) -> int:
    """Return the chain's time; that of the last event while the node is away."""
    try:
        return query.ledger.now()
    except LedgerError:
        return query.events[-1].timestamp if query.events else 0


def waiting(query: Query) -> CurrentView | None:
    """Return what the running round waits for; None of a bundle, which does not say it."""
    if isinstance(query, BundleQuery):
        return None
    return current_view(query.history, query.clock, chain_time(query))


def _subject(query: Query, receipts: Receipts) -> Subject:
    if isinstance(query, RemoteQuery):
        nothing = Collection(
            query.ledger.domain, query.history
        )  # inboxes are asked elsewhere: they may be slow
        return replace(of_deployment(query, collection=nothing), gas_of=receipts.gas.get)
    if isinstance(query, BundleQuery):
        return of_bundle(query.path.name, query.source, query.collection)
    if isinstance(query, LocalQuery):
        return of_run(query)
    raise TypeError(f"nobody knows what a {type(query).__name__} is a query of")
