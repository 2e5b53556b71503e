"""Twin and bytecode agree on a thousand draws for each engine, and on the resource score."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcfl.ledger.contract import Contract
from bcfl.protocol.election import ACCOUNT, proof_value, ranking
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.scores import WHOLE, Resources
from bcfl.protocol.types import Engine, Voter
from testkit.harness import account as key
from testkit.mocks import mock

DRAWS, AT_ONCE = 1000, 100
FULL = settings().max_examples if settings().max_examples > 100 else 25
accounts = [f"0x{keccak(word(i))[:20].hex()}" for i in range(3)]
RESOURCES = [Resources(), Resources(WHOLE, WHOLE // 2, WHOLE, 900), Resources(WHOLE, WHOLE, WHOLE, 300)]


@cache
def contract() -> Contract:
    return mock("ElectionMock")[0]


def pack(resources: Resources) -> int:
    """A record of the module `scores`, noted before the first round."""
    return resources.storage | resources.quality << 16 | resources.stability << 32 | resources.rate << 48


@pytest.mark.parametrize("engine", [Engine.STAKE, Engine.RESOURCE, Engine.COMMITTEE])
def test_leaders(engine: Engine) -> None:
    weights = (1, 1, 1) if engine is Engine.COMMITTEE else (1, 2, 300)
    voters = [Voter(account, weight).word for account, weight in zip(accounts, weights, strict=True)]
    scores = {int(a, 16): resources.score for a, resources in zip(accounts, RESOURCES, strict=True)}
    seeds = [keccak(word(number)) for number in range(DRAWS)]
    leaders: list[str] = []
    for start in range(0, DRAWS, AT_ONCE):
        part = seeds[start : start + AT_ONCE]
        leaders += contract().call("draws", engine, part, voters, [pack(item) for item in RESOURCES])
    weights_by_account = scores if engine is Engine.RESOURCE else None
    assert [int(leader, 16) for leader in leaders] == [
        ranking(seed, voters, weights_by_account)[0] & ACCOUNT for seed in seeds
    ]
    assert len(set(leaders)) > 1


def test_proofs_of_work() -> None:
    puzzle, nonces = keccak(b"puzzle"), [int.from_bytes(keccak(word(i)), "big") for i in range(DRAWS)]
    proofs: list[int] = []
    for start in range(0, DRAWS, 250):
        proofs += contract().call("proofs", puzzle, 3, accounts[0], nonces[start : start + 250])
    assert proofs == [proof_value(puzzle, 3, accounts[0], nonce) for nonce in nonces]


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2**24 - 1)),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 2**160 - 1),
)
@settings(max_examples=FULL, deadline=None)
def test_resources(rounds: list[tuple[bool, bool, bool, int]], salt: int) -> None:
    election, twin = contract(), Resources()
    address = f"0x{keccak(word(salt) + word(len(rounds)))[:20].hex()}"
    election.send(key("owner"), "forget", address)
    for number, (on_time, available, accepted, pace) in enumerate(rounds, start=1):
        score = twin.score
        flags = on_time | available << 1 | accepted << 2
        election.send(key("owner"), "note", address, number, flags, pace)
        twin = twin.after(on_time=on_time, available=available, accepted=accepted, pace=pace)
        assert election.call("score", address, number) == score
        assert election.call("score", address, number + 1) == twin.score
