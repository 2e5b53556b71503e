"""Take in what the miners say of the updates, and count it as `bcfl.protocol.verification` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bcfl.protocol import verification as twin
from bcfl.protocol.hashing import fold, keccak, word
from bcfl.protocol.limits import MAX_MINERS, MAX_UPDATES, TOP_LEVEL
from bcfl.protocol.scores import most_pace
from bcfl.protocol.submissions import claim_cap
from bcfl.protocol.types import (
    ZERO_DIGEST,
    Electorate,
    Engine,
    Mode,
    Opening,
    Phase,
    Verdict,
    VoidReason,
    weight_of,
)
from bcfl.protocol.verification import IN_WORD, NOT_MINE, Vote
from bcfl.specification import absence, committees, election, registry, rounds, scores, submissions
from bcfl.specification.call import Call, bounded, require
from bcfl.specification.packing import voter_of
from bcfl.specification.state import RoundClock

MAX_WORDS: Final = 16
MAX_CODE: Final = TOP_LEVEL + max(Verdict)
KEPT: Final = 32  # low bits of a digest that a record has no room for
BOUND: Final = twin.BOUND_BYTES


@dataclass(frozen=True)
class Lists:
    """What is handed in to be counted, and what the round says of it."""

    clock: RoundClock
    updates: Sequence[int]  # words
    voters: Sequence[int]  # words
    salts: Sequence[bytes]
    verdicts: Sequence[int]  # all words of the first voter first
    owns: Sequence[int]
    cap: int

    @property
    def words(self) -> int:
        """Return how many words of verdicts a voter has."""
        return -(-self.clock.updates // IN_WORD)

    def verdicts_of(self, place: int) -> Sequence[int]:
        """Return the verdicts of the voter at a place."""
        return self.verdicts[place * self.words : (place + 1) * self.words]

    def votes(self) -> list[Vote]:
        """Return the votes, the verdicts of which were checked when they were unveiled."""
        votes = []
        for place, (voter, salt) in enumerate(zip(self.voters, self.salts, strict=True)):
            verdicts, levels = twin.unpack_verdicts(self.verdicts_of(place), self.clock.updates)
            known = voter_of(voter)
            opening = Opening(self.clock.round, known.account, verdicts, salt, known.wish, levels)
            votes.append(Vote(known, opening))
        return votes


def commit_vote(call: Call, digest: bytes) -> None:
    """Commit the sender's verdicts on all updates of the round.

    A vote on other updates, or on the same in another order, reverts: it was meant for another fork.
    """
    clock = rounds.enter(call, Phase.VOTE)
    is_same = digest[-BOUND:] == call.state.submissions.links[-BOUND:]
    require(is_same, "verification: not on these updates")
    record, bit = registry.seat(call, call.sender, clock.expected)
    require(bit, "verification: not a miner of this round")
    assert record is not None
    require(not clock.acted & bit, "verification: already committed")
    kept = int.from_bytes(digest, "big") >> KEPT
    call.state.registry.records[call.sender] = replace(record, digest=kept)
    call.state.rounds.clock = rounds.act(call, clock, bit, 0)
    call.log("VoteCommitted", round=clock.round, miner=call.sender, digest=digest)


def unveil(call: Call, miner: str, verdicts: Sequence[int], wish: int, salt: bytes) -> None:
    """Open a committed vote; anybody who holds the opening may hand it in. One that is open already stays."""
    bounded(MAX_WORDS, verdicts)
    clock = rounds.enter(call, Phase.UNVEIL)
    record, bit = registry.seat(call, miner, clock.expected)
    require(bit, "verification: nothing to unveil")
    assert record is not None
    if clock.acted & bit:
        return
    count = clock.updates
    require(len(verdicts) == -(-count // IN_WORD), "verification: wrong length")
    if wish:
        require(call.terms.mode == Mode.HYBRID, "verification: no wishes in this mode")
        require(wish <= len(Engine), "verification: unknown engine")
    digest = twin.vote_hash(clock.round, miner, verdicts, wish, salt)
    is_committed = int.from_bytes(digest, "big") >> KEPT == record.digest
    require(is_committed, "verification: not the committed vote")
    codes = twin.unpack_codes(verdicts, count)
    is_whole = all(1 <= code <= MAX_CODE for code in codes) and twin.pack_codes(codes) == list(verdicts)
    require(is_whole, "verification: not a verdict on each update")
    weight = 1 if rounds.is_committee(call, clock) else record.weight
    voter = record.index << 200 | wish << 192 | weight << 160 | int(miner, 16)
    if record.is_device:
        voter |= call.state.registry.device_index[miner] + 1 << 176
    storage = call.state.verification
    storage.votes = _link(storage.votes if clock.acted else ZERO_DIGEST, voter, _body(salt, verdicts))
    call.state.rounds.clock = rounds.act(call, clock, bit, 0)
    if wish:
        call.log("Wished", round=clock.round, miner=miner, engine=wish - 1)
    call.log("Voted", round=clock.round, miner=miner, verdicts=tuple(verdicts), salt=salt)


def tally(
    call: Call,
    updates: Sequence[int],
    voters: Sequence[int],
    salts: Sequence[bytes],
    verdicts: Sequence[int],
    owns: Sequence[int],
    cap: int,
) -> None:
    """Count the unveiled votes; anybody may hand in the lists, `cap` being the lower median of the claims."""
    bounded(MAX_UPDATES, updates, verdicts)
    bounded(MAX_MINERS, voters, salts, owns)
    clock = rounds.enter(call, Phase.TALLY)
    lists = Lists(clock, updates, voters, salts, verdicts, owns, cap)
    if clock.acted == 0:
        rounds.void(call, clock.round, VoidReason.NO_QUORUM)
        return
    unopened = clock.expected & ~clock.acted
    absence.settle(call, clock.round, rounds.electors(call, clock), clock.acted, unopened)
    _check_votes(call, lists)
    electorate = rounds.electorate(call, clock)
    if not electorate.decides(sum(map(weight_of, voters))):
        rounds.void(call, clock.round, VoidReason.NO_QUORUM)
        return
    votes = lists.votes()
    puzzle = parent = ZERO_DIGEST
    if clock.engine == Engine.POW:
        # Without the last block whoever unveils last would search before the others.
        parent = call.block.parent
        puzzle = twin.puzzle(call.state.rounds.head, clock.round, votes, parent)
    _choose_engine(call, votes, electorate, is_complete=not unopened)
    _check_updates(call, lists)
    count = twin.tally(updates, votes, electorate)
    matches = sum(right * weight_of(voter) for voter, right in zip(voters, count.matches, strict=True))
    levels = tuple(twin.pack_codes(count.levels))
    call.log(
        "Tallied", round=clock.round, levels=levels, samples=count.samples, matches=matches, parent=parent
    )
    if clock.engine == Engine.RESOURCE:
        _note(call, lists, votes, electorate)
    if sum(count.accepted) < call.terms.min_updates:
        rounds.void(call, clock.round, VoidReason.FEW_ACCEPTED)
        return
    call.state.verification.accepted = twin.tally_digest(count)
    election.begin(call, clock, count.samples, matches, voters, puzzle)


def _check_votes(call: Call, lists: Lists) -> None:
    """Insist that the lists are the votes of the round, each with the place of the voter's own update."""
    count = lists.clock.updates
    require(len(lists.updates) == count, "verification: not the updates of this round")
    is_even = len(lists.salts) == len(lists.owns) == len(lists.voters)
    require(is_even, "verification: lists differ")
    require(len(lists.verdicts) == len(lists.voters) * lists.words, "verification: lists differ")
    links = ZERO_DIGEST
    for place, (voter, salt, own) in enumerate(zip(lists.voters, lists.salts, lists.owns, strict=True)):
        links = _link(links, voter, _body(salt, lists.verdicts_of(place)))
        update = lists.updates[own] if own < count else 0
        device = (voter >> 176 & 0xFFFF) - 1
        if device < 0 or not submissions.is_revealed(call, device, lists.clock.round):
            require(own == NOT_MINE, "verification: not the voter's update")
        else:
            is_own = update != 0 and update >> 24 & 0xFFFF == device
            require(is_own, "verification: not the voter's update")
    require(links == call.state.verification.votes, "verification: not the votes of this round")


