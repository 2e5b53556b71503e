"""A statement of a metric: whose it is can be checked, what it is about too, and nothing else passes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.errors import RelayError
from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import History, Member, Round
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Block
from bcfl.relay import book as books
from bcfl.relay.book import PAGE, StatementBook
from bcfl.relay.statements import (
    LARGEST,
    MAX_BYTES,
    MAX_METRICS,
    Statement,
    bounded,
    check,
    finite,
    open_statement,
    seal,
)
from bcfl.roles.common.journal import Journal

DOMAIN = Domain(31337, "0x" + "12" * 20)
MINER, DEVICE, OWNER = (Account.derive(0, name) for name in ("miner", "device", "owner"))
ROOT = bytes(range(32))
STATEMENT = Statement(3, ROOT, "miner", MINER.address, 90, 0.31, {"accuracy": 0.92, "f1": None})


def history() -> History:
    """Three rounds of which two have ended, the second void."""
    past = History(1)
    past.owner = OWNER.address
    past.miners = {MINER.address: Member(MINER.address, 0, 1, 1)}
    past.join_rounds = {DEVICE.address: 2}
    past.blocks = [Block(bytes(32), 0, bytes(32), bytes(32), bytes(32), MINER.address, 0)]
    for number in range(1, 5):
        past.rounds[number] = Round(number, 0, closed=None if number == 4 else 1)
    past.blocks.append(Block(bytes(32), 2, bytes(32), ROOT, bytes(32), MINER.address, 0))
    return past


def test_a_statement_is_read_as_it_was_signed() -> None:
    data = seal(STATEMENT, MINER, DOMAIN)
    assert open_statement(data, DOMAIN) == STATEMENT
    assert data == seal(STATEMENT, MINER, DOMAIN)
    assert len(data) < 600


names = st.text(min_size=1, max_size=40)
figures = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@given(st.dictionaries(names, figures, max_size=30), figures, st.integers(0, 2**40 - 1))
def test_whatever_a_learner_says_becomes_a_statement_that_is_read(
    metrics: dict[str, float | None], loss: float | None, samples: int
) -> None:
    said = Statement(1, ROOT, "device", DEVICE.address, samples, bounded(loss), finite(metrics))
    data = seal(said, DEVICE, DOMAIN)
    assert open_statement(data, DOMAIN) == said
    assert len(said.metrics) <= MAX_METRICS
    assert all(value is None or abs(value) <= LARGEST for value in (said.loss, *said.metrics.values()))


@given(st.data())
def test_one_changed_byte_is_refused(data: st.DataObject) -> None:
    content = bytearray(seal(STATEMENT, MINER, DOMAIN))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RelayError):
        open_statement(bytes(content), DOMAIN)


def test_a_statement_is_of_one_chain_and_one_contract() -> None:
    data = seal(STATEMENT, MINER, DOMAIN)
    for other in (replace(DOMAIN, chain_id=1), replace(DOMAIN, contract="0x" + "13" * 20)):
        with pytest.raises(RelayError, match="not signed by its party"):
            open_statement(data, other)


def test_nobody_states_in_anothers_name() -> None:
    with pytest.raises(RelayError, match="not signed by its party"):
        open_statement(seal(STATEMENT, DEVICE, DOMAIN), DOMAIN)


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": {f"m{number}": 1.0 for number in range(MAX_METRICS + 1)}},
        {"metrics": {"a" * 41: 1.0}},
        {"metrics": {"": 1.0}},
        {"metrics": {"two\nlines": 1.0}},
        {"metrics": {"hidden\u202e": 1.0}},
        {"metrics": {" blank": 1.0}},
        {"metrics": {"large": 1e31}},
        {"metrics": {"whole": 1}},
        {"loss": 2},
        {"loss": True},
        {"samples": -1},
        {"samples": 1.0},
        {"samples": 2**41},
        {"round": -1},
        {"role": "auditor"},
        {"root": bytes(31)},
        {"party": MINER.address.lower()},
    ],
)
def test_what_no_statement_says_is_refused_though_it_is_signed(changes: dict[str, object]) -> None:
    data = seal(replace(STATEMENT, **changes), MINER, DOMAIN)  # type: ignore[arg-type]
    with pytest.raises(RelayError):
        open_statement(data, DOMAIN)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{" * 5000,
        b"[" * 4000,
        b"\xff",
        b"x" * (MAX_BYTES + 1),
        b"NaN",
        b'{"a":{}}',
    ],
)
def test_what_is_no_statement_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(RelayError):
        open_statement(data, DOMAIN)


def test_another_spelling_of_a_statement_is_refused() -> None:
    content = json.loads(seal(STATEMENT, MINER, DOMAIN))
    shuffled = {key: content[key] for key in reversed(content)}
    for data in (json.dumps(content), json.dumps(shuffled, separators=(",", ":"))):
        with pytest.raises(RelayError):
            open_statement(data.encode(), DOMAIN)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"round": 4}, "has not ended"),
        ({"round": 9}, "has not ended"),
        ({"root": bytes(32)}, "another model"),
        ({"round": 1}, "another model"),
        ({"role": "device"}, "is no device"),
        ({"role": "owner"}, "is no owner"),
        ({"party": DEVICE.address}, "is no miner"),
    ],
)
def test_only_members_speak_and_only_of_models_in_force(changes: dict[str, object], words: str) -> None:
    check(STATEMENT, history())
    check(replace(STATEMENT, role="device", party=DEVICE.address), history())
    check(replace(STATEMENT, role="owner", party=OWNER.address), history())
    with pytest.raises(RelayError, match=words):
        check(replace(STATEMENT, **changes), history())  # type: ignore[arg-type]


def test_a_book_lists_a_partys_first_statement_and_survives_a_restart() -> None:
    journal = Journal(None)
    book = StatementBook(DOMAIN, journal)
    data = seal(STATEMENT, MINER, DOMAIN)
    book.take(data, history())
    book.take(data, history())
    with pytest.raises(RelayError, match="something else"):
        book.take(seal(replace(STATEMENT, loss=0.1), MINER, DOMAIN), history())
    entries, following = book.page(0, 0)
    assert ([number for number, _ in entries], following) == ([3], None)
    assert book.data(entries[0][1]) == data
    again = StatementBook(DOMAIN, journal)
    assert again.page(0, 0) == (entries, None)
    assert again.data(entries[0][1]) is None  # it is in the store
    assert book.page(4, 0) == ([], None)


@pytest.mark.parametrize(
    "record", [b"", b"[]", b"{", b'{"1": 2}', b'{"x": {"a": "b"}}', b'{"1": {"a": "no"}}']
)
def test_a_book_whose_record_is_damaged_begins_anew(record: bytes) -> None:
    journal = Journal(None)
    journal.write(books.RECORD, record)
    assert StatementBook(DOMAIN, journal).page(0, 0) == ([], None)


def test_a_list_comes_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    book, past = StatementBook(DOMAIN, Journal(None)), history()
    accounts = [Account.derive(1, "device", index) for index in range(PAGE + 40)]
    past.join_rounds = {account.address: 1 for account in accounts}
    for account in accounts:
        book.take(seal(replace(STATEMENT, role="device", party=account.address), account, DOMAIN), past)
    first, following = book.page(1, 0)
    assert (len(first), following) == (PAGE, (3, PAGE))
    rest, end = book.page(*following)  # type: ignore[misc]
    assert (len(rest), end) == (40, None)
    assert len({cid for _, cid in first + rest}) == PAGE + 40
    monkeypatch.setattr(books, "MAX_A_ROUND", PAGE + 40)
    with pytest.raises(RelayError, match="there are"):
        book.take(seal(STATEMENT, MINER, DOMAIN), past)
