"""Add each event of the contract to the history, in the order of the chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from bcfl.protocol.beacon import seed_after, seed_after_void
from bcfl.protocol.event import LogEvent
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.rounds import Election, History, Member, Proposal, Round, Submission
from bcfl.protocol.scores import Resources
from bcfl.protocol.submissions import pace, unpack_claim
from bcfl.protocol.types import Block, Engine, Opening, VoidReason
from bcfl.protocol.verification import own_position, puzzle, unavailable, unpack_accepted, unpack_verdicts


def take_in(history: History, events: Iterable[LogEvent]) -> History:
    """Add further events to `history`, in place, and return it."""
    for event in events:
        reader = READERS.get(event.name)
        if reader is not None:
            reader(history, event)
        round_ = history.rounds.get(event.args.get("round", -1))
        if round_ is not None and event.name != "Claimed":
            round_.latest_time = event.timestamp
            if event.name != "RoundOpened":  # the round before paid for it
                round_.transactions[event.transaction] = None
    return history


def _genesis(history: History, event: LogEvent) -> None:
    args = event.args
    history.seed = args["seed"]
    nobody = "0x" + "0" * 40
    history.blocks.append(Block(bytes(32), 0, bytes(32), args["root"], args["cid"], nobody, 0))


def _miner_registered(history: History, event: LogEvent) -> None:
    args = event.args
    number = max(history.rounds, default=0)
    history.miners[args["miner"]] = Member(args["miner"], args["index"], args["stake"], changed=number)
    _new_tail(history, event)


def _renewed(history: History, event: LogEvent) -> None:
    history.miners[event.args["miner"]].changed = max(history.rounds, default=0)
    _new_tail(history, event)


def _new_tail(history: History, event: LogEvent) -> None:
    miner = event.args["miner"]
    history.tails[miner] = event.args["tail"]
    history.chains[miner] = history.chains.get(miner, 0) + 1


def _announced(history: History, event: LogEvent) -> None:
    history.endpoints[event.args["miner"]] = event.args["endpoint"]


def _stake_changed(history: History, event: LogEvent) -> None:
    member, stake = history.miners[event.args["miner"]], event.args["stake"]
    if stake:  # not what is left when a miner has gone
        member.changed = max(history.rounds, default=0)
    member.stake = stake


def _miner_left(history: History, event: LogEvent) -> None:
    history.miners[event.args["miner"]].exit_round = event.args["exit_round"]


def _device_registered(history: History, event: LogEvent) -> None:
    account = event.args["device"]
    history.indices[account] = len(history.devices)
    history.devices.append(account)
    history.join_rounds[account] = event.args["from_round"]


def _device_left(history: History, event: LogEvent) -> None:
    history.leave_rounds[event.args["device"]] = event.args["until_round"]


def _round_opened(history: History, event: LogEvent) -> None:
    number, engine, mask = event.args["round"], Engine(event.args["engine"]), event.args["committee"]
    round_ = Round(number, event.timestamp, engine, history.seed)
    history.rounds[number] = round_
    history.seat_members(number)
    round_.committee = tuple(member.account for member in history.seats if mask >> member.index & 1)
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
    for root, cid, claim in zip(args["roots"], args["cids"], args["claims"], strict=True):
        update = unpack_claim(round_.number, root, cid, claim)
        round_.submissions.append(Submission(len(round_.submissions), update, args["submitter"]))
        history.roots.setdefault(root, round_.number)


def _vote_committed(history: History, event: LogEvent) -> None:
    history.round_of(event).vote_commits[event.args["miner"]] = event.args["digest"]


def _wished(history: History, event: LogEvent) -> None:
    history.round_of(event).wishes[event.args["miner"]] = Engine(event.args["engine"])


def _voted(history: History, event: LogEvent) -> None:
    round_, args = history.round_of(event), event.args
    verdicts = unpack_verdicts(args["accepted"], args["reasons"], len(round_.submissions))
    opening = Opening(round_.number, args["miner"], verdicts, args["salt"], round_.wishes.get(args["miner"]))
    round_.votes.append(history.vote(opening))


def _tallied(history: History, event: LogEvent) -> None:
    round_, args = history.round_of(event), event.args
    round_.accepted = unpack_accepted(args["accepted"], len(round_.submissions))
    round_.samples, round_.matches = args["samples"], args["matches"]
    if round_.engine is Engine.POW:
        round_.puzzle = puzzle(round_.seed, round_.votes, args["parent"])
    if round_.engine is Engine.RESOURCE:
        _count_resources(history, round_, round_.accepted)


def _count_resources(history: History, round_: Round, accepted: tuple[bool, ...]) -> None:
    """Update the record of every active miner; one that is no device has no update that could fail."""
    devices = [item.update.device for item in round_.submissions]
    missing = unavailable(round_.votes, devices)
    voters = {vote.voter.account: vote.voter for vote in round_.votes}
    for member in history.seats:
        voter = voters.get(member.account)
        position = None if voter is None else own_position(voter, devices)
        is_exempt = voter is not None and voter.device is None
        is_accepted = position is not None and accepted[position]
        speed = 0
        if position is not None and is_accepted:
            speed = max(1, pace(round_.submissions[position].update))
        history.resources[member.account] = _resources(history, member).after(
            on_time=voter is not None,
            available=is_exempt or (position is not None and not missing[position]),
            accepted=is_exempt or is_accepted,
            pace=speed,
        )


def _elected(history: History, event: LogEvent) -> None:
    args = event.args
    history.round_of(event).elections.append(Election(args["leader"], args["turn"], args["nonce"]))


def _proposed(history: History, event: LogEvent) -> None:
    args = event.args
    leader, layer = args["leader"], args["layer"]
    proposal = Proposal(leader, args["root"], args["cid"], args["rows"], layer, (leader,))
    history.round_of(event).proposals.append(proposal)
    history.tails[leader] = layer


def _attested(history: History, event: LogEvent) -> None:
    proposals = history.round_of(event).proposals
    proposal = proposals[-1]
    proposals[-1] = replace(proposal, attested=(*proposal.attested, event.args["miner"]))


def _dispute_moved(history: History, event: LogEvent) -> None:
    """Add a move of a dispute; a dispute whose proposal was refuted may end rounds later."""
    proposals = history.round_of(event).proposals
    if proposals:
        moves = (*proposals[-1].dispute_moves, event)
        proposals[-1] = replace(proposals[-1], dispute_moves=moves)


def _skipped(history: History, event: LogEvent) -> None:
    history.round_of(event).skipped.append(event.args["leader"])


def _refuted(history: History, event: LogEvent) -> None:
    round_, args = history.round_of(event), event.args
    round_.skipped.append(args["leader"])
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
    )
    history.seed = seed_after(round_.seed, round_.proposals[-1].layer)
    round_.block_hash = args["block_hash"]
    round_.closed = event.timestamp
    history.blocks.append(round_.block)
    for item in round_.accepted_submissions():
        history.trained.setdefault(item.update.device, []).append(item.update)


def _voided(history: History, event: LogEvent) -> None:
    round_ = history.round_of(event)
    round_.void = VoidReason(event.args["reason"])
    history.seed = seed_after_void(round_.seed, round_.number)
    round_.closed = event.timestamp


def _claimed(history: History, event: LogEvent) -> None:
    args = event.args
    history.claimed.add((args["account"], args["round"], args["as_miner"]))
    history.credited[args["account"]] = history.credited.get(args["account"], 0) + args["amount"]


READERS: dict[str, Callable[[History, LogEvent], None]] = {
    "Genesis": _genesis,
    "MinerRegistered": _miner_registered,
    "Renewed": _renewed,
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
    "Disputed": _dispute_moved,
    "RowsShown": _dispute_moved,
    "NodesShown": _dispute_moved,
    "LeafShown": _dispute_moved,
    "Pursued": _dispute_moved,
    "DisputeEnded": _dispute_moved,
    "Skipped": _skipped,
    "Refuted": _refuted,
    "Penalized": _penalized,
    "Finalized": _finalized,
    "Voided": _voided,
    "Claimed": _claimed,
}
