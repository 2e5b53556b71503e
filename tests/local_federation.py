"""Run real roles on the embedded chain around a learner that costs nothing; tests can change any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bcfl.errors import RelayError
from bcfl.federation.schedule import DEVICES, MINERS, Schedule
from bcfl.ledger.artifact import deploy, federation_at
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.federation import FederationLedger
from bcfl.ports import ContractCall, Evaluation, Matrix, Slopes, TrainingResult, Vector
from bcfl.protocol import fixedpoint, payload, privacy
from bcfl.protocol.accounts import Account
from bcfl.protocol.readers import with_key
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.sealing import ReaderKey
from bcfl.protocol.types import Layout, Phase, TensorSpec, Terms
from bcfl.relay.memory import MemoryRelay
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal
from bcfl.roles.common.vault import Vault
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.verifier import Checks, Verifier
from bcfl.storage import DirectoryStore
from testkit import harness
from testkit.flat_chain import FlatChain

ETHER = 10**18
LAYOUT = Layout((TensorSpec("bias", (3,)), TensorSpec("weight", (5, 7))))

CONFIDENTIAL = replace(LAYOUT, agreement=privacy.agreement(confidential=True, members=False))
MEMBERS = replace(LAYOUT, agreement=privacy.agreement(confidential=True, members=True))

TERMS = replace(
    harness.TERMS,
    layout=payload.layout_digest(LAYOUT), parameters=LAYOUT.parameters, shift=10, leaf_lanes=16,
    pow_seconds=5, time_factor=50_000, time_slack=20_000, rate_factor=20_000, grace=5,
    commit_seconds=60, reveal_seconds=60, vote_seconds=60, unveil_seconds=60,
    elect_seconds=60, propose_seconds=60, attest_seconds=60, answer_seconds=60,
)  # fmt: skip


@dataclass
class Quadratic:
    """A learner that steps half way to its own optimum; its held-out loss is the distance to another."""

    optimum: Vector
    samples: int = 10
    microseconds: int = 5_000
    trainings: int = 0

    def train(self, model: Vector, round_: int) -> TrainingResult:
        self.trainings += 1
        drift = np.random.default_rng(round_).normal(0, 1e-3, model.shape)
        vector = (model + (self.optimum - model) / 2 + drift).astype(np.float32)
        return TrainingResult(vector, self.samples, self.microseconds)

    def evaluate(self, model: Vector) -> Evaluation:
        return Evaluation(float(np.square(model - self.optimum).sum()) / 2, self.samples)

    def slopes(self, model: Vector, parts: int, samples: int) -> Slopes:
        gradients = np.repeat((model - self.optimum).astype(np.float32)[None], parts, axis=0)
        return Slopes(self.evaluate(model).loss, gradients, samples)

    def losses(self, model: Vector, samples: int) -> Vector:
        return np.full(samples, self.evaluate(model).loss, np.float32)

    def class_slopes(self, *_: object) -> Matrix:
        return np.zeros((0, len(self.optimum)), np.float32)

    def marks(self, *_: object) -> Vector:
        return np.zeros(0, np.float32)

    def mark_slopes(self, *_: object) -> Matrix:
        return np.zeros((0, len(self.optimum)), np.float32)


@dataclass
class LocalFederation:
    """Devices and miners with everything real but the learning.

    `dual_accounts`: so many accounts are both; `on_disk`: for a later process. `layout`: CONFIDENTIAL or
    MEMBERS for sealed vectors, which miners announce their keys for.
    """

    path: Path
    devices: int = 4
    miners: int = 4
    terms: Terms = TERMS
    layout: Layout = LAYOUT
    stakes: tuple[int, ...] = ()
    dual_accounts: int = 0
    on_disk: bool = False
    chain: EmbeddedChain | None = None
    contract: str | None = None
    learners: list[Quadratic] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.owner = Account.derive(0, "owner")
        self.device_accounts = [Account.derive(0, "device", i) for i in range(self.devices)]
        self.miner_accounts = [
            self.device_accounts[i] if i < self.dual_accounts else Account.derive(0, "miner", i)
            for i in range(self.miners)
        ]
        everyone = sorted({a.address for a in (self.owner, *self.device_accounts, *self.miner_accounts)})
        if self.chain is None and self.on_disk:
            self.chain = EmbeddedChain(self.path / "chain.sqlite", accounts=everyone)
        self.chain = self.chain or FlatChain(everyone)
        self.store = DirectoryStore(self.path / "store")
        self.terms = replace(self.terms, layout=payload.layout_digest(self.layout))
        self.archive = Archive(self.store, self.layout, self.terms)
        genesis = self.archive.put(fixedpoint.encode(np.zeros(LAYOUT.parameters, np.float32), 24))
        contract_file = self.path / "contract"
        if self.contract is None and contract_file.exists():
            self.contract = contract_file.read_text()
        if self.contract is None:
            contract, _ = deploy(self.chain, self.owner, self.terms, genesis.root, genesis.cid, 100 * ETHER)
            self.contract = contract.address
            contract_file.write_text(self.contract)
        self._set_up()

    def _set_up(self) -> None:
        assert self.chain is not None
        contract = federation_at(self.chain, str(self.contract))
        self.ledger, self.relay = FederationLedger(contract), MemoryRelay()
        rng = np.random.default_rng(7)
        truth = rng.normal(0, 0.3, LAYOUT.parameters)
        optima = [(truth + rng.normal(0, 0.02, truth.shape)).astype(np.float32) for _ in range(64)]
        self.learners = self.learners or [
            Quadratic(optima[i], 10 + i, 1000 * (10 + i)) for i in range(self.devices)
        ]
        self.device_parties = [
            Device(a, learner, self.ledger, self.relay, self.archive_of(a), self.journal(a))
            for a, learner in zip(self.device_accounts, self.learners, strict=True)
        ]
        self.miner_parties = []
        for i, a in enumerate(self.miner_accounts):
            archive = self.archive_of(a)
            verifier = Verifier(Quadratic(optima[63 - i]), self.ledger, archive, Checks())
            self.miner_parties.append(Miner(a, self.ledger, self.relay, archive, verifier, self.journal(a)))
            self.relay.open(a.address, self.miner_parties[-1])
        parties: dict[str, list[Device | Miner]] = {
            DEVICES: [*self.device_parties],
            MINERS: [*self.miner_parties],
        }
        self.schedule = Schedule(self.chain, self.ledger, self.owner, parties)
        self.register()

    def archive_of(self, account: Account) -> Archive:
        """Return the archive as an account sees it; where nothing is sealed everybody has the same."""
        if not self.layout.agreement:
            return self.archive
        return self.archive.of_party(Vault(self.ledger.domain, self.ledger.history, [account], self.relay))

    def announce(self, account: Account, number: int = 0) -> None:
        """Announce a miner's key to read with, its first or a later one."""
        key = ReaderKey.of(account, self.ledger.domain, number)
        self.ledger.contract.send(account, "announce", with_key("", key.public))

    def journal(self, account: Account) -> Journal:
        return Journal(self.path / "journal" / account.address)

    def register(self) -> None:
        """Register whoever is not yet, and open the first round."""
        history = self.ledger.history()
        missing = [a.address for a in self.device_accounts if a.address not in history.join_rounds]
        if missing:
            self.ledger.contract.send(self.owner, "register_devices", missing)
        stakes = self.stakes or (2 * self.terms.min_stake - 1,) * self.miners  # one vote, penalties or not
        for a, stake in zip(self.miner_accounts, stakes, strict=True):
            if a.address not in history.miners:
                self.ledger.contract.send(a, "register_miner", value=stake)
            if self.layout.agreement and a.address not in history.endpoints:
                self.announce(a)
        if self.ledger.clock().phase is Phase.IDLE:
            self.ledger.contract.send(self.owner, "start")

    def restart(self) -> LocalFederation:
        """Return the same federation after all its processes have been killed: memory is lost."""
        return replace(self, learners=self.learners)

    @property
    def history(self) -> History:
        return self.ledger.history()

    def play(self, rounds: int = 1) -> Round:
        """Play to the end of so many rounds; returns the last of them."""
        first = max(self.history.rounds)
        for number in range(first, first + rounds):
            self.schedule.play_round(number)
        return self.history.rounds[first + rounds - 1]

    def until(self, phase: Phase) -> None:
        """Let everybody act until `phase` is due."""
        while (now := self.ledger.clock().phase) is not phase:
            if not self.schedule.turn(now):
                self.schedule.let_time_pass()

    def remove(self, *parties: Device | Miner) -> None:
        """Take parties and their inboxes away."""
        for kind in (DEVICES, MINERS):
            self.schedule.parties[kind] = [p for p in self.schedule.parties[kind] if p not in parties]
        for party in parties:
            if isinstance(party, Miner):
                self.relay.close(party.account.address)

    def leave_in(self, phase: Phase, *parties: Device | Miner) -> None:
        """Let parties do nothing, and not answer, from `phase` of this round until the next round opens."""
        number = max(self.history.rounds)
        for party in parties:
            party.act = _absent(party.act, self, phase, number)  # type: ignore[method-assign]
            if isinstance(party, Miner):
                self.relay.open(party.account.address, ClosingInbox(party, self, phase, number))  # type: ignore[arg-type]

    def miner_of(self, device: int) -> Miner:
        """Return the miner that a device is bound to in the running round."""
        address = self.history.binding(device)
        return next(miner for miner in self.miner_parties if miner.account.address == address)

    def contract_head(self, number: int) -> bytes:
        """Return the hash of a block of the model ledger, as the contract keeps it."""
        head: bytes = self.ledger.contract.call("ledger", number)
        return head

    def send(self, account: Account, function: str, *args: object) -> None:
        self.ledger.send(account, [ContractCall(function, args)])


def _away(local: LocalFederation, phase: Phase, number: int) -> bool:
    clock = local.ledger.clock()
    return clock.round == number and clock.phase >= phase and clock.phase < Phase.IDLE


def _absent(
    act: Callable[[], str | None], local: LocalFederation, phase: Phase, number: int
) -> Callable[[], str | None]:
    return lambda: None if _away(local, phase, number) else act()


class ClosingInbox:
    """The inbox of a miner that is gone from a phase on."""

    def __init__(self, miner: Miner, local: LocalFederation, phase: Phase, number: int) -> None:
        self._miner, self._when = miner, (local, phase, number)

    def __getattr__(self, name: str) -> object:
        if _away(*self._when):

            def refuse(*_: object) -> None:
                raise RelayError("nobody answers")

            return refuse
        return getattr(self._miner, name)
