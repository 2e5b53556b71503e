"""What each event of the contract adds to the history: the order in which the chain tells a federation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from bcfl.protocol.beacon import seed_after, seed_after_void
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.rounds import Election, History, Member, Proposal, Recorded, Round, Submission
from bcfl.protocol.scores import Resources
from bcfl.protocol.submissions import pace, unpack_claim
from bcfl.protocol.types import Block, Engine, Opening, VoidReason
from bcfl.protocol.verification import own_position, puzzle, unavailable, unpack_accepted, unpack_verdicts


def take_in(history: History, events: Iterable[Recorded]) -> History:
    """The same history after further events."""
    for event in events:
        reader = READERS.get(event.name)
        if reader is not None:
            reader(history, event)
        found = history.rounds.get(event.args.get("round", -1))
        if found is not None and event.name != "Claimed":
            found.latest = event.timestamp
            if event.name != "RoundOpened":  # the round before paid for it
                found.transactions[event.transaction] = None
    return history


def _genesis(history: History, event: Recorded) -> None:
    args = event.args
    history.seed = args["seed"]
    nobody = "0x" + "0" * 40
    history.blocks.append(Block(bytes(32), 0, bytes(32), args["root"], args["cid"], nobody, 0))


def _miner_registered(history: History, event: Recorded) -> None:
    args = event.args
    number = max(history.rounds, default=0)
    history.miners[args["miner"]] = Member(args["miner"], args["index"], args["stake"], changed=number)
    _new_tail(history, event)


def _renewed(history: History, event: Recorded) -> None:
    history.miners[event.args["miner"]].changed = max(history.rounds, default=0)
    _new_tail(history, event)


def _new_tail(history: History, event: Recorded) -> None:
    miner = event.args["miner"]
    history.tails[miner] = event.args["tail"]
    history.chains[miner] = history.chains.get(miner, 0) + 1


def _announced(history: History, event: Recorded) -> None:
    history.endpoints[event.args["miner"]] = event.args["endpoint"]


def _stake_changed(history: History, event: Recorded) -> None:
    member, stake = history.miners[event.args["miner"]], event.args["stake"]
    if stake:  # not what is left when a miner has gone
        member.changed = max(history.rounds, default=0)
    member.stake = stake


def _miner_left(history: History, event: Recorded) -> None:
    history.miners[event.args["miner"]].exit_round = event.args["exit_round"]


def _device_registered(history: History, event: Recorded) -> None:
    account = event.args["device"]
    history.indices[account] = len(history.devices)
    history.devices.append(account)
    history.joined[account] = event.args["from_round"]


def _device_left(history: History, event: Recorded) -> None:
    history.left[event.args["device"]] = event.args["until_round"]


def _round_opened(history: History, event: Recorded) -> None:
    number, engine, mask = event.args["round"], Engine(event.args["engine"]), event.args["committee"]
    found = Round(number, event.timestamp, engine, history.seed)
    history.rounds[number] = found
    history.muster(number)
    found.committee = tuple(member.account for member in history.seats if mask >> member.index & 1)
    if engine is Engine.RESOURCE:
        found.scores = {member.account: _resources(history, member).score for member in history.seats}


def _resources(history: History, member: Member) -> Resources:
    return history.resources.get(member.account, Resources())


def _committed(history: History, event: Recorded) -> None:
    found, sender = history.of(event), event.args["sender"]
    commits = found.commits
    if sender in commits and any(member.account == sender for member in history.seats):
        found.alone[sender] = event.args["digest"]
        return
    commits.pop(sender, None)  # whoever commits again has its place in the order of that commitment
    commits[sender] = event.args["digest"]


def _revealed(history: History, event: Recorded) -> None:
    found = history.of(event)
    args = event.args
    for root, cid, claim in zip(args["roots"], args["cids"], args["claims"], strict=True):
        update = unpack_claim(found.number, root, cid, claim)
        found.submissions.append(Submission(len(found.submissions), update, args["submitter"]))
        history.roots.setdefault(root, found.number)


def _vote_committed(history: History, event: Recorded) -> None:
    history.of(event).vote_commits[event.args["miner"]] = event.args["digest"]


def _wished(history: History, event: Recorded) -> None:
    history.of(event).wished[event.args["miner"]] = Engine(event.args["engine"])


def _voted(history: History, event: Recorded) -> None:
    found, args = history.of(event), event.args
    verdicts = unpack_verdicts(args["accepted"], args["reasons"], len(found.submissions))
    opening = Opening(found.number, args["miner"], verdicts, args["salt"], found.wished.get(args["miner"]))
    found.votes.append(history.vote(opening))


def _tallied(history: History, event: Recorded) -> None:
    found, args = history.of(event), event.args
    found.accepted = unpack_accepted(args["accepted"], len(found.submissions))
    found.samples, found.matches = args["samples"], args["matches"]
    if found.engine is Engine.POW:
        found.puzzle = puzzle(found.seed, found.votes, args["parent"])
    if found.engine is Engine.RESOURCE:
        _note_resources(history, found, found.accepted)


def _note_resources(history: History, found: Round, accepted: tuple[bool, ...]) -> None:
    """What a counted round has shown of every active miner; who is no device has nothing that could fail."""
    devices = [item.update.device for item in found.submissions]
    missing = unavailable(found.votes, devices)
    votes = {vote.voter.account: vote.voter for vote in found.votes}
    for member in history.seats:
        voter = votes.get(member.account)
        own = None if voter is None else own_position(voter, devices)
        spared = voter is not None and voter.device is None
        taken = own is not None and accepted[own]
        history.resources[member.account] = _resources(history, member).after(
            on_time=voter is not None,
            available=spared or (own is not None and not missing[own]),
            accepted=spared or taken,
            pace=max(1, pace(found.submissions[own].update)) if own is not None and taken else 0,
        )


def _elected(history: History, event: Recorded) -> None:
    args = event.args
    history.of(event).elections.append(Election(args["leader"], args["turn"], args["nonce"]))


def _proposed(history: History, event: Recorded) -> None:
    args = event.args
    leader, layer = args["leader"], args["layer"]
    proposal = Proposal(leader, args["root"], args["cid"], args["rows"], layer, (leader,))
    history.of(event).proposals.append(proposal)
    history.tails[leader] = layer


def _attested(history: History, event: Recorded) -> None:
    proposals = history.of(event).proposals
    last = proposals[-1]
    attested = (*last.attested, event.args["miner"])
    proposals[-1] = replace(last, attested=attested)


def _disputed(history: History, event: Recorded) -> None:
    """A move of a dispute; one whose proposal has been refuted may end rounds later."""
    proposals = history.of(event).proposals
    if proposals:
        proposals[-1] = replace(proposals[-1], disputed=(*proposals[-1].disputed, event))


def _skipped(history: History, event: Recorded) -> None:
    history.of(event).skipped.append(event.args["leader"])


def _refuted(history: History, event: Recorded) -> None:
    found, args = history.of(event), event.args
    found.skipped.append(args["leader"])
    found.refuted.append((args["leader"], args["challenger"]))


def _penalized(history: History, event: Recorded) -> None:
    args = event.args
    history.miners[args["miner"]].stake -= args["amount"]
    history.of(event).penalties.append((args["miner"], args["amount"]))


def _finalized(history: History, event: Recorded) -> None:
    found, args = history.of(event), event.args
    found.block = Block(
        parent=block_hash(history.head),
        round=found.number,
        accepted=args["accepted"],
        root=args["root"],
        cid=args["cid"],
        leader=args["leader"],
        reward=args["reward"],
        engine=found.engine,
    )
    history.seed = seed_after(found.seed, found.proposals[-1].layer)
    found.block_hash = args["block_hash"]
    found.closed = event.timestamp
    history.blocks.append(found.block)
    for item in found.taken():
        history.trained.setdefault(item.update.device, []).append(item.update)


def _voided(history: History, event: Recorded) -> None:
    found = history.of(event)
    found.void = VoidReason(event.args["reason"])
    history.seed = seed_after_void(found.seed, found.number)
    found.closed = event.timestamp


def _claimed(history: History, event: Recorded) -> None:
    args = event.args
    history.claimed.add((args["account"], args["round"], args["as_miner"]))
    history.credited[args["account"]] = history.credited.get(args["account"], 0) + args["amount"]


READERS: dict[str, Callable[[History, Recorded], None]] = {
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
    "Disputed": _disputed,
    "RowsShown": _disputed,
    "NodesShown": _disputed,
    "LeafShown": _disputed,
    "Pursued": _disputed,
    "DisputeEnded": _disputed,
    "Skipped": _skipped,
    "Refuted": _refuted,
    "Penalized": _penalized,
    "Finalized": _finalized,
    "Voided": _voided,
    "Claimed": _claimed,
}
