"""Miners are asked for keys side by side: who is silent holds up nobody, and the ledger has one thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from bcfl.errors import RelayError
from bcfl.protocol.accounts import Account
from bcfl.protocol.limits import MAX_MINERS
from bcfl.protocol.requests import KeyRequest
from bcfl.protocol.submissions import Domain
from bcfl.relay.client import ASKED, HttpInbox, HttpRelay
from bcfl.relay.mailbox import Mailbox
from tests.processes import ANSWER

MINERS = [f"miner {index}" for index in range(MAX_MINERS)]
REQUEST = KeyRequest(1, (), "somebody", bytes(32))


@dataclass
class ThreadLedger:
    """A ledger that notes from which threads it is read."""

    threads: set[int] = field(default_factory=set)
    domain: Domain = field(default_factory=lambda: Domain(1, "0x" + "11" * 20))

    def history(self) -> Any:
        self.threads.add(threading.get_ident())
        return SimpleNamespace(endpoints=dict.fromkeys(MINERS[:-1], "http://127.0.0.1:9"))


def relay(monkeypatch: pytest.MonkeyPatch, silent: set[str], mailbox: Mailbox | None) -> tuple[Any, Any, Any]:
    """Return a relay to miners of whom some say nothing until an event is set; that, and its ledger."""
    end, ledger = threading.Event(), ThreadLedger()

    def answer(inbox: HttpInbox, _: KeyRequest) -> bytes:
        if inbox.miner in silent:
            end.wait(ANSWER)
            raise RelayError("nobody answers")
        return inbox.miner.encode()

    monkeypatch.setattr(HttpInbox, "answer", answer)
    account = Account.derive(0, "device")
    return HttpRelay(account, ledger, mailbox=mailbox), end, ledger  # type: ignore[arg-type]


@pytest.mark.parametrize("has_mailbox", [False, True])
def test_half_of_the_miners_are_silent(monkeypatch: pytest.MonkeyPatch, has_mailbox: bool) -> None:
    silent = set(MINERS[: ASKED - 1])
    asking, end, ledger = relay(monkeypatch, silent, Mailbox() if has_mailbox else None)
    answers, honest = asking.ask(MINERS, REQUEST), set(MINERS[:-1]) - silent
    try:
        received = {next(answers)[0] for _ in honest}
        assert received == honest
        assert not end.is_set()
    finally:
        end.set()
    assert list(answers) == []
    assert ledger.threads == {threading.get_ident()}


def test_who_has_heard_enough_asks_few_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asking, _, _ = relay(monkeypatch, set(), None)
    asked: list[str] = []
    honest = HttpInbox.answer

    def count(inbox: HttpInbox, request: KeyRequest) -> bytes:
        asked.append(inbox.miner)
        return honest(inbox, request)

    monkeypatch.setattr(HttpInbox, "answer", count)
    answers = asking.ask(MINERS, REQUEST)
    next(answers)
    assert len(asked) <= ASKED + 1


def test_the_own_mailbox_is_processed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that ask each other would wait for ever."""
    mailbox = Mailbox()
    asking, end, _ = relay(monkeypatch, {MINERS[0]}, mailbox)
    threading.Thread(target=lambda: mailbox.submit(end.set), daemon=True).start()
    assert list(asking.ask(MINERS[:1], REQUEST)) == []
    assert end.is_set()
