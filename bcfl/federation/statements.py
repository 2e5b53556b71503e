"""Collect what parties state of the models: from the index of a run, or from the miners' inboxes.

Nothing that is collected is believed: signature, membership and model are checked for each statement.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

from bcfl.errors import CidError, RelayError, StoreError
from bcfl.federation.views.figures import ROLES, FigureView, StatementView, figure_view
from bcfl.folders import read_file
from bcfl.protocol import cid as cids
from bcfl.protocol.rounds import History
from bcfl.protocol.submissions import Domain
from bcfl.relay.statements import MAX_BYTES, Statement, check, names_round, open_statement

if TYPE_CHECKING:
    from bcfl.ports import Store

INDEX: Final = "statements.txt"  # in a run's folder: a CID a line
MOST: Final = 5_000  # statements of one collection
Opened = dict[str, tuple[bytes, Statement, str]]  # by name: a statement's bytes, itself, and its CID


class UnreachableView(TypedDict):
    """A miner whose inbox could not be asked, and why."""

    miner: str
    reason: str


class StatementTally(TypedDict):
    """How many of the statements that somebody handed over members have signed of right models, and not."""

    members: int
    others: int
    missing: int  # named, and not there


class StatementsView(TypedDict):
    """What parties state of the models after some rounds; `figure` is what those of the last come to."""

    figure: FigureView | None
    statements: list[StatementView]
    unreachable: list[UnreachableView]


@dataclass
class Collection:
    """Statements that have been checked, by round, party and role, and the miners that could not be asked."""

    domain: Domain
    history: History
    owner: str | None = None  # as the contract names it
    by_key: dict[tuple[int, str, str], StatementView] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)  # of what counts, by CID
    unreachable: list[UnreachableView] = field(default_factory=list)

    def add(self, data: bytes) -> bool:
        """Add a statement if it is right, and return if it is.

        Of two of one party about one round, the lower CID counts.
        """
        with suppress(RelayError):
            return self.add_opened(data, open_statement(data, self.domain), cids.compute(data))
        return False

    def add_opened(self, data: bytes, statement: Statement, cid: str) -> bool:
        """Add a statement whose form and signature are right, if all else is, and return if it is."""
        with suppress(RelayError):
            check(statement, self.history, self.owner)
            key = statement.round, statement.party, statement.role
            known = self.by_key.get(key)
            if known is None or cid < known["cid"]:
                self.contents.pop("" if known is None else known["cid"], None)
                self.contents[cid] = data
                self.by_key[key] = {
                    "round": statement.round,
                    "party": statement.party,
                    "role": statement.role,
                    "samples": statement.samples,
                    "loss": statement.loss,
                    "metrics": dict(statement.metrics),
                    "cid": cid,
                }
            return True
        return False

    def latest(self, most: int) -> dict[str, bytes]:
        """Return the bytes of at most so many statements, by CID: those of the latest rounds."""
        views = sorted(self.by_key.values(), key=lambda item: (-item["round"], item["cid"]))
        return {view["cid"]: self.contents[view["cid"]] for view in views[:most]}

    def by_round(self) -> dict[int, list[StatementView]]:
        """Return the statements by round, in the order of roles and parties."""
        rounds: dict[int, list[StatementView]] = {}
        views = sorted(self.by_key.values(), key=lambda item: (ROLES.index(item["role"]), item["party"]))
        for view in sorted(views, key=lambda item: item["round"]):
            rounds.setdefault(view["round"], []).append(view)
        return rounds

    def view(self, first: int, last: int) -> StatementsView:
        """Return the statements about the rounds `first` to `last`."""
        rounds = {number: group for number, group in self.by_round().items() if first <= number <= last}
        return {
            "figure": figure_view(rounds[max(rounds)]) if rounds else None,
            "statements": [view for group in rounds.values() for view in group],
            "unreachable": self.unreachable,
        }


def of_run(path: Path, store: Store, collection: Collection, opened: Opened | None = None) -> Collection:
    """Add the statements that the index of a run's folder names and its store holds.

    `opened` keeps what was read of them before: what a CID names does not change.
    """
    opened = {} if opened is None else opened
    for cid in list(dict.fromkeys(read_lines(path / INDEX)))[-MOST:]:
        with suppress(CidError, StoreError, RelayError):
            if cid not in opened:
                data = store.get(cid, MAX_BYTES)
                opened[cid] = data, open_statement(data, collection.domain), cids.compute(data)
            collection.add_opened(*opened[cid])
    return collection


def of_run_round(path: Path, store: Store, collection: Collection, number: int) -> Collection:
    """Add those that are about the model after one round; the signatures of others are not looked at."""
    for cid in list(dict.fromkeys(read_lines(path / INDEX)))[-MOST:]:
        with suppress(CidError, StoreError):
            data = store.get(cid, MAX_BYTES)
            if names_round(data, number):
                collection.add(data)
    return collection


def of_bundle(names: Iterable[str], store: Store, collection: Collection) -> StatementTally:
    """Add the statements that a bundle names and holds; return how many of them are right."""
    tally: StatementTally = {"members": 0, "others": 0, "missing": 0}
    for cid in islice(dict.fromkeys(names), MOST):
        try:
            data = store.get(cid, MAX_BYTES)
        except (CidError, StoreError):
            tally["missing"] += 1
            continue
        tally["members" if collection.add(data) else "others"] += 1
    return tally


def add_to_run(path: Path, cid: str) -> None:
    """Name a statement in the index of a run's folder."""
    with (path / INDEX).open("a", encoding="ascii") as file:
        file.write(cid + "\n")


def read_lines(path: Path) -> list[str]:
    """Return the last lines of a file, as many as one collection may have; none where it cannot be read."""
    with suppress(OSError, UnicodeDecodeError):
        return read_file(path, 2 * MOST * MAX_BYTES).decode("ascii").splitlines()[-MOST:]
    return []
