"""A search over rounds for the update that does most and still passes: few tries a round, none forgotten.

What is tried has a kind (which way), a strength (how far) and a length. A round tries the best so far and
steps to its sides; where a step is better it is the next round's start, else steps become smaller. What the
tally said of the last round makes the search bolder or more cautious.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

STEP, LEAST_STEP, SHRINK = 2.0, 1.2, 0.7  # factor of strength, its root of length; its power where none helps
STRENGTHS, LENGTHS = (0.02, 50.0), (0.2, 20.0)
BOLDER, SHYER = 1.1, 0.75  # factors of what is sent, where as much passed as was expected, or less
BOLDEST, SHYEST = 1.5, 0.1
MISS = 0.25  # levels by which a round disappoints


@dataclass(frozen=True)
class Knobs:
    """How an update is made."""

    kind: str
    strength: float = 1.0  # times what the goal asks for
    length: float = 1.0  # times the usual norm


class Search:
    """The best knobs so far for each kind; `caution` multiplies the strength of what is sent."""

    def __init__(self, kinds: Sequence[str], tries: int, caution: float = 1.0) -> None:
        self.best = {kind: Knobs(kind) for kind in kinds}
        self.leader, self.caution = kinds[0], caution
        self._tries, self._step, self._round = tries, STEP, 0

    def candidates(self) -> list[Knobs]:
        """Return what to try in this round, the best so far first."""
        lead, step = self.best[self.leader], self._step
        others = [knobs for kind, knobs in self.best.items() if kind != self.leader]
        turn = self._round % max(1, len(others))  # so that each has its turn where tries are few
        others = others[turn:] + others[:turn]
        sides = [
            replace(lead, strength=lead.strength * step),
            replace(lead, strength=lead.strength / step),
            replace(lead, length=lead.length * step**0.5),
            replace(lead, length=lead.length / step**0.5),
        ]
        self._round += 1
        far = step if self._round % 2 else 1 / step
        more = [replace(knobs, strength=knobs.strength * far) for knobs in (*others, lead)]
        more[-1] = replace(lead, strength=lead.strength * step, length=lead.length * step**0.5)
        tries = [_bounded(knobs) for knobs in (lead, *sides, *others, *more)]
        return list(dict.fromkeys(tries))[: self._tries]

    def best_of(self, gain: Callable[[Knobs], float], least: float) -> Knobs | None:
        """Try this round's candidates; return the one of most gain, None if it is not over `least`.

        What does not pass has a gain of -inf; where nothing of a kind does, it is weaker the next time.
        """
        gains = {knobs: gain(knobs) for knobs in self.candidates()}
        for kind in self.best:
            of_kind = [knobs for knobs in gains if knobs.kind == kind]
            if of_kind:
                top = max(of_kind, key=gains.__getitem__)
                fails = gains[top] == -math.inf
                self.best[kind] = _bounded(replace(top, strength=top.strength / STEP)) if fails else top
        start = self.best[self.leader]
        winner = max(gains, key=gains.__getitem__)
        if gains[winner] <= least:
            if gains[winner] > -math.inf:
                self.best[self.leader] = _bounded(replace(start, strength=start.strength / self._step))
            return None
        moved = winner != next(iter(gains))
        self._step = min(STEP, self._step * STEP**0.5) if moved else max(LEAST_STEP, self._step**SHRINK)
        self.leader = winner.kind
        return winner

    def sent(self, knobs: Knobs) -> Knobs:
        """Return what is sent where `knobs` won."""
        return _bounded(replace(knobs, strength=knobs.strength * self.caution))

    def learn(self, expected: float, actual: float) -> None:
        """Compare the mean level that was expected of what was sent with the one that the tally gave."""
        factor = SHYER if actual < expected - MISS else BOLDER
        self.caution = min(BOLDEST, max(SHYEST, self.caution * factor))


def _bounded(knobs: Knobs) -> Knobs:
    return replace(
        knobs,
        strength=min(STRENGTHS[1], max(STRENGTHS[0], knobs.strength)),
        length=min(LENGTHS[1], max(LENGTHS[0], knobs.length)),
    )
