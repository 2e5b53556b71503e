"""Calls that somebody else has made before: places revealed, votes unveiled, claims, and what is optional."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.protocol.types import Phase
from testkit.harness import TERMS, Account, Federation, reverts


def alone(devices: int = 24) -> tuple[Federation, Account]:
    """A federation of one miner that has committed everybody's updates."""
    federation = Federation(devices, 1, replace(TERMS, reveal_seconds=60, min_updates=6)).open()
    return federation.until(Phase.REVEAL), federation.miner_keys[0]


def test_default_behavior() -> None:
    """One place opened ahead of a batch takes nothing from it: the rest is in with one call."""
    federation, key = alone()
    batch = federation.share(0)
    federation.reveal(federation.outsider, batch, bits=1 << 5, submitter=key)
    receipt = federation.reveal(key, batch)
    assert receipt.events[0].args["taken"] == (1 << 24) - 1 ^ 1 << 5
    assert federation.clock.updates == 24
    assert [update.device for update in federation.updates()] == [5, *range(5), *range(6, 24)]
    assert federation.finish().clock.round == 2


@pytest.mark.parametrize(
    "order", [(0b0110, 0b0011, 0b1111), (0b1111, 0b0001, 0b1000), (0b1010, 0b0101, 0b1111)]
)
def test_places_count_once_in_any_order(order: tuple[int, ...]) -> None:
    federation, key = alone(devices=8)
    batch = federation.share(0)
    for bits in order:
        federation.reveal(federation.outsider, batch, bits=bits, submitter=key)
    federation.reveal(key, batch)
    assert sorted(update.device for update in federation.updates()) == list(range(8))
    assert federation.clock.updates == 8


def test_what_is_skipped_must_still_be_of_the_batch() -> None:
    federation, key = alone(devices=8)
    batch = federation.share(0)
    federation.reveal(federation.outsider, batch, bits=1, submitter=key)
    with reverts("submissions: not the committed batch"):
        federation.reveal(key, [replace(batch[0], samples=1), *batch[1:]])


def test_a_full_round_skips_what_it_has() -> None:
    federation = Federation(4, 2, replace(TERMS, max_updates=3)).open().until(Phase.REVEAL)
    first, second = federation.share(0), federation.share(1)
    federation.reveal(federation.miner_keys[0], first)
    federation.reveal(federation.outsider, second, bits=0b01, submitter=federation.miner_keys[1])
    federation.reveal(federation.outsider, first, submitter=federation.miner_keys[0])
    assert federation.clock.updates == 3


def test_the_second_reveal_of_the_last_batch_is_late() -> None:
    federation, key = alone(devices=8)
    federation.reveal(key, federation.share(0))
    with reverts("rounds: not this phase"):
        federation.reveal(federation.outsider, federation.share(0), submitter=key)


def test_a_vote_that_is_open_stays() -> None:
    federation = Federation().open().until(Phase.UNVEIL)
    opening = federation.opening(0)
    federation.unveil(opening, federation.outsider)
    clock = federation.clock
    assert federation.unveil(opening).events == ()
    assert federation.clock == clock
    assert len(federation.votes()) == 1


@pytest.mark.parametrize("role", ["device", "miner"])
def test_a_claim_that_was_made_holds_up_no_others(role: str) -> None:
    federation = Federation().open().finish().finish()
    args = [getattr(federation, f"claim_{role}_args")(number, 0) for number in (1, 2)]
    federation.send(federation.outsider, f"claim_{role}", *args[0])
    federation.multi(federation.outsider, "claims", [(f"claim_{role}", one) for one in args])
    amounts = [event.args["amount"] for event in federation.contract.events(name="Claimed")]
    assert len(amounts) == 2
    assert min(amounts) > 0


def data_of(federation: Federation) -> tuple[bytes, list[int]]:
    """The last vote and the tally of it, as one buffer."""
    calls = [
        federation.contract.encode("unveil", *federation.unveil_args(federation.opening(0))),
        federation.contract.encode("advance"),
        federation.contract.encode("unveil", *federation.unveil_args(federation.opening(1))),
    ]
    return b"".join(calls), [len(call) for call in calls]


def test_an_optional_call_may_fail() -> None:
    federation = Federation().open().until(Phase.UNVEIL)
    federation.send(federation.outsider, "multicall", *data_of(federation), 0b010)
    assert len(federation.votes()) == 2


@pytest.mark.parametrize("optional", [0b000, 0b101])
def test_a_call_that_is_not_optional_undoes_all(optional: int) -> None:
    federation = Federation().open().until(Phase.UNVEIL)
    with reverts("rounds: nothing is due"):
        federation.send(federation.outsider, "multicall", *data_of(federation), optional)
    assert federation.votes() == []


def test_a_tally_that_somebody_made_before_is_optional() -> None:
    federation = Federation().open().until(Phase.TALLY)
    tally = federation.contract.encode("tally", *federation.tally_args())
    federation.tally()
    with reverts("rounds: not this phase"):
        federation.send(federation.outsider, "multicall", tally, [len(tally)], 0)
    federation.send(federation.outsider, "multicall", tally, [len(tally)], 1)
    assert federation.finish().clock.round == 2


def test_what_reverts_within_an_optional_call_leaves_nothing() -> None:
    federation = Federation().open()
    key = federation.miner_keys[0]
    call = federation.contract.encode("commit", bytes(32))
    federation.send(key, "multicall", call * 2, [len(call)] * 2, 0b10)
    assert len(list(federation.contract.events(name="Committed"))) == 1
