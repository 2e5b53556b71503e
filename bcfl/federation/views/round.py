"""View a round: its phases, updates, votes, proposals and penalties, and the model in force after it."""

from __future__ import annotations

from typing import Final, TypedDict

from bcfl.federation.views.source import Source, Transaction
from bcfl.federation.views.votes import VoteView, cast_votes, level_of, tallied, verdicts_on
from bcfl.protocol.limits import NO_DEADLINE
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Clock, Phase

# The phase that a transaction is of, by the first event in it, in the order of a round.
PHASES: Final = {
    "Committed": "commit",
    "Revealed": "reveal",
    "VoteCommitted": "vote",
    "Wished": "unveil",
    "Voted": "unveil",
    "Tallied": "tally",
    "Elected": "elect",
    "Proposed": "propose",
    "Skipped": "propose",
    "Attested": "attest",
    "Finalized": "finalize",
    "Voided": "void",
}

# What a phase cost; `from` and `until` are timestamps.
PhaseView = TypedDict("PhaseView", {"phase": str, "from": int, "until": int, "transactions": int, "gas": int})


class DueView(TypedDict):
    """What the running round waits for: a phase, until when, and which miners; None: time does not end it."""

    phase: str
    deadline: int | None
    awaited: list[str]


class RejectedView(TypedDict):
    """A rejected update."""

    device: str
    reason: str


class CommitView(TypedDict):
    """A batch that somebody committed to."""

    sender: str
    digest: bytes


class VoteCommitView(TypedDict):
    """A vote that a miner committed to."""

    miner: str
    digest: bytes


class SubmissionView(TypedDict):
    """A revealed update: what the device signed, the tally's verdict and level, and each miner's verdict."""

    position: int
    device: str
    index: int
    submitter: str
    samples: int
    microseconds: int
    verdict: str | None
    level: int | None
    root: bytes
    cid: str
    verdicts: dict[str, str]


class ElectionView(TypedDict):
    """An election of the round."""

    leader: str
    turn: int
    nonce: int


class ProposalView(TypedDict):
    """A proposed model, who proposed it first, and who attested it, with what weight."""

    leader: str
    author: str
    root: bytes
    cid: str
    rows: bytes
    attested: list[str]
    attested_weight: int


class PenaltyView(TypedDict):
    """What a miner paid, in wei."""

    miner: str
    amount: int


class ElectorateView(TypedDict):
    """All who may vote in a round, there or not: their weight, and how much of it decides."""

    whole: int
    deciding: int


class RoundView(TypedDict):
    """Everything that the chain says of a round; `global_root` and `global_cid` are of the model after it.

    Amounts are in wei, times in seconds since 1970; `due` is None once the round has ended.
    `electorate` is who decides: over half of its weight, there or not, or over two thirds of a committee.
    """

    round: int
    status: str
    reason: str | None
    engine: str
    committee: list[str]
    electorate: ElectorateView
    opened: int
    closed: int | None
    due: DueView | None
    leader: str | None
    accepted: list[str]
    rejected: list[RejectedView]
    samples: int
    global_root: bytes
    global_cid: str
    block_hash: bytes | None
    parent: bytes | None
    reward: int
    gas: int
    transactions: int
    phases: list[PhaseView]
    commits: list[CommitView]
    submissions: list[SubmissionView]
    vote_commits: list[VoteCommitView]
    votes: list[VoteView]
    elections: list[ElectionView]
    skipped: list[str]
    proposals: list[ProposalView]
    penalties: list[PenaltyView]


