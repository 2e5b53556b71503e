"""View who led a round, and in which order the miners stood in line."""

from __future__ import annotations

from typing import TypedDict

from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Engine


class CandidateView(TypedDict):
    """A miner in line: what it was drawn by, and that as a share of all."""

    miner: str
    weight: int
    share: float


class LeaderView(TypedDict):
    """Who led a round, at which turn, and who would have been next; `nonce` is a proof of work's."""

    round: int
    status: str
    engine: str
    committee: list[str]
    leader: str | None
    turn: int | None
    nonce: int | None
    seed: bytes
    skipped: list[str]
    order: list[CandidateView]


def leader_view(round_: Round) -> LeaderView:
    """Return who led a round, and the order in which the miners stood in line."""
    line = round_.leader_order()
    weights = {voter.account: round_.scores.get(voter.account, voter.weight) for voter in line}
    total = sum(weights.values())
    election = round_.elections[-1] if round_.elections else None
    return {
        "round": round_.number,
        "status": round_.status,
        "engine": round_.engine.name.lower(),
        "committee": list(round_.committee),
        "leader": round_.leader,
        "turn": election.turn if election else None,
        "nonce": election.nonce if election and round_.engine is Engine.POW else None,
        "seed": round_.seed,
        "skipped": round_.skipped,
        "order": [
            {"miner": miner, "weight": weight, "share": round(weight / total, 6)}
            for miner, weight in weights.items()
        ],
    }
