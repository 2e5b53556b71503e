"""Two processes with one key: how often each announces its endpoint, and what is said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bcfl.errors import Unreachable
from bcfl.federation.twins import MAX_REST_ROUNDS, Twins
from bcfl.protocol.accounts import Account

ACCOUNT = Account.derive(0, "miner", 0)
KEY = "x25519=" + "A" * 43


class Chain:
    """A ledger and a history with one miner, which announces."""

    def __init__(self) -> None:
        self.number, self.current, self.sent = 1, None, 0
        self.endpoints: dict[str, str] = {}
        self.member = SimpleNamespace(exit_round=0)
        self.miners = {ACCOUNT.address: self.member}

    def send(self, account: Account, calls: list[Any]) -> None:
        assert [call.function for call in calls] == ["announce"]
        self.endpoints[account.address] = calls[0].args[0]
        self.sent += 1

    @property
    def announced(self) -> str:
        return self.endpoints[ACCOUNT.address]

    def process(self, url: str) -> Twins:
        """Return a process that has just announced its endpoint."""
        twins = Twins(ACCOUNT, self, SimpleNamespace())  # type: ignore[arg-type]
        twins.endpoint = lambda _: url
        self.endpoints[ACCOUNT.address] = url
        twins.act(self)  # type: ignore[arg-type]
        return twins


def test_a_miner_announces_its_endpoint_again_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    chain: Any = Chain()
    first = chain.process("http://a:1")
    assert first.notices() == {"other_process": None}
    chain.process("http://b:2")
    assert first.act(chain) == "announced its endpoint again"
    assert chain.announced == "http://a:1"
    words = f"the chain names 'http://b:2' as the endpoint of {ACCOUNT.address}, and not 'http://a:1'"
    assert first.notices() == {"other_process": words}
    assert [record.getMessage() for record in caplog.records] == [
        f"{words}: another process seems to use this key, and one of the two has to end"
    ]
    chain.number += 2  # and nothing more of it
    assert first.act(chain) is None
    assert first.notices() == {"other_process": None}


def test_two_processes_do_not_fight_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    chain: Any = Chain()
    first = chain.process("http://a:1")
    second = chain.process("http://b:2")
    rounds = 320
    for _ in range(rounds):
        for _ in range(5):
            first.act(chain), second.act(chain)
        chain.number += 1
    assert chain.sent <= 2 * (6 + rounds // MAX_REST_ROUNDS)
    assert len(caplog.records) <= 2 * chain.sent + 2
    assert first.notices()["other_process"]
    for _ in range(MAX_REST_ROUNDS):  # the second one has ended
        chain.number += 1
        first.act(chain)
    assert chain.announced == "http://a:1"
    chain.number += 2
    first.act(chain)
    assert first.notices() == {"other_process": None}


def test_an_announcement_that_is_not_sent_is_tried_again() -> None:
    chain: Any = Chain()
    first = chain.process("http://a:1")
    chain.process("http://b:2")

    def refuse(*_: object) -> None:
        raise Unreachable("the node is away")

    send, chain.send = chain.send, refuse
    for _ in range(5):
        with pytest.raises(Unreachable):
            first.act(chain)
    chain.send = send
    assert first.act(chain) == "announced its endpoint again"


def test_after_a_fight_the_next_rival_is_answered_at_once() -> None:
    chain: Any = Chain()
    first, second = chain.process("http://a:1"), chain.process("http://b:2")
    for _ in range(40):
        first.act(chain), second.act(chain)
        chain.number += 1
    for _ in range(3 * MAX_REST_ROUNDS):  # the second one has ended
        first.act(chain)
        chain.number += 1
    for _ in range(2):
        chain.process("http://c:3")
        assert first.act(chain) == "announced its endpoint again"
        chain.number += 1


def test_a_certificate_is_part_of_an_endpoint_and_a_key_to_read_with_is_not() -> None:
    chain: Any = Chain()
    twins = chain.process(f"https://a:1#sha256={'0' * 64}&{KEY}")
    chain.endpoints[ACCOUNT.address] = (
        f"https://a:1#sha256={'0' * 64}&{KEY.replace('AA', 'BA', 1)}"  # `bcfl keys`
    )
    assert twins.act(chain) is None
    chain.endpoints[ACCOUNT.address] = f"https://a:1#sha256={'1' * 64}&{KEY}"
    assert twins.act(chain) == "announced its endpoint again"


def test_what_a_slow_node_or_a_reorganisation_shows_is_no_other_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain: Any = Chain()
    twins = Twins(ACCOUNT, chain, SimpleNamespace())
    twins.endpoint = lambda _: "http://a:1"
    chain.endpoints[ACCOUNT.address] = "http://a:0"  # of the time before; the node has no newer block
    assert twins.act(chain) is None
    chain.endpoints[ACCOUNT.address] = "http://a:1"
    assert twins.act(chain) is None
    del chain.endpoints[ACCOUNT.address]
    assert twins.act(chain) == "announced its endpoint again"
    assert not caplog.records


def test_who_has_left_announces_nothing() -> None:
    chain: Any = Chain()
    twins = chain.process("http://a:1")
    chain.process("http://b:2")
    chain.member.exit_round = 3
    assert twins.act(chain) is None
    chain.miners.clear()
    assert twins.act(chain) is None
    assert chain.sent == 0
