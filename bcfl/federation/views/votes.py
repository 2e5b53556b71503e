"""View the votes of a round: each miner's verdict on each update, and the numbers that it had for it.

The verdicts are on chain. The numbers are each miner's own and in its journal.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from bcfl.protocol.rounds import Round
from bcfl.protocol.verification import Vote, own_position
from bcfl.roles.miner import findings
from bcfl.roles.miner.findings import Finding

if TYPE_CHECKING:
    from bcfl.federation.views.source import Source


class VoteView(TypedDict):
    """An unveiled vote; `matches` counts the verdicts as the tally has them, None before it."""

    miner: str
    weight: int
    accepted: int
    rejected: int
    matches: int | None
    wish: str | None
    salt: bytes


class FindingView(TypedDict):
    """A rule that an update failed in a miner's check: its score and the bounds it was held to.

    Of what is accepted: its merit, the level that this comes to, and its gain, with their standard errors.
    """

    reason: str
    rule: str
    score: float | None
    least: float | None
    most: float | None
    error: float | None
    level: int | None
    gain: float | None
    gain_error: float | None


class JudgedView(TypedDict):
    """An update: the tally's verdict and level, and each miner's, with the findings behind it."""

    position: int
    device: str
    verdict: str | None
    level: int | None
    verdicts: dict[str, str]
    levels: dict[str, int]
    numbers: dict[str, list[FindingView]]


class VotesView(TypedDict):
    """The verdicts of a round, updates by miners.

    `silent` are the miners that never unveiled, `unexplained` those whose journal has nothing of the round.
    """

    round: int
    status: str
    miners: list[VoteView]
    silent: list[str]
    unexplained: list[str]
    updates: list[JudgedView]


def votes_view(source: Source, round_: Round, journals: Path) -> VotesView:
    """Return the verdicts of a round; `journals` is the folder of the miners' journals."""
    voters = [vote.voter.account for vote in round_.votes]
    findings_of = {miner: findings.read_round(journals / miner, round_.number) for miner in voters}
    return {
        "round": round_.number,
        "status": round_.status,
        "miners": cast_votes(round_),
        "silent": [miner for miner in round_.vote_commits if miner not in voters],
        "unexplained": [miner for miner, notes in findings_of.items() if notes is None],
        "updates": [
            {
                "position": item.position,
                "device": source.history.devices[item.update.device],
                "verdict": tallied(round_, item.position),
                "level": level_of(round_, item.position),
                "verdicts": verdicts_on(round_, item.position),
                "levels": {vote.voter.account: vote.opening.levels[item.position] for vote in round_.votes},
                "numbers": numbers(findings_of, item.position),
            }
            for item in round_.submissions
        ],
    }


def cast_votes(round_: Round) -> list[VoteView]:
    """Return the unveiled votes of a round."""
    return [
        {
            "miner": vote.voter.account,
            "weight": vote.voter.weight,
            "accepted": sum(not verdict for verdict in vote.opening.verdicts),
            "rejected": sum(bool(verdict) for verdict in vote.opening.verdicts),
            "matches": None if round_.levels is None else match_count(round_, vote),
            "wish": None if vote.opening.wish is None else vote.opening.wish.name.lower(),
            "salt": vote.opening.salt,
        }
        for vote in round_.votes
    ]


def match_count(round_: Round, vote: Vote) -> int:
    """Return how many verdicts of a vote are the tally's, its own updates left out; 0 before the tally."""
    if not round_.levels:
        return 0
    own = own_place(round_, vote)
    pairs = zip(vote.opening.verdicts, round_.levels, strict=True)
    return sum((not verdict) == (level > 0) for place, (verdict, level) in enumerate(pairs) if place != own)


def own_place(round_: Round, vote: Vote) -> int | None:
    """Return where among a round's updates the voter's own is; None where it has none."""
    if vote.voter.device is None:
        return None
    return own_position(vote.voter, [item.update.device for item in round_.submissions])


def verdicts_on(round_: Round, position: int) -> dict[str, str]:
    """Return each miner's verdict on an update, in words."""
    return {miner: verdict.name.lower() for miner, verdict in round_.verdicts(position).items()}


def tallied(round_: Round, position: int) -> str | None:
    """Return the tally's verdict on an update; None before the tally."""
    return None if round_.levels is None else round_.verdict(position).name.lower()


def level_of(round_: Round, position: int) -> int | None:
    """Return how much an update counts, 0 where it is rejected; None before the tally."""
    return None if round_.levels is None else round_.levels[position]


def numbers(findings_of: dict[str, list[Finding] | None], position: int) -> dict[str, list[FindingView]]:
    """Return what each miner found of one update."""
    return {
        miner: [_finding(item) for item in items or () if item.position == position]
        for miner, items in findings_of.items()
    }


def _finding(finding: Finding) -> FindingView:
    return {
        "reason": finding.reason,
        "rule": finding.rule,
        "score": finding.score,
        "least": finding.least,
        "most": finding.most,
        "error": finding.error,
        "level": finding.level,
        "gain": finding.gain,
        "gain_error": finding.gain_error,
    }
