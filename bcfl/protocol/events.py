"""Add each event of the contract to the history, in the order of the chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from bcfl.protocol import turns
from bcfl.protocol.event import LogEvent
from bcfl.protocol.limits import TOP_LEVEL
from bcfl.protocol.lottery import Entrant, committees
from bcfl.protocol.readers import announced_key
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.rounds import Election, History, Member, Proposal, Round, Submission
from bcfl.protocol.scores import Resources, most_pace
from bcfl.protocol.submissions import pace, unpack_claim
from bcfl.protocol.types import Block, Electorate, Engine, Opening, VoidReason, Voter
from bcfl.protocol.verification import (
    chosen_engine,
    entropy,
    own_position,
    puzzle,
    refused,
    unavailable,
    unpack_codes,
    unpack_verdicts,
)

UNLIMITED = frozenset({"CidCorrected"})  # sent as often as one likes: nobody's turn begins anew with it


def take_in(history: History, events: Iterable[LogEvent]) -> History:
    """Add further events to `history`, in place, and return it."""
    for event in events:
        reader = READERS.get(event.name)
        if reader is not None:
            reader(history, event)
        round_ = history.rounds.get(event.args.get("round", -1))
        if round_ is not None and event.name != "Claimed":
            if event.name not in UNLIMITED:
                round_.latest_time = event.timestamp
            if event.name != "RoundOpened":  # the round before paid for it
                round_.transactions[event.transaction] = None
    return history


def _genesis(history: History, event: LogEvent) -> None:
    args = event.args
    nobody = "0x" + "0" * 40
    history.blocks.append(Block(bytes(32), 0, bytes(32), args["root"], args["cid"], nobody, 0))


def _ownership_transferred(history: History, event: LogEvent) -> None:
    history.owner = event.args["owner"]


def _miner_registered(history: History, event: LogEvent) -> None:
    miner, index = event.args["miner"], event.args["index"]
    history.miners[miner] = Member(miner, index, event.args["stake"], also_device=history.is_full)
    history.credits[index] = turns.JOINING


def _device_accepted(history: History, event: LogEvent) -> None:
    history.miners[event.args["miner"]].consents = True


def _suspended(history: History, event: LogEvent) -> None:
    member = history.miners[event.args["miner"]]
    member.suspended, member.until_round = True, event.args["until_round"]


def _resumed(history: History, event: LogEvent) -> None:
    history.miners[event.args["miner"]].suspended = False


def _announced(history: History, event: LogEvent) -> None:
    miner, endpoint = event.args["miner"], event.args["endpoint"]
    history.endpoints[miner] = endpoint
    key = announced_key(endpoint)
    if key is None:
        history.reader_keys.pop(miner, None)
    else:
        history.reader_keys[miner] = key


def _stake_changed(history: History, event: LogEvent) -> None:
    history.miners[event.args["miner"]].stake = event.args["stake"]


def _miner_left(history: History, event: LogEvent) -> None:
    history.miners[event.args["miner"]].exit_round = event.args["exit_round"]


def _device_registered(history: History, event: LogEvent) -> None:
    account, index = event.args["device"], event.args["index"]
    if index == len(history.devices):
        history.devices.append(account)
    history.indices[account] = index
    history.leave_rounds.pop(account, None)
    history.join_rounds[account] = event.args["from_round"]


def _device_left(history: History, event: LogEvent) -> None:
    history.leave_rounds[event.args["device"]] = event.args["until_round"]


def _round_opened(history: History, event: LogEvent) -> None:
    number, engine, committee = event.args["round"], Engine(event.args["engine"]), event.args["committee"]
    round_ = Round(number, event.timestamp, engine)
    history.rounds[number] = round_
    history.seat_members()
    round_.electorate = Electorate(sum(member.weight for member in history.seats))
    if committee:
        round_.electorate = Electorate(committee >> 64, is_committee=True)
        round_.committee = tuple(member.account for member in history.seats if committee >> member.index & 1)
    electors = [member.account for member in history.electors()]
    round_.readers = {account: history.reader_keys.get(account) for account in electors}
    seats = frozenset(member.index for member in history.seats)
    later = [members & seats for members in history.draws[1:]] if engine is Engine.COMMITTEE else []
    history.draws = later if any(later) else []
    if engine is Engine.RESOURCE:
        round_.scores = {member.account: _resources(history, member).score for member in history.seats}


def _resources(history: History, member: Member) -> Resources:
    return history.resources.get(member.account, Resources())


def _committed(history: History, event: LogEvent) -> None:
    round_, sender = history.round_of(event), event.args["sender"]
    commits = round_.commits
    if sender in commits and any(member.account == sender for member in history.seats):
        round_.device_commits[sender] = event.args["digest"]
        return
    commits.pop(sender, None)  # whoever commits again has its place in the order of that commitment
    commits[sender] = event.args["digest"]


def _revealed(history: History, event: LogEvent) -> None:
    round_ = history.round_of(event)
    args = event.args
    items = zip(args["roots"], args["cids"], args["claims"], strict=True)
    for root, cid, claim in (item for place, item in enumerate(items) if args["taken"] >> place & 1):
        update = unpack_claim(round_.number, root, cid, claim)
        position, readers = len(round_.submissions), len(round_.readers)
        round_.submissions.append(Submission(position, update, args["submitter"], readers=readers))
        history.roots.setdefault(root, round_.number)


def _vote_committed(history: History, event: LogEvent) -> None:
    history.round_of(event).vote_commits[event.args["miner"]] = event.args["digest"]


def _wished(history: History, event: LogEvent) -> None:
    history.round_of(event).wishes[event.args["miner"]] = Engine(event.args["engine"])


def _voted(history: History, event: LogEvent) -> None:
    round_, args = history.round_of(event), event.args
    verdicts, levels = unpack_verdicts(args["verdicts"], len(round_.submissions))
    wish = round_.wishes.get(args["miner"])
    opening = Opening(round_.number, args["miner"], verdicts, args["salt"], wish, levels)
    round_.votes.append(history.vote(opening))


def _tallied(history: History, event: LogEvent) -> None:
    round_, args = history.round_of(event), event.args
    round_.levels = unpack_codes(args["levels"], len(round_.submissions))
    if max(round_.levels, default=0) > TOP_LEVEL:
        raise ValueError(f"round {round_.number} has levels {round_.levels}")
    round_.samples, round_.matches = args["samples"], args["matches"]
    if round_.engine is Engine.POW:
        round_.puzzle = puzzle(block_hash(history.head), round_.number, round_.votes, args["parent"])
    if round_.engine is Engine.RESOURCE:
        _count_resources(history, round_)
    round_.credits = dict(history.credits)
    engine = history.next_engine or round_.engine
    history.next_engine = chosen_engine(round_.votes, round_.electorate, engine)
    if history.next_engine is not engine:
        history.draws = []
    _draw_committees(history, round_)


def _draw_committees(history: History, round_: Round) -> None:
    """Draw the committees of the next rounds, where everybody votes and all committed votes are open."""
    if history.next_engine is not Engine.COMMITTEE or round_.electorate.is_committee:
        return
    if len(round_.votes) != len(round_.vote_commits):
        return
    seats = {int(member.account, 16): member for member in history.seats}
    entrants = [Entrant(account, member.weight) for account, member in seats.items()]
    drawn = committees(entropy(round_.votes), entrants, history.committee_size)
    history.draws = [frozenset(seats[account].index for account in members) for members in drawn]


def _count_resources(history: History, round_: Round) -> None:
    """Update the record of every active miner.

    Only what more than half of all active weight refuses counts as refused: a minority that keeps an update
    out, or decides while others are away, must not decide who leads. One that is no device has no update that
    could fail, and the rate that it had as a device fades. Those without an update that counts take part in
    the median of paces with the rate that is known of them.
    """
    devices = [item.update.device for item in round_.submissions]
    missing = unavailable(round_.votes, len(devices), round_.electorate)
    counted = tuple(not item for item in refused(round_.votes, len(devices), round_.electorate))
    voters = {vote.voter.account: vote.voter for vote in round_.votes}
    paces = {account: _pace(round_, voter, devices, counted) for account, voter in voters.items()}
    known = {member.account: _resources(history, member).rate for member in history.seats}
    most = most_pace(
        [(paces.get(member.account) or known[member.account], member.weight) for member in history.seats],
        history.rate_factor,
    )
    for member in history.seats:
        voter = voters.get(member.account)
        position = None if voter is None else own_position(voter, devices)
        is_exempt = voter is not None and voter.device is None
        is_accepted = position is not None and counted[position]
        speed = min(paces.get(member.account, 0), most)
        history.resources[member.account] = _resources(history, member).after(
            on_time=voter is not None,
            available=is_exempt or (position is not None and not missing[position]),
            accepted=is_exempt or is_accepted,
            pace=speed,
        )


def _pace(round_: Round, voter: Voter, devices: Sequence[int], accepted: tuple[bool, ...]) -> int:
    """Return the samples per second of a voter before they are held to the median; 0 if there are none."""
    position = own_position(voter, devices)
    if position is None:
        return int(voter.device is None)
    return max(1, pace(round_.submissions[position].update)) if accepted[position] else 0


def _elected(history: History, event: LogEvent) -> None:
    round_, args = history.round_of(event), event.args
    round_.elections.append(Election(args["leader"], args["turn"], args["nonce"]))
    if round_.engine is not Engine.POW and not round_.standing:
        out = {history.miners[account].index for account in round_.failed}
        shares = {seat: weight for seat, weight in round_.shares().items() if seat not in out}
        shared = turns.share(history.credits, shares)
        history.credits = turns.charge(shared, history.miners[args["leader"]].index)


def _proposed(history: History, event: LogEvent) -> None:
    round_, args = history.round_of(event), event.args
    leader = args["leader"]
    proposal = Proposal(leader, args["author"], args["root"], args["cid"], args["rows"], (leader,))
    if round_.standing and round_.proposals[-1].content == proposal.content:
        before = [account for account in round_.proposals[-1].attested if account != leader]
        proposal = replace(proposal, attested=(*before, leader))
    elif round_.standing and not round_.was_replaced(proposal.content):
        history.credits = turns.charge(history.credits, history.miners[leader].index)
    round_.standing = True
    round_.proposals.append(proposal)


def _attested(history: History, event: LogEvent) -> None:
    proposals = history.round_of(event).proposals
    proposal = proposals[-1]
    proposals[-1] = replace(proposal, attested=(*proposal.attested, event.args["miner"]))


def _corrected_cid(history: History, event: LogEvent) -> None:
    history.round_of(event).corrected_cids[event.args["miner"]] = event.args["cid"]


def _announced_challenge(history: History, event: LogEvent) -> None:
    proposals = history.round_of(event).proposals
    proposals[-1] = replace(proposals[-1], announcements=(*proposals[-1].announcements, event))
    history.announcements[event.args["challenger"], event.args["sealed"]] = event


def _announcement_ended(history: History, event: LogEvent) -> None:
    del history.announcements[event.args["challenger"], event.args["sealed"]]


def _disputed(history: History, event: LogEvent) -> None:
    history.disputes[event.args["number"]] = event
    _add_move(history.round_of(event), event)


def _dispute_moved(history: History, event: LogEvent) -> None:
    _add_move(history.round_of(event), event)


def _dispute_ended(history: History, event: LogEvent) -> None:
    """End a dispute; one whose proposal was refuted may end about a later proposal, or rounds later."""
    number = event.args["number"]
    del history.disputes[number]
    current = history.current
    if current is not None and current.proposals:
        moves = current.proposals[-1].dispute_moves
        if any(move.args["number"] == number for move in moves):
            _add_move(current, event)


def _add_move(round_: Round, event: LogEvent) -> None:
    proposals = round_.proposals
    proposals[-1] = replace(proposals[-1], dispute_moves=(*proposals[-1].dispute_moves, event))


def _skipped(history: History, event: LogEvent) -> None:
    round_, leader = history.round_of(event), event.args["leader"]
    round_.skipped.append(leader)
    round_.failed.add(leader)


def _refuted(history: History, event: LogEvent) -> None:
    round_, args = history.round_of(event), event.args
    round_.skipped.append(args["leader"])
    round_.failed |= {args["leader"], round_.elections[-1].leader, *round_.proposals[-1].attested}
    round_.slashed |= {args["leader"], *round_.proposals[-1].attested}
    round_.standing = False
    round_.proposals[-1] = replace(round_.proposals[-1], refuted=True)
    round_.refutations.append((args["leader"], args["challenger"]))


def _penalized(history: History, event: LogEvent) -> None:
    args = event.args
    history.miners[args["miner"]].stake -= args["amount"]
    history.round_of(event).penalties.append((args["miner"], args["amount"]))


def _finalized(history: History, event: LogEvent) -> None:
    round_, args = history.round_of(event), event.args
    round_.block = Block(
        parent=block_hash(history.head),
        round=round_.number,
        accepted=args["accepted"],
        root=args["root"],
        cid=args["cid"],
        leader=args["leader"],
        reward=args["reward"],
        engine=round_.engine,
        attested=args["attested"],
    )
    round_.block_hash = args["block_hash"]
    round_.closed = event.timestamp
    history.blocks.append(round_.block)
    for item in round_.accepted_submissions():
        history.trained.setdefault(item.update.device, []).append(item.update)


def _voided(history: History, event: LogEvent) -> None:
    round_ = history.round_of(event)
    round_.void = VoidReason(event.args["reason"])
    history.draws = []
    round_.closed = event.timestamp


def _claimed(history: History, event: LogEvent) -> None:
    args = event.args
    history.claimed.add((args["account"], args["round"], args["as_miner"]))
    history.credited[args["account"]] = history.credited.get(args["account"], 0) + args["amount"]


READERS: dict[str, Callable[[History, LogEvent], None]] = {
    "Genesis": _genesis,
    "OwnershipTransferred": _ownership_transferred,
    "MinerRegistered": _miner_registered,
    "DeviceAccepted": _device_accepted,
    "Suspended": _suspended,
    "Resumed": _resumed,
    "Announced": _announced,
    "StakeChanged": _stake_changed,
    "MinerLeft": _miner_left,
    "DeviceRegistered": _device_registered,
    "DeviceLeft": _device_left,
    "RoundOpened": _round_opened,
    "Committed": _committed,
    "Revealed": _revealed,
    "VoteCommitted": _vote_committed,
    "Wished": _wished,
    "Voted": _voted,
    "Tallied": _tallied,
    "Elected": _elected,
    "Proposed": _proposed,
    "Attested": _attested,
    "CidCorrected": _corrected_cid,
    "ChallengeAnnounced": _announced_challenge,
    "AnnouncementEnded": _announcement_ended,
    "Disputed": _disputed,
    "RowsShown": _dispute_moved,
    "NodesShown": _dispute_moved,
    "LeafShown": _dispute_moved,
    "Pursued": _dispute_moved,
    "DisputeEnded": _dispute_ended,
    "Skipped": _skipped,
    "Refuted": _refuted,
    "Penalized": _penalized,
    "Finalized": _finalized,
    "Voided": _voided,
    "Claimed": _claimed,
}
