"""Twin and bytecode agree on turns of random voters, weights and records, on proofs of work and on scores."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcfl.ledger.contract import Contract
from bcfl.protocol import turns
from bcfl.protocol.election import proof_value
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.scores import WHOLE, Resources
from bcfl.protocol.types import Engine, Voter
from testkit.harness import account as key
from testkit.mocks import mock

PROOFS = 1000
FULL = settings().max_examples if settings().max_examples > 100 else 25
ACCOUNTS = [f"0x{keccak(word(i))[:20].hex()}" for i in range(64)]
STANDING, FAILED = 1 << 14, 128  # a bit and a shift of the lead
seats = st.integers(0, 63)
credit = st.one_of(
    st.integers(-3 * turns.UNIT, 3 * turns.UNIT),
    st.sampled_from([turns.LEAST, turns.LEAST + 1, turns.MOST, turns.MOST - 1, turns.JOINING, 0]),
)
shares = st.one_of(st.integers(0, WHOLE), st.sampled_from([0, WHOLE]))
records = st.builds(Resources, shares, shares, shares, st.integers(1, 2**24 - 1))


@cache
def contract() -> Contract:
    return mock("ElectionMock")[0]


def pack(resources: Resources) -> int:
    """A record of the module `scores`, noted before the first round."""
    return resources.storage | resources.quality << 16 | resources.stability << 32 | resources.rate << 48


def pack_credits(credits: turns.Credits) -> list[int]:
    """The words of 64 seats as `turns.vy` has them."""
    fields = [turns.credit(credits, seat) - turns.LEAST for seat in range(64)]
    return [sum(fields[8 * i + k] << 32 * k for k in range(8)) for i in range(8)]


@st.composite
def elections(draw: st.DrawFn) -> tuple[Engine, dict[int, int], list[Voter], list[Resources], list[int]]:
    """An engine, credits, voters and their records, and the lead before each of some turns."""
    voters = [
        Voter(ACCOUNTS[seat], draw(st.one_of(st.integers(1, 5), st.integers(1, 65_535))), index=seat)
        for seat in draw(st.lists(seats, unique=True, min_size=1, max_size=20))
    ]
    leads = []
    for _ in range(draw(st.integers(1, 12))):
        # Somebody is left to lead.
        failed = draw(st.lists(st.sampled_from(voters), unique=True, max_size=len(voters) - 1))
        mask = sum(1 << voter.index for voter in failed)
        leads.append(mask << FAILED | draw(st.sampled_from([0, 0, 0, STANDING])))
    credits = {seat: draw(credit) for seat in draw(st.lists(seats, unique=True, max_size=64))}
    engine = draw(st.sampled_from([Engine.STAKE, Engine.RESOURCE, Engine.COMMITTEE]))
    return engine, credits, voters, [draw(records) for _ in voters], leads


@given(elections())
@settings(max_examples=FULL, deadline=None)
def test_turns(
    election: tuple[Engine, dict[int, int], list[Voter], list[Resources], list[int]],
) -> None:
    engine, credits, voters, resources, leads = election
    twin: turns.Credits = credits
    leaders = []
    for lead in leads:
        left = [i for i, voter in enumerate(voters) if not lead >> FAILED >> voter.index & 1]
        weights = {
            voters[i].index: resources[i].score if engine is Engine.RESOURCE else voters[i].weight
            for i in left
        }
        if lead & STANDING:
            leaders.append(turns.first(twin, weights))
        else:
            leader, twin = turns.take_turn(twin, weights)
            leaders.append(leader)
    words = [voter.word for voter in voters]
    packed = [pack(item) for item in resources]
    answer = contract().call("leads", engine, pack_credits(credits), words, packed, leads)
    assert (list(answer[0]), list(answer[1])) == (leaders, pack_credits(twin))


@given(st.dictionaries(seats, credit), seats)
@settings(max_examples=FULL, deadline=None)
def test_joining_and_paying(credits: dict[int, int], seat: int) -> None:
    joined = contract().call("joined", pack_credits(credits), seat)
    assert list(joined) == pack_credits({**credits, seat: turns.JOINING})
    charged = contract().call("charged", pack_credits(credits), seat)
    assert list(charged) == pack_credits(turns.charge(credits, seat))


@pytest.mark.parametrize("voters", [1, 2, 64])
def test_sixty_four_turns(voters: int) -> None:
    """As many turns in a row as there can be seats, all of the same weight and of random ones."""
    for weights in ([1] * voters, [1 + keccak(word(i))[0] for i in range(voters)]):
        twin: turns.Credits = {}
        leaders = []
        for _ in range(64):
            leader, twin = turns.take_turn(twin, dict(enumerate(weights)))
            leaders.append(leader)
        words = [Voter(ACCOUNTS[i], weight, index=i).word for i, weight in enumerate(weights)]
        empty = pack_credits({})
        answer = contract().call("leads", Engine.STAKE, empty, words, [0] * voters, [0] * 64)
        assert (list(answer[0]), list(answer[1])) == (leaders, pack_credits(twin))


def test_proofs_of_work() -> None:
    puzzle, nonces = keccak(b"puzzle"), [int.from_bytes(keccak(word(i)), "big") for i in range(PROOFS)]
    proofs: list[int] = []
    for start in range(0, PROOFS, 250):
        proofs += contract().call("proofs", puzzle, 3, ACCOUNTS[0], nonces[start : start + 250])
    assert proofs == [proof_value(puzzle, 3, ACCOUNTS[0], nonce) for nonce in nonces]


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
