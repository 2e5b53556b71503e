"""Several nodes of a chain: which one is asked when one is silent, refuses or is behind, and when again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bcfl.errors import LedgerError, Reverted, Unreachable
from bcfl.ledger import failover
from bcfl.ledger.chain import Busy, refusal
from bcfl.ledger.endpoint import Silent
from bcfl.ledger.failover import AHEAD_SECONDS, BEHIND_SECONDS, LOOK_SECONDS, Endpoints

TIMEOUT = 20.0


class World:
    """Time that passes only where somebody waits, and what was asked."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self.asked: list[str] = []

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class FakeEndpoint:
    """A node that answers with a head, raises a failure, or is silent for as long as it may be."""

    world: World

    def __init__(self, url: str, timeout: float, tries: int) -> None:
        self.url, self._timeout, self.tries = url, timeout, tries
        self.chain_id: int | None = 5
        self.failure: LedgerError | None = None
        self.is_silent = False
        self.retry_after = 0.0
        self.head: Callable[[], int] = lambda: int(self.world.time)  # a block each second
        self.timestamp: int | None = None  # None: the time is the head's number
        self.meanwhile: Callable[[], object] = lambda: None  # what another thread does before it answers

    def ask(self, _method: str, _params: Sequence[Any]) -> Any:
        self.world.asked.append(self.url)
        self.meanwhile()
        if self.is_silent:
            self.world.sleep(self._timeout)
            raise Silent(f"{self.url}: no answer in time")
        if self.failure is not None:
            raise self.failure
        timestamp = self.head() if self.timestamp is None else self.timestamp
        return {"number": hex(self.head()), "timestamp": hex(timestamp), "name": self.url}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(FakeEndpoint, "world", world, raising=False)
    monkeypatch.setattr(failover, "Endpoint", FakeEndpoint)
    return world


def nodes(world: World, *urls: str) -> tuple[Endpoints, list[Any]]:
    endpoints = Endpoints(urls, TIMEOUT, world.sleep, lambda: world.time, lambda: world.time)
    endpoints.insist_on(5)
    return endpoints, list(endpoints._all)


def ask(endpoints: Endpoints) -> str:
    return str(endpoints.ask("eth_getBlockByNumber", ("latest", False))["name"])


@pytest.mark.parametrize(
    "failure",
    [
        refusal("invalid project id"),
        refusal("Your monthly quota is used up"),
        refusal({"code": -32603, "message": "Internal error"}),
        refusal("header not found"),
        refusal("missing trie node"),
        refusal("history has been pruned for this block"),
        Busy("the node asks for fewer requests"),
        Unreachable("HTTP status 401"),
    ],
    ids=str,
)
def test_the_next_node_is_asked_where_one_refuses(world: World, failure: LedgerError) -> None:
    endpoints, (first, _) = nodes(world, "one", "two")
    first.failure = failure
    start = world.time
    assert endpoints.ask("eth_call", ({}, "latest"))["name"] == "two"
    assert (world.asked, world.time) == (["one", "two"], start), "at once"
    assert ask(endpoints) == "two", "the one that answers stays"


@pytest.mark.parametrize(
    "failure",
    [
        Reverted("round: closed"),
        refusal("nonce too low"),
        refusal("insufficient funds for gas * price + value"),
        refusal("replacement transaction underpriced"),
        refusal("max fee per gas less than block base fee"),
        refusal("already known"),
    ],
    ids=str,
)
def test_what_the_chain_refuses_is_asked_of_one_node(world: World, failure: LedgerError) -> None:
    endpoints, (first, _) = nodes(world, "one", "two")
    first.failure = failure
    with pytest.raises(type(failure)):
        endpoints.ask("eth_sendRawTransaction", ("0x",))
    assert world.asked == ["one"]


