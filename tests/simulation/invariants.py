"""What must hold in every episode: after each block what is cheap, after each round what is dear."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bcfl.protocol.hashing import keccak
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Verdict, VoidReason
from bcfl.protocol.verification import tally_digest
from bcfl.roles.common.journal import SEAL
from bcfl.roles.common.snapshot import LONG_SHARE, MIDDLE_SHARE
from tests.simulation.faults import KILLS

if TYPE_CHECKING:
    from bcfl.ports import ContractCall
    from tests.simulation.process import Process
    from tests.simulation.world import World

SIGNED_ONCE = frozenset({"commit", "commit_vote", "propose", "attest"})
IN_TIME = frozenset({"propose", "attest"})
VOTE_RECORD = "vote.json"
TOLD = frozenset({"store-missing", "store-corrupt", "store-endless", "store-silent"})  # about one update
LONG_GRACE = 20  # seconds in which a device can help itself
IN_TIME_SHARE = 1 / 3  # of the shortest phase: who was hindered for less in a round was there in time


@dataclass(frozen=True)
class Violation:
    """A rule that did not hold, and where."""

    rule: str
    text: str
    round: int
    phase: str


@dataclass
class Invariants:
    """The rules of one episode, and what broke them."""

    world: World
    violations: list[Violation] = field(default_factory=list)
    checks: dict[str, int] = field(default_factory=dict)  # how often each rule was looked at
    _bindings: dict[tuple[int, int], str] = field(default_factory=dict)  # round and device -> miner
    _helped: dict[tuple[int, int], float] = field(
        default_factory=dict
    )  # round and device -> when REVEAL began
    _alone: set[tuple[int, str]] = field(default_factory=set)  # round and who did not have it done for it
    _signed: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    _closed: set[int] = field(default_factory=set)
    _penalties: dict[int, int] = field(default_factory=dict)  # round -> how many were looked at

    def report(self, rule: str, text: str, process: Process | None = None) -> None:
        """Add a violation, unless an adversary is the one that suffers."""
        if process is not None and not process.is_honest:
            return
        self.violations.append(Violation(rule, text[:300], *self.world.place))

    def _count(self, rule: str) -> None:
        self.checks[rule] = self.checks.get(rule, 0) + 1

    # After a block.

    def after_block(self) -> None:
        """Check money, and whatever round has ended."""
        if self.world.plan.cheap_money:
            self.check_money()
        history = self.world.observer.history()
        newest = max(history.rounds)
        if (newest, -1) not in self._bindings:
            self._bindings[newest, -1] = ""
            for device in history.expected_devices():
                self._bindings[newest, device] = history.binding(device) or ""
        for number in sorted(history.rounds)[-2:]:
            round_ = history.rounds[number]
            self._check_penalties(round_)
            if round_.closed is not None and number not in self._closed:
                self._closed.add(number)
                self.check_round(round_, history)
                self._check_left_out(round_)
                self._check_alone(round_)
                self._check_accusations(round_)
                self._check_proposals(round_, history)
                self.world.observer_archive.forget()

    def check_money(self) -> None:
        """Check that the contract holds what it owes, no more and no less."""
        self._count("money")
        call = self.world.network.chain.contract.call
        parts = [call(name) for name in ("staked", "owed", "pool")]
        balance = self.world.network.chain.balance()
        if balance != sum(parts):
            self.report("money", f"the balance is {balance}, stakes, owed and pool are {parts}")

    def _check_penalties(self, round_: Round) -> None:
        """Check that nobody lost stake who kept the rules and was there in time."""
        for account, amount in round_.penalties[self._penalties.get(round_.number, 0) :]:
            self._count("stake")
            process = self.world.by_address.get(account)
            if process is None or not process.is_honest:
                continue
            if not self._is_excused(process, round_) and not self._is_left_alone(amount, round_):
                text = f"{process.name} lost {amount} wei in round {round_.number}, and was there in time"
                self.report("stake", text)
        self._penalties[round_.number] = len(round_.penalties)

    def _is_excused(self, process: Process, round_: Round) -> bool:
        """Return whether a party was hindered for so long in a round that it may lose."""
        world = self.world
        allowed = IN_TIME_SHARE * world.shortest_phase
        return hindered_seconds(process, round_.opened - 5.0, world.time) > allowed

    def _is_left_alone(self, amount: int, round_: Round) -> bool:
        """Return whether a leader lost its turn where others, who attest, were hindered or do not want to."""
        if amount != self.world.plan.terms.leader_penalty:
            return False
        others = [process for process in self.world.processes if process.role in ("miner", "peer")]
        return any(not other.is_honest or self._is_excused(other, round_) for other in others)

    # After a round.

    def check_round(self, round_: Round, history: History) -> None:
        """Check money and the block: its parent, and that its model is what its accepted updates make."""
        self.check_money()
        devices = [item.update.device for item in round_.submissions]
        if len(set(devices)) != len(devices):
            self.report("submissions", f"a device has two updates in round {round_.number}")
        block = round_.block
        if block is None:
            return
        self._count("block")
        parent = history.model_before(round_.number)
        if block.parent != block_hash(parent):
            self.report("block", f"the block of round {round_.number} does not follow the one before")
        result = self.world.observer_archive.next_model(parent, round_.accepted_submissions(), history)
        if (result.root, result.rows) != (block.root, round_.proposals[-1].rows):
            self.report("block", f"the model of round {round_.number} is not that of its accepted updates")

    def check_last_round(self) -> None:
        """Check that a round in which nothing went wrong comes to a block with everybody's update."""
        self._count("quiet round")
        history, plan = self.world.observer.history(), self.world.plan
        round_ = history.rounds[max(history.rounds) - 1]
        expected = sum(number == round_.number and device >= 0 for number, device in self._bindings)
        is_suspended = any(member.suspended for member in history.miners.values())
        # A member of a committee that has left says no, for the rounds that it was drawn for.
        is_short = bool(round_.committee) and len(round_.committee) < round_.electorate.whole
        has_no_winner = round_.void is VoidReason.NO_LEADER and not round_.elections  # of a race
        if plan.miner_attacks or plan.device_attacks or is_suspended or is_short or has_no_winner:
            return
        if round_.block is None:
            self.report("quiet round", f"round {round_.number} is void: {round_.void}")
        elif len(round_.submissions) < expected:
            count = len(round_.submissions)
            self.report("quiet round", f"{count} of {expected} updates came in round {round_.number}")

    def check_audit(self) -> None:
        """Check that an outsider who replays everything finds nothing wrong."""
        from bcfl.federation.audits import judge, source_of
        from bcfl.federation.keyring import Keyring
        from tests.simulation.store import ObserverStore

        self._count("audit")
        world, keyring = self.world, Keyring(tuple(self.world.miners))
        source = source_of(world.network.chain.contract, ObserverStore(world.contents), keyring=keyring)
        for verdict in judge(source).rounds:
            for finding in verdict.findings:
                self.report("audit", f"round {finding.round}: {finding.field}: {finding.message}")

    # Who takes part.

    def _check_left_out(self, round_: Round) -> None:
        """Check that every device is in the round for which it and its miner did what they should.

        A miner that was down for a short time in COMMIT may have lost what its devices handed in; then they
        commit alone, for which they have time where the terms give some grace. Who was held up by waits
        of others for a third of a phase is excused: no real party waits for another's (`World.sleep`).
        """
        world, number = self.world, round_.number
        if number in world.reorganised_rounds or round_.void is VoidReason.NO_QUORUM:
            return
        there = {item.update.device for item in round_.submissions}
        for process in world.processes:
            miner = world.by_address.get(self._bindings.get((number, process.index), ""))
            if process.role != "device" or not process.is_honest or miner is None or not miner.is_honest:
                continue
            if (number, process.index) in self._helped:
                self._check_helped(process, miner, round_)
            held = max(process.held_seconds(number), miner.held_seconds(number))
            if self._has_fault(process, round_) or held > IN_TIME_SHARE * world.shortest_phase:
                continue
            self._count("left out")
            phases = world.dice.phases_hit(miner.name, number)
            has_time = world.plan.terms.grace >= LONG_GRACE and not self._is_excused(miner, round_)
            if process.index in there:
                continue
            if not self._has_fault(miner, round_) or (phases <= {"REVEAL"} and has_time):
                self.report("left out", f"{process.name} is not in round {number}")

    def _check_alone(self, round_: Round) -> None:
        """Check that miners commit for their devices and one for all unveils, where all are there."""
        world, number = self.world, round_.number
        if number in world.reorganised_rounds:
            return
        miners = [item for item in world.processes if item.role == "miner"]
        for process in world.processes:
            if (number, process.name) not in self._alone or process.unanswered >= round_.opened:
                continue
            others = miners
            if process.role == "device":
                others = [world.by_address[self._bindings[number, process.index]]]
            parties = [process, *others]
            if all(item.is_honest and not self._has_fault(item, round_) for item in parties):
                self.report("alone", f"{process.name} had to help itself in round {number}")

    def check_refused(self, process: Process) -> None:
        """Check that a miner keeps no vote that the contract refuses, where nobody was quicker or late."""
        world, number = self.world, self.world.place[0]
        self._count("refused")
        start = world.time - world.shortest_phase
        for item in world.processes:
            if item.role not in ("miner", "peer"):
                continue
            has_trouble = item.unanswered >= start or hindered_seconds(item, start, world.time) > 0
            has_fault = world.dice.phases_hit(item.name, number) & {"VOTE", "UNVEIL", "TALLY"}
            if not item.is_honest or has_trouble or has_fault or (number, item.name) in self._alone:
                return
        self.report(
            "refused", f"{process.name} unveils what nobody has committed, in round {number}", process
        )

    def _check_helped(self, device: Process, miner: Process, round_: Round) -> None:
        """Check that a miner that was back early in REVEAL has revealed for its device.

        A device hands its update in again each quarter of the phase, and helps itself in the last one. Faults
        other than deaths excuse the miner, where they came in COMMIT or REVEAL: later ones change nothing.
        """
        world = self.world
        begin, seconds = self._helped[round_.number, device.index], world.plan.terms.reveal_seconds
        start, end = begin + MIDDLE_SHARE * seconds, begin + LONG_SHARE * seconds
        if world.dice.kinds_hit(miner.name, round_.number, "COMMIT", "REVEAL") - {*KILLS, "restart"}:
            return
        if device.unanswered >= start or "REVEAL" in world.dice.phases_hit(device.name, round_.number):
            return
        if hindered_seconds(miner, start, end) == hindered_seconds(device, begin, end) == 0:
            self.report("left out", f"{device.name} had to reveal itself in round {round_.number}")

    def _check_accusations(self, round_: Round) -> None:
        """Check that a miner says of no honest update that it is not there, unless it was told so.

        While its own store is away a miner does not judge; so that is no excuse.
        """
        world, number = self.world, round_.number
        if world.dice.phases_hit("store", number) or number in world.reorganised_rounds:
            return
        honest = {
            item.index for item in world.processes if item.role in ("device", "peer") and item.is_honest
        }
        for vote in round_.votes:
            miner = world.by_address[vote.voter.account]
            told = world.dice.kinds_hit(miner.name, number) & TOLD
            if not miner.is_honest or told:
                continue
            self._count("accused")
            for item, verdict in zip(round_.submissions, vote.opening.verdicts, strict=True):
                if item.update.device in honest and verdict in (Verdict.UNAVAILABLE, Verdict.MALFORMED):
                    text = f"{miner.name} finds device {item.update.device} {verdict.name} in round {number}"
                    self.report("accused", text)

    def _has_fault(self, process: Process, round_: Round) -> bool:
        """Return whether anything at all went wrong for a party in a round."""
        if self.world.dice.phases_hit(process.name, round_.number):
            return True
        return hindered_seconds(process, round_.opened - 10.0, self.world.time) > 0

    def _check_proposals(self, round_: Round, history: History) -> None:
        """Check that a wrong proposal was refuted where a watchtower had the time to challenge it."""
        world = self.world
        tower = next((process for process in world.processes if process.role == "watchtower"), None)
        if tower is None or self._has_fault(tower, round_) or round_.number in world.reorganised_rounds:
            return
        parent = history.model_before(round_.number)
        for proposal in round_.proposals:
            self._count("proposal")
            result = world.observer_archive.next_model(parent, round_.accepted_submissions(), history)
            if (result.root, result.rows) != proposal.content and not proposal.refuted:
                self.report("unchallenged", f"a wrong proposal of round {round_.number} was not refuted")

    # What parties sign.

    def check_signed(self, process: Process, calls: tuple[ContractCall, ...], history: History) -> None:
        """Check that a party says one thing only about one matter."""
        current = history.current
        if current is None or process.role == "watchtower":
            return
        before, address = history.model_before(current.number).root, process.account.address
        for call in calls:
            if process.role == "device" and call.function == "reveal" and call.args[0] != address:
                begin = self.world.observer.clock().deadline - self.world.plan.terms.reveal_seconds
                self._helped[current.number, process.index] = begin
            if call.function in IN_TIME:
                self._check_time(process, call.function)
            if call.function == "commit_vote":
                self._check_record(process, current)
            kind = process.role, call.function
            is_own = kind == ("miner", "unveil") and address != batcher_of(history, current)
            if kind == ("device", "commit") or is_own:
                self._alone.add((current.number, process.name))
            if call.function in ("claim_device", "claim_miner"):
                self._check_claim(process, call, history)
            if call.function not in SIGNED_ONCE or (call.function == "commit" and process.role == "peer"):
                continue
            if self._is_done(process, call.function, current):
                self.report(
                    "signed again", f"{process.name}: {call.function} of round {current.number}", process
                )
            domain = self.world.observer.domain
            matter: tuple[Any, ...] = (call.function, process.name, current.number, before)
            if call.function == "commit_vote":
                matter += (current.links(domain),)
            elif call.function in ("propose", "attest"):
                matter += (tally_digest(current.tally(domain)),)
            self._count("signed")
            if self._signed.setdefault(matter, call.args) != call.args and not process.is_deceived:
                text = f"{process.name} signs two different {call.function} in round {current.number}"
                self.report("signed twice", text, process)

    def _check_time(self, process: Process, function: str) -> None:
        """Check that nobody sends what its own clock says is too late."""
        world = self.world
        if process.is_away("lag"):
            return
        self._count("late")
        late = world.network.now() + process.skew - world.observer.clock().deadline
        if late >= 0:
            self.report("late", f"{process.name}: {function}, {late} s after its time", process)

    def _check_record(self, process: Process, current: Round) -> None:
        """Check that who votes has written down what it says, and of just these updates."""
        if process.is_deceived:
            return
        self._count("recorded")
        file = process.disk.names.get(VOTE_RECORD)
        record = json.loads(file.content.partition(SEAL)[0]) if file is not None else {}
        if (record.get("round"), record.get("updates")) != (current.number, updates_digest(current)):
            self.report("recorded", f"{process.name} votes on what its journal has no record of", process)

    @staticmethod
    def _is_done(process: Process, function: str, current: Round) -> bool:
        """Return whether a party's own history says that it has made a call of this round."""
        address = process.account.address
        if function == "commit":
            return process.role == "miner" and address in current.commits
        if function == "commit_vote":
            return address in current.vote_commits
        standing = current.proposals[-1] if current.proposals else None
        return function == "attest" and standing is not None and address in standing.attested

    def _check_claim(self, process: Process, call: ContractCall, history: History) -> None:
        """Check that a party claims nothing that its own history says is claimed."""
        self._count("claim")
        number, as_miner = call.args[0][1], call.function == "claim_miner"
        position = call.args[2]
        round_ = history.rounds[number]
        if as_miner:
            account = round_.votes[position].voter.account
        else:
            account = history.devices[round_.submissions[position].update.device]
        if (account, number, as_miner) in history.claimed:
            self.report("signed again", f"{process.name} claims round {number} again", process)


def updates_digest(round_: Round) -> str:
    """Return the digest by which a record of a vote names the updates that it is about."""
    return keccak(b"".join(item.update.root + item.update.cid for item in round_.submissions)).hex()


def batcher_of(history: History, round_: Round) -> str | None:
    """Return the miner that unveils for the others in the running round."""
    voters = [member.account for member in history.voters() if member.account in round_.vote_commits]
    return voters[round_.number % len(voters)] if voters else None


def hindered_seconds(process: Process, start: float, end: float) -> float:
    """Return in how many seconds of a span something was amiss for a party."""
    total, reached = 0.0, start
    for first, last in sorted(process.troubles):
        first, last = max(first, reached), min(last, end)
        if last > first:
            total += last - first
            reached = last
    return total
