"""View the votes of a round as a matrix of letters: a row for each miner, a column for each update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypedDict

import numpy as np

from bcfl.federation.views.earnings import match_counts, verdict_array
from bcfl.protocol.limits import TOP_LEVEL
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Verdict
from bcfl.protocol.verification import verdict_codes

NONE, UNJUDGED = ".", "?"  # as in the maps of `bcfl.pages.charts`
REJECTED: Final = "?umtdqo"  # by the number of the verdict
LEVEL_CODES: Final = "".join(map(str, range(1, TOP_LEVEL + 1)))
LEVEL_LETTERS: Final = (UNJUDGED + LEVEL_CODES).encode().ljust(256, b"?")  # by the level of an update
LETTERS: Final = UNJUDGED + LEVEL_CODES + REJECTED[1:]  # by the code of a verdict on chain
LEGEND: Final[dict[str, str]] = {
    **{level: f"accepted at level {level}" for level in LEVEL_CODES},
    **{REJECTED[each]: each.name.lower() for each in Verdict if each is not Verdict.ACCEPTED},
    NONE: "no update",
    UNJUDGED: "not judged",
}


class VoteRow(TypedDict):
    """A miner's vote: a letter for each update, and how many are as the tally has them (None before it)."""

    miner: str
    weight: int
    codes: str
    matches: int | None


class VoteMatrix(TypedDict):
    """The votes of a round; `devices` are the indices of those whose updates are judged, in this order.

    `tally` has a letter for each update, `silent` the miners that committed a vote and never unveiled it.
    """

    round: int
    status: str
    devices: list[int]
    tally: str
    miners: list[VoteRow]
    silent: list[str]


def vote_matrix(round_: Round) -> VoteMatrix:
    """Return the votes of a round."""
    voters = [vote.voter.account for vote in round_.votes]
    counts = match_counts(round_)
    return {
        "round": round_.number,
        "status": round_.status,
        "devices": [item.update.device for item in round_.submissions],
        "tally": tally_codes(round_),
        "miners": [
            {
                "miner": vote.voter.account,
                "weight": vote.voter.weight,
                "codes": "".join(LETTERS[code] for code in verdict_codes(vote.opening)),
                "matches": None if round_.levels is None else count,
            }
            for vote, count in zip(round_.votes, counts, strict=True)
        ],
        "silent": [miner for miner in round_.vote_commits if miner not in voters],
    }


def tally_codes(round_: Round) -> str:
    """Return a letter for each update of a round, in its order: its level, or why it is rejected."""
    if round_.levels is None:
        return UNJUDGED * len(round_.submissions)
    letters = bytearray(bytes(round_.levels).translate(LEVEL_LETTERS))
    rejected = [place for place, level in enumerate(round_.levels) if not level]
    for place, verdict in zip(rejected, _reasons(round_, rejected), strict=True):
        letters[place] = ord(REJECTED[verdict])
    return letters.decode("ascii")


def _reasons(round_: Round, places: Sequence[int]) -> Sequence[int]:
    """Return the verdict of a round on updates that it rejected, as `Round.verdict` does, of all at once."""
    if not round_.votes or not places:
        return [Verdict.OUTLIER] * len(places)
    verdicts = verdict_array(round_)[:, places]  # (votes, places)
    weights = np.array([vote.voter.weight for vote in round_.votes], np.int64)
    against = [reason for reason in sorted(Verdict) if reason is not Verdict.ACCEPTED]
    given = np.array([verdicts == reason for reason in against])  # (reasons, votes, places)
    sums = np.where(given.any(axis=1), weights @ given, -1)  # (reasons, places); -1: nobody says so
    heaviest = sums.argmax(axis=0).tolist()  # of equal ones the first, which has the lowest number
    pairs = zip(heaviest, sums.max(axis=0).tolist(), strict=True)
    return [Verdict.OUTLIER if weight < 0 else against[place] for place, weight in pairs]
