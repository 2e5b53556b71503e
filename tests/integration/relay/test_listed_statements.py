"""What parties state of a model is handed to an inbox, listed there, collected and checked by anybody."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from bcfl.errors import RelayError
from bcfl.federation.inbox_statements import of_inboxes
from bcfl.federation.statements import Collection
from bcfl.ports import Evaluation
from bcfl.protocol.accounts import Account
from bcfl.relay.book import StatementBook
from bcfl.relay.statements import Statement, seal
from bcfl.roles.background.stating import Stating
from bcfl.roles.common.journal import Journal
from tests.integration.relay.test_inbox import ServedInbox
from tests.processes import ANSWER

PATH = "/v1/statements"


class Listing(ServedInbox):
    """The inbox of a miner of a federation that has played a round; its miner has announced it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.local.play()
        self.journal = Journal(None)
        self.book = StatementBook(self.local.ledger.domain, self.journal)
        self.server.book = self.book
        history = self.local.history
        history.endpoints[self.miner.account.address] = self.server.url
        self.collection = Collection(self.local.ledger.domain, history)

    def statement(self, account: Account, role: str = "device", loss: float = 0.5) -> Statement:
        block = self.local.history.head
        return Statement(block.round, block.root, role, account.address, 9, loss, {"accuracy": 0.9})

    def sealed(self, statement: Statement, account: Account) -> bytes:
        return seal(statement, account, self.local.ledger.domain)

    def collect(self, seconds: float = 5.0) -> Collection:
        history = self.local.history
        collection = Collection(self.local.ledger.domain, history)
        of_inboxes(collection, self.local.store, only_public=False, seconds=seconds)
        return collection


@pytest.fixture
def listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listing]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    listing = Listing(tmp_path / "local")
    yield listing
    listing.server.stop()


def test_a_devices_statement_is_listed_and_found(listing: Listing) -> None:
    statement = listing.statement(listing.device)
    data = listing.sealed(statement, listing.device)
    listing.do(lambda: listing.client(listing.device).take_statement(data))
    view = listing.collect().view(0, 9)
    assert [(item["party"], item["role"], item["loss"]) for item in view["statements"]] == [
        (listing.device.address, "device", 0.5)
    ]
    assert view["figure"] is not None
    assert view["figure"]["metrics"] == {"accuracy": 0.9}
    others = [miner.account.address for miner in listing.local.miner_parties if miner is not listing.miner]
    assert not {item["miner"] for item in view["unreachable"]} - set(others)


def test_only_its_party_hands_in_a_statement(listing: Listing) -> None:
    data = listing.sealed(listing.statement(listing.device), listing.device)
    other = listing.local.device_accounts[1]
    assert listing.status(PATH, data, listing.device) == 204
    assert listing.status(PATH, data, other) == 403
    assert listing.status(PATH, data) == 403
    assert listing.status(PATH, b"{}", listing.device) == 400


def test_strangers_and_statements_of_other_models_are_refused(listing: Listing) -> None:
    stranger = Account.derive(99, "stranger")
    data = listing.sealed(listing.statement(stranger), stranger)
    assert listing.status(PATH, data, stranger) == 409
    wrong = replace(listing.statement(listing.device), root=bytes(32))
    assert listing.status(PATH, listing.sealed(wrong, listing.device), listing.device) == 409
    assert listing.collect().by_key == {}


def test_a_miner_without_a_book_lists_nothing(listing: Listing) -> None:
    listing.server.book = None
    data = listing.sealed(listing.statement(listing.device), listing.device)
    assert listing.status(PATH, data, listing.device) == 409
    answer = requests.get(f"{listing.server.url}{PATH}/0", timeout=ANSWER)
    assert answer.json() == {"statements": [], "next": None}
    assert listing.collect().by_key == {}


def test_what_is_no_longer_held_comes_from_the_store(listing: Listing) -> None:
    account = listing.miner.account
    data = listing.sealed(listing.statement(account, "miner"), account)
    listing.book.take(data, listing.local.history)
    listing.server.book = StatementBook(listing.local.ledger.domain, listing.journal)  # as after a restart
    assert listing.collect().by_key == {}
    listing.local.store.put(data)
    assert len(listing.collect().by_key) == 1


