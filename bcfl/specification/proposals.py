"""Take in the new model: proposed by the leader, attested by the others, final when enough do.

A proposal belongs to its content, root and rows: whoever proposes what stands already, or what stood before
in the round, attests it, and the lead is that of its first author.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from bcfl.protocol.challenges import cid_mark, proposal_digest
from bcfl.protocol.limits import MAX_MINERS
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.types import Block, Electorate, Phase, VoidReason
from bcfl.specification import docket, election, registry, rewards, rounds, turns, verification
from bcfl.specification.call import Call, bounded, require
from bcfl.specification.state import ZERO_ADDRESS, Lead, Proposal, Record, RoundClock

CONTENT: Final = 64  # shift: the upper bits of a digest stand for a proposal


def construct(call: Call, root: bytes, cid: bytes) -> None:
    """Keep the genesis model as the current one."""
    call.state.proposals.root, call.state.proposals.cid = root, cid


def propose(call: Call, accepted: bytes, root: bytes, cid: bytes, rows: bytes) -> None:
    """Propose the new model; the leader's own weight attests it.

    `accepted`: the accepted set that it follows from; on a fork with another one the call reverts.
    """
    clock = rounds.enter(call, Phase.PROPOSE)
    require(not rounds.is_reached(call, clock), "proposals: too late")
    storage, lead = call.state.proposals, call.state.election.lead
    record, bit = registry.seat(call, call.sender, clock.expected)
    is_leader = record is not None and bit and record.index == lead.leader
    require(is_leader, "proposals: not the leader")
    assert record is not None
    require(accepted == call.state.verification.accepted, "proposals: another accepted set")
    content, author = _content(call, clock, root, rows), record.index
    if lead.is_standing:
        standing = storage.proposal
        if standing.content == content:
            author = standing.author
        else:
            # Nobody takes a lead from the first author of a content by putting another in between. Another
            # content is another lead: the author of the first one has paid for what this turn passed on.
            storage.authors[standing.content] = standing.author
            if content in storage.authors:
                author = storage.authors[content]
            else:
                turns.charge(call, record.index)
            lead = replace(lead, attested_weight=0, attested=0)
    storage.proposal = Proposal(content, mark(cid), author)
    if not lead.attested & bit:
        lead = _support(call, clock, lead, record, bit)
    call.state.election.lead = replace(lead, is_standing=True)
    call.state.rounds.clock = rounds.stage(
        call, clock, Phase.ATTEST, call.terms.attest_seconds, clock.expected
    )
    by = call.state.registry.miners.get(author, ZERO_ADDRESS)
    call.log("Proposed", round=clock.round, leader=call.sender, author=by, root=root, cid=cid, rows=rows)


def mark(cid: bytes) -> int:
    """Return what stands for the CID of a proposal. It is short, and only says where to look."""
    return int.from_bytes(cid_mark(cid), "big")


def content_of(digest: bytes) -> int:
    """Return the part of a proposal's digest that is kept."""
    return int.from_bytes(digest, "big") >> CONTENT


def _content(call: Call, clock: RoundClock, root: bytes, rows: bytes) -> int:
    return content_of(proposal_digest(clock.round, call.state.verification.accepted, root, rows))


def check(call: Call, digest: bytes) -> None:
    """Insist that a proposal is the one that stands."""
    is_same = call.state.proposals.proposal.content == content_of(digest)
    require(is_same, "proposals: not what was proposed")


def attest(call: Call, digest: bytes) -> None:
    """State that the sender has recomputed the proposal and found the same."""
    clock = rounds.enter(call, Phase.ATTEST)
    require(not rounds.is_reached(call, clock), "proposals: too late")
    check(call, digest)
    record, bit = registry.seat(call, call.sender, clock.expected)
    require(bit, "proposals: not a voter of this round")
    assert record is not None
    lead = call.state.election.lead
    require(not lead.attested & bit, "proposals: already attested")
    call.state.election.lead = _support(call, clock, lead, record, bit)
    call.log("Attested", round=clock.round, miner=call.sender)


