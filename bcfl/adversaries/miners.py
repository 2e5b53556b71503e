"""Miners that misbehave in the vote: lazy, colluding, silent.

`lazy-miner`: the free rider among verifiers; votes are hidden until all are committed, so what it can copy is
the past. `colluding-miner`: a minority that lets its accomplices' poison pass (the Byzantine miners of Chen
et al. 2021, VBFL, arXiv:2101.03300). `silent-miner`: commits to verdicts and keeps them back, the "last
revealer" of commit and reveal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from bcfl.adversaries.attack import AttackContext, MinerAttack, MinerParts, option
from bcfl.protocol.limits import USUAL_LEVEL
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Phase, Verdict
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.verifier import Verifier

Verdicts = tuple[Verdict, ...]
Rule = Callable[[Verifier, History, Round], Verdicts]


class DishonestVerifier(Verifier):
    """A verifier whose verdicts follow from another rule."""

    def __init__(self, honest: Verifier, rule: Rule) -> None:
        vars(self).update(vars(honest))
        self._honest, self._rule = honest, rule

    @property
    def is_remote(self) -> bool:
        """Whether updates are to be judged elsewhere before the vote: its rule may not look at them."""
        return False

    def verdicts(self, history: History, current: Round) -> Verdicts:
        """Return one verdict for each submission, whatever it is worth."""
        verdicts = self._rule(self._honest, history, current)
        honest = self._honest.levels
        known = honest if len(honest) == len(verdicts) else (0,) * len(verdicts)
        pairs = zip(verdicts, known, strict=True)
        self.levels = tuple((at or USUAL_LEVEL) * (verdict is Verdict.ACCEPTED) for verdict, at in pairs)
        return verdicts


def accept_all(round_: Round) -> Verdicts:
    """Accept everything."""
    return (Verdict.ACCEPTED,) * len(round_.submissions)


def repeat_last(history: History, round_: Round) -> Verdicts:
    """Repeat for each device what the tally said of its last update; accept where there is none."""
    verdicts: dict[int, Verdict] = {}
    for number in sorted(number for number in history.rounds if number < round_.number):
        previous = history.rounds[number]
        if previous.accepted is not None:
            verdicts |= {item.update.device: previous.verdict(item.position) for item in previous.submissions}
    return tuple(verdicts.get(item.update.device, Verdict.ACCEPTED) for item in round_.submissions)


def collude(
    verdicts: Verdicts, history: History, round_: Round, accomplices: frozenset[str], others: str
) -> Verdicts:
    """Accept accomplices; of the others keep the verdicts, or reject them all (`others="reject"`)."""
    votes = []
    for item, verdict in zip(round_.submissions, verdicts, strict=True):
        if history.devices[item.update.device] in accomplices:
            votes.append(Verdict.ACCEPTED)
        else:
            votes.append(Verdict.OUTLIER if others == "reject" else verdict)
    return tuple(votes)


@dataclass(frozen=True)
class LazyMiner(MinerAttack):
    """Votes without looking: yes to everything, or what the tally said of each device the last time."""

    PAPER: ClassVar[str] = "Luu et al. 2015, CCS, the verifier's dilemma"
    kind: str = option("accept", "what it says", choices=("accept", "copy"))

    def verifier(self, parts: MinerParts, context: AttackContext) -> Verifier:  # noqa: ARG002
        """Return a verifier that checks nothing."""
        if self.kind == "accept":
            return DishonestVerifier(parts.verifier, lambda _, __, round_: accept_all(round_))
        return DishonestVerifier(parts.verifier, lambda _, history, round_: repeat_last(history, round_))


@dataclass(frozen=True)
class ColludingMiner(MinerAttack):
    """Accepts whatever the misbehaving devices send; checks the others, or rejects them all."""

    PAPER: ClassVar[str] = "Chen et al. 2021 (VBFL), arXiv:2101.03300"
    others: str = option("verify", "what it says of honest devices", choices=("verify", "reject"))

    def verifier(self, parts: MinerParts, context: AttackContext) -> Verifier:
        """Return a verifier that spares its accomplices."""

        def rule(honest: Verifier, history: History, round_: Round) -> Verdicts:
            verdicts = honest.verdicts(history, round_) if self.others == "verify" else accept_all(round_)
            return collude(verdicts, history, round_, context.accomplices, self.others)

        return DishonestVerifier(parts.verifier, rule)


@dataclass(frozen=True)
class SilentMiner(MinerAttack):
    """Commits to its verdicts and never unveils them, its own or what others hand it."""

    PAPER: ClassVar[str] = "no paper: the last revealer of commit and reveal, who commits and never reveals"

    def miner(self, parts: MinerParts, context: AttackContext) -> Miner:
        """Return a miner that does nothing in the phase UNVEIL."""
        return super().miner(replace(parts, kind=_SilentMiner), context)


class _SilentMiner(Miner):
    def _actions(self) -> dict[Phase, Callable[[RoundSnapshot], str | None]]:
        return {phase: step for phase, step in super()._actions().items() if phase is not Phase.UNVEIL}
