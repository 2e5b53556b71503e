"""Miners that misbehave in step 4: lazy, colluding, silent.

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
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Phase, Verdict
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.verifier import Verifier

Verdicts = tuple[Verdict, ...]


class Bribed(Verifier):
    """A verifier whose verdicts are another's business."""

    def __init__(self, honest: Verifier, rule: Callable[[Verifier, History, Round], Verdicts]) -> None:
        vars(self).update(vars(honest))
        self._honest, self._rule = honest, rule

    def verdicts(self, history: History, current: Round) -> Verdicts:
        """One verdict for each submission, whatever it is worth."""
        return self._rule(self._honest, history, current)


def accept_all(current: Round) -> Verdicts:
    """Yes to everything."""
    return (Verdict.ACCEPTED,) * len(current.submissions)


def repeat_last(history: History, current: Round) -> Verdicts:
    """Say of each device what the tally said of its last update; yes where there is none."""
    said: dict[int, Verdict] = {}
    for number in sorted(number for number in history.rounds if number < current.number):
        found = history.rounds[number]
        if found.accepted is not None:
            said |= {item.update.device: found.verdict(item.position) for item in found.submissions}
    return tuple(said.get(item.update.device, Verdict.ACCEPTED) for item in current.submissions)


def collude(
    verdicts: Verdicts, history: History, current: Round, accomplices: frozenset[str], others: str
) -> Verdicts:
    """Yes to accomplices; of the others what the checks say, or no to all of them."""
    made = []
    for item, verdict in zip(current.submissions, verdicts, strict=True):
        if history.devices[item.update.device] in accomplices:
            made.append(Verdict.ACCEPTED)
        else:
            made.append(Verdict.OUTLIER if others == "reject" else verdict)
    return tuple(made)


@dataclass(frozen=True)
class LazyMiner(MinerAttack):
    """Votes without looking: yes to everything, or what the tally said of each device the last time."""

    PAPER: ClassVar[str] = "Luu et al. 2015, CCS, the verifier's dilemma"
    kind: str = option("accept", "what it says", choices=("accept", "copy"))

    def verifier(self, parts: MinerParts, context: AttackContext) -> Verifier:  # noqa: ARG002
        """Looks at nothing."""
        if self.kind == "accept":
            return Bribed(parts.verifier, lambda _, __, current: accept_all(current))
        return Bribed(parts.verifier, lambda _, history, current: repeat_last(history, current))


@dataclass(frozen=True)
class ColludingMiner(MinerAttack):
    """Accepts whatever the misbehaving devices send; checks the others, or rejects them all."""

    PAPER: ClassVar[str] = "Chen et al. 2021 (VBFL), arXiv:2101.03300"
    others: str = option("verify", "what it says of honest devices", choices=("verify", "reject"))

    def verifier(self, parts: MinerParts, context: AttackContext) -> Verifier:
        """Knows its accomplices."""

        def rule(honest: Verifier, history: History, current: Round) -> Verdicts:
            said = honest.verdicts(history, current) if self.others == "verify" else accept_all(current)
            return collude(said, history, current, context.accomplices, self.others)

        return Bribed(parts.verifier, rule)


@dataclass(frozen=True)
class SilentMiner(MinerAttack):
    """Commits to its verdicts and never unveils them, its own or what others hand it."""

    PAPER: ClassVar[str] = "section 9 of the protocol: commits and never reveals"

    def miner(self, parts: MinerParts, context: AttackContext) -> Miner:
        """A miner without the step UNVEIL."""
        return super().miner(replace(parts, kind=_Silent), context)


class _Silent(Miner):
    def _steps(self) -> dict[Phase, Callable[[RoundSnapshot], str | None]]:
        return {phase: step for phase, step in super()._steps().items() if phase is not Phase.UNVEIL}
