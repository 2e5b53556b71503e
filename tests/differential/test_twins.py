"""Python twin and bytecode agree on random inputs: hashes, signatures, counting, draw, race, money."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bcfl.ledger.contract import Contract
from bcfl.protocol import submissions, verification
from bcfl.protocol.election import retarget
from bcfl.protocol.limits import TOP_LEVEL, USUAL_LEVEL
from bcfl.protocol.rewards import earned, prices, weighted_matches
from bcfl.protocol.scores import most_pace
from bcfl.protocol.types import Electorate, Engine, Opening, Phase, Tally, Update, Verdict, Voter
from bcfl.protocol.verification import Vote
from testkit.harness import ETHER, TERMS, Account, Federation, digest, reverts
from testkit.mocks import mock

LAST_CODE = TOP_LEVEL + max(Verdict)
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
    claims = [update.samples for update in batch]
    most = submissions.claim_cap(claims)
    assert event["samples"] == USUAL_LEVEL * sum(min(claim, most) for claim in claims)


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
def elections(draw: st.DrawFn) -> tuple[list[Vote], list[int]]:
    """Votes on up to 300 updates that differ in some, and the devices of the updates."""
    count, size = draw(st.integers(1, 12)), draw(st.integers(1, 300))
    positions = draw(st.lists(st.sampled_from(range(size)), unique=True, max_size=min(count, size)))
    seed = random.Random(draw(st.integers(0, 2**32)))
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))  # of the verdicts that go their own way
    common = [seed.randint(1, LAST_CODE) for _ in range(size)]
    ways = draw(st.sampled_from([range(1, 5), range(1, LAST_CODE + 1), range(5, 7)]))
    equal = draw(st.one_of(st.none(), weights))  # so that there are ties
    votes = []
    for i in range(count):
        own = positions[i] if i < len(positions) else None
        codes = [seed.choice(ways) if seed.random() < share else code for code in common]
        verdicts, levels = verification.verdicts_of(codes)
        account = "0x" + digest("voter", i)[:20].hex()
        voter = Voter(account, equal or draw(weights), own, index=i)
        votes.append(Vote(voter, Opening(1, account, verdicts, bytes(32), levels=levels)))
    return votes, list(range(size))


@given(elections(), st.one_of(st.integers(0, 3), st.integers(0, 2**18)), st.booleans())
@some
def test_levels(election: tuple[list[Vote], list[int]], absent: int, is_committee: bool) -> None:
    """Levels in force, and what more than half of all says against voters' own updates."""
    votes, devices = election
    if is_committee:
        votes = [replace(vote, voter=replace(vote.voter, weight=1)) for vote in votes]
        absent %= 6
    total = sum(vote.voter.weight for vote in votes)
    electorate = Electorate(total + absent, is_committee)
    assume(electorate.decides(total))
    levels = verification.levels_in_force(votes, len(devices), electorate)
    half = Electorate(electorate.whole)
    refused = verification.refused(votes, len(devices), half)
    missed = verification.unavailable(votes, len(devices), half)
    columns = zip(*[verification.verdict_words(vote.opening) for vote in votes], strict=True)
    for place, column in enumerate(columns):
        here = range(64 * place, min(64 * (place + 1), len(devices)))
        owns = [verification.own_position(vote.voter, devices) for vote in votes]
        bits = [0 if own not in here else 1 << 4 * (own - here.start) for own in owns if own is not None]
        bits += [0] * (len(votes) - len(bits))
        found, against = contract_of("VerificationMock").call(
            "levels",
            [vote.voter.word for vote in votes],
            list(column),
            sum(bits),
            electorate.whole,
            is_committee,
        )
        mask = (1 << 4 * len(here)) - 1
        assert verification.unpack_codes([found & mask], len(here)) == levels[here.start : here.stop]
        flags = [(refused[i] + 2 * missed[i]) * bool(sum(bits) >> 4 * (i - here.start) & 1) for i in here]
        assert list(verification.unpack_codes([against], len(here))) == flags