def _check_updates(call: Call, lists: Lists) -> None:
    """Insist that the words are the round's chain of updates, and the cap the median of their claims."""
    links = fold(map(word, lists.updates))
    require(links == call.state.submissions.links, "verification: not the updates of this round")
    is_median = claim_cap([update & 0xFFFFFF for update in lists.updates]) == lists.cap
    require(is_median, "verification: not the median claim")


def _choose_engine(call: Call, votes: Sequence[Vote], electorate: Electorate, *, is_complete: bool) -> None:
    """Set the engine of the next round as the miners wish, and draw committees if it has some.

    A committee decides on updates and models alone: one that is captured must not stay by its own wish.
    """
    members = call.state.registry
    if call.terms.mode == Mode.HYBRID and not electorate.is_committee:
        chosen = twin.chosen_engine(votes, electorate, Engine(members.next_engine))
        if chosen != members.next_engine:
            members.next_engine = chosen
            call.state.rounds.draws = ()
    if members.next_engine == Engine.COMMITTEE and not electorate.is_committee and is_complete:
        committees.draw(call, twin.entropy(votes))


def _note(call: Call, lists: Lists, votes: Sequence[Vote], electorate: Electorate) -> None:
    """Note what a counted round has shown of its voters, and that the others have shown nothing.

    A pace counts up to a multiple of the median of all active miners, those of whom there is no accepted
    update with the rate that is known of them. Only more than half of all active weight speaks against a
    miner here. Who is no device has nothing that could fail, and the rate that it had as a device fades.
    """
    members, round_, count = call.state.registry, lists.clock.round, lists.clock.updates
    refused = twin.refused(votes, count, electorate)
    missing = twin.unavailable(votes, count, electorate)
    shown, paces, absent = [], [], members.active
    for vote, own in zip(votes, lists.owns, strict=True):
        available = accepted = vote.voter.device is None
        pace = int(accepted)
        if own != NOT_MINE:
            available, accepted = not missing[own], not refused[own]
            pace = max(1, lists.updates[own] >> 40 & 0xFFFFFF) if accepted else 0
        absent &= ~(1 << vote.voter.index)
        known = pace or scores.record_of(call, vote.voter.account).resources.rate
        paces.append((known, vote.voter.weight))
        shown.append((vote.voter.account, available, accepted, pace))
    for index in registry.seats(absent):
        miner = members.miners[index]
        paces.append((scores.record_of(call, miner).resources.rate, members.records[miner].weight))
        scores.note(call, miner, round_, on_time=False, available=False, accepted=False, pace=0)
    most = most_pace(paces, call.terms.rate_factor)
    for account, available, accepted, pace in shown:
        scores.note(
            call,
            account,
            round_,
            on_time=True,
            available=available,
            accepted=accepted,
            pace=min(pace, most),
        )


def check_chain(call: Call, voters: Sequence[int], bodies: Sequence[bytes], reason: str) -> None:
    """Insist that voters and what they voted are the votes of the round."""
    require(len(voters) == len(bodies), "verification: lists differ")
    links = ZERO_DIGEST
    for voter, body in zip(voters, bodies, strict=True):
        links = _link(links, voter, body)
    require(links == call.state.verification.votes, reason)


def _link(links: bytes, voter: int, body: bytes) -> bytes:
    """Return the chain of votes with one more vote."""
    return keccak(links + word(voter) + body)


def _body(salt: bytes, verdicts: Sequence[int]) -> bytes:
    """Return the fold of a vote's salt and its verdicts."""
    return fold(map(word, verdicts), salt)
