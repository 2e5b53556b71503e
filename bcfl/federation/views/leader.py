"""View who led a round, and whose turn it was after which."""

from __future__ import annotations

from typing import TypedDict

from bcfl.protocol.rounds import Round
from bcfl.protocol.turns import UNIT, credit
from bcfl.protocol.types import Engine


class CandidateView(TypedDict):
    """A miner in turn: what a lead is shared out by, that as a share of all, and its credit before.

    The credit is in leads: whoever has most of it leads, and pays one.
    """

    miner: str
    weight: int
    share: float
    credit: float


class LeaderView(TypedDict):
    """Who led a round, at which turn, and who would have been next; `nonce` is a proof of work's.

    `author` proposed the last proposal first, and has the reward of the lead.
    """

    round: int
    status: str
    engine: str
    committee: list[str]
    leader: str | None
    author: str | None
    turn: int | None
    nonce: int | None
    skipped: list[str]
    order: list[CandidateView]


def leader_view(round_: Round) -> LeaderView:
    """Return who led a round, and the order of the turns if every leader is silent."""
    shares = round_.shares()
    total = sum(shares.values())
    election = round_.elections[-1] if round_.elections else None
    return {
        "round": round_.number,
        "status": round_.status,
        "engine": round_.engine.name.lower(),
        "committee": list(round_.committee),
        "leader": round_.leader,
        "author": round_.proposals[-1].author if round_.proposals else None,
        "turn": election.turn if election else None,
        "nonce": election.nonce if election and round_.engine is Engine.POW else None,
        "skipped": round_.skipped,
        "order": [
            {
                "miner": voter.account,
                "weight": shares[voter.index],
                "share": round(shares[voter.index] / total, 6),
                "credit": round(credit(round_.credits, voter.index) / UNIT, 6),
            }
            for voter in round_.leader_order()
        ],
    }