@given(st.integers(0, 2**256 - 1))
@some
def test_accepting(verdicts: int) -> None:
    """Whatever four bits there are, those from 1 to 4 accept, and those from 1 to 10 are verdicts."""
    codes = verification.unpack_codes([verdicts], 64)
    accepted = [1 <= code <= TOP_LEVEL for code in codes]
    (packed,) = verification.pack_codes(accepted)
    mock_ = contract_of("VerificationMock")
    assert mock_.call("accepting", verdicts) == (packed, sum(accepted))
    assert mock_.call("known", verdicts, 64, 0) == all(1 <= code <= LAST_CODE for code in codes)


@given(st.lists(st.integers(1, LAST_CODE), min_size=1, max_size=1024), st.integers(0, 15))
@some
def test_which_updates_a_word_judges(codes: list[int], place: int) -> None:
    packed = verification.pack_codes(codes)
    place %= len(packed)
    mock_ = contract_of("VerificationMock")
    assert mock_.call("known", packed[place], len(codes), place)
    assert not mock_.call("known", packed[place] & ~15, len(codes), place)
    last = len(codes) - 64 * place
    for code in range(1, 16) if last < 64 else ():
        assert not mock_.call("known", packed[place] | code << 252, len(codes), place)


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
    count = Tally((), bytes(32), voters, tuple(matches for matches, _ in results), (), 1, samples)
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
def rounds(draw: st.DrawFn) -> tuple[int, list[int], list[list[int]], list[int], Engine]:
    miners = draw(st.integers(1, 6))
    devices = draw(st.integers(miners, 12))
    stakes = draw(st.lists(weights, min_size=miners, max_size=miners))
    code = st.one_of(st.integers(1, TOP_LEVEL), st.integers(1, LAST_CODE))
    rows = [draw(st.lists(code, min_size=devices, max_size=devices)) for _ in range(miners)]
    engine = draw(st.sampled_from([Engine.STAKE, Engine.POW, Engine.RESOURCE]))
    return devices, stakes, rows, draw(st.permutations(range(miners))), engine


@given(rounds())
@few
def test_a_whole_round(round_: tuple[int, list[int], list[list[int]], list[int], Engine]) -> None:
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
    openings = [judgement(federation, index, row) for index, row in enumerate(rows)]
    for opening in openings:
        federation.commit_vote(opening)
    for index in order:
        federation.unveil(openings[index])
    head, votes = federation.contract.call("ledger", 0), federation.votes()
    assert [vote.opening for vote in votes] == [openings[index] for index in order]
    receipt = federation.tally()
    twin = federation.tallies[1]
    args = receipt.events[0].args
    assert args["levels"] == tuple(verification.pack_codes(twin.levels))
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


def judgement(federation: Federation, miner: int, codes: list[int]) -> Opening:
    """The opening of a miner's vote with these verdicts."""
    verdicts, levels = verification.verdicts_of(codes)
    return federation.opening(miner, list(verdicts), levels=levels)


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
    claims = [min(update.samples, twin.cap) for update in federation.updates(1)]
    paid = [claim * level for claim, level in zip(claims, twin.levels, strict=True)]
    for place, bit in enumerate(twin.accepted):
        if bit:
            receipt = federation.send(
                federation.outsider, "claim_device", *federation.claim_device_args(1, place)
            )
            assert receipt.events[0].args["amount"] == price.sample * paid[place]
    assert sum(
        event.args["amount"] for event in federation.contract.events(name="Claimed")
    ) == federation.contract.call("owed")


@pytest.mark.parametrize("miners", [5])
def test_a_few_hundred_updates(miners: int) -> None:
    federation = Federation(
        300, miners, replace(TERMS, min_updates=1), tuple(ETHER * (i + 1) for i in range(miners)), full=True
    )
    federation.open().until(Phase.VOTE)
    rows = [[1 + digest(i, j)[0] % (7 if j % 3 else LAST_CODE) for j in range(300)] for i in range(miners)]
    openings = [judgement(federation, index, row) for index, row in enumerate(rows)]
    for opening in openings:
        federation.commit_vote(opening)
    for opening in openings:
        federation.unveil(opening)
    federation.tally()
    (event,) = federation.contract.events(name="Tallied")
    twin = federation.tallies[1]
    assert event.args["levels"] == tuple(verification.pack_codes(twin.levels))
    assert (event.args["samples"], event.args["matches"]) == (twin.samples, weighted_matches(twin))
    federation.finish()
    federation.send(
        federation.outsider, "claim_device", *federation.claim_device_args(1, twin.accepted.index(True, 270))
    )
