"""Miners that lie about the model: adversaries of the simulation beside those of bcfl/adversaries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from bcfl.adversaries.attack import AttackContext, MinerAttack, MinerParts
from bcfl.protocol import merkle
from bcfl.roles.common.aggregation import NewModel
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.miner.lead import Lead
from bcfl.roles.miner.miner import Miner


class LyingLead(Lead):
    """Computes a model that is wrong by one in one place."""

    def _compute(self, snapshot: RoundSnapshot) -> NewModel | None:
        result = super()._compute(snapshot)
        if result is None:
            return None
        model = result.model.copy()
        model[snapshot.round % len(model)] += 1
        stored = self.archive.pack(model).stored
        return replace(
            result, model=model, root=merkle.root(model, snapshot.terms.leaf_lanes), cid=stored.cid
        )


class _LyingMiner(Miner):
    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)  # type: ignore[arg-type]
        self.lead = LyingLead(self.context, self.lead.archive)


@dataclass(frozen=True)
class LyingLeader(MinerAttack):
    """Proposes a wrong model whenever it leads, and attests nobody else's."""

    PAPER: ClassVar[str] = "no paper: the leader that docs/security.md lets anybody challenge"

    def miner(self, parts: MinerParts, context: AttackContext) -> Miner:
        """Return a miner with a lead that lies."""
        return super().miner(replace(parts, kind=_LyingMiner), context)
