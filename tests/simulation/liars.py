"""Miners that lie about the model or the time: adversaries beside those of bcfl/adversaries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from bcfl.adversaries.attack import AttackContext, MinerAttack, MinerParts
from bcfl.ports import ContractCall
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


class EagerLead(Lead):
    """Makes final what has support, once for each proposal, whether its window is over or not."""

    _tried: tuple[int, int] | None = None

    def attest(self, snapshot: RoundSnapshot) -> str | None:
        proposal, key = snapshot.current.proposals[-1], (snapshot.round, len(snapshot.current.proposals))
        if self._tried != key and snapshot.current.has_support(proposal.attested):
            self._tried = key
            self.context.send(ContractCall("finalize", proposal.fields))
            return "made the model final"
        return super().attest(snapshot)


class LateLead(Lead):
    """Proposes and attests once the time for it is over, as if it were not: the contract has to refuse it."""

    _tried: tuple[int, int, str] | None = None

    def propose(self, snapshot: RoundSnapshot) -> str | None:
        if snapshot.current.leader != self.context.address:
            return super().propose(snapshot)
        return super().propose(earlier) if (earlier := self._earlier(snapshot)) else None

    def attest(self, snapshot: RoundSnapshot) -> str | None:
        return super().attest(earlier) if (earlier := self._earlier(snapshot)) else None

    def _earlier(self, snapshot: RoundSnapshot) -> RoundSnapshot | None:
        """Return the snapshot of a second before the deadline, once, when that has passed."""
        key = snapshot.round, len(snapshot.current.skipped), snapshot.clock.phase.name
        if not snapshot.now >= snapshot.clock.deadline or self._tried == key:
            return None
        self._tried = key
        return replace(snapshot, now=snapshot.clock.deadline - 1)


class _LyingMiner(Miner):
    leads: type[Lead] = LyingLead

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)  # type: ignore[arg-type]
        self.lead = self.leads(self.context, self.lead.archive)


class _EagerMiner(_LyingMiner):
    leads = EagerLead


class _LateMiner(_LyingMiner):
    leads = LateLead


@dataclass(frozen=True)
class LyingLeader(MinerAttack):
    """Proposes a wrong model whenever it leads, and attests nobody else's."""

    PAPER: ClassVar[str] = "no paper: the leader that docs/security.md lets anybody challenge"

    def miner(self, parts: MinerParts, context: AttackContext) -> Miner:
        """Return a miner with a lead that lies."""
        return super().miner(replace(parts, kind=_LyingMiner), context)


@dataclass(frozen=True)
class EagerFinalizer(MinerAttack):
    """Wants to make a model final before its challenge window is over."""

    PAPER: ClassVar[str] = "no paper: whoever would cut the window of docs/disputes.md short"

    def miner(self, parts: MinerParts, context: AttackContext) -> Miner:
        """Return a miner that does not wait."""
        return super().miner(replace(parts, kind=_EagerMiner), context)


@dataclass(frozen=True)
class Latecomer(MinerAttack):
    """Wants to propose and attest when the time for it is over."""

    PAPER: ClassVar[str] = "no paper: whoever would have others wait"

    def miner(self, parts: MinerParts, context: AttackContext) -> Miner:
        """Return a miner that comes late."""
        return super().miner(replace(parts, kind=_LateMiner), context)