@pytest.mark.parametrize(
    ("words", "method"),
    [
        ("insufficient balance on your plan: top up your account", "eth_call"),
        ("account balance too low, please recharge", "eth_sendRawTransaction"),
        ("free tier: pay a fee to unlock archive state", "eth_call"),
        ("insufficient funds", "eth_blockNumber"),
        ("account balance too low", "eth_getLogs"),
        ("pay the fee first", "eth_getBlockByNumber"),
        ("no feed of this method, nor of gasoline", "eth_estimateGas"),
    ],
)
def test_a_provider_without_credit_is_left(world: World, words: str, method: str) -> None:
    endpoints, (first, _) = nodes(world, "one", "two")
    first.failure = refusal({"code": -32000, "message": words}, method)
    assert endpoints.ask(method, ("0x",))["name"] == "two"
    assert (endpoints.current.url, endpoints.switches) == ("two", 1)


def test_a_node_that_another_thread_has_left_meanwhile_may_answer(world: World) -> None:
    endpoints, (first, second) = nodes(world, "one", "two")
    first.meanwhile = lambda: setattr(endpoints, "current", second)
    assert endpoints.ask("eth_call", ({}, "latest"))["name"] == "one"
    assert (endpoints.current.url, endpoints.switches) == ("two", 0)


@pytest.mark.parametrize("urls", [("one",), ("one", "two")])
def test_unclear_words_for_logs_cost_one_more_try(world: World, urls: tuple[str, ...]) -> None:
    endpoints, all_ = nodes(world, *urls)
    for endpoint in all_:
        endpoint.failure = refusal({"code": -32005, "message": "limit exceeded"}, "eth_getLogs")
    with pytest.raises(LedgerError, match="limit exceeded") as failure:
        endpoints.ask("eth_getLogs", ({},))
    assert not isinstance(failure.value, Unreachable), "the range is halved"
    assert (world.asked, world.time) == ([*urls, *urls], 1_000.2)


def test_silence_costs_one_try_once(world: World) -> None:
    endpoints, (first, _) = nodes(world, "one", "two")
    first.is_silent = True
    start = world.time
    assert (first.tries, ask(endpoints), world.time - start) == (1, "two", TIMEOUT / 2)
    for _ in range(10):
        world.sleep(1)
        ask(endpoints)
    assert world.asked.count("one") == 1
    assert world.time - start == TIMEOUT / 2 + 10


def test_all_nodes_together_are_waited_for_no_longer_than_one(world: World) -> None:
    endpoints, silent = nodes(world, "one", "two")
    for endpoint in silent:
        endpoint.is_silent = True
    start = world.time
    with pytest.raises(Unreachable, match="one: no answer in time"):
        ask(endpoints)
    assert world.time - start <= TIMEOUT
    for endpoint in silent:
        endpoint.is_silent, endpoint.failure, endpoint.retry_after = False, Busy("slow down"), 9.0
    silent[1].retry_after = 3.0
    world.asked.clear()
    start = world.time
    with pytest.raises(Busy):
        ask(endpoints)
    assert world.asked == ["one", "two"] * 5, "each once before any again"
    assert world.time - start == 4 * 3.0, "when the first of them wants to be asked"


def test_a_transaction_is_handed_to_each_node_once(world: World) -> None:
    endpoints, all_ = nodes(world, "one", "two")
    for endpoint in all_:
        endpoint.failure = Silent("no connection")
    with pytest.raises(Unreachable):
        endpoints.ask("eth_sendRawTransaction", ("0x",))
    assert world.asked == ["one", "two"]


def test_what_to_raise_where_no_node_answers(world: World) -> None:
    endpoints, (first, second) = nodes(world, "one", "two")
    first.failure, second.failure = refusal("query returned more than 10000 results"), Silent("no connection")
    with pytest.raises(LedgerError, match="10000 results") as too_many:
        endpoints.ask("eth_getLogs", ({},))
    assert not isinstance(too_many.value, Unreachable), "the range is halved"
    with pytest.raises(Unreachable, match="no connection"):
        endpoints.ask("eth_call", ({}, "latest"))  # the second one may answer later
    assert world.asked == ["one", "two"] * 2, "nobody waits for it here"


