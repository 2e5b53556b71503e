"""An adversary that adapts: it plays the miners' public rules on its own data, and sends what passes.

No paper has all of it. Searching for the most harmful update that a known rule lets through is the adaptive
attack of Fang, Cao, Jia, Gong 2020 (arXiv:1911.11815, section 4) and of Shejwalkar and Houmansadr 2021 (NDSS,
"AGR-tailored"); here the rule is the whole pipeline, played as it is, and the aim may be another than harm:

    loss       the model should be as bad as it can be
    backdoor   it should call inputs with a trigger the target
    class      it should call one class another
    earn       accomplices should be paid without training
    frame      an honest device with rare data should be rejected, or count for less

A round costs the accomplices together `tries` judgements of a miner, and a few trainings. What they send has
a common direction under noise of each one's own. What the tally says makes them bolder or shyer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bcfl.adversaries.accomplices import Accomplices, Habits
from bcfl.adversaries.attack import AttackContext, DeviceParts, TrainingAttack, option
from bcfl.adversaries.backdoor import Backdoor
from bcfl.adversaries.coalition import Coalition, CoalitionParts
from bcfl.adversaries.goals import Earn, Frame, Goal, Loss, Mislabelling, Success
from bcfl.errors import ConfigError
from bcfl.learning.datasets import Samples
from bcfl.ports import TrainingResult, Vector

if TYPE_CHECKING:
    from bcfl.adversaries.pool import Pool

PLAIN: dict[str, type[Loss | Earn | Frame]] = {"loss": Loss, "earn": Earn, "frame": Frame}
GOALS = ("loss", "backdoor", "class", "earn", "frame")


@dataclass(frozen=True)
class Adaptive(TrainingAttack):
    """Plays the miners' rules on its own data each round, and sends what reaches its goal and passes."""

    PAPER: ClassVar[str] = "Fang et al. 2020, arXiv:1911.11815; Shejwalkar and Houmansadr 2021, NDSS"
    colludes: ClassVar[bool] = True
    goal: str = option("loss", "what it is after", choices=GOALS)
    knowledge: str = option(
        "past", "what it knows: public history, or this round's honest updates", choices=("past", "round")
    )
    claim: str = option(
        "most", "the samples that it claims: what pays most, or its own", choices=("most", "own")
    )
    spread: float = option(0.5, "noise of each accomplice, in the common direction", minimum=0, maximum=10)
    tries: int = option(8, "updates judged in a round, for all accomplices together", minimum=2, maximum=64)
    sleep: int = option(0, "rounds in which it is honest before it wakes", minimum=0, maximum=10**6)
    awake: int = option(0, "rounds after which it sleeps again; 0: never", minimum=0, maximum=10**6)
    target: int = option(0, "backdoor, class: what the model should say", minimum=0)
    source: int = option(1, "class: which class it should say it of", minimum=0)
    share: float = option(0.5, "backdoor: share of samples with the trigger", minimum=0, maximum=1)
    size: int = option(3, "backdoor: pixels of the trigger's side", minimum=1, maximum=1000)
    value: float = option(2.0, "backdoor: what the trigger's pixels are", minimum=-1000, maximum=1000)

    def is_awake(self, round_: int) -> bool:
        """Return whether it attacks in a round."""
        past = round_ - 1 - self.sleep
        return past >= 0 and (not self.awake or past % (self.sleep + self.awake) < self.awake)

    def coalition(self, parts: CoalitionParts) -> Coalition:
        """Return its accomplices; raises ConfigError where they have no data that is theirs."""
        from bcfl.adversaries.pool import Pool  # imports torch

        if parts.task is None:
            raise ConfigError("adaptive needs a task whose data its devices hold")
        habits = Habits(
            self._make_goal, self.is_awake, self.knowledge == "round", self.claim == "most",
            self.spread, self.tries,
        )  # fmt: skip
        return Accomplices(habits, parts, Pool(parts.task, list(parts.data.values()), parts.seed))

    def forge(self, parts: DeviceParts, context: AttackContext, model: Vector, round_: int) -> TrainingResult:
        """Send what the accomplices agree on; raises ConfigError where nobody brought them together."""
        if not isinstance(context.coalition, Accomplices):
            raise ConfigError("adaptive plays in a run alone, where its devices form a coalition")
        return context.coalition.update(parts, context, model, round_)

    def test_samples(self, samples: Samples) -> Samples | None:
        """Return the samples that measure its success, labelled as the target; None for other goals."""
        aim = self._aim(int(samples.strata.max(initial=0)) + 1)
        return None if aim is None else aim.test_samples(samples.require_classes("adaptive"))

    def _make_goal(self, pool: Pool, context: AttackContext) -> Goal:
        knows_all, aim = self.knowledge == "round", self._aim(context.classes)
        if aim is not None:
            pool.whole.require_classes("adaptive")
            return Success(pool, context, knows_all, aim)
        return PLAIN[self.goal](pool, context, knows_all)

    def _aim(self, classes: int) -> Backdoor | Mislabelling | None:
        """Return the samples that it wants to be called the target, which is one of `classes`; or None."""
        target = min(self.target, max(0, classes - 1))
        if self.goal == "backdoor":
            return Backdoor(target, self.share, self.size, self.value)
        return Mislabelling(self.source, target) if self.goal == "class" else None
