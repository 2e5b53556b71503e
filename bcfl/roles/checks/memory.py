"""Say who was left out not long ago, by what is public: what is seen again needs less to be believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.types import Verdict
from bcfl.roles.checks.scores import Mask

MEMORY: Final = 10  # rounds: what a part of a group brings is not found each time
TIMES: Final = 2  # that an outlier is remembered for: there are many reasons to be one, and most pass


def blamed(
    history: History, current: Round, submissions: Sequence[Submission], verdict: Verdict, times: int = 1
) -> Mask:
    """Return whose device two thirds of the weight called `verdict` so often not long ago, (submissions,).

    Half and a little more leave an update out, but are not remembered: a few that vote so on everybody need
    the error of one more.
    """
    counts = Counter[int]()
    for number in history.numbers_before(current.number, MEMORY):
        earlier = history.rounds[number]
        if earlier.levels is None:
            continue
        whole, devices = sum(vote.voter.weight for vote in earlier.votes), set[int]()
        for item in earlier.submissions:
            found = [vote for vote in earlier.votes if vote.opening.verdicts[item.position] is verdict]
            if found and 3 * sum(vote.voter.weight for vote in found) >= 2 * whole:
                devices.add(item.update.device)
        counts.update(devices)
    return np.array([counts[item.update.device] >= times for item in submissions], dtype=bool)
