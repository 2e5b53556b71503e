"""Collect what parties state of the models: from the index of a run, or from the miners' inboxes.

Nothing that is collected is believed: signature, membership and model are checked for each statement.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from bcfl.errors import CidError, RelayError, StoreError
from bcfl.federation.views.figures import ROLES, FigureView, StatementView, figure_view
from bcfl.folders import read_file
from bcfl.ports import Store
from bcfl.protocol import cid as cids
from bcfl.protocol.rounds import History
from bcfl.protocol.submissions import Domain
from bcfl.relay.book import CID, PAGE
from bcfl.relay.client import Endpoint
from bcfl.relay.statements import MAX_BYTES, Statement, check, names_round, open_statement
from bcfl.transport.client import exchange
from bcfl.transport.deadline import Deadline

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient

INDEX: Final = "statements.txt"  # in a run's folder: a CID a line
PATH: Final = "/v1/statements/"  # at an inbox
MOST: Final = 5_000  # statements of one collection
MOST_PAGES: Final = 64  # of one inbox
ANSWER_BYTES: Final = 1 << 14
ASKERS: Final = 64  # inboxes at once, as many as a federation has active miners: none waits for another
SECONDS: Final = 5.0  # for all inboxes and the store
MOMENT: Final = 2.0  # for them, where somebody waits for an answer on the screen
INBOX_SHARE: Final = 0.6  # of these seconds; the rest is the store's
CACHE_VARIABLE: Final = "XDG_CACHE_HOME"
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
    for cid in list(dict.fromkeys(_lines(path / INDEX)))[-MOST:]:
        with suppress(CidError, StoreError, RelayError):
            if cid not in opened:
                data = store.get(cid, MAX_BYTES)
                opened[cid] = data, open_statement(data, collection.domain), cids.compute(data)
            collection.add_opened(*opened[cid])
    return collection


def of_run_round(path: Path, store: Store, collection: Collection, number: int) -> Collection:
    """Add those that are about the model after one round; the signatures of others are not looked at."""
    for cid in list(dict.fromkeys(_lines(path / INDEX)))[-MOST:]:
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


def of_inboxes(
    collection: Collection,
    store: Store | None,
    first: int = 1,
    *,
    only_public: bool,
    seconds: float = SECONDS,
) -> Collection:
    """Add what the inboxes of all miners list from round `first` on; what is right is kept for later.

    All are asked at once, and `seconds` are for all together: an inbox that does not answer in its share of
    them is named. The store, which is asked for what they list and do not have, or what was kept may have
    more.
    """
    history, kept = collection.history, _cache(collection.domain)
    for line in _lines(kept):
        collection.add(line.encode("ascii"))
    known = set(collection.contents)
    endpoints = {
        miner: history.endpoints[miner]
        for miner, member in history.miners.items()
        if miner in history.endpoints and not member.exit_round
    }
    patience, deadline = Deadline(seconds), Deadline(INBOX_SHARE * seconds)
    with ThreadPoolExecutor(ASKERS) as pool:
        answers = pool.map(lambda url: _ask(url, first, known, only_public, deadline), endpoints.values())
        listed = list(zip(endpoints, answers, strict=True))
    for miner, answer in listed:
        if isinstance(answer, str):
            collection.unreachable.append({"miner": miner, "reason": answer})
            continue
        for cid, data in answer.items():
            content = _from_store(store, cid) if data is None and patience.allows(0) else data
            is_full = len(collection.contents) >= len(known) + MOST
            if content is not None and cids.compute(content) == cid and not is_full:
                collection.add(content)
    _keep(kept, collection, known)
    return collection


def last_stated(client: FederationClient) -> StatementsView:
    """Return what parties state of the last model, as their inboxes have it, within a moment."""
    ledger = client.ledger
    history, number = ledger.history(), ledger.history().head.round
    collection = Collection(ledger.domain, history, ledger.contract.call("owner"))
    if number:
        of_inboxes(collection, None, number, only_public=client.is_public, seconds=MOMENT)
    return collection.view(number, number)


def _ask(
    url: str, first: int, known: Iterable[str], only_public: bool, deadline: Deadline
) -> dict[str, bytes | None] | str:
    """Return what an inbox lists and is not known yet, with its bytes as far as it has them; else why not."""
    contents = dict[str, bytes | None]()
    try:
        endpoint = Endpoint.parse(url)
        for cid in _listed(endpoint, first, deadline, only_public):
            if cid not in known and len(contents) < MOST:
                contents[cid] = _get(endpoint.url(PATH + cid), deadline, only_public, MAX_BYTES)
    except (OSError, HTTPException, ValueError, RelayError) as error:
        if not contents:
            reason = error if isinstance(error, RelayError) else getattr(error, "strerror", None) or error
            return " ".join(str(reason or type(error).__name__).split())[:200]
    return contents


def _listed(endpoint: Endpoint, first: int, deadline: Deadline, only_public: bool) -> Iterator[str]:
    """Yield the CIDs that an inbox lists; raises ValueError for an answer that is no list of them."""
    place: list[int] = [first, 0]
    for _ in range(MOST_PAGES):
        url = endpoint.url(PATH + "/".join(map(str, place)))
        answer = _get(url, deadline, only_public, ANSWER_BYTES)
        content: Any = json.loads(answer) if answer is not None and _is_flat(answer) else None
        if not isinstance(content, dict) or not isinstance(content.get("statements"), list):
            raise ValueError("it lists no statements")
        for entry in content["statements"]:
            if not isinstance(entry, list) or len(entry) != 2 or not CID.fullmatch(str(entry[1])):
                raise ValueError("it lists something else than statements")
            yield str(entry[1])
        following = content.get("next")
        if following is None:
            return
        if not isinstance(following, list) or len(following) != 2 or not _is_later(following, place):
            raise ValueError("its list has no end")
        place = following


def _is_flat(answer: bytes) -> bool:
    """Whether an answer has no more brackets than a list has: many more exhaust the stack of a parser."""
    return answer.count(b"[") + answer.count(b"{") <= PAGE + 3


def _is_later(following: list[object], place: list[int]) -> bool:
    numbers = [number for number in following if type(number) is int and 0 <= number < 10**9]
    return len(numbers) == 2 and numbers > place


def _get(url: str, deadline: Deadline, only_public: bool, most: int) -> bytes | None:
    """Return the body of an answer; None where there is nothing."""
    with exchange("GET", url, deadline, {}, None, only_public=only_public) as answer:
        return answer.body(most) if answer.status == 200 else None


def _from_store(store: Store | None, cid: str) -> bytes | None:
    with suppress(CidError, StoreError):
        if store is not None and store.has(cid):
            return store.get(cid, MAX_BYTES)
    return None


def _cache(domain: Domain) -> Path:
    """Return the file that keeps the statements of a federation, a line each."""
    folder = Path(os.environ.get(CACHE_VARIABLE) or os.path.expanduser("~/.cache"))  # `~`: there is no home
    return folder / "bcfl" / f"statements-{domain.chain_id}-{domain.contract.lower()}"


def _keep(path: Path, collection: Collection, known: set[str]) -> None:
    """Add what is new to the file, where that is possible: nothing depends on it."""
    fresh = [data for cid, data in collection.contents.items() if cid not in known]
    with suppress(OSError):
        if not fresh:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.writelines(data + b"\n" for data in fresh)
        if path.stat().st_size > MOST * MAX_BYTES:
            path.write_text("".join(f"{line}\n" for line in _lines(path)), encoding="ascii")


def _lines(path: Path) -> list[str]:
    """Return the last lines of a file, as many as one collection may have; none where it cannot be read."""
    with suppress(OSError, UnicodeDecodeError):
        return read_file(path, 2 * MOST * MAX_BYTES).decode("ascii").splitlines()[-MOST:]
    return []
