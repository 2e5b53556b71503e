"""A whole federation in one process: the eight steps of a round stand here in order.

The same roles as everywhere; only the clock is made up: where nobody has anything to do, time passes at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from bcfl.adversaries.assignment import Assignment
from bcfl.config import Config
from bcfl.errors import LedgerError, Reverted
from bcfl.federation.reports import Adversary, Progress, Rejection, Report, RoundReport
from bcfl.federation.runs import Run
from bcfl.federation.terms import terms_of
from bcfl.learning import Split, Task, resolve, split
from bcfl.ledger.artifact import deploy, federation_at
from bcfl.ledger.contract import Contract
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.federation import FederationLedger
from bcfl.ports import ContractCall, Learner
from bcfl.protocol import fixedpoint
from bcfl.protocol.accounts import Account
from bcfl.protocol.beacon import chain_tail
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Phase
from bcfl.protocol.wishes import engine_after
from bcfl.relay.memory import MemoryRelay
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal
from bcfl.roles.common.snapshot import next_change, take_snapshot
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.verifier import Checks, Verifier
from bcfl.storage import DirectoryStore

MAX_IDLE = 10_000  # turns without an event after which something is wrong
Observer = Callable[[Progress], None]

# Who acts in which phase; the contract says which phase it is.
DEVICES, MINERS = "devices", "miners"
ORDER = {
    Phase.COMMIT: (DEVICES, MINERS),  # 2 local model update, 3 upload: train, commit
    Phase.REVEAL: (DEVICES, MINERS),  # 3 upload: open the commitments
    Phase.VOTE: (MINERS,),  # 4 cross verification: verify, commit to verdicts
    Phase.UNVEIL: (MINERS,),  # 4 open the verdicts
    Phase.TALLY: (MINERS,),  # 4 count
    Phase.ELECT: (MINERS,),  # 5 block generation: race for the lead
    Phase.PROPOSE: (MINERS,),  # 5 aggregate, propose
    Phase.ATTEST: (MINERS,),  # 6 block propagation, 7 global model update
    Phase.VOID: (MINERS,),  # open the next round
}  # 8 global model download: a device's next turn begins with it


def run(config: Config, *, on_progress: Observer | None = None) -> Report:
    """Train as `config` says, in a new run directory; raises BcflError, one line, for what is foreseen."""
    started = time.perf_counter()
    task, shares = material(config)
    with Run.create(config) as made, Federation.found(made, task, shares) as federation:
        return federation.play(on_progress, started)


def resume(
    path: Path | None = None, *, on_progress: Observer | None = None, runs: Path = Path("runs")
) -> Report:
    """Go on with an interrupted run (None: the latest) where its chain stands."""
    started = time.perf_counter()
    with Run.open(path, runs=runs, read_only=False) as found:
        task, shares = material(found.config)
        with Federation.found(found, task, shares) as federation:
            return federation.play(on_progress, started)


def material(config: Config) -> tuple[Task, Split]:
    """The learning task and everybody's share of its data."""
    from bcfl.learning.training import check_fit

    options = {
        name: value
        for name in ("epochs", "batch_size", "learning_rate", "model")
        if (value := getattr(config, name)) is not None
    }
    task = resolve(config.task).with_options(**options)
    dataset = task.dataset(config.data)
    check_fit(task, dataset)
    shares = split(
        dataset,
        config.devices,
        config.miners,
        config.partition,
        config.seed,
        alpha=config.alpha,
        classes=config.classes_per_device,
    )
    return task, shares


def classes(shares: Split) -> int:
    """How many classes the labels count."""
    return 1 + max(int(part.labels.max(initial=0)) for part in (*shares.devices, shares.test))


def checks_of(config: Config) -> Checks:
    """What the miners of a configuration look for."""
    return Checks(**config.checks)


