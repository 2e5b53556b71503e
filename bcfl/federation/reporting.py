"""Report what rounds came to, from what chain and store say of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bcfl.adversaries.assignment import Assignment
from bcfl.federation import statements
from bcfl.federation.reports import Adversary, LaneFit, Rejection, Report, RoundReport
from bcfl.federation.runs import Run
from bcfl.federation.views.privacy import PrivacyReport, privacy_report
from bcfl.ledger.federation import FederationLedger
from bcfl.ports import Evaluation, Learner
from bcfl.protocol import cid
from bcfl.protocol.accounts import Account
from bcfl.protocol.noise import Noise
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Block, Phase
from bcfl.relay.statements import Statement, bounded, finite, seal
from bcfl.roles.common.archive import Archive
from bcfl.roles.device import fit


@dataclass(frozen=True)
class Reporter:
    """What reports are made from: the chain, the models, test data, and who misbehaves."""

    run: Run
    ledger: FederationLedger
    archive: Archive
    judge: Learner  # holds the test data
    backdoor_judge: Learner | None  # holds the triggered test data; None without a backdoor
    assignment: Assignment
    adversaries: tuple[Adversary, ...]  # devices first
    owner: Account  # who states how good the models are

    def round_report(self, round_: Round) -> RoundReport:
        """Return what a finished round came to."""
        history = self.ledger.history()
        block = round_.block or history.model_before(round_.number)
        model = self.archive.values(block, history)
        evaluation = self.judge.evaluate(model)
        devices = [history.devices[item.update.device] for item in round_.accepted_submissions()]
        if round_.block is not None:
            self._state(round_.block, evaluation)
        backdoor = None if self.backdoor_judge is None else self.backdoor_judge.evaluate(model)
        return RoundReport(
            round=round_.number,
            status=round_.status,
            reason=None if round_.void is None else round_.void.name.lower(),
            engine=round_.engine.name.lower(),
            committee=round_.committee,
            leader=None if round_.block is None else round_.block.leader,
            accepted=tuple(devices),
            rejected=tuple(_rejections(history, round_)),
            global_root="0x" + block.root.hex(),
            global_cid=self.archive.sizes.model_cid(block.round, block.cid),
            block_hash=None if round_.block_hash is None else "0x" + round_.block_hash.hex(),
            accuracy=evaluation.accuracy,
            loss=None if math.isnan(evaluation.loss) else evaluation.loss,
            metrics=evaluation.metrics,
            gas=sum(self.ledger.contract.gas_of(transaction) for transaction in round_.transactions),
            attack_success=None if backdoor is None else backdoor.accuracy,
            fit=self._fit(history, round_, block),
            **self._mistakes(history, round_),
        )

    def report(self, rounds: tuple[RoundReport, ...], seconds: float, earlier: int = 0) -> Report:
        """Return what a run came to; `seconds` of wall time for all but the `earlier` rounds."""
        gas = sum(round_.gas for round_ in rounds)
        blocks, reward = self.ledger.history().blocks[1:], self.ledger.terms.reward
        false_rejects = sum(round_.false_rejects or 0 for round_ in rounds)
        false_accepts = sum(round_.false_accepts or 0 for round_ in rounds)
        return Report(
            run_dir=str(self.run.path),
            contract=self.ledger.contract.address,
            rounds=rounds,
            final_accuracy=rounds[-1].accuracy,
            final_metrics=rounds[-1].metrics,
            final_loss=rounds[-1].loss,
            gas_per_participant=gas / len(rounds) / self.run.config.participants,
            seconds=seconds,
            earlier_rounds=earlier,
            unpaid_rounds=sum(block.reward < reward for block in blocks),
            adversaries=self.adversaries or None,
            false_rejects=false_rejects if self.adversaries else None,
            false_accepts=false_accepts if self.adversaries else None,
            attack_success=rounds[-1].attack_success,
            initial_root="0x" + self.ledger.history().blocks[0].root.hex(),
            privacy=self._privacy(),
        )

    def _privacy(self) -> PrivacyReport | None:
        """Return what the updates told of the devices' data; None without noise."""
        history, noise = self.ledger.history(), Noise.of(self.archive.layout)
        return privacy_report(noise, self.ledger.terms, history.rounds.values(), list(history.devices))

    def _state(self, block: Block, evaluation: Evaluation) -> None:
        """Put the owner's signed statement of a model into the store, and name it in the run's index."""
        metrics, loss = finite(evaluation.metrics), bounded(evaluation.loss)
        owner, samples = self.owner, evaluation.samples
        said = Statement(block.round, block.root, "owner", owner.address, samples, loss, metrics)
        data = seal(said, owner, self.ledger.domain)
        store = self.archive.store
        if not store.has(cid.compute(data)):
            statements.add_to_run(self.run.path, store.put(data))

    def _fit(self, history: History, round_: Round, block: Block) -> LaneFit | None:
        """Return what the lanes could not hold, by the journals of the honest devices; None without any."""
        accounts = [history.devices[item.update.device] for item in round_.submissions]
        honest = [account for account in accounts if account not in self.assignment.accomplices]
        fits = [fit.read(self.run.journal_path / account, round_.number) for account in honest]
        counts = fit.merge(item for item in fits if item is not None)
        if not counts:
            return None
        whole, bounds = fit.total(counts.values()), np.iinfo(np.int32)
        model = self.archive.model(block, history)
        edge = int(np.count_nonzero((model == bounds.min) | (model == bounds.max)))
        return LaneFit(whole.moved, whole.saturated, whole.vanished, edge, fit.remarkable(counts))

    def _mistakes(self, history: History, round_: Round) -> dict[str, int]:
        """Count honest updates that were rejected, and others that were not; empty where all are honest."""
        if not self.adversaries:
            return {}
        accounts = [history.devices[item.update.device] for item in round_.submissions]
        honest = [account not in self.assignment.accomplices for account in accounts]
        pairs = list(zip(honest, round_.accepted or (), strict=round_.accepted is not None))
        return {
            "false_rejects": sum(is_honest and not accepted for is_honest, accepted in pairs),
            "false_accepts": sum(accepted and not is_honest for is_honest, accepted in pairs),
        }


def _rejections(history: History, round_: Round) -> list[Rejection]:
    """Return the devices whose updates the tally did not accept, with the reason; none before the tally."""
    levels = round_.levels
    if levels is None:
        return []
    return [
        Rejection(
            history.devices[item.update.device],
            round_.verdict(item.position).name.lower(),
            item.update.samples,
        )
        for item in round_.submissions
        if not levels[item.position]
    ]


def awaited(history: History, current: Round, phase: Phase) -> tuple[str, ...]:
    """Return who has not acted yet in this phase, as the chain knows it."""
    if phase is Phase.REVEAL:
        revealed = {item.update.device for item in current.submissions}
        return tuple(history.devices[d] for d in history.expected_devices() if d not in revealed)
    if phase is Phase.PROPOSE:
        return (current.leader,) if current.leader else ()
    attesters = current.proposals[-1].attested if current.proposals else ()
    voters = [vote.voter.account for vote in current.votes]
    members = [member.account for member in history.voters()]
    expected, actors = {
        Phase.COMMIT: (members, list(current.commits)),
        Phase.VOTE: ([member.account for member in history.electors()], list(current.vote_commits)),
        Phase.UNVEIL: (list(current.vote_commits), voters),
        Phase.ATTEST: (voters, list(attesters)),
    }.get(phase, (members, []))
    return tuple(account for account in expected if account not in actors)