def test_what_was_collected_is_kept_and_checked_again(listing: Listing, tmp_path: Path) -> None:
    account = listing.miner.account
    listing.book.take(listing.sealed(listing.statement(account, "miner"), account), listing.local.history)
    assert len(listing.collect().by_key) == 1
    listing.server.stop()
    collection = listing.collect(seconds=0.5)
    assert len(collection.by_key) == 1
    assert account.address in {item["miner"] for item in collection.unreachable}
    (kept,) = (tmp_path / "cache" / "bcfl").iterdir()
    kept.write_bytes(kept.read_bytes().replace(b'"loss":0.5', b'"loss":0.1') + b"rubbish\n\xff\n")
    assert listing.collect(seconds=0.5).by_key == {}


class HostileBook(StatementBook):
    """Lists what `entries` says, and gives `content` for every CID."""

    entries: object = ()
    content = b"{}"

    def page(self, first: int, skip: int) -> tuple[list[tuple[int, str]], tuple[int, int] | None]:
        return self.entries(first, skip) if callable(self.entries) else self.entries  # type: ignore[return-value]

    def data(self, cid: str) -> bytes | None:
        return self.content * bool(cid)


@pytest.mark.parametrize(
    "entries",
    [
        ([], (0, 0)),
        ([[1, "../../x"]], None),
        ([["a", {}]], None),
        ({"a": 1}, None),
        ([], "again"),
        ([[1, "b" + "a" * 58]] * 128, (10**9, 0)),
        ([[[[[]]]]] * 300, None),
    ],
)
def test_an_inbox_that_lies_is_named_or_gives_nothing(listing: Listing, entries: object) -> None:
    book = HostileBook(listing.local.ledger.domain, Journal(None))
    book.entries, listing.server.book = entries, book
    collection = listing.collect()
    assert collection.by_key == {}


def test_an_inbox_whose_list_never_ends_is_left(listing: Listing) -> None:
    book = HostileBook(listing.local.ledger.domain, Journal(None))
    book.entries, listing.server.book = lambda first, skip: ([], (first + 1, skip)), book
    assert listing.collect().by_key == {}


def test_a_port_that_hangs_costs_its_seconds_and_no_more(listing: Listing) -> None:
    listing.server.stop()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        listing.local.history.endpoints[listing.miner.account.address] = f"http://{host}:{port}"
        collection = listing.collect(seconds=0.5)
    assert listing.miner.account.address in {item["miner"] for item in collection.unreachable}


class Pupil:
    """A learner whose evaluation is made up, or fails."""

    def __init__(self, evaluation: Evaluation | None) -> None:
        self.evaluation = evaluation

    def evaluate(self, model: object) -> Evaluation:
        del model
        if self.evaluation is None:
            raise ValueError("no such data")
        return self.evaluation


def stating(listing: Listing, evaluation: Evaluation | None, journal: Journal) -> Stating:
    local, account = listing.local, listing.miner.account
    return Stating(
        account, "miner", Pupil(evaluation), local.ledger, local.archive, journal,  # type: ignore[arg-type]
        lambda data, history: _list(listing.book, data, history),
    )  # fmt: skip


def _list(book: StatementBook, data: bytes, history: object) -> None:
    book.take(data, history)  # type: ignore[arg-type]


def test_a_party_states_once_how_good_a_model_is(listing: Listing) -> None:
    journal = Journal(None)
    evaluation = Evaluation(0.25, 12, {"accuracy": 0.75, "odd\nname": 1.0, "auc": float("nan")})
    task = stating(listing, evaluation, journal)
    assert task.act(listing.local.history) == "stated how good the model is"
    assert task.act(listing.local.history) is None
    assert stating(listing, evaluation, journal).act(listing.local.history) is None  # after a restart
    ((_, cid),) = listing.book.page(0, 0)[0]
    said = json.loads(listing.local.store.get(cid, 4096))
    assert (said["loss"], said["metrics"], said["samples"]) == (0.25, {"accuracy": 0.75, "auc": None}, 12)


@pytest.mark.parametrize("evaluation", [None, Evaluation(0.1, 0, {})])
def test_a_party_that_cannot_say_says_nothing(listing: Listing, evaluation: Evaluation | None) -> None:
    assert stating(listing, evaluation, Journal(None)).act(listing.local.history) is None
    assert listing.book.page(0, 0) == ([], None)


def test_a_statement_that_nobody_takes_is_let_go(listing: Listing) -> None:
    local, tries = listing.local, list[bytes]()

    def refuse(data: bytes, history: object) -> None:
        del history
        tries.append(data)
        raise RelayError("miner does not answer")

    task = Stating(
        listing.miner.account, "miner", Pupil(Evaluation(0.1, 3, {})), local.ledger, local.archive,  # type: ignore[arg-type]
        Journal(None), refuse,
    )  # fmt: skip
    assert [task.act(local.history) for _ in range(6)] == [None] * 6
    assert len(tries) == 3