@dataclass
class Federation:
    """Everybody who takes part, on the embedded chain of a run directory."""

    run: Run
    chain: EmbeddedChain
    contract: Contract
    ledger: FederationLedger
    relay: MemoryRelay
    archive: Archive
    owner: Account
    judge: Learner
    parties: dict[str, list[Device | Miner]] = field(default_factory=lambda: {DEVICES: [], MINERS: []})
    assignment: Assignment = field(default_factory=lambda: Assignment(0, 0))  # who misbehaves
    mark: Learner | None = None  # what a backdoor's success is measured with

    @classmethod
    @contextmanager
    def found(cls, run: Run, task: Task, shares: Split) -> Iterator[Federation]:
        """Step 1, initialization: deploy, register, open the first round, or find all that done."""
        from bcfl.learning.training import initial_model, judge, layout

        config, seed = run.config, run.config.seed
        owner = Account.derive(seed, "owner")
        devices = [Account.derive(seed, "device", i) for i in range(config.devices)]
        own = [Account.derive(seed, "miner", i) for i in range(config.miners)]
        miners = devices if config.mode == "full" else own
        shape = layout(task)
        terms = terms_of(config, shape, max(len(share) for share in shares.devices))
        store = DirectoryStore(run.store_path)
        chain = EmbeddedChain(run.chain_path, accounts=_addresses(owner, *devices, *miners))
        try:
            archive = Archive(store, shape, terms)
            genesis = archive.put(fixedpoint.encode(initial_model(task, seed), terms.scale_bits))
            if run.contract is None:
                contract, _ = deploy(chain, owner, terms, genesis.root, genesis.cid, config.funding)
                run.set_contract(contract.address)
            contract = federation_at(chain, run.contract or "")
            ledger, relay = FederationLedger(contract), MemoryRelay()
            assignment = Assignment.draw(config.adversaries, devices, config.miners, seed, classes(shares))
            made = cls(
                run,
                chain,
                contract,
                ledger,
                relay,
                archive,
                owner,
                judge(task, shares),
                assignment=assignment,
            )
            made.mark = made.marked(task, shares)
            made.admit(task, shares, devices, miners)
            made.register(devices, miners)
            yield made
        finally:
            chain.close()

    def admit(self, task: Task, shares: Split, devices: list[Account], miners: list[Account]) -> None:
        """Give everybody data, a journal and, the miners, a desk."""
        from bcfl.adversaries.attack import DeviceParts, MinerParts
        from bcfl.learning.training import device_learner, miner_learner

        config, ledger, relay, archive = self.run.config, self.ledger, self.relay, self.archive
        checks = checks_of(config)
        dealt = self.assignment.poison_shares(shares)
        honest = [device_learner(task, dealt, i, config.seed) for i in range(len(devices))]
        for i, learner in enumerate(self.assignment.form_coalitions(honest)):
            journal, clips = self.journal(devices[i]), config.check_norm
            parts = DeviceParts(devices[i], learner, ledger, relay, archive, journal, clips)
            self.parties[DEVICES].append(self.assignment.device(i, parts))
        for i, account in enumerate(miners):
            verifier = Verifier(miner_learner(task, shares, i), ledger, archive, checks)
            notes, wishes = self.journal(account), partial(engine_after, config.wishes)
            miner = self.assignment.miner(
                i, MinerParts(account, ledger, relay, archive, verifier, notes, wishes)
            )
            relay.open(account.address, miner)
            self.parties[MINERS].append(miner)

    def marked(self, task: Task, shares: Split) -> Learner | None:
        """What measures the success of a backdoor; None without one."""
        from bcfl.learning.training import judge

        triggered = self.assignment.backdoor_test(shares.test)
        return None if triggered is None else judge(task, replace(shares, test=triggered))

    def journal(self, account: Account) -> Journal:
        """Where an account writes down what it must not forget of this federation."""
        return Journal(self.run.journal_path / account.address)

    def register(self, devices: list[Account], miners: list[Account]) -> None:
        """Register whoever is not yet, and open the first round."""
        history = self.ledger.history()
        missing = [account.address for account in devices if account.address not in history.join_rounds]
        for start in range(0, len(missing), 64):
            self.contract.send(self.owner, "register_devices", missing[start : start + 64])
        for account in miners:
            if account.address not in history.miners:
                tail = chain_tail(account, self.ledger.domain)
                self.contract.send(account, "register_miner", tail, value=self.run.config.stake)
        if self.ledger.clock().phase is Phase.IDLE:
            self.contract.send(self.owner, "start")

    def play(self, on_progress: Observer | None, started: float) -> Report:
        """Play rounds until there are as many as the configuration wants."""
        total = self.run.config.rounds
        history = self.ledger.history()
        reports = [self.report(found) for found in history.rounds.values() if found.status != "running"]
        for report in reports:
            self._tell(on_progress, report.round, "resumed", (), report)
        while len(reports) < total:
            number = len(reports) + 1
            self.play_round(number, on_progress)
            self.archive.forget()
            reports.append(self.report(self.ledger.history().rounds[number]))
            self._tell(on_progress, number, reports[-1].status, (), reports[-1])
        return self._conclude(tuple(reports[:total]), time.perf_counter() - started)

    def play_round(self, number: int, on_progress: Observer | None = None) -> None:
        """One round, from the download of the model to the block in the ledger."""
        idle = 0
        while (current := self.ledger.history().current) is not None and current.number <= number:
            phase = self.ledger.clock().phase

            def tell(current: Round = current, phase: Phase = phase) -> None:
                self._tell(on_progress, number, phase.name.lower(), self.awaited(current, phase), None)

            tell()
            if self.turn(phase, tell):
                idle = 0
                continue
            idle += 1
            if idle > MAX_IDLE:
                raise LedgerError(f"round {number} stands still in phase {phase.name}; please report this")
            self.let_time_pass()

    def turn(self, phase: Phase, tell: Callable[[], None] = lambda: None) -> bool:
        """Let everybody who acts in a phase act once, and `tell` after each; whether anybody did."""
        acted = False
        for kind in ORDER.get(phase, ()):
            for party in self.parties[kind]:
                try:
                    if party.act() is None:
                        continue
                except Reverted:
                    continue  # somebody else was quicker, or time has moved on
                acted = True
                tell()
        return acted

    def let_time_pass(self) -> None:
        """Write down what time has brought about, or go to when somebody may lose patience."""
        if self.ledger.overdue():
            self.ledger.send(self.owner, [ContractCall("advance")])
            return
        snapshot = take_snapshot(self.ledger)
        self.chain.warp(self.chain.now() + 1 if snapshot is None else next_change(snapshot))

    def awaited(self, current: Round, phase: Phase) -> tuple[str, ...]:
        """Who has not acted yet in this phase, as the chain knows it."""
        history = self.ledger.history()
        if phase is Phase.REVEAL:
            shown = {item.update.device for item in current.submissions}
            return tuple(history.devices[d] for d in history.expected_devices() if d not in shown)
        if phase is Phase.PROPOSE:
            return (current.leader,) if current.leader else ()
        attested = current.proposals[-1].attested if current.proposals else ()
        voted = [vote.voter.account for vote in current.votes]
        everybody = [member.account for member in history.voters()]
        expected, done = {
            Phase.COMMIT: (everybody, list(current.commits)),
            Phase.VOTE: ([member.account for member in history.electors()], list(current.vote_commits)),
            Phase.UNVEIL: (list(current.vote_commits), voted),
            Phase.ATTEST: (voted, list(attested)),
        }.get(phase, (everybody, []))
        return tuple(account for account in expected if account not in done)

    def report(self, found: Round) -> RoundReport:
        """What a finished round came to, from chain and store."""
        history = self.ledger.history()
        block = found.block or history.model_before(found.number)
        model = self.archive.values(block, history)
        result = self.judge.evaluate(model)
        rejected = [
            Rejection(
                history.devices[item.update.device],
                found.verdict(item.position).name.lower(),
                item.update.samples,
            )
            for item in found.submissions
            if found.accepted is not None and not found.accepted[item.position]
        ]
        return RoundReport(
            round=found.number,
            status=found.status,
            reason=None if found.void is None else found.void.name.lower(),
            engine=found.engine.name.lower(),
            committee=found.committee,
            leader=None if found.block is None else found.leader,
            accepted=tuple(history.devices[item.update.device] for item in found.accepted_submissions()),
            rejected=tuple(rejected),
            global_root="0x" + block.root.hex(),
            global_cid=self.archive.cid_of(block.cid),
            block_hash=None if found.block_hash is None else "0x" + found.block_hash.hex(),
            accuracy=result.accuracy,
            loss=result.loss,
            gas=sum(self.contract.gas_of(transaction) for transaction in found.transactions),
            attack_success=None if self.mark is None else self.mark.evaluate(model).accuracy,
            **self._mistakes(history, found),
        )

    def _mistakes(self, history: History, found: Round) -> dict[str, int]:
        """Honest updates that were rejected, and others that were not; nothing where all are honest."""
        if not self.adversaries():
            return {}
        honest = [
            history.devices[item.update.device] not in self.assignment.accomplices
            for item in found.submissions
        ]
        pairs = list(zip(honest, found.accepted or (), strict=found.accepted is not None))
        return {
            "false_rejects": sum(good and not accepted for good, accepted in pairs),
            "false_accepts": sum(accepted and not good for good, accepted in pairs),
        }

    def adversaries(self) -> tuple[Adversary, ...]:
        """Who misbehaves, devices first."""
        parts = [
            ("device", self.assignment.device_specs, DEVICES),
            ("miner", self.assignment.miner_specs, MINERS),
        ]
        return tuple(
            Adversary(self.parties[kind][index].account.address, role, spec.text)
            for role, playing, kind in parts
            for index, spec in playing.items()
        )

    def _conclude(self, reports: tuple[RoundReport, ...], seconds: float) -> Report:
        gas = sum(report.gas for report in reports)
        return Report(
            run_dir=str(self.run.path),
            contract=self.contract.address,
            rounds=reports,
            final_accuracy=reports[-1].accuracy,
            gas_per_participant=gas / len(reports) / self.run.config.participants,
            seconds=seconds,
            adversaries=(adversaries := self.adversaries()) or None,
            false_rejects=sum(report.false_rejects or 0 for report in reports) if adversaries else None,
            false_accepts=sum(report.false_accepts or 0 for report in reports) if adversaries else None,
            attack_success=reports[-1].attack_success,
        )

    def _tell(
        self,
        observer: Observer | None,
        number: int,
        phase: str,
        awaited: tuple[str, ...],
        report: RoundReport | None,
    ) -> None:
        if observer is not None:
            observer(Progress(number, self.run.config.rounds, phase, awaited, report))


def _addresses(*accounts: Account) -> list[str]:
    """The addresses of accounts, each once: in mode `full` a device and its miner share one."""
    return list(dict.fromkeys(account.address for account in accounts))
