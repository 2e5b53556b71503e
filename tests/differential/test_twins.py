"""Python twin and bytecode agree on random inputs: hashes, signatures, counting, draw, race, money."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcfl.ledger.contract import Contract
from bcfl.protocol import submissions, verification
from bcfl.protocol.election import retarget
from bcfl.protocol.rewards import earned, prices
from bcfl.protocol.types import Engine, Opening, Phase, Tally, Update, Verdict, Voter
from bcfl.protocol.verification import Vote
from testkit.harness import ETHER, TERMS, Account, Federation, digest, refused
from testkit.mocks import mock

NOT_MINE = 2**256 - 1
words = st.binary(min_size=32, max_size=32)
salts = st.integers(0, 2**128 - 1)
weights = st.one_of(st.integers(1, 4), st.integers(1, 65_535), st.just(65_535))
updates = st.builds(
    Update,
    round=st.integers(0, 2**32 - 1),
    device=st.integers(0, 2**32 - 1),
    root=words,
    cid=words,
    samples=st.integers(0, 2**32 - 1),
    microseconds=st.integers(0, 2**64 - 1),
    salt=salts,
)
few = settings(max_examples=settings().max_examples if settings().max_examples > 100 else 6)
some = settings(max_examples=settings().max_examples if settings().max_examples > 100 else 40)


@cache
def federation() -> Federation:
    return Federation()


@cache
def of(name: str) -> Contract:
    return mock(name)[0]


@given(updates)
@some
def test_commitment(update: Update) -> None:
    deployed = federation()
    assert deployed.contract.call("update_hash", *vars(update).values()) == submissions.commitment(
        deployed.domain, update
    )


@given(updates)
def test_claims_pack_and_unpack(update: Update) -> None:
    claim = submissions.pack_claim(update)
    assert submissions.unpack_claim(update.round, update.root, update.cid, claim) == update


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[int, bytes, bytes, int, int, int]]:
    count = draw(st.integers(1, 6))
    devices = draw(st.permutations(range(6)))[:count]
    return [
        (
            device,
            draw(words),
            draw(words),
            draw(st.integers(1, TERMS.max_samples)),
            draw(st.integers(0, 10**6)),
            draw(salts),
        )
        for device in devices
    ]


@given(batches(), st.data())
@few
def test_batches_signatures_and_update_words(
    fields: list[tuple[int, bytes, bytes, int, int, int]], data: st.DataObject
) -> None:
    """A committed batch opens piece by piece; the chain of updates is that of the twin."""
    played = Federation(devices=6, miners=1, terms=replace(TERMS, min_updates=1)).open()
    batch = [Update(1, *rest) for rest in fields]
    key = played.miner_keys[0]
    played.commit(key, batch)
    played.wait(2)
    first = data.draw(st.integers(1, (1 << len(batch)) - 1))
    rest = (1 << len(batch)) - 1 & ~first
    if rest:
        played.reveal(played.outsider, batch, first, submitter=key)
        played.reveal(key, batch, rest)
    else:
        played.reveal(key, batch)
    order = [u for mask in (first, rest) for i, u in enumerate(batch) if mask >> i & 1]
    assert played.updates() == order
    played.until(Phase.TALLY)
    played.tally()  # takes the words of the twin or reverts
    (event,) = played.this_round("Tallied")
    assert event["samples"] == sum(update.samples for update in batch)


@given(st.binary(min_size=32, max_size=32).filter(lambda key: 0 < int.from_bytes(key, "big") < 2**255), words)
@few
def test_signatures(secret: bytes, root: bytes) -> None:
    signer = Account(secret)
    played = federation_of(signer)
    update = played.update(0, 1, root=root)
    played.commit(played.miner_keys[0], [update])
    wrong = played.reveal_args([update])
    wrong[4] = [played.sign(update, played.outsider)]
    with refused("submissions: wrong signature"):
        played.send(played.outsider, "reveal", played.miner_keys[0].address, *wrong)
    played.reveal(played.miner_keys[0], [update])


def federation_of(device: Account) -> Federation:
    played = Federation(devices=0, miners=1)
    played.device_keys = [device]
    return played.open()


@st.composite
def elections(draw: st.DrawFn) -> tuple[list[Voter], list[list[bool]], list[int | None]]:
    """Voters, their verdicts on up to 300 updates, and the positions of their own updates."""
    count, size = draw(st.integers(1, 12)), draw(st.integers(1, 300))
    ours = draw(st.lists(st.sampled_from(range(size)), unique=True, max_size=min(count, size)))
    seed = draw(st.randoms(use_true_random=False))
    share = draw(st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
    voters = [
        Voter(digest("voter", i)[:20].hex(), draw(weights), ours[i] if i < len(ours) else None)
        for i in range(count)
    ]
    rows = [[seed.random() < share for _ in range(size)] for _ in voters]
    return voters, rows, [voter.device for voter in voters]


@given(elections())
@some
def test_majority(drawn: tuple[list[Voter], list[list[bool]], list[int | None]]) -> None:
    voters, rows, owns = drawn
    size = len(rows[0])
    votes = [
        Vote(
            voter,
            Opening(
                1, voter.account, tuple(Verdict.ACCEPTED if yes else Verdict.TIME for yes in row), bytes(32)
            ),
        )
        for voter, row in zip(voters, rows, strict=True)
    ]
    expected = verification.pack_accepted(verification.majority(votes, range(size)))
    columns = list(zip(*[verification.pack_accepted(row) for row in rows], strict=True))
    for place, column in enumerate(columns):
        counted = of("VerificationMock").call(
            "majority",
            [voter.word for voter in voters],
            column,
            [NOT_MINE if own is None else own for own in owns],
            place,
            sum(voter.weight for voter in voters),
        )
        mask = (1 << min(256, size - 256 * place)) - 1
        assert counted & mask == expected[place]


@given(st.integers(0, 2**256 - 1))
@some
def test_ones(number: int) -> None:
    assert of("VerificationMock").call("ones", number) == number.bit_count()


@given(st.integers(0, 2**256 - 1), st.integers(0, 2**36))
@some
def test_retarget(target: int, seconds: int) -> None:
    found = of("ElectionMock").call("retarget", target, seconds)
    assert found == retarget(target, seconds, TERMS.pow_seconds)


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**31 - 1), st.lists(st.integers(0, 1024), max_size=64))
@some
def test_prices(pool: int, samples: int, matches: list[int]) -> None:
    count = Tally((), bytes(32), (), tuple(matches), (), samples)
    reward = min(pool, TERMS.reward)
    price = prices(TERMS, reward, count)
    rewards = of("RewardsMock")
    assert rewards.call("prices", reward, samples, sum(matches)) == (
        price.sample,
        price.verdict,
        price.leader,
    )
    set_aside, books = rewards.call("reserve", pool, samples, sum(matches))
    assert set_aside == reward
    assert books >> 128 == earned(TERMS, reward, count) <= reward
    assert (books >> 128) + (books & (1 << 128) - 1) == pool


@st.composite
def rounds(draw: st.DrawFn) -> tuple[int, list[int], list[list[Verdict]], list[int], Engine]:
    miners = draw(st.integers(1, 6))
    devices = draw(st.integers(miners, 12))
    stakes = draw(st.lists(weights, min_size=miners, max_size=miners))
    verdict = st.one_of(st.just(Verdict.ACCEPTED), st.sampled_from(Verdict))
    rows = [draw(st.lists(verdict, min_size=devices, max_size=devices)) for _ in range(miners)]
    engine = draw(st.sampled_from([Engine.STAKE, Engine.POW, Engine.RESOURCE]))
    return devices, stakes, rows, draw(st.permutations(range(miners))), engine


@given(rounds())
@few
def test_a_whole_round(drawn: tuple[int, list[int], list[list[Verdict]], list[int], Engine]) -> None:
    """Vote digests, tally, puzzle, leader, tally digest, block hash and claims, out of a round's calls."""
    devices, stakes, rows, order, engine = drawn
    terms = replace(TERMS, engine=engine, pow_target=2**254)
    terms = replace(terms, min_stake=ETHER // 1000, min_updates=1, vote_penalty=0, leader_penalty=0)
    played = Federation(
        devices, len(stakes), terms, tuple(terms.min_stake * s for s in stakes), full=True
    ).open()
    played.until(Phase.VOTE)
    openings = [played.opening(index, row) for index, row in enumerate(rows)]
    for opening in openings:
        played.commit_vote(opening)
    for index in order:
        played.unveil(openings[index])
    before, votes = played.contract.call("round_seed"), played.votes()
    assert [vote.opening for vote in votes] == [openings[index] for index in order]
    receipt = played.tally()
    twin = played.tallies[1]
    args = receipt.events[0].args
    assert args["accepted"] == tuple(verification.pack_accepted(twin.accepted))
    assert (args["samples"], args["matches"]) == (twin.samples, sum(twin.matches))
    assert (args["parent"] != bytes(32)) == (engine is Engine.POW)
    if engine is Engine.POW and any(twin.accepted):
        assert played.contract.call("puzzle") == verification.puzzle(before, votes, args["parent"])
    if not any(twin.accepted):
        assert played.clock.round == 2
        return
    if engine is not Engine.POW:
        assert played.contract.call("lead_now")[0] == played.ranking()[0]
    played.finish()
    check_claims(played, votes)


def check_claims(played: Federation, votes: list[Vote]) -> None:
    """Claims recompute tally digest and block hash, and pay what the twin says."""
    twin, block = played.tallies[1], played.block(1)
    price = prices(played.terms, block.reward, twin)
    for place, vote in enumerate(votes):
        receipt = played.send(played.outsider, "claim_miner", *played.claim_miner_args(1, place))
        leads = price.leader if vote.voter.account == block.leader else 0
        assert receipt.events[0].args["amount"] == price.verdict * twin.matches[place] + leads
    for place, bit in enumerate(twin.accepted):
        if bit:
            receipt = played.send(played.outsider, "claim_device", *played.claim_device_args(1, place))
            assert receipt.events[0].args["amount"] == price.sample * played.updates(1)[place].samples
    assert sum(
        event.args["amount"] for event in played.contract.events(name="Claimed")
    ) == played.contract.call("owed")


@pytest.mark.parametrize("miners", [5])
def test_a_few_hundred_updates(miners: int) -> None:
    played = Federation(
        300, miners, replace(TERMS, min_updates=1), tuple(ETHER * (i + 1) for i in range(miners)), full=True
    )
    played.open().until(Phase.VOTE)
    rows = [[Verdict(max(0, digest(i, j)[0] % 12 - 5)) for j in range(300)] for i in range(miners)]
    played.vote_all(rows)
    played.tally()
    (event,) = played.contract.events(name="Tallied")
    twin = played.tallies[1]
    assert event.args["accepted"] == tuple(verification.pack_accepted(twin.accepted))
    assert (event.args["samples"], event.args["matches"]) == (twin.samples, sum(twin.matches))
    played.finish()
    played.send(played.outsider, "claim_device", *played.claim_device_args(1, twin.accepted.index(True, 270)))
