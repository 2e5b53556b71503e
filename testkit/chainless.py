"""Play a federation without a chain, for campaigns of thousands of rounds.

Learners, adversaries, trainers with their fixed point, archive, verifiers, tally, aggregation and prices are
the ones that `bcfl run` uses. What the contract would record goes straight into a `History`. Left out:
keys' signatures, batches, phases, elections. `tests/integration/test_chainless.py` compares accepted sets and
model roots with a run on the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bcfl.adversaries.assignment import Assignment
from bcfl.adversaries.attack import DeviceParts, MinerParts
from bcfl.config import Config
from bcfl.errors import ConfigError, LedgerError, Oversized, Unavailable
from bcfl.federation.genesis import create_genesis, set_up_data
from bcfl.learning import Split
from bcfl.learning.kinds import AnyShares, AnyTask, device_learner, judge, miner_learner
from bcfl.ports import ContractCall, Learner
from bcfl.protocol import cid, verification
from bcfl.protocol.accounts import Account
from bcfl.protocol.rewards import block_hash, prices
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Block, Clock, Electorate, Opening, Phase, Terms, VoidReason, Voter
from bcfl.protocol.verification import Vote
from bcfl.relay.memory import MemoryRelay
from bcfl.roles.common import norm_bound
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.verifier import Checks, Verifier

NOBODY = "0x" + "0" * 40


class MemoryStore:
    """Contents by CID."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        """Store `data` and return its CID."""
        name = cid.compute(data)
        self._contents[name] = data
        return name

    def get(self, cid: str, max_bytes: int) -> bytes:
        """Return the bytes of a CID; they are what was put, so nothing needs checking."""
        if cid not in self._contents:
            raise Unavailable(f"nobody holds {cid}", cid)
        if len(self._contents[cid]) > max_bytes:
            raise Oversized(f"{cid} has more than {max_bytes} bytes", cid)
        return self._contents[cid]

    def has(self, cid: str) -> bool:
        """Return whether the bytes of a CID are held."""
        return cid in self._contents


class HistoryLedger:
    """The ledger port as far as trainers and verifiers need it; `Chainless` writes the history."""

    def __init__(self, terms: Terms, history: History) -> None:
        self.terms, self.domain = terms, Domain(1, NOBODY)
        self._history = history

    def history(self) -> History:
        """Return the rounds so far."""
        return self._history

    def now(self) -> int:
        """Return 0: time stands still."""
        return 0

    def clock(self) -> Clock:
        """Return the phase in which devices train, always."""
        return Clock(Phase.COMMIT, 0, max(self._history.rounds, default=0), 0, 0, 0, 0)

    def overdue(self) -> bool:
        """Return False: nothing is ever late."""
        return False

    def target(self) -> int:
        """Return 0: nobody races."""
        return 0

    def dispute_price(self) -> int:
        """Return 0: nothing is disputed."""
        return 0

    def send(self, account: Account, calls: Sequence[ContractCall]) -> int:
        """Refuse: there is no chain."""
        raise LedgerError(f"{account.address} has no chain to send {len(calls)} calls to")

    def price(self, account: Account, calls: Sequence[ContractCall]) -> int:
        """Refuse: there is nothing to pay for."""
        raise LedgerError(f"{account.address} has no chain that would price {len(calls)} calls")


@dataclass
class RoundOutcome:
    """The outcome of a round."""

    accepted: frozenset[int]  # devices
    rejected: dict[int, str]  # device -> reason
    root: bytes  # of the model in force after it
    accuracy: float | None  # None: the task has none
    attack_success: float | None
    void: bool


@dataclass
class Chainless:
    """All parties of a configuration, without a chain."""

    config: Config
    archive: Archive
    ledger: HistoryLedger
    assignment: Assignment
    judge: Learner
    backdoor_judge: Learner | None
    devices: list[Device]
    miners: list[Miner]
    earned: dict[int, int] = field(default_factory=dict)  # device -> wei

    @classmethod
    def create(cls, config: Config, data: tuple[AnyTask, AnyShares] | None = None) -> Chainless:
        """Share out the data, assign the adversaries, write the genesis block."""
        task, shares = set_up_data(config) if data is None else data
        seed = config.seed
        accounts = [Account.derive(seed, "device", i) for i in range(config.devices)]
        assignment = Assignment.draw(config.adversaries, accounts, config.miners, seed, shares.classes)
        genesis = create_genesis(config, MemoryStore(), (task, shares))
        archive, history = genesis.archive, History(genesis.terms.min_stake)
        ledger = HistoryLedger(genesis.terms, history)
        history.blocks.append(
            Block(bytes(32), 0, bytes(32), genesis.model.root, genesis.model.cid, NOBODY, 0)
        )
        history.devices = [account.address for account in accounts]
        history.indices = {address: i for i, address in enumerate(history.devices)}
        backdoor_judge = None
        if isinstance(shares, Split) and (test := assignment.backdoor_test(shares.test)) is not None:
            backdoor_judge = judge(task, Split(shares.devices, shares.miners, test))
        federation = cls(config, archive, ledger, assignment, judge(task, shares), backdoor_judge, [], [])
        federation._admit(task, shares, accounts)
        return federation

    def _admit(self, task: AnyTask, shares: AnyShares, accounts: list[Account]) -> None:
        relay, poisoned_shares = MemoryRelay(), shares
        if isinstance(shares, Split):
            poisoned_shares = self.assignment.poison_shares(shares)
        honest = [device_learner(task, poisoned_shares, i, self.config.seed) for i in range(len(accounts))]
        checks, clips = Checks(**self.config.checks), self.config.check_norm
        for i, learner in enumerate(self.assignment.form_coalitions(honest, task, shares)):
            journal = Journal(None)
            device_parts = DeviceParts(
                accounts[i], learner, self.ledger, relay, self.archive, journal, clips, checks=checks
            )
            self.devices.append(self.assignment.device(i, device_parts))
        for i in range(self.config.miners):
            verifier = Verifier(miner_learner(task, shares, i), self.ledger, self.archive, checks)
            account = Account.derive(self.config.seed, "miner", i)
            miner_parts = MinerParts(account, self.ledger, relay, self.archive, verifier, Journal(None))
            self.miners.append(self.assignment.miner(i, miner_parts))

    @property
    def history(self) -> History:
        """All rounds so far."""
        return self.ledger.history()

    def corrupt(self, index: int, learner: Learner) -> None:
        """Let a device send what an adversary's learner makes, as long as miners take from anybody."""
        trainer = self.devices[index].trainer
        trainer.learner, trainer.bound = learner, norm_bound.largest_bound

    def play_round(self) -> RoundOutcome:
        """Play one round: train, verify, count, aggregate, pay."""
        current = Round(len(self.history.rounds) + 1, 0)
        self.history.rounds[current.number] = current
        self._submit(current)
        self._vote(current)
        self._close(current)
        return self._outcome(current)

    def _submit(self, current: Round) -> None:
        """Train and reveal every device's update, in the order of the registry."""
        submitter = self.miners[0].account.address
        current.commits[submitter] = bytes(32)
        snapshot = RoundSnapshot(self.ledger.clock(), self.history, current, self.ledger.terms, 0)
        for index, device in enumerate(self.devices):
            try:
                update = device.trainer.update(snapshot, index)
            except ConfigError:
                continue  # sits out, as it would on the chain
            device.trainer.publish(snapshot, update)
            current.submissions.append(Submission(len(current.submissions), update, submitter))
            self.history.roots.setdefault(update.root, current.number)

    def _vote(self, current: Round) -> None:
        """Verify at every miner and count the votes as the contract does."""
        for miner in self.miners:
            verdicts = miner.voting.verifier.verdicts(self.history, current)
            levels = miner.voting.verifier.levels
            opening = Opening(current.number, miner.account.address, verdicts, bytes(32), levels=levels)
            current.votes.append(Vote(Voter(miner.account.address, 1), opening))
        words = current.words(self.ledger.domain)
        count = verification.tally(words, current.votes, Electorate(len(self.miners)))
        current.levels, current.samples, current.matches = count.levels, count.samples, sum(count.matches)
        price = prices(self.ledger.terms, self.ledger.terms.reward, count)
        if sum(count.accepted) >= self.ledger.terms.min_updates:
            for item in current.accepted_submissions():
                device = item.update.device
                self.earned[device] = self.earned.get(device, 0) + price.sample * item.paid

    def _close(self, current: Round) -> None:
        """Append the new model's block, or none if the round is void."""
        parent_block, submissions = self.history.head, current.accepted_submissions()
        if len(submissions) < self.ledger.terms.min_updates:
            current.void = VoidReason.FEW_ACCEPTED
        else:
            model = self.archive.next_model(parent_block, submissions)
            self.archive.put(model.model)
            parent = block_hash(parent_block)
            current.block = Block(parent, current.number, bytes(32), model.root, model.cid, NOBODY, 0)
            current.block_hash = block_hash(current.block)
            self.history.blocks.append(current.block)
            for item in submissions:
                self.history.trained.setdefault(item.update.device, []).append(item.update)
        self.archive.forget()

    def _outcome(self, current: Round) -> RoundOutcome:
        model = self.archive.values(self.history.head)
        accepted = frozenset(item.update.device for item in current.accepted_submissions())
        rejected = {
            item.update.device: current.verdict(item.position).name.lower()
            for item in current.submissions
            if item.update.device not in accepted
        }
        return RoundOutcome(
            accepted,
            rejected,
            self.history.head.root,
            self.judge.evaluate(model).accuracy,
            None if self.backdoor_judge is None else self.backdoor_judge.evaluate(model).accuracy,
            current.void is not None,
        )