def correct_cid(call: Call, cid: bytes) -> None:
    """State the CID of the model that stands, where its leader has named another; who attested it may."""
    clock = rounds.enter(call, Phase.ATTEST)
    _, bit = registry.seat(call, call.sender, clock.expected)
    require(call.state.election.lead.attested & bit, "proposals: has not attested")
    call.log("CidCorrected", round=clock.round, miner=call.sender, cid=cid)


def _support(call: Call, clock: RoundClock, lead: Lead, record: Record, bit: int) -> Lead:
    """Return the lead with one more miner's weight behind the proposal; members of a committee weigh 1."""
    weight = 1 if rounds.is_committee(call, clock) else record.weight
    return replace(lead, attested=lead.attested | bit, attested_weight=lead.attested_weight + weight)


def _is_attested(call: Call, clock: RoundClock, lead: Lead) -> bool:
    """Whether so much weight attested that the proposal can become final."""
    return Electorate(lead.whole, rounds.is_committee(call, clock)).decides(lead.attested_weight)


def finalize(call: Call, root: bytes, cid: bytes, rows: bytes) -> None:
    """Add the block to the model ledger and open the next round; anybody may."""
    clock = rounds.enter(call, Phase.ATTEST)
    state, lead = call.state, call.state.election.lead
    require(not docket.waits(call, lead), "proposals: not undisputed")
    require(_is_attested(call, clock, lead), "proposals: not enough attestations")
    require(docket.is_window_over(call, clock), "proposals: window still open")
    check(call, proposal_digest(clock.round, state.verification.accepted, root, rows))
    proposal = state.proposals.proposal
    require(proposal.cid == mark(cid), "proposals: another CID")
    block = Block(
        parent=state.rounds.head,
        round=clock.round,
        accepted=state.verification.accepted,
        root=root,
        cid=cid,
        leader=state.registry.miners.get(proposal.author, ZERO_ADDRESS),
        reward=rewards.reserve(call, lead.samples, lead.matches),
        engine=int(clock.engine),
        attested=lead.attested,
    )
    state.rounds.head = state.rounds.ledger[clock.round] = block_hash(block)
    state.proposals.root, state.proposals.cid = root, cid
    call.log(
        "Finalized",
        round=clock.round,
        leader=block.leader,
        root=root,
        cid=cid,
        accepted=block.accepted,
        reward=block.reward,
        attested=block.attested,
        block_hash=state.rounds.head,
    )
    rounds.open_round(call, clock.round + 1)


def skip(call: Call, voters: Sequence[int], bodies: Sequence[bytes]) -> None:
    """Pass the lead on when the leader is late or its proposal found no support in time.

    `voters`: who voted in the round, in the order of unveiling; `bodies`: what they voted.
    """
    bounded(MAX_MINERS, voters, bodies)
    state, clock = call.state, call.state.rounds.clock
    require(clock.phase in (Phase.PROPOSE, Phase.ATTEST), "rounds: not this phase")
    require(rounds.is_reached(call, clock), "proposals: not yet due")
    verification.check_chain(call, voters, bodies, "proposals: not the votes of this round")
    lead = state.election.lead
    require(not docket.waits(call, lead), "proposals: not undisputed")
    if clock.phase == Phase.PROPOSE:
        state.treasury.pool += registry.penalize(call, clock.round, lead.leader, call.terms.leader_penalty)
    else:
        require(not _is_attested(call, clock, lead), "proposals: attested")
    leader = state.registry.miners.get(lead.leader, ZERO_ADDRESS)
    call.log("Skipped", round=clock.round, leader=leader, turn=lead.turn)
    if not election.pass_to_next(call, clock, lead, voters):
        rounds.void(call, clock.round, VoidReason.NO_LEADER)


def model(call: Call) -> tuple[bytes, bytes]:
    """Return root and CID digest of the current global model."""
    return call.state.proposals.root, call.state.proposals.cid
