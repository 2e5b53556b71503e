"""A group that has honest updates taken for a hidden task, for `benchmarks.groups`.

The members know every honest update of the round, and play the search for a hidden task themselves, with
ways of the classes that they find on data of their own. Each sends what its own update has in these ways, a
part of what is left of the updates of some victims, added up, and noise that the members cancel between
them. So what some honest updates have in common, and others lack, is what they share with the members. The
search may find the victims, or all other honest devices, and no member. Which victims, and how large a part,
the members try out: first by inner products, then with the check itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bcfl.adversaries.coalition import deltas_of, trainings_of
from bcfl.adversaries.learners import Floats, Matrix
from bcfl.ports import Vector
from bcfl.roles.checks import hidden_task
from bcfl.roles.checks.medians import median_of
from bcfl.roles.checks.needs import SMALLEST, Updates
from bcfl.roles.checks.scores import Mask
from testkit.hiding_group import Joint, cancelling
from testkit.knowing_attack import across

LOOKERS = 8  # parts of the members' data on which they play the search
DOUBT = 0.25  # of them may find less
TRIES, DRAWS, KEPT = 90, 60, 3  # frames that a round tries; drawn for each; that are varied
ENOUGH = 16.0  # honest updates left out, at which the members stop trying
SURE = 1.06  # beyond the bounds: what a try has to reach, as miners have other samples
PRICE = 0.3  # of an honest update: a member's that is left out
FEWEST, MOST = 5, 15  # victims
FRAMES = ("honest as a group",)
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """What the members of a group try."""

    victims: Places
    part: float  # of the victims' way in what is left of a member
    inside: float  # of a member's length: ways of the classes


class Framing(Joint):
    """The members of one group that frames honest devices."""

    def agree(self, model: Vector, round_: int) -> dict[int, Floats]:
        """Return what each member sends, (parameters,): its own update where no frame is found."""
        lookers, rng = self.lookers(LOOKERS), self.rng(round_)
        others = [d.trainer.learner for i, d in enumerate(self.federation.devices) if i not in self.members]
        honest = deltas_of(trainings_of(others, model, round_), model)
        own = self.own_updates(model, round_)
        slopes = [each.class_slopes(model, hidden_task.SAMPLES) for each in lookers]
        rehearsal = Rehearsal(honest, own, slopes, rng)
        frame = rehearsal.search()
        return dict(zip(self.order, own if frame is None else rehearsal.sent(frame), strict=True))


class Rehearsal:
    """A round's updates, and what the search for a hidden task would say of frames.

    `honest`, `own`: updates, (updates, parameters). `slopes`: gradients by class as each looker has them.
    """

    def __init__(
        self, honest: Matrix, own: Matrix, slopes: list[npt.NDArray[np.float32]], rng: np.random.Generator
    ) -> None:
        self.honest, self.slopes, self.rng = honest, slopes, rng
        everybody, self.own = np.concatenate([honest, own]), len(own)
        self.lengths = np.linalg.norm(everybody, axis=1)
        bases = [each.astype(np.float64) for each in (*slopes, np.median(everybody, axis=0)[None])]
        left = across(everybody, np.concatenate(bases))
        self.left = np.linalg.norm(left, axis=1)[: len(honest)] / self.lengths[: len(honest)]
        noise = cancelling(len(own), honest.shape[1], rng)
        parts = honest, left[: len(honest)], (everybody - left)[len(honest) :], noise
        self.rows = np.concatenate([_unit(each) for each in parts])
        self.gram = self.rows @ self.rows.T
        basis = np.concatenate([bases[0], bases[-1]])  # the first looker's
        self.products, self.inner = self.rows @ basis.T, basis @ basis.T

    def search(self) -> Frame | None:
        """Return the best frame of many; None where all cost more than they leave out."""
        best: list[tuple[float, Frame]] = []
        for number in range(TRIES):
            if number < TRIES / 2 or not best:
                frame = next((each for each in map(self.draw, range(DRAWS)) if self.promise(each) > 0), None)
            else:
                frame = self.vary(best[number % len(best)][1])
            if frame is not None and (value := self.value(frame)) > 0:
                best = sorted([*best, (value, frame)], key=lambda pair: -pair[0])[:KEPT]
                if value >= ENOUGH:
                    break
        return best[0][1] if best else None

    def draw(self, _: int) -> Frame:
        """Return a frame at random; its victims are any, or those who have most left beside the classes."""
        count, rng = int(self.rng.integers(FEWEST, MOST)), self.rng
        order = rng.permutation(len(self.honest)) if rng.random() < 0.5 else np.argsort(-self.left)
        return Frame(order[:count], float(rng.uniform(0.15, 0.6)), float(rng.choice([0.3, 0.5, 0.7])))

    def vary(self, frame: Frame) -> Frame:
        """Return a frame a little different from another."""
        victims, others = frame.victims.copy(), np.setdiff1d(np.arange(len(self.honest)), frame.victims)
        victims[self.rng.integers(len(victims))] = self.rng.choice(others)
        return replace(frame, victims=victims, part=float(frame.part * self.rng.uniform(0.9, 1.1)))

    def factors(self, frame: Frame) -> Matrix:
        """Return what each member's update is made of, (members, rows)."""
        way, outside, own = np.zeros(len(self.rows)), np.sqrt(1 - frame.inside**2), np.eye(self.own)
        way[len(self.honest) + frame.victims] = 1 / self.left[frame.victims]
        factors = np.tile(outside * frame.part * way / np.sqrt(way @ self.gram @ way), (self.own, 1))
        factors[:, -2 * self.own : -self.own] = frame.inside * own
        factors[:, -self.own :] = outside * np.sqrt(max(0.0, 1 - frame.part**2)) * own
        return factors

    def sent(self, frame: Frame) -> Matrix:
        """Return the members' updates, (members, parameters), as long as their own."""
        sent: Matrix = self.lengths[len(self.honest) :, None] * _unit(self.factors(frame) @ self.rows)
        return sent

    def promise(self, frame: Frame) -> float:
        """Return the value that a frame has for the first looker, if it leaves the usual as it is."""
        whole = np.concatenate([np.eye(len(self.honest), len(self.rows)), self.factors(frame)])
        gram = whole @ self.gram @ whole.T
        lengths = np.sqrt(np.diag(gram))
        products, gram = whole @ self.products / lengths[:, None], gram / np.outer(lengths, lengths)
        beside = hidden_task._beside(gram, products, self.inner)
        found = hidden_task.find(beside, products[:, :-1], self.lengths, np.zeros(len(gram), bool))
        if found is None or min(found.strength / hidden_task.STRONG, found.clearness / hidden_task.CLEAR) < 1:
            return 0.0
        return self._value_of(found.parts > hidden_task.MEMBER * found.parts[found.members].mean())

    def value(self, frame: Frame) -> float:
        """Return how many honest updates a frame leaves out, less what its members cost, by the check.

        What all lookers but a few find at least.
        """
        whole = np.concatenate([self.honest, self.sent(frame)])
        rows = whole.astype(np.float32)
        everybody, view = np.ones(len(rows), bool), Updates(rows).view(hidden_task.NEEDS)
        usual = median_of(rows, everybody)
        values: list[float] = []
        for slopes in self.slopes:
            scores = hidden_task.check(view, slopes, usual, everybody, ~everybody, lambda *_: True)
            values.append(self._value_of(scores.values > SURE))
            if values.count(0.0) > DOUBT * len(self.slopes):
                return 0.0
        return float(np.sort(values)[int(DOUBT * len(values))])

    def _value_of(self, out: Mask) -> float:
        return max(0.0, float(out[: len(self.honest)].sum() - PRICE * out[len(self.honest) :].sum()))


def _unit(rows: Matrix) -> Matrix:
    unit: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), SMALLEST)
    return unit