def test_a_frozen_node_is_left_and_asked_again_when_it_is_ahead(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    endpoints, (first, second) = nodes(world, "one", "two")
    assert ask(endpoints) == "one"
    frozen_at = int(world.time)
    first.head = lambda: frozen_at
    with caplog.at_level(logging.WARNING, "bcfl"):
        while ask(endpoints) == "one":
            world.sleep(1)
            assert world.time < frozen_at + BEHIND_SECONDS + LOOK_SECONDS + 1
        for _ in range(50):
            world.sleep(1)
            assert ask(endpoints) == "two"
        assert caplog.messages == [f"one is left for two: it is behind, at block {frozen_at}"]
        late = int(world.time)
        first.head, second.head = lambda: int(world.time), lambda: late
        world.sleep(BEHIND_SECONDS + LOOK_SECONDS)
        assert ask(endpoints) == "one"
    assert endpoints.switches == len(caplog.messages) == 2


def test_a_frozen_node_is_left_where_blocks_are_close_in_time(world: World) -> None:
    """As after a chain stood still: its head is old because it stays."""
    endpoints, (first, second) = nodes(world, "one", "two")
    first.head, second.head = lambda: 1_000, lambda: 1_002
    ask(endpoints)
    world.sleep(BEHIND_SECONDS - 1)
    assert ask(endpoints) == "one"
    world.sleep(LOOK_SECONDS)
    assert ask(endpoints) == "two"


def test_a_node_that_gets_rare_blocks_a_moment_later_stays(world: World) -> None:
    endpoints, (first, second) = nodes(world, "one", "two")
    first.head, second.head = lambda: int((world.time - 1) // 60), lambda: int(world.time // 60)
    for _ in range(1_000):
        world.sleep(1)
        assert ask(endpoints) == "one"


def test_a_node_that_is_a_little_behind_stays(world: World) -> None:
    endpoints, (first, _) = nodes(world, "one", "two")
    first.head = lambda: int(world.time - BEHIND_SECONDS + 1)
    for _ in range(100):
        world.sleep(1)
        assert ask(endpoints) == "one"
    assert world.asked.count("two") <= 100 / LOOK_SECONDS + 1


def test_a_frozen_node_is_not_kept_where_the_other_one_failed_for_a_moment(world: World) -> None:
    endpoints, (first, second) = nodes(world, "one", "two")
    frozen_at = int(world.time)
    first.head = lambda: frozen_at
    world.sleep(100)
    assert ask(endpoints) == "two"
    second.failure = Silent("no connection")
    assert ask(endpoints) == "one"
    second.failure = None
    world.sleep(LOOK_SECONDS)
    assert ask(endpoints) == "two"


@pytest.mark.parametrize(("ahead", "timestamp"), [(1, 1_200), (1_000, 2_000 + int(AHEAD_SECONDS))])
def test_a_block_of_the_future_hides_no_other_head(world: World, ahead: int, timestamp: int) -> None:
    """As of a node that lies: far ahead in time, and by one block, or by many."""
    endpoints, (first, _, third) = nodes(world, "one", "two", "three")
    first.head, third.head, third.timestamp = lambda: 1_000, lambda: 1_000 + ahead, timestamp
    assert ask(endpoints) == "one"
    world.sleep(BEHIND_SECONDS + LOOK_SECONDS)
    assert ask(endpoints) == "two"


def test_one_node_alone_is_asked_as_ever(world: World) -> None:
    endpoints, (only,) = nodes(world, "one")
    only.failure = refusal("header not found")
    with pytest.raises(LedgerError, match="header not found"):
        ask(endpoints)
    only.failure = Silent("no answer in time")
    with pytest.raises(Unreachable):
        ask(endpoints)
    assert (len(world.asked), only.tries, world.time) == (2, 4, 1_000.0)
    only.failure, only.retry_after = Busy("slow down"), 9.0
    with pytest.raises(Busy):
        ask(endpoints)
    assert (len(world.asked), world.time) == (7, 1_003.0)
