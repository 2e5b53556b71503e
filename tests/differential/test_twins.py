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
from bcfl.protocol.rewards import earned, prices, weighted_matches
from bcfl.protocol.scores import most_pace
from bcfl.protocol.types import Electorate, Engine, Opening, Phase, Tally, Update, Verdict, Voter
from bcfl.protocol.verification import Vote
from testkit.harness import ETHER, TERMS, Account, Federation, digest, reverts
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
def shared_federation() -> Federation:
    return Federation()


@cache
def contract_of(name: str) -> Contract:
    return mock(name)[0]


@given(updates)
@some
def test_commitment(update: Update) -> None:
    federation = shared_federation()
    assert federation.contract.call("update_hash", *vars(update).values()) == submissions.commitment(
        federation.domain, update
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
    federation = Federation(devices=6, miners=1, terms=replace(TERMS, min_updates=1)).open()
    batch = [Update(1, *row) for row in fields]
    key = federation.miner_keys[0]
    federation.commit(key, batch)
    federation.wait(2)
    first_mask = data.draw(st.integers(1, (1 << len(batch)) - 1))
    rest_mask = (1 << len(batch)) - 1 & ~first_mask
    if rest_mask:
        federation.reveal(federation.outsider, batch, first_mask, submitter=key)
        federation.reveal(key, batch, rest_mask)
    else:
        federation.reveal(key, batch)
    order = [u for mask in (first_mask, rest_mask) for i, u in enumerate(batch) if mask >> i & 1]
    assert federation.updates() == order
    federation.until(Phase.TALLY)
    federation.tally()  # takes the words of the twin or reverts
    (event,) = federation.round_events("Tallied")
    assert event["samples"] == sum(update.samples for update in batch)


@given(st.binary(min_size=32, max_size=32).filter(lambda key: 0 < int.from_bytes(key, "big") < 2**255), words)
@few
def test_signatures(secret: bytes, root: bytes) -> None:
    signer = Account(secret)
    federation = federation_of(signer)
    update = federation.update(0, 1, root=root)
    federation.commit(federation.miner_keys[0], [update])
    args = federation.reveal_args([update])
    args[4] = [federation.sign(update, federation.outsider)]
    with reverts("submissions: wrong signature"):
        federation.send(federation.outsider, "reveal", federation.miner_keys[0].address, *args)
    federation.reveal(federation.miner_keys[0], [update])


def federation_of(device: Account) -> Federation:
    federation = Federation(devices=0, miners=1)
    federation.device_keys = [device]
    return federation.open()


@st.composite
def elections(draw: st.DrawFn) -> tuple[list[Voter], list[list[bool]], list[int | None]]:
    """Voters, their verdicts on up to 300 updates, and the positions of their own updates."""
    count, size = draw(st.integers(1, 12)), draw(st.integers(1, 300))
    positions = draw(st.lists(st.sampled_from(range(size)), unique=True, max_size=min(count, size)))
    seed = draw(st.randoms(use_true_random=False))
    share = draw(st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
    equal = draw(st.one_of(st.none(), weights))  # so that there are ties
    voters = [
        Voter(
            digest("voter", i)[:20].hex(),
            equal or draw(weights),
            positions[i] if i < len(positions) else None,
        )
        for i in range(count)
    ]
    rows = [[seed.random() < share for _ in range(size)] for _ in voters]
    return voters, rows, [voter.device for voter in voters]


@given(elections(), st.one_of(st.integers(0, 3), st.integers(0, 2**18)), st.booleans())
@some
def test_majority(
    election: tuple[list[Voter], list[list[bool]], list[int | None]], absent: int, is_committee: bool
) -> None:
    voters, rows, positions = election
    if is_committee:
        voters, absent = [replace(voter, weight=1) for voter in voters], absent % 6
    electorate = Electorate(sum(voter.weight for voter in voters) + absent, is_committee)
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
    masks = verification.pack_accepted(verification.majority(votes, range(size), electorate))
    columns = list(zip(*[verification.pack_accepted(row) for row in rows], strict=True))
    for place, column in enumerate(columns):
        more, tied = contract_of("VerificationMock").call(
            "majority",
            [voter.word for voter in voters],
            column,
            [NOT_MINE if position is None else position for position in positions],
            place,
            electorate.whole,
            is_committee,
        )
        mask = (1 << min(256, size - 256 * place)) - 1
        assert (more | tied) & mask == masks[place]
        assert more & tied == 0


@given(elections(), st.integers(0, 100_000))
@some
def test_what_speaks_against_a_miner(
    election: tuple[list[Voter], list[list[bool]], list[int | None]], absent: int
) -> None:
    """Refused or missed is what more than half of all rejects or could not get, whoever is there."""
    voters, rows, positions = election
    votes = [
        Vote(
            voter,
            Opening(1, voter.account, tuple(Verdict.UNAVAILABLE if no else Verdict.TIME for no in row), b""),
        )
        for voter, row in zip(voters, rows, strict=True)
    ]
    size, electorate = len(rows[0]), Electorate(sum(voter.weight for voter in voters) + absent)
    missed = verification.pack_accepted(verification.unavailable(votes, range(size), electorate))
    refused = verification.pack_accepted(verification.refused(votes, range(size), electorate))
    everything = [[True] * size] * len(rows)
    for masks, verdicts in ((missed, rows), (refused, everything)):
        others = [
            [bit and position != own for position, bit in enumerate(row)]
            for row, own in zip(verdicts, positions, strict=True)
        ]
        columns = zip(*[verification.pack_accepted(row) for row in others], strict=True)
        for place, column in enumerate(columns):
            more, _ = contract_of("VerificationMock").call(
                "majority",
                [voter.word for voter in voters],
                column,
                [NOT_MINE] * len(voters),
                place,
                electorate.whole,
                False,
            )
            assert more & (1 << min(256, size - 256 * place)) - 1 == masks[place]


@given(st.lists(st.integers(0, 15), min_size=1, max_size=1024), st.integers(0, 3))
@some
def test_missing(codes: list[int], place: int) -> None:
    """Whatever half bytes a vote holds, those that are 1 are missing."""
    reasons = bytes(one << 4 | other for one, other in zip(codes[::2], [*codes[1::2], 0], strict=False))
    masks = [*verification.pack_accepted([code == Verdict.UNAVAILABLE for code in codes]), 0, 0, 0]
    missing = contract_of("VerificationMock").call("missing", reasons, place)
    assert missing & (1 << max(0, min(256, len(codes) - 256 * place))) - 1 == masks[place]


@given(
    st.lists(
        st.tuples(st.one_of(st.integers(0, 5), st.integers(0, 2**24 - 1)), weights),
        max_size=64,
    ),
    st.one_of(st.sampled_from((10_000, 20_000)), st.integers(10_000, 2**32 - 1)),
)
@some
def test_the_most_that_a_pace_counts(paces: list[tuple[int, int]], factor: int) -> None:
    words = [pace << 16 | weight for pace, weight in paces]
    assert contract_of("ElectionMock").call("most_pace", words, factor) == most_pace(paces, factor)


@given(st.integers(0, 2**256 - 1))
@some
def test_ones(number: int) -> None:
    assert contract_of("VerificationMock").call("ones", number) == number.bit_count()


@given(st.integers(0, 2**256 - 1), st.integers(0, 2**36))
@some
def test_retarget(target: int, seconds: int) -> None:
    next_target = contract_of("ElectionMock").call("retarget", target, seconds)
    assert next_target == retarget(target, seconds, TERMS.pow_seconds)


@given(
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**31 - 1),
    st.lists(st.tuples(st.integers(0, 1024), weights), max_size=64),
)
@some
def test_prices(pool: int, samples: int, results: list[tuple[int, int]]) -> None:
    voters = tuple(Voter("0x01", weight, index=seat).word for seat, (_, weight) in enumerate(results))
    count = Tally((), bytes(32), voters, tuple(matches for matches, _ in results), (), samples)
    matches = sum(matches * weight for matches, weight in results)
    reward = min(pool, TERMS.reward)
    price = prices(TERMS, reward, count)
    rewards = contract_of("RewardsMock")
    assert rewards.call("prices", reward, samples, matches) == (price.sample, price.verdict, price.leader)
    reserved, balances = rewards.call("reserve", pool, samples, matches)
    assert reserved == reward
    assert balances >> 128 == earned(TERMS, reward, count) <= reward
    assert (balances >> 128) + (balances & (1 << 128) - 1) == pool


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
def test_a_whole_round(round_: tuple[int, list[int], list[list[Verdict]], list[int], Engine]) -> None:
    """Vote digests, tally, puzzle, leader, tally digest, block hash and claims, out of a round's calls."""
    devices, stakes, rows, order, engine = round_
    terms = replace(TERMS, engine=engine, pow_target=2**254)
    stake = ETHER // 1000
    terms = replace(
        terms, min_stake=stake, reward=stake, vote_penalty=stake // 8, leader_penalty=0, min_updates=1
    )
    federation = Federation(
        devices, len(stakes), terms, tuple(terms.min_stake * s for s in stakes), full=True
    ).open()
    federation.until(Phase.VOTE)
    openings = [federation.opening(index, row) for index, row in enumerate(rows)]
    for opening in openings:
        federation.commit_vote(opening)
    for index in order:
        federation.unveil(openings[index])
    head, votes = federation.contract.call("ledger", 0), federation.votes()
    assert [vote.opening for vote in votes] == [openings[index] for index in order]
    receipt = federation.tally()
    twin = federation.tallies[1]
    args = receipt.events[0].args
    assert args["accepted"] == tuple(verification.pack_accepted(twin.accepted))
    assert (args["samples"], args["matches"]) == (twin.samples, weighted_matches(twin))
    assert (args["parent"] != bytes(32)) == (engine is Engine.POW)
    if engine is Engine.POW and any(twin.accepted):
        assert federation.contract.call("puzzle") == verification.puzzle(head, 1, votes, args["parent"])
    if not any(twin.accepted):
        assert federation.clock.round == 2
        return
    if engine is not Engine.POW:
        assert federation.contract.call("lead_now")[0] == federation.ranking()[0]
    federation.finish()
    check_claims(federation, votes)


def check_claims(federation: Federation, votes: list[Vote]) -> None:
    """Claims recompute tally digest and block hash, and pay what the twin says."""
    twin, block = federation.tallies[1], federation.block(1)
    price = prices(federation.terms, block.reward, twin)
    for place, vote in enumerate(votes):
        receipt = federation.send(federation.outsider, "claim_miner", *federation.claim_miner_args(1, place))
        leads = price.leader if vote.voter.account == block.leader else 0
        assert (
            receipt.events[0].args["amount"]
            == price.verdict * twin.matches[place] * vote.voter.weight + leads
        )
    for place, bit in enumerate(twin.accepted):
        if bit:
            receipt = federation.send(
                federation.outsider, "claim_device", *federation.claim_device_args(1, place)
            )
            assert receipt.events[0].args["amount"] == price.sample * federation.updates(1)[place].samples
    assert sum(
        event.args["amount"] for event in federation.contract.events(name="Claimed")
    ) == federation.contract.call("owed")


@pytest.mark.parametrize("miners", [5])
def test_a_few_hundred_updates(miners: int) -> None:
    federation = Federation(
        300, miners, replace(TERMS, min_updates=1), tuple(ETHER * (i + 1) for i in range(miners)), full=True
    )
    federation.open().until(Phase.VOTE)
    rows = [[Verdict(max(0, digest(i, j)[0] % 12 - 5)) for j in range(300)] for i in range(miners)]
    federation.vote_all(rows)
    federation.tally()
    (event,) = federation.contract.events(name="Tallied")
    twin = federation.tallies[1]
    assert event.args["accepted"] == tuple(verification.pack_accepted(twin.accepted))
    assert (event.args["samples"], event.args["matches"]) == (twin.samples, weighted_matches(twin))
    federation.finish()
    federation.send(
        federation.outsider, "claim_device", *federation.claim_device_args(1, twin.accepted.index(True, 270))
    )