def round_view(source: Source, round_: Round) -> RoundView:
    """Return everything that the chain says of a round."""
    transactions = source.transactions(round_)
    model = source.history.model_before(round_.number + 1)
    block = round_.block
    return {
        "round": round_.number,
        "status": round_.status,
        "reason": None if round_.void is None else round_.void.name.lower(),
        "engine": round_.engine.name.lower(),
        "committee": list(round_.committee),
        "electorate": _electorate(round_),
        "opened": round_.opened,
        "closed": round_.closed,
        "due": _due(source) if round_.closed is None else None,
        "leader": round_.leader,
        "accepted": [source.history.devices[item.update.device] for item in round_.accepted_submissions()],
        "rejected": _rejected(source, round_),
        "samples": round_.samples,
        "global_root": model.root,
        "global_cid": source.model_cid(model.round, model.cid),
        "block_hash": round_.block_hash,
        "parent": block.parent if block else None,
        "reward": block.reward if block else 0,
        "gas": sum(item.gas for item in transactions),
        "transactions": len(transactions),
        "phases": _phases(transactions),
        "commits": [{"sender": sender, "digest": digest} for sender, digest in round_.commits.items()],
        "submissions": _submissions(source, round_),
        "vote_commits": [{"miner": miner, "digest": digest} for miner, digest in round_.vote_commits.items()],
        "votes": cast_votes(round_),
        "elections": [{"leader": e.leader, "turn": e.turn, "nonce": e.nonce} for e in round_.elections],
        "skipped": round_.skipped,
        "proposals": _proposals(source, round_),
        "penalties": [{"miner": miner, "amount": amount} for miner, amount in round_.penalties],
    }


def deadline_of(clock: Clock) -> int | None:
    """Return when the phase ends; None where time does not end it, as before the first round."""
    return clock.deadline if clock.deadline < NO_DEADLINE else None


def _due(source: Source) -> DueView:
    clock = source.clock
    missing = 0 if clock.phase is Phase.TALLY else clock.expected & ~clock.acted
    awaited = [member.account for member in source.history.miners.values() if missing >> member.index & 1]
    return {"phase": clock.phase.name.lower(), "deadline": deadline_of(clock), "awaited": awaited}


def _rejected(source: Source, round_: Round) -> list[RejectedView]:
    if round_.levels is None:
        return []
    return [
        {
            "device": source.history.devices[item.update.device],
            "reason": round_.verdict(item.position).name.lower(),
        }
        for item in round_.submissions
        if not round_.levels[item.position]
    ]


def _phases(transactions: list[Transaction]) -> list[PhaseView]:
    """Return the phases in the order in which they began."""
    groups: dict[str, list[Transaction]] = {}
    for item in transactions:
        phase = next((PHASES[name] for name in item.names if name in PHASES), "other")
        groups.setdefault(phase, []).append(item)
    return [
        {
            "phase": phase,
            "from": items[0].timestamp,
            "until": items[-1].timestamp,
            "transactions": len(items),
            "gas": sum(item.gas for item in items),
        }
        for phase, items in groups.items()
    ]


def _submissions(source: Source, round_: Round) -> list[SubmissionView]:
    return [
        {
            "position": item.position,
            "device": source.history.devices[item.update.device],
            "index": item.update.device,
            "submitter": item.submitter,
            "samples": item.update.samples,
            "microseconds": item.update.microseconds,
            "verdict": tallied(round_, item.position),
            "level": level_of(round_, item.position),
            "root": item.update.root,
            "cid": source.update_cid(item),
            "verdicts": verdicts_on(round_, item.position),
        }
        for item in round_.submissions
    ]


def _electorate(round_: Round) -> ElectorateView:
    whole = round_.electorate.whole
    deciding = (2 * whole // 3 if round_.electorate.is_committee else whole // 2) + 1
    return {"whole": whole, "deciding": deciding}


def _proposals(source: Source, round_: Round) -> list[ProposalView]:
    weights = {vote.voter.account: vote.voter.weight for vote in round_.votes}
    return [
        {
            "leader": proposal.leader,
            "author": proposal.author,
            "root": proposal.root,
            "cid": source.model_cid(round_.number, proposal.cid),
            "rows": proposal.rows,
            "attested": list(proposal.attested),
            "attested_weight": sum(weights.get(account, 0) for account in proposal.attested),
        }
        for proposal in round_.proposals
    ]
