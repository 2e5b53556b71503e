"""Set up a federation on the embedded chain of a run: contract, parties, registration, first round."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from bcfl.adversaries.assignment import Assignment
from bcfl.adversaries.attack import DeviceParts, MinerParts
from bcfl.federation.attackers import assigned
from bcfl.federation.genesis import create_genesis
from bcfl.federation.layouts import recorded_task
from bcfl.federation.noise_secret import hide_devices
from bcfl.federation.party_learners import DEVICE, MINER, AppLearners, TaskLearners
from bcfl.federation.reporting import Reporter
from bcfl.federation.runs import Run
from bcfl.federation.schedule import DEVICES, MINERS, Schedule
from bcfl.learning import Split, Task
from bcfl.learning.flower import FlowerTask, Nodes
from bcfl.learning.kinds import AnyShares, AnyTask, judge, layout
from bcfl.ledger.artifact import deploy, federation_at
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.federation import FederationLedger
from bcfl.ports import Learner, Relay
from bcfl.protocol.accounts import Account
from bcfl.protocol.limits import MAX_REGISTRATIONS
from bcfl.protocol.readers import with_key
from bcfl.protocol.sealing import ReaderKey
from bcfl.protocol.types import Phase
from bcfl.protocol.wishes import engine_after
from bcfl.relay.memory import MemoryRelay
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal
from bcfl.roles.common.vault import Vault
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.sketches import Signs
from bcfl.roles.miner.verifier import Checks, Verifier
from bcfl.storage import DirectoryStore

if TYPE_CHECKING:
    from bcfl.federation.cohort import Cohort

    MakeLearner = TaskLearners | AppLearners | Cohort


class Initialization:
    """The accounts of a run, derived from its seed, and what is set up for them."""

    def __init__(self, run: Run, task: AnyTask, shares: AnyShares, device: str = "cpu") -> None:
        config, seed = run.config, run.config.seed
        self.run, self.config, self.task, self.shares, self.device = run, config, task, shares, device
        self.owner = Account.derive(seed, "owner")
        self.devices = [Account.derive(seed, "device", i) for i in range(config.devices)]
        miners = [Account.derive(seed, "miner", i) for i in range(config.miners)]
        self.miners = self.devices if config.mode == "full" else miners
        self.assignment = Assignment.draw(
            config.adversaries, self.devices, config.miners, seed, shares.classes
        )

    def open_chain(self) -> EmbeddedChain:
        """Open the run's chain; every account has ether on it."""
        accounts = dict.fromkeys(account.address for account in (self.owner, *self.devices, *self.miners))
        return EmbeddedChain(self.run.chain_path, accounts=list(accounts))

    def deploy(self, chain: EmbeddedChain) -> tuple[FederationLedger, Archive]:
        """Put the first model on the store and the contract on the chain, or find both as they were begun."""
        store = DirectoryStore(self.run.store_path)
        if self.run.contract is not None:
            ledger = FederationLedger(federation_at(chain, self.run.contract))
            models = [block.cid for block in ledger.history().blocks]
            self.task = recorded_task(self.task, store, ledger.terms, models)
            return ledger, Archive(store, layout(self.task), ledger.terms)
        genesis = create_genesis(self.config, store, (self.task, self.shares))
        root, cid = genesis.model.root, genesis.model.cid
        contract, _ = deploy(chain, self.owner, genesis.terms, root, cid, self.config.funding)
        self.run.set_contract(contract.address)
        return FederationLedger(federation_at(chain, contract.address)), genesis.archive

    @cached_property
    def learners(self) -> TaskLearners | AppLearners:
        """Return what makes the parties' learners; needs the exponents that `deploy` finds."""
        task, shares = self.task, self.shares
        if isinstance(task, Task) and isinstance(shares, Split):
            poisoned = self.assignment.poison_shares(shares)
            return TaskLearners(self.config, task, shares, poisoned, self.device)
        assert isinstance(task, FlowerTask)
        assert isinstance(shares, Nodes)
        return AppLearners(self.config, task, shares)

    def schedule(
        self, chain: EmbeddedChain, ledger: FederationLedger, archive: Archive, learners: MakeLearner
    ) -> Schedule:
        """Give everybody data, a journal and, the miners, an inbox; register who is not a member yet."""
        relay = MemoryRelay()
        parties: dict[str, list[Device | Miner]] = {
            DEVICES: [*self._make_devices(ledger, relay, archive, learners)],
            MINERS: [*self._make_miners(ledger, relay, archive, learners)],
        }
        self._register(ledger, archive)
        return Schedule(chain, ledger, self.owner, parties)

    def reporter(self, ledger: FederationLedger, archive: Archive) -> Reporter:
        """Return what makes the reports of this run."""
        evaluator = judge(self.task, self.shares, self.learners.bench)
        everybody = list(dict.fromkeys([*self.miners, *self.devices]))
        archive = archive.of_party(Vault(ledger.domain, ledger.history, everybody))
        attackers = assigned(self.assignment, self.devices, self.miners)
        backdoor = self._backdoor_judge()
        return Reporter(
            self.run, ledger, archive, evaluator, backdoor, self.assignment, attackers, self.owner
        )

    def _make_devices(
        self, ledger: FederationLedger, relay: MemoryRelay, archive: Archive, make: MakeLearner
    ) -> list[Device]:
        honest = [make((DEVICE, i)) for i in range(len(self.devices))]
        for account, learner in zip(self.devices, honest, strict=True):
            learner.keep(self._journal(account))
        learners = self.assignment.form_coalitions(honest, self.task, self.shares)
        clips, checks = self.config.check_norm, Checks(**self.config.checks)
        devices = [
            self.assignment.device(
                i,
                DeviceParts(
                    account,
                    learner,
                    ledger,
                    relay,
                    archive.of_party(self._vault(account, ledger, relay)),
                    self._journal(account),
                    clips,
                    checks=checks,
                ),
            )
            for i, (account, learner) in enumerate(zip(self.devices, learners, strict=True))
        ]
        if self.config.noise is not None:
            hide_devices(self.run.path, devices, self.config.budget)
        return devices

    def _make_miners(
        self, ledger: FederationLedger, relay: MemoryRelay, archive: Archive, make: MakeLearner
    ) -> list[Miner]:
        miners, checks = list[Miner](), Checks(**self.config.checks)
        signs = Signs() if len(self.miners) > 1 else None  # whoever is alone shares nothing
        wishes = partial(engine_after, self.config.wishes)
        for i, account in enumerate(self.miners):
            own = archive.of_party(self._vault(account, ledger, relay))
            verifier = Verifier(make((MINER, i)), ledger, own, checks, signs)
            parts = MinerParts(account, ledger, relay, own, verifier, self._journal(account), wishes)
            miners.append(self.assignment.miner(i, parts))
            relay.open(account.address, miners[-1])
        return miners

    def _journal(self, account: Account) -> Journal:
        """Return where an account writes down what it must not forget of this federation.

        A killed process loses nothing of it, a power cut the last writes: as of the run's chain and store.
        """
        return Journal(self.run.journal_path / account.address, sync=False)

    def _vault(self, account: Account, ledger: FederationLedger, relay: Relay) -> Vault:
        """Return the keys of an account, which reads what is sealed for it and nothing else."""
        return Vault(ledger.domain, ledger.history, [account], relay)

    def _register(self, ledger: FederationLedger, archive: Archive) -> None:
        """Register whoever is not yet, and open the first round."""
        history, contract = ledger.history(), ledger.contract
        missing = [item.address for item in self.devices if item.address not in history.join_rounds]
        for start in range(0, len(missing), MAX_REGISTRATIONS):
            contract.send(self.owner, "register_devices", missing[start : start + MAX_REGISTRATIONS])
        for account in self.miners:
            if account.address not in history.miners:
                contract.send(account, "register_miner", value=self.config.stake)
            if archive.privacy.confidential and account.address not in history.endpoints:
                key = ReaderKey.of(account, ledger.domain)
                contract.send(account, "announce", with_key("", key.public))
        if ledger.clock().phase is Phase.IDLE:
            contract.send(self.owner, "start")
        self._top_up(ledger)

    def _top_up(self, ledger: FederationLedger) -> None:
        """Put into the pool what the rewards of a resumed run's further rounds take, if it is to hold all."""
        ended = sum(round_.closed is not None for round_ in ledger.history().rounds.values())
        missing = self.config.reward * (self.config.rounds - ended) - int(ledger.contract.call("pool"))
        if self.config.pool is None and missing > 0:
            ledger.contract.send(self.owner, "fund", value=missing)

    def _backdoor_judge(self) -> Learner | None:
        """Return what measures the success of a backdoor; None without one."""
        if not isinstance(self.shares, Split):
            return None
        test = self.assignment.backdoor_test(self.shares.test)
        return (
            None if test is None else judge(self.task, replace(self.shares, test=test), self.learners.bench)
        )
