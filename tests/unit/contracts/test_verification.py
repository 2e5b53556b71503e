"""verification.vy: votes committed, unveiled and counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bcfl.protocol import verification
from bcfl.protocol.hashing import fold, keccak, word
from bcfl.protocol.rewards import weighted_matches
from bcfl.protocol.types import Engine, Opening, Phase, Verdict, VoidReason
from testkit.harness import ETHER, TERMS, Federation, digest, reverts
from tests.unit.contracts.votes import vote_some

YES, NO = Verdict.ACCEPTED, Verdict.QUALITY
NOT_MINE = 2**256 - 1


def counted(verdicts: list[list[Verdict]], stakes: tuple[int, ...] = (), full: bool = False) -> Federation:
    """A federation that has just tallied these verdicts, one list a miner."""
    federation = (
        Federation(len(verdicts[0]), len(verdicts), stakes=stakes, full=full).open().until(Phase.VOTE)
    )
    federation.vote_all(verdicts)
    federation.tally()
    return federation


def accepted(federation: Federation) -> tuple[bool, ...]:
    (event,) = federation.contract.events(name="Tallied")
    levels = verification.unpack_codes(event.args["levels"], federation.devices)
    return tuple(level > 0 for level in levels)


def test_default_behavior() -> None:
    verdicts = [[YES, NO, YES, YES], [YES, NO, NO, YES], [NO, YES, YES, YES]]
    federation = counted(verdicts)
    (event,) = federation.round_events("Tallied")
    # Updates stand in the order 0, 3, 1, 2: miner 0 revealed first, with devices 0 and 3.
    assert event["levels"] == (0x3303,)
    # A claim counts up to the lower median of 50, 51, 52 and 53, three times for each update.
    assert event["samples"] == 3 * (50 + 51 + 51)
    assert event["matches"] == 4 + 3 + 2
    assert event["parent"] == bytes(32)  # there is no race
    assert federation.clock.phase is Phase.PROPOSE


def test_votes_say_reasons() -> None:
    reasons = [Verdict(number) for number in range(7)]
    federation = Federation(devices=7, miners=1).open().until(Phase.VOTE)
    federation.vote_all([reasons])
    (event,) = federation.round_events("Voted")
    assert event["verdicts"] == (0xA987653,)
    assert verification.unpack_verdicts(event["verdicts"], 7) == (tuple(reasons), (3, 0, 0, 0, 0, 0, 0))


def test_commit_vote_twice() -> None:
    federation = Federation().open().until(Phase.VOTE)
    federation.commit_vote(federation.opening(0))
    with reverts("verification: already committed"):
        federation.commit_vote(federation.opening(0))


def test_commit_vote_by_a_stranger() -> None:
    federation = Federation().open().until(Phase.VOTE)
    with reverts("verification: not a miner of this round"):
        federation.commit_vote(federation.opening(0), federation.outsider)


def test_unveil_what_was_not_committed() -> None:
    federation = Federation().open().until(Phase.VOTE)
    federation.commit_vote(federation.opening(0))
    federation.expire()
    with reverts("verification: nothing to unveil"):
        federation.unveil(federation.opening(1))
    with reverts("verification: nothing to unveil"):
        federation.unveil(
            replace(federation.opening(0), miner=federation.outsider.address), federation.outsider
        )


def test_unveil_twice() -> None:
    federation = Federation().open().until(Phase.UNVEIL)
    federation.unveil(federation.opening(0))
    links = federation.votes()
    receipt = federation.unveil(federation.opening(0), federation.outsider)
    assert not receipt.events
    assert federation.votes() == links


def test_what_is_open_stays_whatever_is_handed_in() -> None:
    federation = Federation().open().until(Phase.UNVEIL)
    opening = federation.opening(0)
    federation.unveil(opening)
    other = replace(opening, verdicts=(NO,) * 4, levels=(), salt=digest("other"))
    federation.unveil(other, federation.outsider)
    assert [vote.opening for vote in federation.votes()] == [opening]


def test_a_vote_on_other_updates_is_refused() -> None:
    """On another fork, or with the updates in another order, the chain of updates is another."""
    federation = Federation().open().until(Phase.VOTE)
    opening = federation.opening(0)
    for links in (digest("fork"), fold(word(item) for item in federation.words()[::-1])):
        with reverts("verification: not on these updates"):
            federation.send(federation.miner_keys[0], "commit_vote", verification.vote_digest(opening, links))
    federation.commit_vote(opening)


def test_a_vote_that_was_kept_back_is_refused_in_a_later_round() -> None:
    """The chain of updates hashes commitments, which name their round: the same devices make another."""
    federation = Federation().open().until(Phase.VOTE)
    late = federation.vote_digest(federation.opening(0))
    federation.finish().until(Phase.VOTE)
    with reverts("verification: not on these updates"):
        federation.send(federation.miner_keys[0], "commit_vote", late)
    federation.commit_vote(federation.opening(0))


@pytest.mark.parametrize("change", ["verdicts", "salt", "level", "reason"])
def test_unveil_something_else(change: str) -> None:
    federation = Federation().open().until(Phase.UNVEIL)
    opening = federation.opening(0)
    other = {
        "verdicts": replace(opening, verdicts=(NO, YES, YES, NO), levels=()),
        "reason": replace(opening, verdicts=(NO, YES, YES, Verdict.OUTLIER), levels=()),
        "level": replace(opening, levels=(3, 3, 2, 3)),
        "salt": replace(opening, salt=digest("other")),
    }
    args = federation.unveil_args(other[change])
    with reverts("verification: not the committed vote"):
        federation.send(federation.outsider, "unveil", *args)


def test_a_copied_vote_cannot_be_unveiled() -> None:
    federation = Federation(miners=2).open().until(Phase.VOTE)
    opening = federation.opening(0)
    federation.commit_vote(opening)
    federation.commit_vote(opening, federation.miner_keys[1])
    federation.unveil(opening)
    with reverts("verification: not the committed vote"):
        federation.unveil(replace(opening, miner=federation.miner_keys[1].address))


@pytest.mark.parametrize("words", [[], [0x3333, 0]])
def test_unveil_too_many_or_few_words(words: list[int]) -> None:
    federation = Federation().open().until(Phase.UNVEIL)
    miner, _, wish, salt = federation.unveil_args(federation.opening(0))
    with reverts("verification: wrong length"):
        federation.send(federation.outsider, "unveil", miner, words, wish, salt)


@pytest.mark.parametrize("verdicts", [0x333, 0x33333, 0x3033, 0x333B, 0xF333, 0x3333 | 3 << 252])
def test_unveil_other_than_a_verdict_on_each_update(verdicts: int) -> None:
    """None missing, none too many, none that means nothing: however it was committed."""
    federation = Federation().open().until(Phase.VOTE)
    key, salt = federation.miner_keys[0], digest("salt")
    packed = [b"".join(map(word, (1, int(key.address, 16), 160, 0))), salt, word(1), word(verdicts)]
    committed = verification.bound_digest(keccak(b"".join(packed)), federation.links())
    federation.send(key, "commit_vote", committed)
    federation.expire()
    with reverts("verification: not a verdict on each update"):
        federation.send(federation.outsider, "unveil", key.address, [verdicts], 0, salt)


def test_256_updates_fill_their_words() -> None:
    federation = counted([[YES] * 255 + [NO]] * 4)
    assert sum(accepted(federation)) == 255


def test_anybody_unveils_who_holds_the_opening() -> None:
    federation = Federation().open().until(Phase.UNVEIL)
    federation.unveil(federation.opening(0), federation.outsider)
    assert federation.clock.acted == 0b001


@pytest.mark.parametrize(
    ("verdicts", "stakes", "expected"),
    [
        ([[YES, YES], [NO, YES]], (1, 1), (False, True)),  # a tie rejects
        ([[YES, YES], [NO, YES], [NO, YES]], (2, 1, 1), (False, True)),
        ([[YES, YES], [NO, YES], [NO, YES]], (3, 1, 1), (True, True)),
        ([[NO, YES], [NO, YES], [NO, NO]], (1, 1, 1), (False, True)),
        ([[YES, YES], [NO, YES]], (65_535, 65_534), (True, True)),
        ([[YES, YES], [NO, YES]], (65_535, 70_000), (False, True)),  # weights are capped
    ],
)
def test_majority(verdicts: list[list[Verdict]], stakes: tuple[int, ...], expected: tuple[bool, ...]) -> None:
    terms = replace(TERMS, min_stake=100, min_updates=1, reward=0, vote_penalty=0, leader_penalty=0)
    count = len(stakes)
    federation = Federation(2, count, terms, tuple(100 * stake for stake in stakes)).open().until(Phase.VOTE)
    order = [update.device for update in federation.updates()]
    federation.vote_all([[row[device] for device in order] for row in verdicts])
    federation.tally()
    assert dict(zip(order, accepted(federation), strict=True)) == dict(enumerate(expected))


def test_nobody_accepts_itself_alone() -> None:
    # Miner i owns device i. What it says of its own update is no match, whatever comes of it.
    verdicts = [[YES if i == j else NO for j in range(3)] for i in range(3)]
    federation = Federation(3, 3, full=True).open().until(Phase.VOTE)
    federation.vote_all(verdicts)
    federation.tally()
    (event,) = federation.contract.events(name="Tallied")
    assert event.args["levels"] == (0,)
    assert event.args["matches"] == 6


def tallying(full: bool = False) -> tuple[Federation, list[Any]]:
    federation = Federation(4, 3, full=full).open().until(Phase.TALLY)
    *lists, cap = federation.tally_args()
    return federation, [*map(list, lists), cap]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        (0, lambda words: words[:-1], "verification: not the updates of this round"),
        (0, lambda words: [*words[:-1], words[-1] ^ 1], "verification: not the updates of this round"),
        (0, lambda words: words[::-1], "verification: not the updates of this round"),
        (1, lambda voters: voters[:-1], "verification: lists differ"),
        (1, lambda voters: voters[::-1], "verification: not the votes of this round"),
        (
            1,
            lambda voters: [voters[0] + (1 << 160), *voters[1:]],
            "verification: not the votes of this round",
        ),
        (
            1,
            lambda voters: [voters[0] ^ 1 << 200, *voters[1:]],
            "verification: not the votes of this round",
        ),
        (2, lambda salts: salts[:-1], "verification: lists differ"),
        (2, lambda salts: [bytes(32), *salts[1:]], "verification: not the votes of this round"),
        (3, lambda words: words[:-1], "verification: lists differ"),
        (3, lambda words: [0, *words[1:]], "verification: not the votes of this round"),
        (4, lambda owns: owns[:-1], "verification: lists differ"),
        (4, lambda owns: [0, *owns[1:]], "verification: not the voter's update"),
        (4, lambda owns: [99, *owns[1:]], "verification: not the voter's update"),
        (5, lambda cap: cap - 1, "verification: not the median claim"),
        (5, lambda cap: cap + 1, "verification: not the median claim"),
        (5, lambda cap: 0, "verification: not the median claim"),  # noqa: ARG005
        (5, lambda cap: 2**255, "verification: not the median claim"),  # noqa: ARG005
    ],
)
def test_tally_with_other_lists(part: int, change: object, reason: str) -> None:
    federation, args = tallying()
    args[part] = change(args[part])  # type: ignore[operator]
    with reverts(reason):
        federation.send(federation.outsider, "tally", *args)
    federation.tally()


def test_tally_without_the_last_vote() -> None:
    federation, args = tallying()
    with reverts("verification: not the votes of this round"):
        federation.send(federation.outsider, "tally", args[0], *[part[:-1] for part in args[1:5]], args[5])


@pytest.mark.parametrize("position", [NOT_MINE, 1, 4, 2**200])
def test_an_own_update_cannot_be_hidden(position: int) -> None:
    federation, args = tallying(full=True)
    assert args[4][0] == 0
    args[4][0] = position
    with reverts("verification: not the voter's update"):
        federation.send(federation.outsider, "tally", *args)


def test_who_is_a_device_but_revealed_nothing_has_no_own_update() -> None:
    federation = Federation(3, 3, full=True).open()
    federation.commit(federation.miner_keys[0], [federation.update(0), federation.update(1)])
    federation.expire()
    federation.reveal(federation.miner_keys[0], [federation.update(0), federation.update(1)])
    federation.until(Phase.TALLY)
    args = federation.tally_args()
    assert args[4] == [0, 1, NOT_MINE]
    with reverts("verification: not the voter's update"):
        federation.send(federation.outsider, "tally", *args[:4], [0, 1, 1], args[5])
    federation.tally()


@pytest.mark.parametrize(("first", "is_quorum"), [(2, False), (3, True)])
def test_more_than_half_of_all_active_weight_is_a_quorum(first: int, is_quorum: bool) -> None:
    federation = Federation(miners=2, stakes=(first * ETHER, 2 * ETHER)).open().until(Phase.UNVEIL)
    federation.unveil(federation.opening(0))
    federation.expire()
    receipt = federation.tally()
    names = [event.name for event in receipt.events]
    assert names == ["Penalized", *(["Tallied", "Elected"] if is_quorum else ["Voided", "RoundOpened"])]
    if not is_quorum:
        assert receipt.events[1].args["reason"] == VoidReason.NO_QUORUM


def test_who_commits_and_never_unveils_pays_for_each_of_its_minimum_stakes() -> None:
    federation = Federation(stakes=(3 * ETHER, 3 * ETHER, 2 * ETHER)).open().until(Phase.UNVEIL)
    federation.unveil(federation.opening(0))
    federation.unveil(federation.opening(1))
    federation.expire()
    balance, stakes, owed, pool = federation.money()
    receipt = federation.tally()
    price = 2 * TERMS.vote_penalty
    assert receipt.events[0].args == {
        "round": 1,
        "miner": federation.miner_keys[2].address,
        "amount": price,
    }
    assert federation.money() == (balance, stakes - price, owed, pool + price)


def test_nobody_unveils_and_nobody_pays() -> None:
    """Absence is told apart from a chain that nobody could reach by the votes of others."""
    federation = Federation().open().until(Phase.UNVEIL)
    stakes = federation.money()[1]
    federation.send(federation.outsider, "advance")
    federation.expire()
    receipt = federation.send(federation.outsider, "tally", [], [], [], [], [], 0)
    assert [event.name for event in receipt.events] == ["Voided", "RoundOpened"]
    assert receipt.events[0].args["reason"] == VoidReason.NO_QUORUM
    assert federation.money()[1] == stakes


def test_who_did_not_commit_pays_the_fee_of_absence() -> None:
    federation = Federation().open().until(Phase.VOTE)
    vote_some(federation, 2)
    receipt = federation.tally()
    assert [event.name for event in receipt.events] == ["Penalized", "Tallied", "Elected"]
    assert receipt.events[0].args["amount"] == (2 * ETHER - 1) * TERMS.absence_penalty // 10_000


def test_a_tally_that_nobody_hands_in_voids_the_round() -> None:
    federation = Federation().open().until(Phase.TALLY)
    federation.send(federation.outsider, "advance")
    federation.expire()
    receipt = federation.send(federation.outsider, "advance")
    assert receipt.events[0].args == {"round": 1, "reason": VoidReason.NO_TALLY}


def test_the_order_of_unveiling_does_not_move_the_puzzle() -> None:
    """All that an order can move is the hash of the block before."""
    for order in ((0, 1, 2), (2, 0, 1)):
        federation = Federation(terms=replace(TERMS, engine=Engine.POW)).open().until(Phase.UNVEIL)
        for index in order:
            federation.unveil(federation.opening(index))
        votes, head = sorted(federation.votes(), key=str), federation.contract.call("ledger", 0)
        event = next(event for event in federation.tally().events if event.name == "Tallied")
        twin = verification.puzzle(head, 1, votes, event.args["parent"])
        assert federation.contract.call("puzzle") == twin


def test_a_puzzle_is_not_known_before_the_tally() -> None:
    """All openings together still lack the hash of the last block."""
    federation = Federation(terms=replace(TERMS, engine=Engine.POW)).open().until(Phase.TALLY)
    chain = federation.chain
    last = chain.request("eth_getBlockByNumber", "latest", False)["hash"]
    event = next(event for event in federation.tally().events if event.name == "Tallied")
    assert "0x" + event.args["parent"].hex() == last


def test_few_accepted() -> None:
    federation = Federation(terms=replace(TERMS, min_updates=3)).open().until(Phase.VOTE)
    federation.vote_all([[YES, YES, NO, NO]] * 3)
    receipt = federation.tally()
    assert [event.name for event in receipt.events] == ["Tallied", "Voided", "RoundOpened"]
    assert receipt.events[1].args["reason"] == VoidReason.FEW_ACCEPTED


def test_votes_for_another_round_do_not_open() -> None:
    federation = Federation().open().until(Phase.VOTE)
    opening = replace(federation.opening(0), round=2)
    assert isinstance(opening, Opening)
    federation.commit_vote(opening)
    federation.expire()
    with reverts("verification: not the committed vote"):
        federation.unveil(opening)


def test_the_largest_round_runs_to_its_end() -> None:
    """64 miners of the greatest weight and 1,024 updates: every call stays below the cap of a transaction."""
    terms = replace(TERMS, min_stake=100, reward=40, vote_penalty=3, leader_penalty=1)
    federation = Federation(1024, 64, terms, (6_553_500,) * 64, full=True).open().until(Phase.VOTE)
    words = federation.words()
    federation.words = lambda *_: words  # type: ignore[method-assign]  # read them once
    rows = [[YES if digest(i, j)[0] < 140 else NO for j in range(1024)] for i in range(64)]
    openings = [federation.opening(index, rows[index]) for index in range(64)]
    for opening in openings:
        federation.commit_vote(opening)
    gas = [federation.unveil(opening).gas_used for opening in openings]
    tally = federation.tally()
    assert max(gas) < 100_000
    assert tally.gas_used < 9_000_000
    (event,) = [event for event in tally.events if event.name == "Tallied"]
    twin = federation.tallies[1]
    assert event.args["levels"] == tuple(verification.pack_codes(twin.levels))
    assert event.args["matches"] == weighted_matches(twin)
    assert event.args["samples"] == twin.samples
    federation.finish()
    claim = federation.send(federation.outsider, "claim_device", *federation.claim_device_args(1, 31))
    assert claim.gas_used < 400_000
