"""Accomplices that adapt: what they know, what they rehearse, and what they agree to send in a round.

They meet once a round. With `knowledge=past` they play the last finished round again, as it stands on chain
and store, with other updates in the place of their own, and send what would have done most there, made from
this round's trainings. With `knowledge=round` they play the running round with everybody's honest updates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bcfl.adversaries.attack import AttackContext, DeviceParts
from bcfl.adversaries.coalition import Coalition, CoalitionParts
from bcfl.adversaries.free_rider import plausible_time
from bcfl.adversaries.goals import TINY, Goal, View
from bcfl.adversaries.learners import Floats, Matrix, RoundCache, delta_of
from bcfl.adversaries.rehearsal import Rehearsal, Sent
from bcfl.adversaries.search import Knobs, Search
from bcfl.errors import ConfigError, PayloadError, StoreError
from bcfl.ports import Learner, TrainingResult, Vector
from bcfl.protocol import fixedpoint
from bcfl.protocol.rounds import History
from bcfl.roles.common import norm_bound

if TYPE_CHECKING:
    from bcfl.adversaries.pool import Pool

Updates = dict[int, Floats]  # by device, (parameters,)
Ways = dict[tuple[int, str], Matrix]  # by round and kind
NOISE_STREAM = 7  # of the seed
MARGIN = 0.75  # of the strength that would have passed a round ago, to begin with


@dataclass(frozen=True)
class Habits:
    """How accomplices go about it: the options of their attack."""

    make_goal: Callable[[Pool, AttackContext], Goal]
    is_awake: Callable[[int], bool]  # in a round
    knows_round: bool  # this round's honest updates, not only public history
    claims_most: bool
    spread: float
    tries: int


class Accomplices(Coalition):
    """The devices of one adaptive attack; what they have learnt lasts as long as the process."""

    def __init__(self, habits: Habits, parts: CoalitionParts, pool: Pool) -> None:
        super().__init__(list(parts.colluders.values()), list(parts.honest.values()))
        self._habits, self._learners, self._others, self._pool = habits, parts.colluders, parts.honest, pool
        self._goal: Goal | None = None
        self._search: Search | None = None
        self._updates: RoundCache[Updates] = RoundCache()
        self._view: View | None = None  # of the last round
        self._sent: tuple[int, float] | None = None  # round, and the mean level that was expected

    def update(
        self, parts: DeviceParts, context: AttackContext, model: Vector, round_: int
    ) -> TrainingResult:
        """Return what one accomplice sends, with its claims; its honest training where they agree on none."""
        updates = self._updates.get(model, round_, lambda: self._agree_on(parts, context, model, round_))
        if context.index not in updates:
            return parts.learner.train(model, round_)
        samples, microseconds = self._claim(parts, context.index, round_)
        vector = (model + updates[context.index]).astype(np.float32)
        return TrainingResult(vector, samples, microseconds)

    def _agree_on(self, parts: DeviceParts, context: AttackContext, model: Vector, round_: int) -> Updates:
        """Return what each accomplice sends in this round; none of those that stay honest."""
        goal = self._goal = self._goal or self._habits.make_goal(self._pool, context)
        search = self._search = self._search or Search(
            goal.kinds, self._habits.tries - 1, 1.0 if self._habits.knows_round else MARGIN
        )
        self._learn(parts.ledger.history(), search)
        crowd = self._crowd(parts, model, round_)
        view = self._look(parts, model, round_, crowd)
        scene, self._view = view if self._habits.knows_round else self._view, view
        if not self._habits.is_awake(round_) or not crowd or not view.devices or scene is None:
            return {}
        if scene is not view and scene.number != _last_counted(parts.ledger.history(), round_):
            return {}  # the round that they know their trainings of made no model
        if not goal.is_ready(view) or (goal.trains and not goal.is_ready(scene)):
            return {}
        ways: Ways = {}
        winner: Knobs | None = search.best[search.leader]  # where nothing can be rehearsed yet
        if goal.is_ready(scene):
            winner = self._rehearse(parts, goal, search, scene, crowd, ways, context.seed, round_)
        if winner is None:
            return {}
        rows = self._bend(goal, view, search.sent(winner), ways, context.seed)
        return dict(zip(view.devices, rows, strict=True))

    def _rehearse(
        self, parts: DeviceParts, goal: Goal, search: Search, scene: View, crowd: Sequence[Sent],
        ways: Ways, seed: int, round_: int,
    ) -> Knobs | None:  # fmt: skip
        """Return the knobs that do most in a scene and pass; None where to be honest does as much."""
        rehearsal = Rehearsal(parts, self._pool.judge, parts.ledger.history(), scene.number, crowd)
        worths: dict[Knobs, float] = {}

        def gain(knobs: Knobs) -> float:
            rows = self._bend(goal, scene, knobs, ways, seed)
            outcome = rehearsal.play(self._stage(parts, scene, rows, round_))
            worths[knobs] = outcome.worth(scene.devices)
            counts = not goal.must_pass or outcome.passes(scene.devices)
            return goal.gain(outcome, scene) if counts else -np.inf

        least = 0.0
        if goal.trains:
            honest = rehearsal.play(self._stage(parts, scene, scene.honest, round_))
            least = goal.gain(honest, scene)
        winner = search.best_of(gain, least)
        self._sent = None if winner is None else (round_, worths[winner])
        return winner

    def _learn(self, history: History, search: Search) -> None:
        """Look at what the tally said of what they sent last."""
        if self._sent is None:
            return
        number, expected = self._sent
        last = history.rounds.get(number)
        if last is None or last.levels is None:
            return
        pairs = zip(last.submissions, last.levels, strict=True)
        levels = [level for item, level in pairs if item.update.device in self._learners]
        self._sent = None
        if levels:
            search.learn(expected, sum(levels) / len(levels))

    def _crowd(self, parts: DeviceParts, model: Vector, round_: int) -> list[Sent]:
        """Return the updates of others that they know: this round's, or the last finished round's."""
        if self._habits.knows_round:
            trainings = [
                (device, trained)
                for device, learner in self._others.items()
                if (trained := _trained(learner, model, round_)) is not None
            ]
            rows = np.stack([delta_of(t, model) for _, t in trainings]) if trainings else _none(model)
            lanes = self._lanes(parts, rows, round_)
            return [
                Sent(device, lane, trained.samples, trained.microseconds)
                for (device, trained), lane in zip(trainings, lanes, strict=True)
            ]
        history, sent = parts.ledger.history(), []
        number = _last_counted(history, round_)
        for item in [] if number is None else history.rounds[number].submissions:
            update = item.update
            if update.device in self._learners:
                continue
            try:
                lane = parts.archive.update(item)
            except (PayloadError, StoreError):
                continue
            sent.append(Sent(update.device, lane, update.samples, update.microseconds, update.root))
        return sent

    def _look(self, parts: DeviceParts, model: Vector, round_: int, crowd: Sequence[Sent]) -> View:
        """Return what they know in this round; they train for it, unless the goal does without."""
        terms, history = parts.ledger.terms, parts.ledger.history()
        rows: Updates = {}
        for device, learner in self._learners.items():
            if self._goal is not None and not self._goal.trains and crowd:
                rows[device] = np.zeros(len(model))
            elif (trained := _trained(learner, model, round_)) is not None:
                rows[device] = delta_of(trained, model)
        blocks = [block for block in history.blocks if block.round < round_]
        step = np.zeros(len(model))
        if len(blocks) > 1:
            step = model.astype(np.float64) - parts.archive.values(blocks[-2], history)
        known = [
            fixedpoint.decode_update(each.lanes, terms.scale_bits, terms.shift).astype(np.float64)
            for each in crowd
        ]
        return View(
            round_,
            model,
            tuple(rows),
            np.stack(list(rows.values())) if rows else _none(model),
            np.stack(known) if known else _none(model),
            tuple(each.device for each in crowd),
            step,
        )

    def _bend(self, goal: Goal, view: View, knobs: Knobs, ways: Ways, seed: int) -> Matrix:
        """Return the updates that knobs make of what is known, (accomplices, parameters)."""
        key = view.number, knobs.kind
        if key not in ways:
            ways[key] = goal.way(knobs.kind, view)
        way = knobs.strength * ways[key]
        noise = np.stack(
            [
                np.random.default_rng([seed, NOISE_STREAM, view.number, device]).normal(size=way.shape[1])
                for device in view.devices
            ]
        )
        noise *= self._habits.spread * np.linalg.norm(way, axis=1, keepdims=True)
        rows = goal.base(view) + way + noise / np.sqrt(way.shape[1])
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        bent: Matrix = knobs.length * view.usual * rows / np.maximum(norms, TINY)
        return bent

    def _stage(self, parts: DeviceParts, view: View, rows: Matrix, round_: int) -> list[Sent]:
        """Return updates, (accomplices, parameters), as the accomplices would send them."""
        claims = [self._claim(parts, device, round_) for device in view.devices]
        lanes = self._lanes(parts, rows, view.number)
        return [
            Sent(device, lane, *claim)
            for device, lane, claim in zip(view.devices, lanes, claims, strict=True)
        ]

    def _lanes(self, parts: DeviceParts, rows: Matrix, number: int) -> list[fixedpoint.Lanes]:
        """Return updates, (updates, parameters), shortened and encoded as their devices do."""
        terms, history = parts.ledger.terms, parts.ledger.history()
        bound = norm_bound.largest_bound(parts.archive, history, number) if parts.clips else None
        norms = np.linalg.norm(rows, axis=1)
        return [
            fixedpoint.encode_update(
                row * norm_bound.clip_factor(float(norm), bound),
                None, terms.lane_bits, terms.scale_bits, terms.shift,
            )[0]
            for row, norm in zip(rows, norms, strict=True)
        ]  # fmt: skip

    def _claim(self, parts: DeviceParts, device: int, round_: int) -> tuple[int, int]:
        """Return the samples and microseconds that an accomplice claims: what pays most, or its own.

        A claim counts up to the median of its round, so the largest that anybody made is enough.
        """
        own, history = self._learners[device].samples, parts.ledger.history()
        number = _last_counted(history, round_)
        sent = [] if number is None else history.rounds[number].submissions
        claims = [item.update.samples for item in sent if self._habits.claims_most]
        samples = max([own, *claims])
        samples = min(max(1, samples), parts.ledger.terms.max_samples)
        return samples, plausible_time(history, round_, samples)


def _last_counted(history: History, round_: int) -> int | None:
    """Return the last round before `round_` that made a model; None if there was none."""
    counted = (number for number, each in history.rounds.items() if each.block is not None)
    return max((number for number in counted if number < round_), default=None)


def _trained(learner: Learner, model: Vector, round_: int) -> TrainingResult | None:
    """Return a training; None where it diverges."""
    try:
        return learner.train(model, round_)
    except ConfigError:
        return None


def _none(model: Vector) -> Matrix:
    return np.zeros((0, len(model)))
